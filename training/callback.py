"""What can be hung into a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..ir.diagnostics import error
from .run import Run


class Callback:
    """Called as a training goes on. All of it may be left as it is; a plain function of the run is one too.

    Callbacks are called in the order in which they are given, so one that reads a number stands behind the one that
    writes it into the row.
    """

    def begin(self, run: Run) -> None:
        """Before the first batch, and before a checkpoint is read."""

    def after_batch(self, run: Run) -> None:
        """After each batch."""

    def after_epoch(self, run: Run) -> None:
        """After each epoch, whose row is `run.rows[-1]`."""

    def end(self, run: Run) -> None:
        """When training is over, however it ended."""

    def state(self) -> Any:
        """What a checkpoint keeps: a tree of arrays and numbers, of the same structure and shapes from `begin` on."""
        return ()

    def restore(self, state: Any) -> None:
        """Go on from a state that a checkpoint kept."""


class Called(Callback):
    """A function of the run, called after each epoch."""

    def __init__(self, function: Callable[[Run], object]) -> None:
        """Wrap `function`."""
        self.function = function

    def after_epoch(self, run: Run) -> None:
        """Call it."""
        self.function(run)


def callbacks_of(given: Any) -> list[Callback]:
    """Callbacks as they are, functions as callbacks. Raises EtirError for what is neither, or no list of such."""
    if not isinstance(given, Sequence):
        raise _wrong(f"callbacks= is of type {type(given).__name__}; wanted a list")
    return [_callback_of(each) for each in given]


def _callback_of(given: Any) -> Callback:
    if isinstance(given, Callback):
        return given
    if isinstance(given, type) or not callable(given):
        what = f"the class {given.__name__}" if isinstance(given, type) else f"of type {type(given).__name__}"
        raise _wrong(f"a callback is {what}; wanted an etir.training.Callback or a function of the run")
    return Called(given)


def _wrong(message: str) -> Exception:
    example = "for example callbacks=[etir.training.Progress(), lambda run: print(run.rows[-1])]"
    return error("fit-callback", message, help=example)
