"""What each plan operation wants of its operands and results, keyed by its class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..diagnostics import Diagnostic
from ..plan import (
    Advance,
    AdvanceFactored,
    AdvanceFull,
    Contract,
    Jacobian,
    Operation,
    Pullback,
    Sensitivity,
    Vjp,
)  # fmt: skip
from ..plan_printer import mnemonic
from ..transition import Transition
from ..types import TensorType
from ..values import Value
from .program import about
from .sheet import Sheet

OperationRule = Callable[[Any, Transition], Iterator[str]]
"""The faults of one operation, each half a sentence that follows the operation's name."""


def operations_fit_their_operands(
    t: Transition, sheet: Sheet, rules: Mapping[type[Operation], OperationRule] | None = None
) -> Iterator[Diagnostic]:
    """Each operation has the results that its operands call for."""
    table = {**OPERATION_RULES, **(rules or {})}
    for operation in t.plan.operations if t.plan else ():
        for fault in table.get(type(operation), _anything)(operation, t):
            message = f"'{mnemonic(type(operation))}' {fault}"
            yield about("operation-type", message, operation, sheet)


def _anything(operation: Operation, t: Transition) -> Iterator[str]:
    """No rule: an operation that is not in the table may have any results."""
    del operation, t
    return iter(())


def _jacobian(operation: Jacobian, t: Transition) -> Iterator[str]:
    del t
    group = operation.group
    yield from _shapes(operation.results, [(len(group.states), len(group.states), *group.shape)])


def _sensitivity(operation: Sensitivity, t: Transition) -> Iterator[str]:
    del t
    association = operation.association
    states, output = len(association.group.states), association.site.output.type.shape
    found = [value.type.shape for value in operation.results]
    if len(found) != 1 or found[0][:1] != (states,) or found[0][2:] != output:
        wanted = f"[{states},slots,{','.join(map(str, output))}]"
        yield f"gives {_list(found)}; wanted {wanted}"


def _advance(operation: Advance, t: Transition) -> Iterator[str]:
    del t
    yield from _types(operation.results, [operation.trace.type])


def _advance_factored(operation: AdvanceFactored, t: Transition) -> Iterator[str]:
    del t
    yield from _types(operation.results, [value.type for value in operation.factors])
    if not 0 <= operation.decay <= 1:
        yield f"has decay {operation.decay}; wanted a number from 0 to 1"


def _advance_full(operation: AdvanceFull, t: Transition) -> Iterator[str]:
    del t
    yield from _types(operation.results, [operation.trace.type])


def _vjp(operation: Vjp, t: Transition) -> Iterator[str]:
    names = [region.name for region in t.regions]
    if names and operation.region not in names:
        yield f"differentiates region @{operation.region}, which is not there"
    yield from _types(operation.results, [*(s.before.type for s in t.hidden), *(p.value.type for p in t.params)])


def _contract(operation: Contract, t: Transition) -> Iterator[str]:
    del t
    if operation.association is not None:
        yield from _types(operation.results, [operation.association.site.weight.value.type])


def _pullback(operation: Pullback, t: Transition) -> Iterator[str]:
    params = [param.value.type for param in t.params]
    yield from _types(operation.results, params)
    found = [value.type for value in operation.reverse]
    if found != params:
        yield f"has reverse-mode gradients {_list(found)}; wanted {_list(params)}, those of the parameters"


def _types(results: Sequence[Value], wanted: Sequence[TensorType]) -> Iterator[str]:
    found = [value.type for value in results]
    if found != list(wanted):
        yield f"gives {_list(found)}; wanted {_list(wanted)}"


def _shapes(results: Sequence[Value], wanted: Sequence[tuple[int, ...]]) -> Iterator[str]:
    found = [value.type.shape for value in results]
    if found != list(wanted):
        yield f"gives {_list(found)}; wanted {_list(wanted)}"


def _list(items: Sequence[TensorType | tuple[int, ...]]) -> str:
    return ", ".join(f"[{','.join(map(str, i))}]" if isinstance(i, tuple) else str(i) for i in items) or "nothing"


OPERATION_RULES: Mapping[type[Operation], OperationRule] = MappingProxyType(
    {
        Jacobian: _jacobian,
        Sensitivity: _sensitivity,
        Advance: _advance,
        AdvanceFactored: _advance_factored,
        AdvanceFull: _advance_full,
        Vjp: _vjp,
        Contract: _contract,
        Pullback: _pullback,
    }
)
