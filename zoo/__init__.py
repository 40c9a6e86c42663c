"""A zoo of stateful models, each with what is known about its gradients: for tests, the demo and benchmarks."""

from __future__ import annotations

import difflib

from . import (
    adaptive,
    attention,
    buffers,
    carried,
    control,
    delta,
    gated,
    gru,
    lif,
    lru,
    lstm,
    mamba,
    minimal,
    norm,
    packed,
    rnn,
    rwkv,
    s5,
    spatial,
    stacked,
    tails,
    transforms,
    uses,
    wrapped,
    xlstm,
)
from .case import Model, Sizes, ZooCase

CELLS = (rnn, gru, lstm, gated, lru, lif, adaptive, stacked, norm, transforms, tails, uses, carried, wrapped, control)
"""Families whose weights are marked by ETP operations."""

LAYERS = (attention, rwkv, mamba, xlstm, delta, minimal, s5, buffers, packed, spatial)
"""Families as their authors write them, in plain jax.numpy: their sites are found."""

FAMILIES = (*CELLS, *LAYERS)

ALL: tuple[ZooCase, ...] = tuple(case for family in FAMILIES for case in family.CASES)


def case(name: str) -> ZooCase:
    """Return the case of this name; raises KeyError with the nearest names where there is none."""
    by_name = {entry.name: entry for entry in ALL}
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(repr(other) for other in near)}?" if near else ""
    raise KeyError(f"no zoo case is called {name!r}{hint}")


__all__ = ["ALL", "CELLS", "FAMILIES", "LAYERS", "Model", "Sizes", "ZooCase", "case"]
