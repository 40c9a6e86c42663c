"""Kernel 3: `E <- P E + sum_t s_t (x) x_t` and `<c, E>` of edges, in one pass, in place: data are read where they lie.

An edge is an entry of a weight that multiplies one of the `sources` and leads to one of the `targets`. What it picks of
either is a row: all its numbers, lanes (slots, samples) and steps, lie side by side, so that a row is read at a number
that all threads share. Nothing has an entry for each edge and lane but the trace. Without a trace it is the product
`sum_t <s_t, x_t>` of each edge. What one block of threads does is in `edges_block.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu

from .edges_block import THREADS, EdgeBlock
from .launch import Launch

plgpu: Any = mosaic_gpu

TILES = tuple(2**k for k in range(8))
ROOM = 200 << 10
"""Bytes of shared memory that a block may take."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Edges(Launch):
    """What is fixed about one launch. Traces are `[lanes, edges]`, one for each state; there may be none."""

    source: np.ndarray
    """Of each edge the place of its data, `[edges]`."""
    target: np.ndarray
    """Of each edge the place of its sensitivities, Jacobians and credit, `[edges]`."""
    lanes: int
    """Slots, then samples."""

    @property
    def edges(self) -> int:
        """How many there are."""
        return len(self.source)

    @property
    def at_once(self) -> int:
        """Lanes that threads hold at once; a trace has no further ones behind them."""
        return next(count for count in (4, 2, 1) if not self.states or self.lanes % count == 0)

    @property
    def width(self) -> int:
        """Edges of a block."""
        return THREADS // self.at_once

    @property
    def blocks(self) -> int:
        """Whole ones; edges behind them are left to XLA code."""
        return self.edges // self.width

    @cached_property
    def tile(self) -> int:
        """Lanes whose sums are taken at once: a power of two, such that rows have few zeros to be filled up with."""
        fit = [tile for tile in TILES if tile >= self.at_once and self._room(tile) <= ROOM]
        return min(fit, key=lambda tile: (self._row(tile), -tile))

    def _row(self, tile: int) -> int:
        """The numbers of a row."""
        side = THREADS // tile
        return pl.cdiv(self.lanes, tile) * tile * pl.cdiv(self.steps, side) * side

    @property
    def tiles(self) -> int:
        """How many there are."""
        return pl.cdiv(self.lanes, self.tile)

    @property
    def side(self) -> int:
        """Steps that lie side by side in the threads."""
        return THREADS // self.tile

    @property
    def chunks(self) -> int:
        """Loads for a tile of a row."""
        return pl.cdiv(self.steps, self.side)

    @property
    def vectors(self) -> int:
        """How many Jacobians and cotangents a lane has."""
        return len(self.pairs) + self.states * self.reads

    @property
    def vector_chunks(self) -> int:
        """Loads for these of a tile."""
        return self._vector_chunks(self.tile)

    def _vector_chunks(self, tile: int) -> int:
        return pl.cdiv(self.vectors * tile, THREADS)

    @property
    def least_room(self) -> int:
        """Bytes of shared memory that a block takes at least; no launch takes more than `ROOM`."""
        return self._room(self.at_once)

    def _room(self, tile: int) -> int:
        return (len(self.fed) + self._vector_chunks(tile)) * THREADS * (self.width + 1) * 4

    def launch(self, held: list[Any], arrays: dict[str, Any], interpret: Any = None) -> tuple[list[Any], Any]:
        """The new traces and the contraction, `[edges]` in float32; None where it is not asked.

        Args:
            held: the traces.
            arrays: lists `jacobians` and `credit` of `[lanes, targets]`, a list `sensitivities` of
                `[steps, lanes, targets]`, and `data` `[steps, lanes, sources]`, in float32.
            interpret: how to run where there is no GPU.
        """
        whole = self.blocks * self.width
        if not whole:
            return self.by_definition(held, arrays)
        refs = [jax.new_ref(x) for x in held]
        found = self._kernel(interpret)(*refs, *self._prepared(arrays))
        new, read = [jax.freeze(ref) for ref in refs], found[0].sum(0) if self.reads else None
        if whole == self.edges:
            return new, read
        rest, more = self._behind(whole).by_definition([x[:, whole:] for x in new], arrays)
        new = [lax.dynamic_update_slice(x, y, (0, whole)) for x, y in zip(new, rest, strict=True)]
        return new, read if read is None else jnp.concatenate([read, more])

    def by_definition(self, held: Sequence[Any], arrays: dict[str, Any]) -> tuple[list[Any], Any]:
        """What `launch` gives, in `jax.numpy`, step by step."""
        old, total = [x.astype(jnp.float32) for x in held], jnp.zeros((self.lanes, self.edges), jnp.float32)
        new = [total for _ in range(max(1, self.states))]
        for (of, on), x in zip(self.pairs, arrays["jacobians"], strict=True):
            new[of] += x[:, self.target] * old[on]

        def step(now: list[Any], at: Any) -> tuple[list[Any], None]:
            *sensitive, data = at
            picked, now = data[:, self.source], list(now)
            for of, x in zip(self.fed, sensitive, strict=True):
                now[of] = now[of] + x[:, self.target] * picked
            return now, None

        new, _ = lax.scan(step, new, (*arrays["sensitivities"], arrays["data"]))
        for c, x in zip(arrays["credit"], old, strict=False):
            total += c[:, self.target] * x
        if not self.states:
            return [], new[0].sum(0)
        return [x.astype(self.dtype) for x in new], total.sum(0) if self.reads else None

    def _behind(self, whole: int) -> Edges:
        """The same of the edges behind whole blocks."""
        return replace(self, source=self.source[whole:], target=self.target[whole:])

    def _prepared(self, arrays: dict[str, Any]) -> list[Any]:
        """Places of edges, and rows."""
        places = [jnp.asarray(x[: self.blocks * self.width], jnp.int32) for x in (self.source, self.target)]
        rows = [self._rows(x) for x in (arrays["data"], *arrays["sensitivities"])]
        vectors = [*arrays["jacobians"], *(arrays["credit"] if self.reads else [])][: self.vectors]
        return [*places, *rows, *([self._vector_rows(jnp.stack(vectors))] if vectors else [])]

    def _rows(self, x: Any) -> Any:
        """`[steps, lanes, n]` as `[n, row]`: tiles, then steps, then the lanes of a tile."""
        filled = (self.chunks * self.side, self.tiles * self.tile)
        x = jnp.pad(x, [*((0, n - m) for n, m in zip(filled, x.shape, strict=False)), (0, 0)])
        return x.reshape(filled[0], self.tiles, self.tile, -1).transpose(3, 1, 0, 2).reshape(x.shape[-1], -1)

    def _vector_rows(self, x: Any) -> Any:
        """`[vectors, lanes, n]` as `[n, row]`: tiles, then vectors, then the lanes of a tile."""
        x = jnp.pad(x, [(0, 0), (0, self.tiles * self.tile - x.shape[1]), (0, 0)])
        x = x.reshape(len(x), self.tiles, self.tile, -1).transpose(3, 1, 0, 2).reshape(x.shape[-1], self.tiles, -1)
        x = jnp.pad(x, [(0, 0), (0, 0), (0, self.vector_chunks * THREADS - x.shape[-1])])
        return x.reshape(len(x), -1)

    def _kernel(self, interpret: Any) -> Any:
        width, whole = self.width, self.blocks * self.width
        scratch = {"sums": plgpu.SMEM((len(self.fed) * THREADS, width + 1), jnp.float32)}
        if self.vectors:
            scratch["vectors"] = plgpu.SMEM((self.vector_chunks * THREADS, width + 1), jnp.float32)
        return plgpu.kernel(
            EdgeBlock(self),
            out_type=[jax.ShapeDtypeStruct((self.at_once, whole), jnp.float32)] if self.reads else [],
            grid=(self.blocks,),
            grid_names=("block",),
            scratch_types=scratch,
            compiler_params=plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Lane),
            interpret=interpret,
            kernel_name="edges",
        )
