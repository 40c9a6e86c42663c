"""cascade: the trace of D-RTRL, and a few filtered ones that carry credit through the memory of the layers above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ..ir.diagnostics import error
from ..ir.observable import Observable
from ..ir.plan import Advance, Contract, Memory, Plain, Product, Recall, Scalar, Shows, Slopes, Times
from ..ir.plan.exponentials import choose
from ..ir.plan.jacobian import real_dtype, widest
from ..ir.plan.recall import carried
from ..ir.regions import with_regions
from ..ir.transition import Association, Group, Site
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Rule, Task
from .shared.course import followed_traces
from .shared.filtered import filtered_trace, fits
from .shared.positional import Positional, read_at_entry
from .writer import Writer

HORIZON = 1 - 1 / 2000
"""The weight of one step more in the fit of powers: about two thousand steps count."""
LONGEST, SHORTEST = 200.0, 1.5
"""The time constants that factors which move between steps are taken to lie between, in steps."""

Sent = Mapping[tuple[Observable | Site, complex], Value | None]


@dataclass(frozen=True)
class Cascade(Rule):
    """D-RTRL, and `F_r' = mu_r F_r + dz/dw` for a few constants: credit through the memories that a layer feeds.

    A weight reaches the layers above by what its own layer shows them, `z`, and stays in their states as powers of
    their factors. These powers are sums of a few exponentials, `l^n ~ sum_r C_r(l) mu_r^n`, so filtered traces at the
    layer's own positions serve every unit above at once; they are read with what the products between send back from
    `h_bar C_r(l)` (docs/mathematics.md). `mu_r` are chosen among the model's own factors when the plan is made, and
    stay; `C_r` follow the factors as they are learnt. Where a factor moves from step to step, as a gate does, its
    running mean stands in for it. Covered is every path within a step, through layers at any depth, to one memory.
    Memory: at most `1 + constants` times that of D-RTRL. Cost: as many passes over the traces, and a reverse sweep of
    the step a window for each constant. Exact for element-wise layers of constant factors, none above a third, with a
    constant for each; else approximate, with the error of the powers in the label. The top layer is D-RTRL's.
    """

    name: ClassVar[str] = "cascade"
    reassociates: ClassVar[bool] = True

    constants: int = 6
    """How many filtered traces for each of D-RTRL's; complex constants come in pairs."""
    span: float = 10.0
    """The number of steps that running means of moving factors look back on."""

    def write(self, plan: Writer, task: Task) -> None:
        """A trace for each association, filtered once for each constant where a memory is fed with it."""
        if self.constants < 1 or self.span < 1:
            given = f"constants={self.constants!r}, span={self.span!r}"
            raise error("rule-option", f"cascade has {given}; wanted at least one constant, and a span of some steps")
        traces: dict[Association, Positional] = {}
        for trace, takers in followed_traces(plan, task):
            read_at_entry(plan, trace, takers)
            if trace.reach is None and takers is None:
                traces[trace.association] = trace
        reached = plan.exits.onward().reached()
        observables = [o for o in plan.exits.observables() if reached[o]]
        shown = {a: [o for o in observables if o.group is a.group and fits(a, o)] for a in traces}
        shown = {a: of for a, of in shown.items() if of}
        free = [site for site in task.sites if reached.get(site)]
        groups = _from_the_top(plan, {g for of in (*shown.values(), free) for o in of for g in reached[o]})
        constants = self._chosen(plan, groups, [(len(traces[a].states), len(of)) for a, of in shown.items()])
        if not constants:
            return
        sent = self._recalled(plan, groups, constants)
        for association, observables in shown.items():
            _read(plan, traces[association], [(o, m, sent[o, m]) for o in observables for m in constants])
        for site in free:
            for m in constants:
                _read_data(plan, site, m, sent[site, m])

    def _chosen(self, plan: Writer, groups: Sequence[Group], sizes: Sequence[tuple[int, int]]) -> tuple[complex, ...]:
        """The constants, as many as keep the filtered traces within what was asked for.

        `sizes` are the numbers of states that traces follow, and of what is shown of each.
        """
        if not groups:
            return ()
        known = [plan.memories.factors(group) for group in groups]
        factors: npt.NDArray[Any] = np.concatenate([x for x in known if x.size] or [np.zeros(0)])
        if not factors.size or any(map(plan.memories.moves, groups)):
            factors = np.concatenate([factors, np.exp(-1 / np.geomspace(SHORTEST, LONGEST, 64))])
        kind = widest(*(real_dtype(s.before.type.dtype) for group in groups for s in group.states))
        count = min((max(1, self.constants * states // shown) for states, shown in sizes), default=self.constants)
        return choose(factors, count, HORIZON, float(jnp.finfo(kind).eps) ** 0.85)

    def _recalled(self, plan: Writer, groups: Sequence[Group], constants: Sequence[complex]) -> Sent:
        """The cotangents that the filtered traces are read with; none for one that its conjugate stands for."""
        onward = plan.exits.onward()
        plan.transition = with_regions(plan.transition, *onward.regions())
        slopes, region = onward.regions()
        now = plan.step(Slopes(region=slopes.name)) if slopes.outputs else ()
        mean = Kept(plan, 1 - 1 / self.span)
        pairs = tuple((m.real, m.imag) for m in constants)
        recall = Recall(
            region=region.name,
            constants=pairs,
            horizon=HORIZON,
            memories=tuple(self._memory(plan, group, groups[:k]) for k, group in enumerate(groups)),
            cotangents=tuple(plan.cotangents),
            slopes=tuple(mean(value, "the step") for value in now),
            weight=mean.weight(now) if now else None,
        )
        kinds = [o.type if isinstance(o, Observable) else o.output.type for o in onward.shown]
        places = [(o, constants[r]) for o, kind in zip(onward.shown, kinds, strict=True) for r in carried(pairs, kind)]
        found = dict(zip(places, plan.window(recall, *("z_bar" for _ in places)), strict=True))
        return {(o, m): found.get((o, m)) for o in onward.shown for m in constants}

    def _memory(self, plan: Writer, group: Group, before: Sequence[Group]) -> Memory:
        """A group, with its factors as they were at the last step, or as running means where some of them move."""
        paths = "+".join(state.path for state in group.states)
        mean = Kept(plan, 1 - 1 / self.span)
        kept = mean if plan.memories.moves(group) else Kept(plan, 0.0)
        jacobian = plan.jacobian(group)
        reached = plan.exits.onward().reached()
        shows: list[Shows] = []
        for place, o in enumerate(plan.exits.observables()):
            if o.group is group and not reached[o].isdisjoint(before):
                sent = plan.shown_credit({o: plan.ones(o.type)}).states
                factors = tuple(mean(sent[state], paths) for state in group.states)
                shows.append(Shows(place=place, factors=factors, weight=mean.weight(factors)))
        return Memory(
            group=group,
            pairs=tuple(jacobian),
            factors=tuple(kept(value, paths) for value in jacobian.values()),
            weight=kept.weight(tuple(jacobian.values())) if kept.factor else None,
            shows=tuple(shows),
        )


def _from_the_top(plan: Writer, groups: set[Group]) -> list[Group]:
    """The groups in an order in which each comes behind those that it is shown to, as far as there is one."""
    onward = {g: set[Group]() for g in plan.transition.groups if g in groups}
    for o in plan.exits.observables():
        if o.group in onward:
            onward[o.group] |= groups.intersection(plan.exits.onward().reached()[o]) - {o.group}
    found: list[Group] = []
    while onward:
        group = min(onward, key=lambda g: (len(onward[g].difference(found)), g.index))
        found.append(group)
        del onward[group]
    return found


def _read(plan: Writer, trace: Positional, readings: Sequence[tuple[Observable, complex, Value | None]]) -> None:
    """`sum <c, F>` over what is shown of one trace, and over constants."""
    association = trace.association
    weight = association.site.weight
    pairs = [(filtered_trace(plan, trace, o, m).before, c) for o, m, c in readings if c is not None]
    filtered, cotangents = zip(*pairs, strict=True)
    read = Contract(association=association, trace=filtered, cotangents=cotangents, loc=association.loc)
    plan.contribute(weight, *plan.window(read, f"g_{weight.value.hint}"))


def _read_data(plan: Writer, site: Site, constant: complex, cotangent: Value | None) -> None:
    """`<c, X>` with the filtered data `X' = mu X + x` of a weight whose output no trace is on; `x` is one without data.

    What is shown of such a weight is its output, so its trace is a product.
    """
    if cotangent is None:
        return
    weight, dtype = site.weight, real_dtype(site.output.type.dtype)
    data = plan.ones(TensorType(dtype)) if site.data is None else site.data
    kind = TensorType(widest(data.type.dtype, "complex64") if constant.imag else data.type.dtype, data.type.shape)
    before = plan.trace(kind, f"data of {'+'.join(weight.paths)}", f"X_{weight.value.hint}", loc=site.loc)
    by = Scalar(factor=constant.real, imaginary=constant.imag)
    plan.carry(before, *plan.step(Advance(trace=(before,), by=by, add=Plain(values=(data,)), loc=site.loc)))
    if site.data is None:
        (cotangent,) = plan.window(Times(value=cotangent, by=before), cotangent.hint)
    read = Product(site=site, data=None if site.data is None else before, cotangent=cotangent, loc=site.loc)
    plan.contribute(weight, *plan.window(read, f"g_{weight.value.hint}"))


class Kept(NamedTuple):
    """Values of a step that are kept until the window's end: the last one, or a sum that fades."""

    plan: Writer
    factor: float

    def __call__(self, value: Value, of: str) -> Value:
        """The trace of a value; what is no number is kept as it was last."""
        before = self.plan.trace(value.type, f"{value.hint} of {of}, kept", f"{value.hint}_kept")
        if value.type.carries_credit:
            advance = Advance(trace=(before,), by=Scalar(factor=self.factor), add=Plain(values=(value,)))
            (value,) = self.plan.step(advance, f"{before.hint}_next")
        self.plan.carry(before, value)
        return before

    def weight(self, values: Sequence[Value]) -> Value:
        """What sums of these are of, were each value one."""
        kinds = [real_dtype(v.type.dtype) for v in values if v.type.carries_credit]
        return self(self.plan.ones(TensorType(widest("float32", *kinds))), "steps")
