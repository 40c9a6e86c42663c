"""What the planner predicts beside what is measured, and the window that it chooses beside the best one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optax

import etir
from etir.backends.engine import Engine
from etir.backends.names import backend_of
from etir.backends.timing import WINDOWS, device_model, predict

from .. import models
from ..harness import Program, compare
from ..problem import Problem, online
from ..record import Record
from ..suite import Case, Settings

LOST = 1.15
"""The time of the chosen window may be so many times that of the best one."""


def _learner(of: Problem, rule: str, window: Any) -> Any:
    options: dict[str, Any] = {"sites": "auto", "on_truncated": "ignore", "rule": rule, "window": window}
    return etir.compile(of.step, of.params, of.states, of.xs[0], **options)


def _training(of: Problem, rule: str, window: int) -> Program:
    """A sequence of updates, a window each. Its distances are those of the learned parameters, which should differ."""
    learner, optimizer = _learner(of, rule, window), optax.adam(1e-3)
    train = learner.train(of.loss, optimizer)
    args = (of.params, optimizer.init(of.params), learner.init(of.params, of.states), of.xs, of.ts)
    return Program(name=f"train window={window}", run=train, args=args, gradients=lambda r: r.params, donate=(2,))


def _case(name: str, make: Callable[[Settings], Problem], rules: Sequence[str]) -> Case:
    def run(settings: Settings) -> Sequence[Record]:
        of = make(settings)
        return [record for rule in rules for record in _planned(name, of, rule, settings)]

    return Case(
        f"planner, {name}", run, about="window='auto' beside the other windows, and predicted time beside measured"
    )


def _planned(name: str, of: Problem, rule: str, settings: Settings) -> Sequence[Record]:
    chosen = _learner(of, rule, "auto").window_size
    windows = sorted({1, 4, 16, 64, chosen}) if settings.quick else WINDOWS
    rows = compare([_training(of, rule, k) for k in windows], steps=of.steps, rounds=settings.rounds)
    case = f"planner, {name}, {rule}, T={of.steps}"
    times = dict(zip(windows, (row.ratio for row in rows), strict=True))
    best = min(times, key=lambda k: times[k])
    records = [
        Record(case=case, program=row.name, metric="time", value=row.ratio / times[best], spread=row.spread,
               against=f"train window={best}", milliseconds=row.ms_per_step, compile_seconds=row.compile_seconds)
        for row in rows
    ]  # fmt: skip
    most = settings.most(LOST)
    records.append(
        Record(case=case, program=f"window='auto', {chosen}", metric="time", value=times[chosen] / times[best],
               against=f"train window={best}", most=most)
    )  # fmt: skip
    return [*records, *_predicted(case, of, rule, settings, sorted({1, chosen}))]


def _predicted(case: str, of: Problem, rule: str, settings: Settings, windows: Sequence[int]) -> list[Record]:
    """The predicted time of the driver's gradient over the measured one."""
    rows = compare([online(of, rule, k, same_as=None) for k in windows], steps=of.steps, rounds=settings.rounds)
    found: list[Record] = []
    for window, row in zip(windows, rows, strict=True):
        engine = Engine(_learner(of, rule, window).transition, backend_of("auto"))
        value = predict(engine, device_model()).total / (row.ms_per_step * 1e-3)
        found.append(
            Record(case=case, program=f"grad window={window}", metric="predicted", value=value, against="measured",
                   milliseconds=row.ms_per_step)
        )  # fmt: skip
    return found


CASES = (
    _case("LIF", lambda s: models.lif(s.size(512, 32), s.size(16, 4), s.size(256, 64)), ("d_rtrl", "pp_prop")),
    _case("GRU", lambda s: models.gru(s.size(256, 32), s.size(16, 4), s.size(256, 64)), ("d_rtrl", "pp_prop")),
    _case("LSTM", lambda s: models.lstm(s.size(256, 32), s.size(16, 4), s.size(256, 64)), ("d_rtrl",)),
    _case("RTRL", lambda s: models.tanh_rnn(s.size(64, 8), 1, s.size(256, 64)), ("rtrl", "d_rtrl")),
    _case(
        "gated linear attention",
        lambda s: models.gated_linear_attention(s.size(64, 8), s.size(8, 2), s.size(256, 64)),
        ("d_rtrl",),
    ),
)
