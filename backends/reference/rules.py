"""The table: one emit rule for each plan operation, and the shapes of the traces that it carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...ir.diagnostics import error
from ...ir.plan import (
    Advance,
    AdvanceFactored,
    AdvanceFull,
    Contract,
    Jacobian,
    Operation,
    Plan,
    Pullback,
    Sensitivity,
    Vjp,
)
from ...ir.transition import Transition
from ...ir.values import Value
from .coordinates import Space
from .dense import emit_advance
from .factored import emit_advance_factored
from .influence import emit_advance_full
from .jacobian import emit_jacobian, emit_sensitivity
from .reverse import emit_contract, emit_pullback, emit_vjp
from .scene import Scene, data_space, group_space, hidden_space, output_space, weight_space

Spaces = dict[Value, tuple[Space, ...]]
"""For each trace that an operation reads, the coordinates along each of its axes."""


def _none(op: Any, transition: Transition) -> Spaces:
    """No trace."""
    return {}


@dataclass(frozen=True, kw_only=True)
class EmitRule:
    """How this backend runs one kind of operation."""

    emit: Callable[[Any, Scene], tuple[Any, ...]]
    """The operation's results."""
    traces: Callable[[Any, Transition], Spaces] = _none
    """The traces that it advances."""


def _dense(op: Advance, transition: Transition) -> Spaces:
    return {op.trace: (group_space(op.association.group), weight_space(op.association))}


def _factored(op: AdvanceFactored, transition: Transition) -> Spaces:
    rows, columns = op.factors
    group = group_space(op.association.group)
    return {rows: (group, output_space(op.association)), columns: (data_space(op.association),)}


def _influence(op: AdvanceFull, transition: Transition) -> Spaces:
    return {op.trace: (hidden_space(transition), Space((op.param.value.type,)))}


EMIT: Mapping[type[Operation], EmitRule] = MappingProxyType(
    {
        Jacobian: EmitRule(emit=emit_jacobian),
        Sensitivity: EmitRule(emit=emit_sensitivity),
        Advance: EmitRule(emit=emit_advance, traces=_dense),
        AdvanceFactored: EmitRule(emit=emit_advance_factored, traces=_factored),
        AdvanceFull: EmitRule(emit=emit_advance_full, traces=_influence),
        Vjp: EmitRule(emit=emit_vjp),
        Contract: EmitRule(emit=emit_contract),
        Pullback: EmitRule(emit=emit_pullback),
    }
)


def check_known(plan: Plan) -> None:
    """Refuse a plan with an operation that has no rule here."""
    for op in plan.operations:
        if type(op) not in EMIT:
            raise error(
                "no-emit-rule",
                f"backend 'reference' does not know the plan operation '{type(op).__name__}'",
                loc=op.loc,
                help="emit it from a backend of your own",
            )
