"""How many steps a fold may have, and why."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.plan import AdvanceFull
from ..program import Program
from .pattern import LITTLE, Sweeps
from .schedule import FOLD, PRODUCTS

LONG = 1 << 20
"""Bytes of data and cotangents of one step's products that need no others' beside them."""
TIMES = 2
"""How much larger than the traces a fold's history may be, where the data are no edges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Longest:
    """The most steps of a fold; the driver takes whole windows of about as many."""

    steps: int
    because: str


def longest_fold(program: Program, share: float) -> Longest:
    """The most steps that a fold of a program may have, where traces are held in this share of their own bits.

    Fewer where that is less than all of them, for the fold's history is not. Influence matrices advance every window.
    """
    window = program.plan.window
    if any(isinstance(op, AdvanceFull) for op in program.plan.at_window):
        return Longest(steps=window, because="influence matrices advance every window")
    if not program.sweeps.units:
        if _is_long(program):
            return Longest(steps=window, because="a step's products read more than they add to")
        return Longest(steps=max(window, PRODUCTS), because="no trace is passed over; products are done together")
    rooms = [room for room in (_together(program.sweeps), *(u.room for u in program.sweeps.units)) if room is not None]
    room = min((max(window, int(room * share)) for room in rooms), default=None)
    if program.plan.fold:
        return Longest(steps=min(program.plan.fold, room or program.plan.fold), because=program.plan.fold_because)
    if not any(sweep.gains for sweep in program.sweeps.sweeps):
        return Longest(steps=window, because="passes over traces take as long for each window as for all at once")
    longest = int(FOLD * share)
    if room is not None and room < longest:
        return Longest(steps=room, because="a longer fold's history would hold more than the traces do")
    return Longest(steps=longest, because="the pass over traces is cheap by then, and the history is small")


def _is_long(program: Program) -> bool:
    """Whether one step's products alone keep a core busy: many steps' would only take more room."""
    site_of = {site.output: site for site in program.transition.sites if site.weight.learns}
    data = {program.sources.get(site, site).data for site in site_of.values()}
    rows = sum(value.type.bytes for value in [*site_of, *data] if value is not None)
    return rows >= LONG and rows > sum(w.value.type.bytes for w in {site.weight for site in site_of.values()})


def _together(sweeps: Sweeps) -> int | None:
    """The steps whose data and sensitivities take a few times what all traces do; None where they are never much.

    That is little where a weight has few numbers for each of them, as a kernel has. Traces no larger than a state
    do not count: a step leaves as much of each state anyhow.
    """
    found = [sweep for sweep in sweeps.sweeps if sweep.couplings is None and sweep.is_wide]
    data = {sweep.data: sweep.data.type.size for sweep in found if sweep.data is not None}
    history = sum(data.values()) + sum(sweep.placement.output_size * len(sweep.states) for sweep in found)
    held = sum(trace.before.type.size for sweep in sweeps.sweeps for trace in sweep.traces)
    return TIMES * max(held, LITTLE * len(sweeps.units)) // history if history else None
