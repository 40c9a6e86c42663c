"""What of a plan's cost belongs to which weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..values import Value
from .cost import Cost
from .operation import Operation
from .plan import Plan, Trace
from .reverse import Pullback

if TYPE_CHECKING:
    from ..transition import Transition

Paths = tuple[str, ...]


def cost_by_weight(t: Transition, held: Sequence[float]) -> dict[Paths, Cost]:
    """The cost of one step for each weight, by the paths of its parameters; what several share under no path.

    A weight has the traces and the operations that its gradient alone needs. `held` is what each trace holds.
    """
    plan = t.plan
    assert plan is not None
    owners: dict[Operation | Trace, list[Paths]] = {}
    for paths, value in _contributions(plan):
        for node in _needs(plan, value):
            known = owners.setdefault(node, [])
            known.extend(() if paths in known else (paths,))
    found: dict[Paths, Cost] = {paths: Cost() for paths, _ in _contributions(plan)} | {(): Cost()}
    for trace, size in zip(plan.traces, held, strict=True):
        found[_only(owners.get(trace, []))] += Cost(held=float(size))
    for operation, cost in plan.costs():
        found[_only(owners.get(operation, []))] += cost
    return found


def _only(paths: list[Paths]) -> Paths:
    return paths[0] if len(paths) == 1 else ()


def _contributions(plan: Plan) -> Iterator[tuple[Paths, Value]]:
    """What the pull-back adds for each weight or parameter."""
    pullback = plan.only(Pullback)
    yield from ((weight.paths, v) for weight, v in zip(pullback.weights, pullback.on_weights, strict=True))
    yield from (((param.path,), v) for param, v in zip(pullback.params, pullback.on_params, strict=True))


def _needs(plan: Plan, value: Value) -> set[Operation | Trace]:
    """The operations and traces that a value is made of, at this step and before."""
    maker = {v: op for op in plan.operations for v in op.results}
    traces = {trace.before: trace for trace in plan.traces}
    found, seen, pending = set[Operation | Trace](), set[Value](), [value]
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        if (operation := maker.get(value)) is not None:
            found.add(operation)
            pending += operation.operands
        if (trace := traces.get(value)) is not None:
            found.add(trace)
            pending.append(trace.after)
    return found
