"""A batch of another size than a learner was compiled for: one mistake, however many arrays show it."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.diagnostics import Diagnostic
from ..ir.types import TensorType

_NAMED = 3
"""Paths that a message lists before it only counts."""


def as_one_batch(
    found: Sequence[TensorType], wanted: Sequence[tuple[str, TensorType]], *, over_time: bool
) -> Diagnostic | None:
    """The one finding where all arrays of another shape differ in the length of their first axis, alike; else None.

    Each that differs has an axis after that one, so it may well be a batch. `over_time` says that the arrays found have
    a time axis before it.
    """
    given = [TensorType(kind.dtype, kind.shape[1:]) if over_time else kind for kind in found]
    pairs = [(one, path, kind) for one, (path, kind) in zip(given, wanted, strict=True) if one.shape != kind.shape]
    sizes = {(one.shape[:1], kind.shape[:1]) for one, _, kind in pairs}
    if len(sizes) != 1 or any(one.shape[1:] != kind.shape[1:] or len(kind.shape) < 2 for one, _, kind in pairs):
        return None
    ((new,), (old,)) = sizes.pop()
    paths = [f"'{path}'" for _, path, _ in pairs]
    names = " and ".join(paths) if len(paths) <= _NAMED else f"{paths[0]} and {len(paths) - 1} more"
    return Diagnostic(
        code="argument-batch",
        message=f"{names} {'has' if len(paths) == 1 else 'have'} {new} row{'s' * (new != 1)}; "
        f"the learner was compiled for {old}",
        help="if these are batches, compile again with one of that size, "
        "or compile for a sample and jax.vmap the learner",
    )
