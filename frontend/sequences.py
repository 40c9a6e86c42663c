"""Whole sequences that were given as the example of one step: recognised by what a step makes of their first entry."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from ..ir.diagnostics import EtirError, error
from ..ir.loc import chain
from ..ir.types import TensorType

T = TypeVar("T")

FAILURES = (EtirError, TypeError, ValueError, IndexError)
"""What a step raises on arrays of shapes that it does not expect, its own checks and JAX's."""


def lowered_or_told(lower: Callable[[tuple[Any, ...]], T], inputs: tuple[Any, ...]) -> T:
    """What `lower` makes of the example inputs of a step.

    Raises EtirError where it fails on them and does not fail on their first entries alone, and else what it raises.
    """
    try:
        return lower(inputs)
    except FAILURES as failure:
        first = _first(inputs)
        if first is None or not _works(lower, first):
            raise
        raise _finding(failure, inputs, first) from failure


def _first(inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The first entries of some arrays, where all have a first axis, and of one length."""
    leaves = jax.tree.leaves(inputs)
    lengths = {tuple(getattr(leaf, "shape", ()))[:1] for leaf in leaves}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        return None
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) if isinstance(a, jax.ShapeDtypeStruct) else a[0], inputs
    )


def _works(lower: Callable[[tuple[Any, ...]], Any], inputs: tuple[Any, ...]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            lower(inputs)
        except Exception:  # whatever it is, it is not what the user should hear of
            return False
    return True


def _finding(failure: Exception, inputs: tuple[Any, ...], first: tuple[Any, ...]) -> EtirError:
    whole, one = (", ".join(str(TensorType.of(leaf)) for leaf in jax.tree.leaves(tree)) for tree in (inputs, first))
    found = failure.diagnostics[0] if isinstance(failure, EtirError) else None
    own = chain(failure)[0]
    said = found.message if found and own is failure else f"{type(own).__name__}: {str(own).partition(chr(10))[0]}"
    several = len(jax.tree.leaves(inputs)) > 1
    return error(
        "example-sequence",
        f"the example input{'s are' if several else ' is'} {whole}; the step fits {one}, the first of the leading axis",
        loc=found.loc if found else None,
        notes=[said],
        help="pass one step of a sequence, xs[0]; if the axis is a batch, give the states one as well",
    )
