"""Kernel 1: `E <- P E + sum_t s_t (x) x_t` and `<c, E>` in one pass: a trace is read once and written once, in place.

What one block of threads does is in `rank_k_block.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu

from .launch import Launch
from .rank_k_block import Block

plgpu: Any = mosaic_gpu

ROWS = 64
"""Rows of a tile: those of one tensor core product."""
TENSOR_FROM = 16
"""From so many steps on the rank-K sum is taken on tensor cores."""
BLOCKS = 264
"""Blocks that fill a card: two for each of 132 multiprocessors."""
ALIGNED = 16
"""Bytes that a row must be a multiple of for TMA; others are copied, and lie further apart in the copy."""
ROOM = 96 << 10
"""Bytes of shared memory for tiles of the trace that are on their way."""
PRODUCTS = {
    "float32": ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0)),
    "bfloat16": ((0, 0), (0, 1), (1, 0)),
}
"""A factor is a sum of bfloat16 numbers, its parts; which of their products reach the precision of a trace."""


@dataclass(frozen=True, kw_only=True)
class RankK(Launch):
    """What is fixed about one launch. Traces are `[outer * summed * grouped, rows, columns]`, one for each state."""

    outer: int
    """Traces that lie one after the other, each with a contraction of its own."""
    summed: int
    """Entries over which the contraction is summed: slots, then samples."""
    samples: int
    """How many of these in a row have data of their own; slots share theirs."""
    grouped: int
    """Matrices of one entry, each with a contraction of its own."""
    rows: int
    columns: int
    along: int
    """The axis along which Jacobians, sensitivities and credit lie: 0 or 1; data lie along the other."""

    @cached_property
    def width(self) -> int:
        """Columns of a tile: at least 32, since a copy brings 128 bytes or a multiple."""
        most = 64 if self.states <= 3 else 32
        return 32 if self.columns <= 32 else most

    @property
    def matrix(self) -> tuple[int, int]:
        """The shape of a matrix."""
        return self.rows, self.columns

    @property
    def tile(self) -> tuple[int, int]:
        """The shape of a tile."""
        return ROWS, self.width

    @property
    def tiles(self) -> tuple[int, int]:
        """How many tiles a matrix has."""
        return pl.cdiv(self.rows, ROWS), pl.cdiv(self.columns, self.width)

    @cached_property
    def stretch(self) -> int:
        """Entries that one block walks over: so many that a card has enough to do."""
        blocks = self.tiles[0] * self.tiles[1] * self.outer * self.grouped
        return pl.cdiv(self.summed, min(self.summed, pl.cdiv(BLOCKS, blocks)))

    @property
    def splits(self) -> int:
        """Stretches of the entries, each with a contraction of its own."""
        return pl.cdiv(self.summed, self.stretch)

    @property
    def slots(self) -> int:
        """Places for tiles in shared memory, and for what comes with them."""
        size = self.states * ROWS * self.width * jnp.dtype(self.dtype).itemsize
        if self.comes_along:
            width = 2 if self.on_tensor_cores else 4
            size += self.parts * self.chunk * width * (len(self.fed) * self.blocks[0] + self.blocks[1])
        return min(self.stretch, max(2, min(4, ROOM // size)))

    @property
    def on_tensor_cores(self) -> bool:
        """Whether the sum is a product of matrices."""
        return self.steps >= TENSOR_FROM

    @property
    def parts(self) -> int:
        """Into how many arrays a factor is taken apart."""
        return 1 + max(i for i, _ in self.products) if self.on_tensor_cores else 1

    @property
    def factors(self) -> int:
        """How many arrays the sensitivities and the data are."""
        return self.parts * (len(self.fed) + 1) if self.fed else 0

    @property
    def chunk(self) -> int:
        """Steps that are loaded at once."""
        if not self.on_tensor_cores:
            return self.steps
        return 16 if self.steps <= 16 else 32

    @property
    def comes_along(self) -> bool:
        """Whether all steps' factors are fetched with their tile; else in chunks, when it is there."""
        return bool(self.fed) and self.steps <= TENSOR_FROM

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """Which products of parts are taken."""
        return PRODUCTS[self.dtype]

    @property
    def copies(self) -> int:
        """What is fetched with a tile of each state, and these."""
        return self.states + bool(self.pairs) + self.reads + (self.factors if self.comes_along else 0)

    @property
    def laid(self) -> tuple[Any, ...]:
        """How parts of factors lie in shared memory."""
        return _transforms(jnp.dtype("bfloat16"), self.chunk) if self.on_tensor_cores else ()

    def swizzled(self, dtype: str) -> tuple[Any, ...]:
        """How tiles lie in shared memory: without collisions of banks, where TMA can cut them at the edges."""
        found = _transforms(jnp.dtype(dtype), self.width)
        high, wide = found[0].tiling
        even = self.rows % high == 0 and (self.columns % wide == 0 or self.columns < wide)
        return found if even else ()

    @property
    def blocks(self) -> tuple[int, int]:
        """The tile's sizes along what is sensitive, and along the data."""
        return self.tile[self.along], self.tile[1 - self.along]

    def launch(self, held: list[Any], arrays: dict[str, Any], interpret: Any = None) -> tuple[list[Any], Any]:
        """The new traces and the contraction, `[outer, grouped, rows, columns]` in float32; None where it is not asked.

        Args:
            held: the traces.
            arrays: lists `jacobians` and `credit` of `[n, d]`, a list `sensitivities` of `[steps, n, d]`, and `data`
                `[steps, m, x]`, in float32: `d` along `along`, `x` along the other axis, `n` as the traces
                have it, `m` the same with `samples` in the place of `summed`.
            interpret: how to run where there is no GPU.
        """
        if self.columns * jnp.dtype(self.dtype).itemsize % ALIGNED:
            wider = replace(self, columns=self.columns + -self.columns % ALIGNED)
            new, read = wider.launch([_filled(x, 2, ALIGNED) for x in held], arrays, interpret)
            return jax.tree.map(lambda x: x[..., : self.columns], (new, read))
        refs = [jax.new_ref(x) for x in held]
        parts = self._kernel(interpret)(*refs, *self._prepared(arrays))
        read = None if not self.reads else parts[0].sum(0) if self.splits > 1 else parts[0][0]
        return [jax.freeze(ref) for ref in refs], read

    def by_definition(self, held: list[Any], arrays: dict[str, Any]) -> tuple[list[Any], Any]:
        """What `launch` gives, in `jax.numpy`."""
        outer, summed, grouped, samples = self.outer, self.summed, self.grouped, self.samples
        old = [x.reshape(outer, summed, grouped, *self.matrix).astype(jnp.float32) for x in held]

        def spread(vector: Any) -> Any:
            return jnp.expand_dims(vector.reshape(outer, summed, grouped, -1), 4 - self.along)

        new = [jnp.zeros_like(x) for x in old]
        for (of, on), x in zip(self.pairs, arrays["jacobians"], strict=True):
            new[of] += spread(x) * old[on]
        data = arrays["data"].reshape(self.steps, outer, 1, samples, grouped, -1)
        for of, x in zip(self.fed, arrays["sensitivities"], strict=True):
            sensitive = x.reshape(self.steps, outer, summed // samples, samples, grouped, -1)
            equation = "tozbgd,tozbgx->ozbg" + ("dx" if self.along == 0 else "xd")
            new[of] += jnp.einsum(
                equation, sensitive, jnp.broadcast_to(data, (*sensitive.shape[:-1], data.shape[-1]))
            ).reshape(old[of].shape)
        parts = [(spread(c) * x).sum(1) for c, x in zip(arrays["credit"], old, strict=False)]
        read = jnp.stack(parts).sum(0) if self.reads else None
        return [x.reshape(of.shape).astype(of.dtype) for x, of in zip(new, held, strict=True)], read

    def _prepared(self, arrays: dict[str, Any]) -> list[Any]:
        """The small arrays, their last axis filled up to whole tiles; factors in parts where tensor cores take them."""
        own, other = self.blocks
        vectors = [jnp.stack(arrays["jacobians"])] if self.pairs else []
        vectors += [jnp.stack(arrays["credit"])] if self.reads else []
        factors = [_filled(x, 2, own) for x in arrays["sensitivities"]] + [_filled(arrays["data"], 2, other)]
        if self.on_tensor_cores:
            factors = [part for x in factors for part in _parts(_filled(x, 0, self.chunk), self.parts)]
        return [*(_filled(v, 2, own) for v in vectors), *(factors if self.fed else [])]

    def _kernel(self, interpret: Any) -> Any:
        tile, slots, dtype = self.tile, self.slots, jnp.dtype(self.dtype)
        own = self.blocks[0]
        shape = (self.splits, self.outer, self.grouped, self.rows, self.columns)
        scratch: dict[str, Any] = {
            "tiles": plgpu.SMEM((slots, self.states, *tile), dtype, transforms=self.swizzled(self.dtype)),
            "arrived": plgpu.Barrier(num_arrivals=self.copies, num_barriers=slots),
        }
        if self.comes_along:
            kind = jnp.dtype("bfloat16" if self.on_tensor_cores else "float32")
            sizes = [own] * (self.factors - self.parts) + [self.blocks[1]] * self.parts
            scratch["factors"] = [plgpu.SMEM((slots, self.chunk, n), kind, transforms=self.laid) for n in sizes]
        if self.pairs:
            scratch["jacobians"] = plgpu.SMEM((slots, len(self.pairs), own), jnp.float32)
        if self.reads:
            scratch["credit"] = plgpu.SMEM((slots, self.states, own), jnp.float32)
            scratch["total"] = plgpu.SMEM(tile, jnp.float32, transforms=self.swizzled("float32"))
        return plgpu.kernel(
            Block(self),
            out_type=[jax.ShapeDtypeStruct(shape, jnp.float32)] if self.reads else [],
            grid=(*self.tiles, self.outer * self.grouped, self.splits),
            grid_names=("row", "column", "matrix", "stretch"),
            scratch_types=scratch,
            compiler_params=plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Lane),
            interpret=interpret,
            kernel_name="rank_k",
        )


def _transforms(dtype: Any, width: int) -> tuple[Any, ...]:
    """How a tile lies in shared memory so that tensor cores can take it, and banks do not collide."""
    swizzle = plgpu.find_swizzle(width * dtype.itemsize * 8)
    return plgpu.TilingTransform((8, swizzle // dtype.itemsize)), plgpu.SwizzleTransform(swizzle)


def _filled(x: Any, axis: int, size: int) -> Any:
    """An array with zeros after its last entries along an axis, up to a multiple of `size`."""
    more = -x.shape[axis] % size
    return jnp.pad(x, [(0, more if k == axis else 0) for k in range(x.ndim)]) if more else x


def _parts(x: Any, count: int) -> list[Any]:
    """Numbers in float32 as sums of bfloat16 ones. XLA takes `x - float32(bfloat16(x))` for zero, but not this."""
    found: list[Any] = []
    for _ in range(count):
        part = lax.reduce_precision(x, 8, 7)
        found.append(part.astype(jnp.bfloat16))
        x = x - part
    return found
