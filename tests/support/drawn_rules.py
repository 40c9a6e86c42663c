"""A learning rule that is told, use by use, what kind of trace to write and how to read it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import etir
from etir.ir.plan import Advance, Contract, Diagonal, Outer, Placement, Plain, Product, Project, Scalar, Total
from etir.ir.plan.jacobian import trace_dtype
from etir.ir.transition import Association
from etir.ir.types import TensorType
from etir.ir.values import Value
from etir.rules import Task, Writer
from etir.rules.pp_prop import column_type
from etir.rules.shared.exit_reading import read_at_exit
from etir.rules.shared.positional import Positional, followed_states, new_traces, positional_trace, read_at_entry


def entry(plan: Writer, a: Association) -> None:
    """`E' = D E + f (x) x`, read at the window's entry."""
    read_at_entry(plan, positional_trace(plan, a))


def scaled(plan: Writer, a: Association) -> None:
    """A Jacobian that is not the step's own."""
    read_at_entry(plan, _carried(plan, a, lambda pairs: {p: plan.scaled(v, 0.7) for p, v in pairs.items()}))


def lacking(plan: Writer, a: Association) -> None:
    """A pair of states left out of the Jacobian: one off the diagonal where there is one."""

    def without(pairs: dict[Any, Value]) -> dict[Any, Value]:
        left_out = next((p for p in pairs if p[0] != p[1]), next(iter(pairs), None))
        return {p: v for p, v in pairs.items() if p != left_out}

    read_at_entry(plan, _carried(plan, a, without))


def filtered(plan: Writer, a: Association) -> None:
    """The trace, filtered once more by a number."""
    trace = positional_trace(plan, a)
    slower = new_traces(plan, a, trace.states, trace.before[0].type, "slow")
    after = plan.step(Advance(trace=slower, by=Scalar(factor=0.8), add=Plain(values=trace.after)))
    _carry(plan, slower, after)
    read_at_entry(plan, trace._replace(before=slower, after=after))


def factored(plan: Writer, a: Association) -> None:
    """Two vectors, advanced apart and multiplied when read."""
    if a.site.data is None:
        return entry(plan, a)
    column = plan.trace(column_type(a), "data", "X")
    plan.carry(column, *plan.step(Advance(trace=(column,), by=Scalar(factor=0.9), add=Plain(values=(a.site.data,)))))
    jacobian, sensitivity = plan.jacobian(a.group), plan.sensitivity(a)
    states = followed_states(tuple(sensitivity), tuple(jacobian))
    rows = new_traces(plan, a, states, TensorType(trace_dtype(a), Placement(a).output_shape), "F")
    pairs = _among(states, jacobian)
    by = Diagonal(association=a, pairs=tuple(pairs), factors=tuple(pairs.values()), at_output=True)
    after = plan.step(Advance(trace=rows, by=by, add=Plain(values=tuple(sensitivity.get(k) for k in states))))
    _carry(plan, rows, after)
    bars = plan.entering(a.group)
    (credit,) = plan.window(Project(association=a, factors=rows, cotangents=tuple(bars[k] for k in states)))
    plan.contribute(a.site.weight, *plan.window(Product(site=a.site, data=column, cotangent=credit)))
    return None


def exit_detached(plan: Writer, a: Association) -> None:
    """Read at each step's exit, and left out of reverse mode."""
    read_at_exit(plan, [a], plan.exit_credit)


def exit_beside(plan: Writer, a: Association) -> None:
    """Read at each step's exit, though reverse mode counts it as well."""
    credit, trace = plan.exit_credit().states, positional_trace(plan, a)
    _add_up(plan, trace, trace.before, [credit[s] for s in a.group.states])


def signalled(plan: Writer, a: Association) -> None:
    """Read with an array that the learner is given at every step."""
    trace = positional_trace(plan, a)
    _add_up(plan, trace, trace.after, [plan.signal(f"teach_{s.path}", s.after.type) for s in a.group.states])
    plan.detach(a.site)


def unread(plan: Writer, a: Association) -> None:
    """A trace that nothing reads."""
    positional_trace(plan, a)


def applied(plan: Writer, a: Association) -> None:
    """Half the trace, by a function of the rule's own."""
    trace = positional_trace(plan, a)
    halves = plan.apply(lambda *e: tuple(0.5 * x for x in e), *trace.before, name="halved", at_window=True)
    read_at_entry(plan, trace._replace(before=halves))


def applied_each_step(plan: Writer, a: Association) -> None:
    """A trace that a function of the rule's own advances from another one, which is swept."""
    trace = positional_trace(plan, a)
    means = new_traces(plan, a, trace.states, trace.before[0].type, "mean")
    count = len(means)
    after = plan.apply(
        lambda *v: tuple(0.5 * (m + e) for m, e in zip(v[:count], v[count:], strict=True)),
        *means, *trace.after, name="mean",
    )  # fmt: skip
    _carry(plan, means, after)
    read_at_entry(plan, trace._replace(before=means, after=after))


def detached(plan: Writer, a: Association) -> None:
    """Left out of reverse mode, and nothing read in its place."""
    plan.detach(a.site)


def none(plan: Writer, a: Association) -> None:
    """Nothing."""
    del plan, a


WAYS: dict[str, Callable[[Writer, Association], None]] = {
    way.__name__: way
    for way in (
        entry, scaled, lacking, filtered, factored, exit_detached, exit_beside, signalled, unread, applied,
        applied_each_step, detached, none,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Told(etir.Rule):
    """Writes for its k-th association what the k-th word says; the words are taken again from the first."""

    name: ClassVar[str] = "told"

    ways: tuple[str, ...] = ("entry",)

    def write(self, plan: Writer, task: Task) -> None:
        for k, association in enumerate(task.associations):
            WAYS[self.ways[k % len(self.ways)]](plan, association)


def _among(states: Sequence[int], jacobian: dict[Any, Value]) -> dict[Any, Value]:
    return {(states.index(i), states.index(j)): v for (i, j), v in jacobian.items() if i in states and j in states}


def _carry(plan: Writer, before: Sequence[Value], after: Sequence[Value]) -> None:
    for old, new in zip(before, after, strict=True):
        plan.carry(old, new)


def _carried(plan: Writer, a: Association, change: Callable[[dict[Any, Value]], dict[Any, Value]]) -> Positional:
    """A positional trace, carried by what `change` makes of the Jacobian."""
    jacobian, sensitivity = plan.jacobian(a.group), plan.sensitivity(a)
    states = followed_states(tuple(sensitivity), tuple(jacobian))
    before = new_traces(plan, a, states, TensorType(trace_dtype(a), Placement(a).shape), "e")
    pairs = change(_among(states, jacobian))
    by = Diagonal(association=a, pairs=tuple(pairs), factors=tuple(pairs.values()))
    add = Outer(association=a, factors=tuple(sensitivity.get(k) for k in states), data=a.site.data)
    after = plan.step(Advance(trace=before, by=by, add=add))
    _carry(plan, before, after)
    return Positional(a, states, before, after)


def _add_up(plan: Writer, trace: Positional, values: Sequence[Value], signals: Sequence[Value]) -> None:
    """The sum over steps of a step's traces, contracted with the signals of their group."""
    cotangents = tuple(signals[k] for k in trace.states)
    (value,) = plan.step(Contract(association=trace.association, trace=tuple(values), cotangents=cotangents))
    plan.contribute(trace.association.site.weight, *plan.window(Total(value=value)))
