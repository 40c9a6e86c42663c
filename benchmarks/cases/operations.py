"""Gradients of models whose weights are convolutions, tables, and low ranks beside a frozen graph, beside BPTT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import operations
from ..harness import Program, compare
from ..problem import Problem, bptt, online
from ..record import Record, time_records
from ..suite import Case, Settings

WINDOW = 16


def _case(name: str, make: Callable[[Settings], Problem], rule: str, about: str) -> Case:
    def run(settings: Settings) -> Sequence[Record]:
        of = make(settings)
        programs = [bptt(of), *(online(of, rule, window) for window in (1, WINDOW))]
        rows = compare(programs, steps=of.steps, rounds=settings.rounds)
        return time_records(f"{name}, T={of.steps}", rows, bandwidth=settings.bandwidth)

    return Case(name, run, about=about)


def _learned(of: Problem) -> Problem:
    """The problem of the low ranks alone, the graph given with the sequence's first states."""

    def step(p: Any, s: Any, x: Any) -> Any:
        after, y = of.step(p | {"graph": s["graph"]}, {"v": s["v"]}, x)
        return after | {"graph": s["graph"]}, y

    low = {name: of.params[name] for name in "AB"}
    return of._replace(step=step, params=low, states=of.states | {"graph": of.params["graph"]})


def _connectome(settings: Settings) -> Sequence[Record]:
    """`pp_prop` of the low ranks, the graph frozen."""
    n, edges = settings.size(130_000, 256), settings.size(15_000_000, 4096)
    of = operations.connectome(n, edges, settings.size(20, 4), settings.size(4, 8))
    learner = online(of, "pp_prop", 1, frozen=["graph.*"])
    low = Program(
        name=learner.name,
        run=learner.run,
        args=learner.args,
        gradients=lambda r: {name: r[0][name] for name in "AB"},
        donate=learner.donate,
        same_as=learner.same_as,
    )
    rows = compare([bptt(_learned(of)), low], steps=of.steps, rounds=settings.rounds)
    title = f"a fly's connectome, n={n}, {edges} edges, T={of.steps}"
    return time_records(title, rows, bandwidth=settings.bandwidth)


CASES = (
    _case(
        "spiking convolution",
        lambda s: operations.spiking_convolution(s.size(32, 8), s.size(8, 2), s.size(256, 32)),
        "d_rtrl",
        "a layer behind a convolution, pooled: exact",
    ),
    _case(
        "embedding",
        lambda s: operations.embedding(s.size(10_000, 64), s.size(128, 8), s.size(16, 2), s.size(256, 32)),
        "pp_prop",
        "rows of a table of 10,000 x 128",
    ),
    Case("connectome", _connectome, about="130,000 spiking neurons, 15 million frozen edges, learned in rank 20"),
)
