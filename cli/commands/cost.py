"""irdump cost: what a plan takes, weight by weight, and how long a step of it is predicted to take."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ...backends import backend_of
from ...backends.engine import Engine
from ...backends.timing import DeviceModel, Seconds, device_model, predict, read_model
from ...ir.diagnostics import error
from ...ir.plan import Cost
from ...ir.plan.cost import human_bytes, human_number, human_seconds
from ...ir.plan.shares import Paths, cost_by_weight
from ...ir.transition import Transition
from .. import options
from ..console import table, width

HELP = "say what a plan takes: bytes and operations by weight, and predicted time"

_HEAD = ("weight", "held", "flops", "read", "written", "label")
_SHARED = "(several)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `cost`."""
    options.add_target(parser)
    options.add_rule(parser)
    parser.add_argument(
        "--backend", default="auto", metavar="NAME", help="auto, pallas, reference, xla (default: auto)"
    )
    parser.add_argument(
        "--device", metavar="FILE", help="a device's measured model, from the cache of its machine (default: this one)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what each weight takes, and the predicted time of a step."""
    planned = options.planned(arguments)
    if not options.has_bodies(planned):
        raise options.no_bodies(arguments.target, "predict times")
    engine = Engine(planned, backend_of(arguments.backend))
    print("\n".join(_lines(planned, engine, _device(arguments.device))))
    return 0


def _device(path: str | None) -> DeviceModel:
    if path is None:
        return device_model()
    found = read_model(Path(path))
    if found is None:
        raise error(
            "device-model",
            f"'{path}' holds no model of a device",
            help="give a file that etir has written to $XDG_CACHE_HOME/etir, or leave --device out",
        )
    return found


def _lines(planned: Transition, engine: Engine, device: DeviceModel) -> Iterator[str]:
    plan = planned.plan
    assert plan is not None
    costs = cost_by_weight(planned, engine.bytes_held)
    settings = f"{plan.rule}, window {plan.window}, credit {plan.credit}, backend {engine.name}"
    yield f"{planned.name}: {settings}; a step takes"
    total = sum(costs.values(), Cost())
    rows = [_row(", ".join(paths), cost, _label(planned, paths)) for paths, cost in costs.items() if paths]
    rows += [_row(_SHARED, costs[()], "")] if costs[()] != Cost() else []
    yield table(_HEAD, [*rows, _row("total", total, "")], columns=width(), styles=[None] * (len(rows) + 1))
    yield from _times(predict(engine, device), device)
    yield f"window {plan.window}: {plan.window_because or 'as asked for'}"
    yield f"fold {engine.longest_fold.steps}: {engine.longest_fold.because}"


def _label(planned: Transition, paths: Paths) -> str:
    certificate = planned.certificate
    return ", ".join(dict.fromkeys(certificate[path].label for path in paths)) if certificate is not None else ""


def _row(title: str, cost: Cost, label: str) -> tuple[str, ...]:
    return (
        title,
        human_bytes(cost.held),
        human_number(cost.flops),
        human_bytes(cost.read),
        human_bytes(cost.written),
        label,
    )


def _times(of: Seconds, device: DeviceModel) -> Iterator[str]:
    yield f"predicted on {device.name}: {human_seconds(of.total)} a step of the gradient"
    for name, time in (("forward", of.forward), ("reverse", of.reverse), ("traces", of.traces)):
        yield f"  {name}  {human_seconds(time)}"
