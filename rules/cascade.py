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
from ..ir.plan import Advance, Contract, Feed, Memory, Plain, Recall, Scalar
from ..ir.plan.exponentials import choose
from ..ir.plan.jacobian import real_dtype, widest
from ..ir.plan.recall import carried
from ..ir.regions import with_regions
from ..ir.transition import Association, Group
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Rule, Task
from .shared.filtered import filtered_trace, fits
from .shared.positional import Positional, positional_trace, read_at_entry
from .writer import Writer, state_hint

HORIZON = 1 - 1 / 2000
"""The weight of one step more in the fit of powers: about two thousand steps count."""
LONGEST, SHORTEST = 200.0, 1.5
"""The time constants that factors which move between steps are taken to lie between, in steps."""

Shown = Mapping[Association, Sequence[Observable]]


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

    constants: int = 6
    """How many filtered traces for each of D-RTRL's; complex constants come in pairs."""
    span: float = 100.0
    """The number of steps that running means of moving factors look back on."""

    def write(self, plan: Writer, task: Task) -> None:
        """A trace for each association, filtered once for each constant where a memory is fed with it."""
        if self.constants < 1 or self.span < 1:
            given = f"constants={self.constants!r}, span={self.span!r}"
            raise error("rule-option", f"cascade has {given}; wanted at least one constant, and a span of some steps")
        traces = {a: positional_trace(plan, a) for a in task.associations}
        for trace in traces.values():
            read_at_entry(plan, trace)
        shown = _shown(plan, task.associations)
        feeds = _feeds(plan, shown)
        constants = self._chosen(plan, traces, shown, feeds) if feeds else ()
        if constants:
            self._filter(plan, traces, shown, feeds, constants)

    def _chosen(
        self, plan: Writer, traces: Mapping[Association, Positional], shown: Shown, feeds: Mapping[Group, Any]
    ) -> tuple[complex, ...]:
        """The constants, as many as keep the filtered traces within what was asked for."""
        count = min(max(1, self.constants * len(traces[a].states) // len(of)) for a, of in shown.items())
        known = [plan.memories.factors(group) for group in feeds]
        factors: npt.NDArray[Any] = np.concatenate([x for x in known if x.size] or [np.zeros(0)])
        if not factors.size or any(plan.memories.moves(group) for group in feeds):
            between = np.exp(-1 / np.geomspace(SHORTEST, LONGEST, 64))
            factors = np.concatenate([factors, between])
        kind = widest(*(real_dtype(s.before.type.dtype) for group in feeds for s in group.states))
        return choose(factors, count, HORIZON, float(jnp.finfo(kind).eps) ** 0.85)

    def _filter(
        self,
        plan: Writer,
        traces: Mapping[Association, Positional],
        shown: Shown,
        feeds: Mapping[Group, Sequence[Association]],
        constants: Sequence[complex],
    ) -> None:
        region = plan.exits.fed()
        plan.transition = with_regions(plan.transition, region)
        pairs = tuple((m.real, m.imag) for m in constants)
        recall = Recall(
            region=region.name,
            constants=pairs,
            horizon=HORIZON,
            memories=tuple(self._memory(plan, group, fed) for group, fed in feeds.items()),
            cotangents=tuple(plan.cotangents),
        )
        places = [(o, r) for o in plan.exits.observables() for r in carried(pairs, o.type)]
        found = plan.window(recall, *("z_bar" for _ in places))
        sent = dict(zip(places, found, strict=True))
        for association, observables in shown.items():
            keys = [(o, r) for o, r in places if o in observables]
            kept = [filtered_trace(plan, traces[association], o, constants[r]).before for o, r in keys]
            read = Contract(
                association=association,
                trace=tuple(kept),
                cotangents=tuple(sent[key] for key in keys),
                loc=association.loc,
            )
            weight = association.site.weight
            plan.contribute(weight, *plan.window(read, f"g_{weight.value.hint}"))

    def _memory(self, plan: Writer, group: Group, feeds: Sequence[Association]) -> Memory:
        """A group, with its factors as they were at the last step, or as running means where some of them move."""
        moves = any(plan.memories.moves(of) for of in (group, *feeds))
        kept = _Kept(plan, 1 - 1 / self.span if moves else 0.0)
        jacobian = plan.jacobian(group)
        return Memory(
            group=group,
            pairs=tuple(jacobian),
            factors=tuple(kept(value, group) for value in jacobian.values()),
            feeds=tuple(
                Feed(association=a, factors=tuple(kept(value, group) for value in plan.sensitivity(a).values()))
                for a in feeds
            ),
            weight=kept.weight(group) if moves else None,
        )


class _Kept(NamedTuple):
    """Values of a step that are kept until the window's end: the last one, or a sum that fades."""

    plan: Writer
    factor: float

    def __call__(self, value: Value, group: Group) -> Value:
        paths = "+".join(state.path for state in group.states)
        before = self.plan.trace(value.type, f"{value.hint} of {paths}, kept", f"{value.hint}_kept", loc=group.loc)
        advance = Advance(trace=(before,), by=Scalar(factor=self.factor), add=Plain(values=(value,)), loc=group.loc)
        self.plan.carry(before, *self.plan.step(advance, f"{before.hint}_next"))
        return before

    def weight(self, group: Group) -> Value:
        """What a sum is of, were each value one."""
        dtype = widest("float32", *(real_dtype(state.before.type.dtype) for state in group.states))
        return self(self.plan.ones(TensorType(dtype)), group)


def _shown(plan: Writer, associations: Sequence[Association]) -> Shown:
    """What the step shows of each association's group to a memory, at the positions of its trace."""
    feeding = [o for o, sites in plan.exits.feeds().items() if any(a.site in sites for a in _remembering(plan))]
    found = {a: [o for o in feeding if o.group is a.group and fits(a, o)] for a in associations}
    return {a: of for a, of in found.items() if of}


def _remembering(plan: Writer) -> list[Association]:
    """The uses of weights that enter a hidden group position by position."""
    return [a for a in plan.transition.associations if a.traced]


def _feeds(plan: Writer, shown: Shown) -> dict[Group, list[Association]]:
    """The groups that are fed with what is shown, each with the uses of weights that it is fed by."""
    sites = {site for of in shown.values() for o in of for site in plan.exits.feeds()[o]}
    found: dict[Group, list[Association]] = {}
    for association in _remembering(plan):
        if association.site in sites:
            found.setdefault(association.group, []).append(association)
    return found
