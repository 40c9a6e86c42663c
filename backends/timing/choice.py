"""The window that a plan's steps are cheapest in, as a model of the device predicts it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...ir.plan.cost import human_bytes, human_seconds
from ..engine import Engine
from .device import DeviceModel
from .prediction import window_work

WINDOWS = (1, 2, 4, 8, 16, 32, 64)
"""The windows that are considered."""
_TRACED = (1, 2, 8, 64)
"""Those whose programs are traced; between two of them the work of a window grows as its steps."""
NEAR = 1.05
"""Windows that take no more than this times the cheapest one's time are as good."""
_UPDATE = 7
"""Arrays of a parameter's size that an optimiser such as Adam moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """What a choice of window goes by."""

    engine: Callable[[int], Engine]
    """The engine for a window."""
    device: DeviceModel
    memory: float
    """Bytes that traces and the history of a window may hold."""
    longer_drops_less: bool
    """Whether some label leaves out terms that a longer window takes in."""


def choose_window(by: Choosing) -> tuple[int, str]:
    """A window, and why: near the cheapest in predicted time a step of `train`, and within the memory.

    Of windows as good as the cheapest it is the longest where that leaves out less of some gradient, else the shortest,
    with which weights learn more often. Where not even a window of one step fits, it is one step all the same: a budget
    bounds traces, and these have been found to fit.
    """
    seconds, held = _priced(by)
    fitting = [k for k in WINDOWS if held[k] <= by.memory] or [1]
    least = min(seconds[k] for k in fitting)
    near = [k for k in fitting if seconds[k] <= NEAR * least]
    chosen = near[-1] if by.longer_drops_less else near[0]
    return chosen, _because(by, chosen, seconds, fitting, near)


def _priced(by: Choosing) -> tuple[Mapping[int, float], Mapping[int, float]]:
    """For each window the seconds of a step, and the bytes that traces and history hold."""
    times, held = list[float](), list[float]()
    for window in _TRACED:
        engine = by.engine(window)
        work = window_work(engine)
        update = _UPDATE * sum(p.value.type.bytes for p in engine.transition.params if p.value.type.carries_credit)
        times.append(by.device.running(work) + update / by.device.bandwidth[-1][1])
        held.append(sum(engine.bytes_held) + work.fresh)
    return {k: _between(times, k) / k for k in WINDOWS}, {k: _between(held, k) for k in WINDOWS}


def _between(values: Sequence[float], window: int) -> float:
    """The value of a window, from those of the windows that were traced."""
    high = bisect_left(_TRACED, window)
    if _TRACED[high] == window:
        return values[high]
    first, last = _TRACED[high - 1], _TRACED[high]
    return values[high - 1] + (values[high] - values[high - 1]) * (window - first) / (last - first)


def _because(
    by: Choosing, chosen: int, seconds: Mapping[int, float], fitting: Sequence[int], near: Sequence[int]
) -> str:
    """The reason, in the terms of what was considered."""
    shown = [k for k in dict.fromkeys((1, min(fitting, key=lambda k: seconds[k]), WINDOWS[-1])) if k != chosen]
    others = ", ".join(f"{k} takes {human_seconds(seconds[k])}" for k in shown)
    parts = [f"{human_seconds(seconds[chosen])} a step predicted on {by.device.name}", others]
    if len(near) > 1:
        why = "longest, which leaves out least" if by.longer_drops_less else "shortest, since no label asks for more"
        parts.append(f"of {', '.join(map(str, near))}, which are within 5 % of each other, the {why}")
    left = [k for k in WINDOWS if k not in fitting]
    if left:
        parts.append(f"{left[0]} would hold more than {human_bytes(by.memory)}")
    return "; ".join(parts)
