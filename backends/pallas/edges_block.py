"""One block of threads of kernel 3: it owns some edges.

First a row of sources and one of targets are read for each edge and multiplied, lanes (and some steps) side by side in
the threads; the sums go to shared memory as a column. Then the threads hold edges, read these columns across, and pass
over the trace. A column more than there are edges keeps banks from colliding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu

if TYPE_CHECKING:
    from .edges import Edges

plgpu: Any = mosaic_gpu

THREADS = 128
"""Threads of a block, and numbers that they load at once."""
GROUP = 4
"""Edges whose rows are on their way at once."""
UNROLLED = 8
"""So many loads of a row are written out."""


class EdgeBlock:
    """One block's work in a launch."""

    def __init__(self, plan: Edges) -> None:
        """Hold what is fixed about the launch."""
        self.plan = plan

    def __call__(self, *refs: Any, sums: Any, vectors: Any = None) -> None:
        """Tile after tile of the lanes. References to operands and results, then those to shared memory."""
        plan, left = self.plan, list(refs)
        held = [left.pop(0) for _ in range(plan.states)]
        places = left.pop(0), left.pop(0)
        rows = [left.pop(0) for _ in range(1 + len(plan.fed))]
        of_vectors = left.pop(0) if plan.vectors else None
        first = lax.axis_index("block") * plan.width

        def tile(k: Any, total: Any) -> Any:
            def edges(group: Any, _: Any) -> Any:
                own = [group * GROUP + n for n in range(GROUP)]
                at = [(places[0][first + j], places[1][first + j]) for j in own]
                columns = [(sums, [self._sums(rows, source, target, k) for source, target in at])]
                if of_vectors is not None:
                    columns.append((vectors, [self._vectors(of_vectors, target, k) for _, target in at]))
                for to, found in columns:
                    for j, parts in zip(own, found, strict=True):
                        for n, part in enumerate(parts):
                            plgpu.store(to.at[pl.ds(n * THREADS, THREADS), j], part, optimized=False)
                return jnp.int32(0)

            lax.fori_loop(jnp.int32(0), jnp.int32(plan.width // GROUP), edges, jnp.int32(0))
            plgpu.commit_smem()
            count = lax.min(jnp.int32(plan.tile), plan.lanes - k * plan.tile)
            groups = lax.div(count + plan.at_once - 1, jnp.int32(plan.at_once))
            passed = lambda n, now: self._passed(held, sums, vectors, (k, n * plan.at_once), first, now)  # noqa: E731
            total = lax.fori_loop(jnp.int32(0), groups, passed, total)
            plgpu.commit_smem()
            return total

        zeros = jnp.zeros((plan.at_once, plan.width), jnp.float32)
        start = plgpu.layout_cast(zeros, self._layout) if plan.reads else jnp.int32(0)
        total = lax.fori_loop(jnp.int32(0), jnp.int32(plan.tiles), tile, start)
        if plan.reads:
            plgpu.store(left[0].at[:, pl.ds(first, plan.width)], total, optimized=False)

    def _sums(self, rows: list[Any], source: Any, target: Any, tile: Any) -> list[Any]:
        """Of one edge `sum_t s_t x_t` for each sensitivity, steps that lie side by side apart."""
        plan = self.plan
        data, *sensitive = rows

        def add(c: Any, now: list[Any]) -> list[Any]:
            at = pl.ds((tile * plan.chunks + c) * THREADS, THREADS)
            x = _loaded(data.at[source, at])
            return [total + x * _loaded(of.at[target, at]) for total, of in zip(now, sensitive, strict=True)]

        found = [_laid(jnp.zeros(THREADS, jnp.float32)) for _ in sensitive]
        whole = plan.chunks // UNROLLED if plan.chunks > UNROLLED else 0

        def some(k: Any, now: list[Any]) -> list[Any]:
            for c in range(UNROLLED):
                now = add(k * UNROLLED + c, now)
            return now

        if whole:
            found = lax.fori_loop(jnp.int32(0), jnp.int32(whole), some, found)
        for c in range(whole * UNROLLED, plan.chunks):
            found = add(jnp.int32(c), found)
        return found

    def _vectors(self, rows: Any, target: Any, tile: Any) -> list[Any]:
        """Of one edge its Jacobians and its credit."""
        count = self.plan.vector_chunks
        return [_loaded(rows.at[target, pl.ds((tile * count + c) * THREADS, THREADS)]) for c in range(count)]

    def _passed(self, held: list[Any], sums: Any, vectors: Any, at: tuple[Any, Any], first: Any, total: Any) -> Any:
        """Some lanes of a tile passed over: what of their contraction there is, added to `total`."""
        plan, (tile, lane) = self.plan, at
        own = pl.ds(tile * plan.tile + lane, plan.at_once), pl.ds(first, plan.width)

        def column(of: Any, place: Any) -> Any:
            here = pl.ds(place * plan.tile + lane, plan.at_once)
            return self._over_edges(of.at[here, pl.ds(0, plan.width)])

        def summed(n: int) -> Any:
            found = column(sums, n * plan.side)
            if plan.side <= UNROLLED:
                for u in range(1, plan.side):
                    found = found + column(sums, n * plan.side + u)
                return found
            more = lambda u, now: now + column(sums, n * plan.side + u)  # noqa: E731
            return lax.fori_loop(jnp.int32(1), jnp.int32(plan.side), more, found)

        if not plan.states:
            return total + summed(0)
        old = [self._over_edges(trace.at[own]).astype(jnp.float32) for trace in held]
        if plan.reads:
            for k, x in enumerate(old):
                total = total + x * column(vectors, len(plan.pairs) + k)
        new: list[Any] = [None] * plan.states
        for k, (of, on) in enumerate(plan.pairs):
            new[of] = _plus(new[of], old[on] * column(vectors, k))
        for k, of in enumerate(plan.fed):
            new[of] = _plus(new[of], summed(k))
        for trace, x, kept in zip(held, new, old, strict=True):
            x = jnp.zeros_like(kept) if x is None else x
            plgpu.store(trace.at[own], x.astype(plan.dtype), optimized=False)
        return total

    @property
    def _layout(self) -> Any:
        """How the threads hold lanes by edges."""
        return plgpu.Layout.WG_STRIDED((self.plan.at_once, self.plan.width), vec_size=1)

    def _over_edges(self, ref: Any) -> Any:
        """Lanes by edges of shared memory, or of a trace."""
        return plgpu.load(ref, layout=self._layout, optimized=False)


def _laid(x: Any) -> Any:
    """A vector, one number a thread."""
    return plgpu.layout_cast(x, plgpu.Layout.WG_STRIDED((THREADS,), vec_size=1))


def _loaded(ref: Any) -> Any:
    """A vector of a reference."""
    return plgpu.load(ref, layout=plgpu.Layout.WG_STRIDED((THREADS,), vec_size=1), optimized=False)


def _plus(total: Any, term: Any) -> Any:
    return term if total is None else total + term
