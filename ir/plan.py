"""Plans: the trace program of a learning rule, as operations in static single assignment.

A plan has three lists of operations: what happens at every `step`, at the end of each `window`, and what is carried
(the `traces`). A backend turns the lists into nested loops and is free in the schedule, never in the numbers.
Operations are open: a new one is a dataclass here or elsewhere, plus one entry in each backend's emit table; nothing
is registered.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from .expression import Expression
from .loc import Loc
from .values import Value

if TYPE_CHECKING:
    from .transition import Association, Group, Param


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Operation:
    """One trace operation: the values that it computes, and, in its other fields, what it computes them from."""

    results: tuple[Value, ...] = ()
    loc: Loc | None = None

    @property
    def operands(self) -> tuple[Value, ...]:
        """Every value among the fields, in order."""
        found: list[Value] = []
        for name in (f.name for f in fields(self) if f.name not in ("results", "loc")):
            item: Any = getattr(self, name)
            found += [v for v in (item if isinstance(item, tuple) else (item,)) if isinstance(v, Value)]
        return tuple(found)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trace:
    """An array carried between steps: `before` a window and `after` it, zero at the start."""

    before: Value
    after: Value
    label: str
    """What it is the derivative of, for people: `cell.Wz at %yz`."""
    loc: Loc | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Jacobian(Operation):
    """`D = dh'/dh` of a group, mixing operations held: a diagonal for each pair of states, `[S, S, *shape]`."""

    group: Group


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sensitivity(Operation):
    """`f = dh'/dy` of a group to a site's output, at the output's positions. Result `[S, slots, *output shape]`."""

    association: Association


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Advance(Operation):
    """`E' = D E + f (x) x`: the positional trace of D-RTRL."""

    association: Association
    trace: Value
    jacobian: Value
    sensitivity: Value
    data: Value | None
    expression: Expression


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AdvanceFactored(Operation):
    """`X' = a X + x`, `F' = a D F + (1 - a) f`: the rank-one trace of pp-prop, `E ~ F (x) X`. Results `F', X'`."""

    association: Association
    factors: tuple[Value, ...]
    jacobian: Value
    sensitivity: Value
    data: Value | None
    decay: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AdvanceFull(Operation):
    """`E' = w_bar + h_bar E` over unit cotangents at the window's end: one parameter against every state."""

    param: Param
    trace: Value


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Vjp(Operation):
    """Reverse mode through the window. Results: the cotangent of each entering hidden state, then of each parameter.

    `region` names the step that is differentiated: `forward`, or `restricted` where credit inside windows follows the
    rule's own Jacobian.
    """

    region: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Contract(Operation):
    """`<h_bar, E>`: what a trace adds to the gradient of its weight (or of its parameter)."""

    association: Association | None
    """The association whose weight the result belongs to; None for an influence on a parameter."""
    trace: tuple[Value, ...]
    cotangents: tuple[Value, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pullback(Operation):
    """The gradient of the parameters: contributions on weights, pulled back through the prologue, and reverse mode's.

    Only the `positional` parameters take contributions from weights; the others have a rule of their own.
    """

    positional: tuple[Param, ...]
    contributions: tuple[Value, ...]
    reverse: tuple[Value, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plan:
    """A learning rule's trace program for one transition."""

    rule: str
    window: int
    credit: str
    traces: tuple[Trace, ...] = ()
    step: tuple[Operation, ...] = ()
    at_window: tuple[Operation, ...] = ()
    loc: Loc | None = None

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation, in program order."""
        return (*self.step, *self.at_window)
