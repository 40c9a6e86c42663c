"""Where a kernel was measured to win on a card: what `backend="auto"` chooses by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Win:
    """One measured win."""

    kernel: str
    card: str
    ratio: float
    """XLA's median time by the kernel's, in one run."""
    from_bytes: int
    """For traces of at least so many bytes."""


WINS: tuple[Win, ...] = ()
"""None so far: no run on a card has been recorded."""


def win_of(kernel: str, size: int, wins: tuple[Win, ...]) -> Win | None:
    """The recorded win of a kernel for a trace of so many bytes; None where there is none."""
    return next((win for win in wins if win.kernel == kernel and win.ratio > 1 and size >= win.from_bytes), None)
