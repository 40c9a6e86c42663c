"""The positional trace of D-RTRL: contraction, and the pass that advances it in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...ir.plan import Advance
from .jacobian import Pair
from .positions import Layout, align, as_type_of, held_as

_IN_PLACE_BYTES = 1 << 20
"""Traces of at least this size are advanced entry by entry of their first axis, so that no second copy is ever held."""

Traces = dict[int, jax.Array]
"""One trace array for each state of a group whose trace is not structurally zero."""


class DenseTrace:
    """The trace `E[state][slots?, batch, weight]` of one association."""

    def __init__(self, advance: Advance, pattern: Sequence[Pair], dtype: str | None = None) -> None:
        """Prepare for an `advance` operation, given which diagonals of its group's Jacobian are not zero."""
        self.layout = Layout(advance.association)
        self.weight_type = advance.association.site.weight.value.type
        self.dtype = held_as(dtype, advance.trace.type)
        self.states = _active(advance.association.couplings, pattern)

    def zeros(self) -> Traces:
        """The trace at the beginning of a sequence."""
        return {state: jnp.zeros(self.layout.shape, self.dtype) for state in self.states}

    def contract(self, traces: Traces, cotangents: Mapping[int, jax.Array]) -> jax.Array:
        """`<h_bar, E>`, of the weight's shape; `cotangents` are at the group's positions, by state."""
        layout = self.layout
        terms = [
            jnp.einsum(f"{layout.output},{layout.trace}->{layout.weight}", layout.gather(cotangents[k]), trace)
            for k, trace in traces.items()
            if k in cotangents
        ]
        return as_type_of(sum(terms[1:], terms[0]), self.weight_type.dtype)

    def sweep(
        self,
        traces: Traces,
        product: Mapping[Pair, jax.Array],
        factors: Mapping[int, jax.Array],
        data: jax.Array | None,
        cotangents: Mapping[int, jax.Array] | None,
    ) -> tuple[Traces, jax.Array | None]:
        """One pass over the trace: `E <- P E + sum_t s_t (x) x_t`, and the contraction with the old trace.

        Args:
            traces: the old trace, by state.
            product: `P`, the product of the Jacobians since the trace was last advanced, `[*group]` by pair of states.
            factors: `s`, the sensitivities carried to the end, `[time, slots?, *output]` by state.
            data: `x`, `[time, *data]`; None for an operation without data.
            cotangents: what to contract the old trace with, `[*group]` by state; None for no contraction.

        Returns:
            The new trace, and the contraction, of the weight's shape.
        """
        layout = self.layout
        pairs = {p: layout.gather(x) for p, x in product.items() if p[0] in traces and p[1] in traces}
        chosen = {k: layout.gather(x) for k, x in (cotangents or {}).items() if k in traces}
        axis = layout.batch[:1]
        size = sum(trace.nbytes for trace in traces.values())
        if not axis or layout.sizes[axis] == 1 or size < _IN_PLACE_BYTES:
            new, read = self._advance(traces, pairs, factors, data, chosen, "")
            return new, None if cotangents is None else as_type_of(read, self.weight_type.dtype)
        return self._entry_by_entry(axis, traces, pairs, factors, data, chosen, cotangents is not None)

    def _entry_by_entry(
        self, axis: str, traces: Traces, pairs: Any, factors: Any, data: Any, chosen: Any, contracting: bool
    ) -> tuple[Traces, jax.Array | None]:
        """The pass, one entry of `axis` after the other; the barrier keeps XLA from copying the whole trace."""
        layout = self.layout
        place = layout.trace.index(axis)
        output = layout.output.index(axis)
        in_data = layout.data is not None and axis in layout.data

        def entry(b: jax.Array, carry: tuple[Traces, jax.Array]) -> tuple[Traces, jax.Array]:
            whole, read = carry
            pick = lambda x, at: jax.lax.dynamic_index_in_dim(x, b, at, keepdims=False)  # noqa: E731
            old = {k: pick(e, place) for k, e in whole.items()}
            new, more = self._advance(
                old,
                {p: pick(x, output) for p, x in pairs.items()},
                {k: pick(x, output + 1) for k, x in factors.items()},
                pick(data, layout.data.index(axis) + 1) if in_data and layout.data else data,
                {k: pick(x, output) for k, x in chosen.items()},
                axis,
            )
            new, read = jax.lax.optimization_barrier((new, read + more if contracting else read))
            updated = {k: jax.lax.dynamic_update_index_in_dim(whole[k], new[k], b, place) for k in whole}
            return updated, read

        start = jnp.zeros(self.weight_type.shape, self.weight_type.dtype)
        result, read = jax.lax.fori_loop(0, layout.sizes[axis], entry, (traces, start))
        return result, read if contracting else None

    def _advance(
        self, traces: Traces, pairs: Any, factors: Any, data: Any, chosen: Any, without: str
    ) -> tuple[Traces, jax.Array]:
        """The arithmetic of the pass on arrays that lack the axis `without`."""
        layout = self.layout
        output, trace = layout.output.replace(without, ""), layout.trace.replace(without, "")
        new: Traces = {}
        for k, old in traces.items():
            terms = [align(x, output, trace) * traces[on] for (of, on), x in pairs.items() if of == k]
            if k in factors:
                terms.append(self._outer(factors[k], data, output, trace, without))
            new[k] = sum(terms[1:], terms[0]).astype(old.dtype) if terms else jnp.zeros_like(old)
        spec = f"{output},{trace}->{layout.weight}"
        reads = [jnp.einsum(spec, x, traces[k]) for k, x in chosen.items()]
        zero = jnp.zeros(self.weight_type.shape, self.weight_type.dtype)
        return new, as_type_of(sum(reads[1:], reads[0]), self.weight_type.dtype) if reads else zero

    def _outer(self, factor: jax.Array, data: Any, output: str, trace: str, without: str) -> jax.Array:
        """`sum_t s_t (x) x_t` in the trace's layout."""
        time = next(label for label in "tuvTUV" if label not in self.layout.trace + (self.layout.data or ""))
        if data is None:
            return align(factor.sum(0), output, trace)
        labels = (self.layout.data or "").replace(without, "")
        summed = "".join(label for label in labels if label not in trace)
        if summed:
            data = data.sum([1 + labels.index(label) for label in summed])
            labels = "".join(label for label in labels if label not in summed)
        return jnp.einsum(f"{time}{output},{time}{labels}->{trace}", factor, data)


def _active(couplings: Sequence[object | None], pattern: Sequence[Pair]) -> list[int]:
    """The states whose trace is not structurally zero: those that the site feeds, and those that these feed."""
    active = {k for k, coupling in enumerate(couplings) if coupling is not None}
    grown = True
    while grown:
        new = {of for of, on in pattern if on in active} - active
        active |= new
        grown = bool(new)
    return sorted(active)
