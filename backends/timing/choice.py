"""The window that a plan's steps are cheapest in, as a model of the device predicts it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...ir.plan.cost import human_bytes, human_seconds
from ..engine import Engine
from .device import DeviceModel
from .prediction import fold_steps, fold_work, window_work

WINDOWS = (1, 2, 4, 8, 16, 32, 64)
"""The windows that are considered."""
FOLDS = (32, 64, 128, 256)
"""The folds that are considered, in steps."""
_TRACED = (1, 2, 8, 64)
"""Those whose programs are traced: between two of them what a window takes grows as its steps."""
NEAR = 1.05
"""Windows that take no more than this times the cheapest one's time are as good."""
_UPDATE = 7
"""Arrays of a parameter's size that an optimiser such as Adam reads and writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a window is predicted to take."""

    seconds: float
    """A step's, of `train`."""
    held: float
    """Bytes of traces and of the window's history."""

    def __add__(self, other: Price) -> Price:
        return Price(seconds=self.seconds + other.seconds, held=self.held + other.held)

    def times(self, factor: float) -> Price:
        """The price of so much of it."""
        return Price(seconds=self.seconds * factor, held=self.held * factor)


def priced_windows(engine_of: Callable[[int], Engine], device: DeviceModel) -> dict[int, Price]:
    """The price of each window that is considered; `engine_of` gives the engine for a window, and nothing runs."""
    traced = [_price(engine_of(window), device) for window in _TRACED]
    found: dict[int, Price] = {}
    for window in WINDOWS:
        high = bisect_left(_TRACED, window)
        low = max(0, high - 1)
        share = (window - _TRACED[low]) / (_TRACED[high] - _TRACED[low]) if high else 0.0
        whole = traced[low].times(1 - share) + traced[high].times(share)
        found[window] = Price(seconds=whole.seconds / window, held=whole.held)
    return found


def _price(engine: Engine, device: DeviceModel) -> Price:
    """That of a whole window, with an update by an optimiser such as Adam."""
    work = window_work(engine)
    params = sum(p.value.type.bytes for p in engine.transition.params if p.learns)
    seconds = device.running(work) + _UPDATE * params / device.bandwidth[-1][1]
    return Price(seconds=seconds, held=sum(engine.bytes_held) + work.fresh)


def priced_folds(engine_of: Callable[[int], Engine], device: DeviceModel) -> dict[int, Price]:
    """The price of a step of the driver's gradient for each fold that is considered; nothing runs.

    `engine_of` gives the engine for a plan with such a fold. Nothing where there is no choice: no trace is passed over
    at a fold's end, or its history has no room for more than one of them.
    """
    engines = {fold_steps(engine): engine for engine in map(engine_of, FOLDS)}
    if len(engines) < 2:
        return {}
    found: dict[int, Price] = {}
    for fold, engine in engines.items():
        work = fold_work(engine)
        held = sum(engine.bytes_held) + work.fresh
        found[fold] = Price(seconds=device.running(work) / fold, held=held)
    return found


def choose_fold(prices: Mapping[int, Price], device: str, *, memory: float) -> tuple[int, str]:
    """A fold, and why: of those near the cheapest that fit in `memory` the shortest, whose history is the smallest."""
    fitting = [k for k, price in prices.items() if price.held <= memory] or [min(prices)]
    least = min(fitting, key=lambda k: prices[k].seconds)
    chosen = min(k for k in fitting if prices[k].seconds <= NEAR * prices[least].seconds)
    others = ", ".join(f"{k} {human_seconds(price.seconds)}" for k, price in prices.items() if k != chosen)
    return chosen, f"{human_seconds(prices[chosen].seconds)} a step predicted on {device}, its history small; {others}"


def choose_window(
    prices: Mapping[int, Price], device: str, *, memory: float, longer_drops_less: bool
) -> tuple[int, str]:
    """A window, and why: near the cheapest, of those that fit in `memory`.

    Of windows as good as the cheapest it is the longest where that leaves out less of some gradient, else the shortest,
    with which weights learn more often. Where not even one step fits, it is one step all the same: a budget bounds what
    traces hold, and their history only where there is a choice.
    """
    fitting = [k for k, price in prices.items() if price.held <= memory] or [min(prices)]
    least = min(fitting, key=lambda k: prices[k].seconds)
    near = [k for k in fitting if prices[k].seconds <= NEAR * prices[least].seconds]
    chosen = near[-1] if longer_drops_less else near[0]

    def takes(window: int) -> str:
        return human_seconds(prices[window].seconds)

    others = [k for k in dict.fromkeys((min(prices), least, max(prices))) if k != chosen]
    parts = [f"{takes(chosen)} a step predicted on {device}", *(f"{k} would take {takes(k)}" for k in others)]
    if len(near) > 1:
        why = "longest, which leaves out least" if longer_drops_less else "shortest: a longer one leaves out no less"
        parts.append(f"of {', '.join(map(str, near))}, within 5 % of the cheapest, it is the {why}")
    if len(fitting) < len(prices):
        first = next(k for k in prices if k not in fitting or prices[k].held > memory)
        parts.append(f"{first} would hold {human_bytes(prices[first].held)}, more than {human_bytes(memory)}")
    return chosen, "; ".join(parts)
