"""Products of one weight that are several in truth: their results are only ever read in pieces of unequal size."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

from ...ir import jaxpr as jx


class Pieces(NamedTuple):
    """Where the result of a product is cut."""

    axis: int
    bounds: tuple[int, ...]
    """The ends of the pieces along the axis, the first start, zero, included."""


def pieces_of(body: Any, products: Iterable[str]) -> dict[int, Pieces]:
    """For the products of these primitives that are read in unequal pieces, by the identity of their equations.

    Pieces of one size (the gates of an LSTM) feed alike, and stay one product; others (the parts of a fused projection
    in a state-space layer) reach as many states as they will, and one trace for all would be as wide as the widest.
    """
    eqns = jx.equations(body)
    readers: dict[Any, list[Any]] = {}
    for eqn in eqns:
        for atom in eqn.invars:
            if not jx.is_literal(atom):
                readers.setdefault(atom, []).append(eqn)
    whole = {atom for atom in jx.outvars(body) if not jx.is_literal(atom)}
    names = frozenset(products)
    found: dict[int, Pieces] = {}
    for eqn in eqns:
        if eqn.primitive.name in names and eqn.outvars[0] not in whole:
            pieces = _cut(jx.shape_of(eqn.outvars[0]), readers.get(eqn.outvars[0], []))
            if pieces is not None:
                found[id(eqn)] = pieces
    return found


def _cut(shape: tuple[int, ...], readers: list[Any]) -> Pieces | None:
    """Where readers cut an array, all along one axis and in pieces of unequal size; None where they do not."""
    cuts = [_bounds(shape, eqn) for eqn in readers]
    axes = {cut.axis for cut in cuts if cut is not None}
    parts = {part for cut in cuts if cut is not None for part in itertools.pairwise(cut.bounds)}
    meet = any(start < end for (_, end), (start, _) in itertools.pairwise(sorted(parts)))
    if None in cuts or len(axes) != 1 or len(parts) < 2 or meet:
        return None
    (axis,) = axes
    bounds = tuple(sorted({0, shape[axis], *(end for part in parts for end in part)}))
    sizes = {end - start for start, end in itertools.pairwise(bounds)}
    return Pieces(axis, bounds) if len(sizes) > 1 else None


def _bounds(shape: tuple[int, ...], eqn: Any) -> Pieces | None:
    """Where one equation cuts what it reads; None where it is no cut along a single axis."""
    if eqn.primitive.name == "split":
        bounds = [0]
        for size in eqn.params["sizes"]:
            bounds.append(bounds[-1] + size)
        return Pieces(eqn.params["axis"], tuple(bounds))
    if eqn.primitive.name != "slice" or set(eqn.params.get("strides") or (1,)) != {1}:
        return None
    ends = zip(eqn.params["start_indices"], eqn.params["limit_indices"], shape, strict=True)
    cut = [(axis, (a, b)) for axis, (a, b, size) in enumerate(ends) if (a, b) != (0, size)]
    return Pieces(*cut[0]) if len(cut) == 1 else None
