"""One block of threads of kernel 1: it owns a tile of the matrices, and walks over entries (slots, samples).

The contraction is summed over just these, so it stays in registers. Tiles come and go by TMA, which leaves out what
lies beyond an edge; the next ones are on their way while one is worked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu

if TYPE_CHECKING:
    from .rank_k import RankK

plgpu: Any = mosaic_gpu


class Block:
    """One block's work in a launch."""

    def __init__(self, plan: RankK) -> None:
        """Hold what is fixed about the launch."""
        self.plan = plan

    def __call__(self, *refs: Any, tiles: Any, arrived: Any, **scratch: Any) -> None:
        """Walk over a stretch of entries. References to operands and results, then those to shared memory."""
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
            for k, to in enumerate(scratch.get("factors", ())):
                of_data = k >= plan.factors - plan.parts
                at, part = (sample(r), window[1 - plan.along]) if of_data else (n, own)
                plgpu.copy_gmem_to_smem(factors[k].at[:, at, part], to.at[slot], arrived.at[slot])

        def fed(k: int, r: Any, slot: Any) -> Any:
            own = [*range(k * plan.parts, (k + 1) * plan.parts), *range(plan.factors - plan.parts, plan.factors)]
            if plan.comes_along:
                return self._product([scratch["factors"][p].at[slot] for p in own])
            return self._sum([factors[p] for p in own], (entry(r), sample(r)), place)

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
                new[of] = _plus(new[of], fed(k, r, slot))
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

    def _product(self, loaded: list[Any]) -> Any:
        """The tile of `sum_t s_t (x) x_t`, all of whose steps are loaded."""
        if not self.plan.on_tensor_cores:
            sensitive, data = loaded
            return self._plus_rows(sensitive, data, _laid(jnp.zeros(self.plan.tile, jnp.float32)))

        def multiplied(total: Any) -> Any:
            self._multiply(total, loaded)
            return total[...]

        return pl.run_scoped(multiplied, plgpu.ACC(self.plan.tile, jnp.float32))

    def _sum(self, factors: list[Any], at: tuple[Any, Any], place: list[Any]) -> Any:
        """The tile of `sum_t s_t (x) x_t`, its steps loaded in chunks."""
        plan, specs = self.plan, list[Any]()
        places = place[plan.along], place[1 - plan.along]
        for size, n, window in zip(plan.blocks, at, places, strict=True):
            index = lambda t, n=n, window=window: (t, n, window)  # noqa: E731
            specs += [plgpu.BlockSpec((plan.chunk, None, size), index, transforms=plan.laid)] * plan.parts

        def multiplied(total: Any) -> Any:
            def step(_: Any, *loaded: Any) -> None:
                self._multiply(total, loaded)

            chunks = (pl.cdiv(plan.steps, plan.chunk),)
            plgpu.emit_pipeline(step, grid=chunks, in_specs=specs, max_concurrent_steps=2)(*factors)
            return total[...]

        return pl.run_scoped(multiplied, plgpu.ACC(plan.tile, jnp.float32))

    def _multiply(self, total: Any, loaded: Sequence[Any]) -> None:
        """Add products of parts on tensor cores."""
        along, parts = self.plan.along, self.plan.parts
        of = loaded[:parts], loaded[parts:]
        for i, j in self.plan.products:
            plgpu.wgmma(total, of[along][i].transpose((1, 0)), of[1 - along][j])
        plgpu.wgmma_wait(0)

    def _plus_rows(self, sensitive: Any, data: Any, total: Any) -> Any:
        """Add a product of two vectors for each step."""
        for t in range(self.plan.steps):
            total = total + self._spread(sensitive[t]) * self._spread(data[t], 1 - self.plan.along)
        return total


def _laid(tile: Any) -> Any:
    """A tile as the threads of a tensor core product hold it."""
    return plgpu.layout_cast(tile, plgpu.Layout.WGMMA)


def _loaded(tile: Any) -> Any:
    """A tile of shared memory, however it lies there."""
    return plgpu.load(tile, layout=plgpu.Layout.WGMMA, optimized=False)


def _plus(total: Any, term: Any) -> Any:
    return term if total is None else total + term
