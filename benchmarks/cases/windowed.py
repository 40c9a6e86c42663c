"""The gradient of a sequence beside BPTT, BPTT with checkpoints, and the same estimator by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from .. import lif, models, speed
from ..alif_windowed import by_hand
from ..harness import Program, compare
from ..lif_windowed import d_rtrl_windowed
from ..problem import Problem, bptt, checkpointed, jacfwd_rtrl, online
from ..record import Bound, Record, time_records
from ..suite import Case, Settings

WINDOW = 16


def _layer(name: str, make: Callable[..., Problem], full: tuple[int, int]) -> Case:
    """`d_rtrl`, window 16, T = 512, of one layer of (n, B) = `full`."""

    def run(settings: Settings) -> Sequence[Record]:
        n, batch = (32, 4) if settings.quick else full
        steps = settings.size(512, 64)
        of = make(n, batch, steps)
        programs = [bptt(of), checkpointed(of, WINDOW), online(of, "d_rtrl", WINDOW)]
        bounds = {programs[-1].name: Bound(most=settings.most(1.1, one=1.3))}
        rows = compare(programs, steps=steps, rounds=settings.rounds)
        return time_records(f"{name}, n={n}, B={batch}, T={steps}", rows, bounds=bounds, bandwidth=settings.bandwidth)

    return Case(name, run, about="d_rtrl, window 16, beside BPTT with and without checkpoints")


def _by_hand(settings: Settings) -> Sequence[Record]:
    """The LIF layer beside D-RTRL as in the literature and the window identity, written by hand."""
    records: list[Record] = []
    for n, batch in ((64, 4),) if settings.quick else ((512, 16), (1024, 4)):
        steps = settings.size(256, 64)
        data = lif.make_data(n, batch, steps)
        trace = batch * data.w.size * 4

        def hand(
            name: str, run: Any, same_as: str | None = None, traffic: int | None = None, data: Any = data
        ) -> Program:
            return Program(name=name, run=run, args=tuple(data), same_as=same_as, bytes_per_step=traffic)

        programs = [
            speed.compiled_lif(data, WINDOW),
            speed.compiled_lif(data, 1),
            hand("classical d_rtrl", lif.d_rtrl_classical, traffic=2 * trace),
            hand("explicit window=1", partial(lif.d_rtrl_explicit, window=1), traffic=2 * trace),
            hand("explicit window=16", partial(lif.d_rtrl_explicit, window=WINDOW), traffic=2 * trace),
            hand("by hand window=16", partial(d_rtrl_windowed, window=WINDOW, fold=64), "explicit window=16"),
        ]
        rows = compare(programs, steps=steps, rounds=settings.rounds)
        title = f"LIF by hand, n={n}, B={batch}, T={steps}"
        records += time_records(title, rows, bandwidth=settings.bandwidth)
    return records


def _coupled(settings: Settings) -> Sequence[Record]:
    """Two coupled states beside the same estimator by hand, which takes five products where BPTT takes three."""
    n, batch, steps = settings.size(256, 32), settings.size(16, 4), settings.size(512, 64)
    of = models.alif(n, batch, steps)
    hand = by_hand(of, window=WINDOW, fold=settings.size(128, 32))
    programs = [bptt(of), hand, replace(online(of, "d_rtrl", WINDOW), same_as=hand.name)]
    rows = compare(programs, steps=steps, rounds=settings.rounds)
    return time_records(f"ALIF by hand, n={n}, B={batch}, T={steps}", rows, bandwidth=settings.bandwidth)


def _rtrl(settings: Settings) -> Sequence[Record]:
    """Exact RTRL of a dense recurrence beside `jacfwd` at every step."""
    n, window = settings.size(64, 8), settings.size(32, 8)
    of = models.tanh_rnn(n, 1, 64)
    programs = [online(of, "rtrl", window), bptt(of), jacfwd_rtrl(of)]
    bounds = {"jacfwd rtrl": Bound(least=None if settings.quick else 300.0)}
    rows = compare(programs, steps=64, rounds=settings.rounds)
    return time_records(f"exact RTRL, tanh RNN, n={n}, K={window}", rows, bounds=bounds)


def _shape(name: str, make: Callable[[Settings], Problem], rule: str, about: str) -> Case:
    def run(settings: Settings) -> Sequence[Record]:
        of = make(settings)
        programs = [bptt(of), *(online(of, rule, window) for window in (1, WINDOW))]
        rows = compare(programs, steps=of.steps, rounds=settings.rounds)
        return time_records(f"{name}, T={of.steps}", rows, bandwidth=settings.bandwidth)

    return Case(name, run, about=about)


CASES = (
    _layer("LIF", models.lif, (512, 16)),
    _layer("LIF, large", models.lif, (1024, 4)),
    _layer("LIF, one trace", partial(models.lif, through_reset=False), (512, 16)),
    _layer("ALIF", models.alif, (256, 16)),
    _layer("GRU", models.gru, (256, 16)),
    _layer("LSTM", models.lstm, (256, 16)),
    _layer("LSTM, four weights", partial(models.lstm, fused=False), (256, 16)),
    Case("LIF by hand", _by_hand, about="the same estimator by hand in plain JAX, and D-RTRL as in the literature"),
    Case(
        "ALIF by hand", _coupled, about="two coupled states: the same estimator by hand, five products for BPTT's three"
    ),
    Case("RTRL", _rtrl, about="exact RTRL beside jacfwd at every step"),
    _shape(
        "stack of LSTM",
        lambda s: models.stack(s.size(64, 8), s.size(16, 2), s.size(256, 32), s.size(10, 3)),
        "d_rtrl",
        "ten layers, all weights traced",
    ),
    _shape(
        "gated linear attention",
        lambda s: models.gated_linear_attention(s.size(64, 8), s.size(8, 2), s.size(256, 32)),
        "d_rtrl",
        "a state that is a matrix: exact at states x data",
    ),
    _shape(
        "sparse edges",
        lambda s: models.sparse(s.size(131072, 256), s.size(32, 2), s.size(16, 32)),
        "pp_prop",
        "131,072 spiking neurons of three states, eight edges into each, gathered by hand",
    ),
)
