"""How a sequence is cut into folds of windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

FOLD = 128
"""Steps of a fold by default: so many that the pass over the trace is cheap, so few that the history is small."""
PRODUCTS = 16
"""Steps of a fold that passes over no trace: so many that a site's product is a matrix's, and its rows stay near."""
LATE = 32
"""Steps of a fold from which on its advance is far more than to read a trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Equal folds: `folds` times `windows` windows of `window` steps, from step `start`."""

    start: int
    folds: int
    windows: int
    window: int

    @property
    def stop(self) -> int:
        """The first step after the stretch."""
        return self.start + self.folds * self.windows * self.window


def schedule(length: int, window: int, longest: int | None = None) -> Iterator[Stretch]:
    """Cut `length` steps into stretches, each of which is compiled once: few of them, and folds of about `FOLD` steps.

    Whole windows come first, in equal folds where their number allows it; then the windows that are left, as one fold;
    then the last, shorter window.
    """
    whole, rest = divmod(length, window)
    per_fold = max(1, (FOLD if longest is None else longest) // window)
    per_fold = near_divisor(whole, per_fold)
    folds, left = divmod(whole, per_fold)
    start = 0
    for count, windows in ((folds, per_fold), (1 if left else 0, left)):
        if count:
            stretch = Stretch(start=start, folds=count, windows=windows, window=window)
            start = stretch.stop
            yield stretch
    if rest:
        yield Stretch(start=start, folds=1, windows=1, window=rest)


def near_divisor(whole: int, wanted: int) -> int:
    """The largest divisor of `whole` from half of `wanted` up to `wanted`; `wanted` where there is none."""
    wanted = min(wanted, max(1, whole))
    divisors = (d for d in range(wanted, (wanted + 1) // 2 - 1, -1) if whole % d == 0)
    return next(divisors, wanted)


class Portion(NamedTuple):
    """Of arrays that have room for more steps, how many there are, which only the running program knows."""

    steps: Any
    unit: int
    """They are a multiple of this."""


class Way(NamedTuple):
    """How a sequence is cut into folds: all alike, but for the last, which may be shorter."""

    room: int
    """The steps that its arrays have room for."""
    length: Any
    """Its steps; a number where all are taken."""
    windows: int
    window: int
    maybe_unread: bool = False
    """Whether perhaps nothing reads the traces after the last step."""

    @classmethod
    def through(cls, room: int, window: int, longest: int, steps: Any = None, *, maybe_unread: bool = False) -> Way:
        """The fewest folds of at most `longest` steps, or of a window, and these as equal as they can be.

        It is cut so for all that there is room for, and ends after so many `steps` where they are given.
        """
        windows = -(-room // window)
        folds = -(-windows // max(1, longest // window))
        return cls(room, room if steps is None else steps, -(-windows // folds), window, maybe_unread)

    @property
    def late(self) -> bool:
        """Whether traces wait for the last advance until all folds are done: it is left out where nothing reads them.

        Else they are read once more, which is little beside an advance over many steps.
        """
        return self.maybe_unread and isinstance(self.length, int) and self.rows >= LATE

    @property
    def folds(self) -> Any:
        """How many folds; a number where all steps are taken."""
        return -(-self.length // self.rows)

    @property
    def rows(self) -> int:
        """The steps of a fold that is not shorter."""
        return min(self.room, self.windows * self.window)

    def steps(self, fold: Any) -> Any:
        """The steps of one fold: a number where all are alike."""
        alike = isinstance(self.length, int) and self.folds * self.rows == self.length
        return self.rows if alike else jnp.minimum(self.rows, self.length - fold * self.rows)
