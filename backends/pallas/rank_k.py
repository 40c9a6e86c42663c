"""Kernel 1: `E <- P E + sum_t s_t (x) x_t` and `<c, E>` in one pass: a trace is read once and written once, in place.

A block of threads owns one tile of the matrices, and walks over the entries (slots, samples) whose contraction is
summed: so the sum stays in registers. Tiles come and go by TMA, which leaves out what lies beyond an edge.
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
class RankK:
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
    states: int
    pairs: tuple[tuple[int, int], ...]
    """For each Jacobian the new state and the old one."""
    fed: tuple[int, ...]
    """For each sensitivity its state."""
    steps: int
    reads: bool
    """Whether the old traces are contracted."""
    dtype: str

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
    def splits(self) -> int:
        """Into how many stretches the entries are cut, so that a card has enough to do."""
        blocks = self.tiles[0] * self.tiles[1] * self.outer * self.grouped
        return min(self.summed, pl.cdiv(BLOCKS, blocks))

    @property
    def stretch(self) -> int:
        """Entries of a stretch."""
        return pl.cdiv(self.summed, self.splits)

    @property
    def slots(self) -> int:
        """Places for tiles in shared memory, one of them to come for each that is worked at."""
        size = self.states * ROWS * self.width * jnp.dtype(self.dtype).itemsize
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
    def products(self) -> tuple[tuple[int, int], ...]:
        """Which products of parts are taken."""
        return PRODUCTS[self.dtype]

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
        read = sum(spread(c) * x for c, x in zip(arrays["credit"], old, strict=True)).sum(1) if self.reads else None
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
            "arrived": plgpu.Barrier(num_arrivals=self.states + bool(self.pairs) + self.reads, num_barriers=slots),
        }
        if self.pairs:
            scratch["jacobians"] = plgpu.SMEM((slots, len(self.pairs), own), jnp.float32)
        if self.reads:
            scratch["credit"] = plgpu.SMEM((slots, self.states, own), jnp.float32)
            scratch["total"] = plgpu.SMEM(tile, jnp.float32, transforms=self.swizzled("float32"))
        return plgpu.kernel(
            _Body(self),
            out_type=[jax.ShapeDtypeStruct(shape, jnp.float32)] if self.reads else [],
            grid=(*self.tiles, self.outer * self.grouped, self.splits),
            grid_names=("row", "column", "matrix", "stretch"),
            scratch_types=scratch,
            compiler_params=plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Lane),
            interpret=interpret,
            kernel_name="rank_k",
        )


class _Body:
    """One block's work."""

    def __init__(self, plan: RankK) -> None:
        self.plan = plan

    def __call__(self, *refs: Any, tiles: Any, arrived: Any, **scratch: Any) -> None:
        plan, left = self.plan, list(refs)
        held = [left.pop(0) for _ in range(plan.states)]
        vectors = [(left.pop(0), scratch[name]) for name in ("jacobians", "credit") if name in scratch]
        factors = [left.pop(0) for _ in range(plan.factors)]
        place = [lax.axis_index(name) for name in ("row", "column")]
        window = [pl.ds(at * size, size) for at, size in zip(place, plan.tile, strict=True)]
        matrix, first = lax.axis_index("matrix"), lax.axis_index("stretch") * plan.stretch
        outer, group = lax.div(matrix, jnp.int32(plan.grouped)), lax.rem(matrix, jnp.int32(plan.grouped))
        count, slots = lax.min(jnp.int32(plan.stretch), plan.summed - first), jnp.int32(plan.slots)

        def entry(r: Any) -> Any:
            return (outer * plan.summed + first + r) * plan.grouped + group

        def sample(r: Any) -> Any:
            return (outer * plan.samples + lax.rem(first + r, jnp.int32(plan.samples))) * plan.grouped + group

        def fetch(r: Any, slot: Any) -> None:
            n, own = entry(r), window[plan.along]
            for k, trace in enumerate(held):
                plgpu.copy_gmem_to_smem(trace.at[n, *window], tiles.at[slot, k], arrived.at[slot])
            for of, to in vectors:
                plgpu.copy_gmem_to_smem(of.at[:, n, own], to.at[slot], arrived.at[slot])

        def work(r: Any, total: Any) -> Any:
            slot, n = lax.rem(r, slots), entry(r)
            plgpu.barrier_wait(arrived.at[slot])
            old = [_loaded(tiles.at[slot, k]).astype(jnp.float32) for k in range(plan.states)]
            if plan.reads:
                total = total + sum(e * self._spread(scratch["credit"][slot, k]) for k, e in enumerate(old))
            new: list[Any] = [None] * plan.states
            for k, (of, on) in enumerate(plan.pairs):
                new[of] = _plus(new[of], old[on] * self._spread(scratch["jacobians"][slot, k]))
            for k, of in enumerate(plan.fed):
                new[of] = _plus(new[of], self._sum(factors, k, (n, sample(r)), place))
            for k, x in enumerate(new):
                kept = jnp.zeros_like(old[k]) if x is None else x
                plgpu.store(tiles.at[slot, k], kept.astype(plan.dtype), optimized=False)
            plgpu.commit_smem()
            for k, trace in enumerate(held):
                plgpu.copy_smem_to_gmem(tiles.at[slot, k], trace.at[n, *window])
            behind = min(1, plan.slots - 1)
            plgpu.wait_smem_to_gmem(behind * plan.states, wait_read_only=True)
            coming = r - behind + slots

            @pl.when((r >= behind) & (coming < count))
            def _() -> None:
                fetch(coming, lax.rem(coming, slots))

            return total

        for r in range(plan.slots):
            pl.when(r < count)(lambda r=r: fetch(jnp.int32(r), jnp.int32(r)))
        start = _laid(jnp.zeros(plan.tile, jnp.float32)) if plan.reads else jnp.int32(0)
        total = lax.fori_loop(jnp.int32(0), count, work, start)
        plgpu.wait_smem_to_gmem(0)
        if plan.reads:
            plgpu.store(scratch["total"], total, optimized=False)
            plgpu.commit_smem()
            plgpu.copy_smem_to_gmem(scratch["total"], left[0].at[lax.axis_index("stretch"), outer, group, *window])
            plgpu.wait_smem_to_gmem(0)

    def _spread(self, vector: Any, along: int | None = None) -> Any:
        """A vector along one axis of a tile, over the other."""
        axis = self.plan.along if along is None else along
        laid = plgpu.layout_cast(vector, plgpu.Layout.WGMMA.reduce(1 - axis))
        return lax.broadcast_in_dim(laid, self.plan.tile, (axis,))

    def _sum(self, factors: list[Any], k: int, at: tuple[Any, Any], place: list[Any]) -> Any:
        """The tile of `sum_t s_t (x) x_t`, of the sensitivity in the place `k`."""
        plan, along = self.plan, self.plan.along
        tensor, parts = plan.on_tensor_cores, plan.parts
        chosen = [*factors[k * parts : (k + 1) * parts], *factors[-parts:]]
        specs: list[Any] = []
        for size, n, window in zip(plan.blocks, at, (place[along], place[1 - along]), strict=True):
            laid = _transforms(jnp.dtype("bfloat16"), plan.chunk) if tensor else ()
            index = lambda t, n=n, window=window: (t, n, window)  # noqa: E731
            specs += [plgpu.BlockSpec((plan.chunk, None, size), index, transforms=laid)] * parts
        chunks = (pl.cdiv(plan.steps, plan.chunk),)

        def multiplied(total: Any) -> Any:
            def step(_: Any, *loaded: Any) -> None:
                of = loaded[:parts], loaded[parts:]
                for i, j in plan.products:
                    plgpu.wgmma(total, of[along][i].transpose((1, 0)), of[1 - along][j])
                plgpu.wgmma_wait(0)

            plgpu.emit_pipeline(step, grid=chunks, in_specs=specs, max_concurrent_steps=2)(*chosen)
            return total[...]

        def added(_: Any, sensitive: Any, data: Any, total: Any) -> Any:
            for t in range(plan.chunk):
                total = total + self._spread(sensitive[t]) * self._spread(data[t], 1 - along)
            return total

        if tensor:
            return pl.run_scoped(multiplied, plgpu.ACC(plan.tile, jnp.float32))
        zeros = _laid(jnp.zeros(plan.tile, jnp.float32))
        return plgpu.emit_pipeline(added, grid=chunks, in_specs=specs, init_carry=zeros)(*chosen)


def _laid(tile: Any) -> Any:
    """A tile as the threads of a tensor core product hold it."""
    return plgpu.layout_cast(tile, plgpu.Layout.WGMMA)


def _loaded(tile: Any) -> Any:
    """A tile of shared memory, however it lies there."""
    return plgpu.load(tile, layout=plgpu.Layout.WGMMA, optimized=False)


def _plus(total: Any, term: Any) -> Any:
    return term if total is None else total + term


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
