"""Products of a weight with picked data, of which what is picked is never whole in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..coupling.primitives.picked import Picked, picked_data
from ..coupling.primitives.picks import pays
from ..ir import jaxpr as jx
from ..ir.expression import Expression
from ..ir.mesh_types import says_more
from ..ir.plan.placement import align
from ..ir.sparse import as_places, taken
from .loops import AT_ONCE, in_turn

NEAR = 1 << 20
"""Bytes that a core picks of without going far."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PickedSum:
    """`y[o] = sum_d x[places[o, d]] w[o, d]`, one term `d` after the other; the other axes of `x` are *kept*.

    Where all is picked first, XLA writes that down; for one term it reads where it multiplies.
    """

    picked: Picked
    data: str
    """The labels of what is picked, one an axis."""
    weight: str
    output: str

    @classmethod
    def of(cls, picked: Picked, expression: Expression, data: int = 0) -> PickedSum | None:
        """Of a product whose operand in the place `data` is picked; None where no product is added up."""
        if len(expression.operands) != 2:
            return None
        found = cls(
            picked=picked,
            data=expression.operands[data],
            weight=expression.operands[1 - data],
            output=expression.output,
        )
        return found if found._fits else None

    @property
    def _fits(self) -> bool:
        """Whether the weight has the axes of the places, all others are the result's, and terms are several."""
        whole = set(self.weight) == set(self.placed) and set(self.output) == set(self.kept) | set(self.rest)
        return whole and self.places.shape[0] > 1

    @property
    def kept(self) -> str:
        """The labels of the axes that nothing is picked along."""
        return self.picked.kept_of(self.data)

    @property
    def placed(self) -> str:
        """The labels of the places."""
        return self.picked.placed_of(self.data)

    @property
    def rest(self) -> str:
        """Of these labels the result's, in its order."""
        return "".join(label for label in self.output if label in self.placed)

    @property
    def summed(self) -> str:
        """The others."""
        return "".join(label for label in self.placed if label not in self.output)

    @cached_property
    def places(self) -> np.ndarray:
        """`[terms, *rest, 1]`."""
        moved = np.transpose(self.picked.places, [self.placed.index(label) for label in self.summed + self.rest])
        return as_places(moved.reshape(-1, *moved.shape[len(self.summed) :]))

    @property
    def shape(self) -> tuple[int, ...]:
        """`(terms, *rest)`."""
        return self.places.shape[:-1]

    def product(self, x: Any, w: Any) -> Any:
        """The result, of `x` before it is picked of; its derivative never picks all of it either."""

        @jax.custom_vjp
        def run(x: Any, w: Any) -> Any:
            return self._forwards(x, w)

        def forward(x: Any, w: Any) -> Any:
            return self._forwards(x, w), (x, w)

        def backward(kept: Any, cotangent: Any) -> Any:
            return jax.lax.platform_dependent(*kept, cotangent, cpu=self._back, default=self._by_definition)

        run.defvjp(forward, backward)
        return run(x, w)

    def _forwards(self, x: Any, w: Any) -> Any:
        return self._restored(self._added(self._last(x), self._by_term(w))).astype(jnp.result_type(x, w))

    def _added(self, x: Any, w: Any) -> Any:
        """`[*kept, *rest]`."""

        def term(k: Any, total: Any) -> Any:
            return total + taken(x, self._term(k)).astype(w.dtype) * w[k]

        return in_turn(term, len(self.places), jnp.zeros(x.shape[:-1] + self.shape[1:], w.dtype))

    def _term(self, k: Any) -> Any:
        """The places of one term: of a known one an array that is known, which XLA would evaluate far slower."""
        return self.places[k] if isinstance(k, int) else jax.lax.dynamic_index_in_dim(self.places, k, keepdims=False)

    def _by_definition(self, x: Any, w: Any, cotangent: Any) -> tuple[Any, Any]:
        """The cotangents of `x` and of the weight."""
        return jax.vjp(self._forwards, x, w)[1](cotangent)

    def _back(self, x: Any, w: Any, cotangent: Any) -> tuple[Any, Any]:
        """The same as a CPU wants it."""
        return self._to_rows(x, w, cotangent), self.row_by_row(x[None], cotangent[None]).astype(w.dtype)

    def _to_rows(self, x: Any, w: Any, cotangent: Any) -> Any:
        """The cotangent of `x`; what is added to one place is a row of all that is kept: several numbers, all near."""
        of_term = self._by_term(w)
        y = self._arranged(cotangent).astype(of_term.dtype)
        kept, count = y.shape[: len(self.kept)], len(self.rest)
        rows = jnp.moveaxis(y.reshape(-1, *y.shape[len(kept) :]), 0, -1)
        rows = jax.lax.optimization_barrier(rows)

        def term(k: Any, total: Any) -> Any:
            at = total.at[self._term(k)[..., 0]]
            return at.add(rows * of_term[k][..., None], mode="promise_in_bounds", wrap_negative_indices=False)

        total = jnp.zeros((x.shape[self.picked.axis], rows.shape[count]), rows.dtype)
        total = jax.lax.fori_loop(0, len(self.places), term, total)
        return jnp.moveaxis(total.T.reshape(*kept, -1), -1, self.picked.axis).astype(x.dtype)

    def row_by_row(self, x: Any, y: Any) -> Any:
        """The weight's cotangent from many steps' `x` and cotangents of the result, both `[time, ...]`.

        Of what is kept one row after the other: no more of it is ever in memory than the weight has.
        """
        x = jax.vmap(self._last)(x)
        y = jax.vmap(self._arranged)(y)
        x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, *self.shape[1:])
        dtype, shape = jnp.result_type(x, y), self.picked.places.shape
        total = jnp.zeros(shape, _summed_in(dtype))

        def row(k: Any, total: Any) -> Any:
            picked = taken(x[k], self.picked.indices).astype(total.dtype)
            return total + picked * align(y[k].astype(total.dtype), self.rest, self.placed)

        total = in_turn(row, len(x), total, rows_at_once(x.dtype.itemsize * x.shape[1]))
        return jnp.transpose(total, [self.placed.index(label) for label in self.weight]).astype(dtype)

    def _last(self, x: Any) -> Any:
        """`[*kept, picked]`."""
        return jnp.moveaxis(x, self.picked.axis, -1)

    def _by_term(self, w: Any) -> Any:
        """A weight as `[terms, *rest]`, of the element type that sums are made in."""
        moved = jnp.transpose(w, [self.weight.index(label) for label in self.summed + self.rest])
        return moved.reshape(self.shape).astype(_summed_in(w.dtype))

    def _arranged(self, y: Any) -> Any:
        """A result, or its cotangent, as `[*kept, *rest]`."""
        return jnp.transpose(y, [self.output.index(label) for label in self.kept + self.rest])

    def _restored(self, y: Any) -> Any:
        """`[*kept, *rest]` in the result's order."""
        return jnp.transpose(y, [(self.kept + self.rest).index(label) for label in self.output])


def rows_at_once(nbytes: int) -> int:
    """How many rows of so many bytes one pass picks of: as many as stay near."""
    return max(1, min(AT_ONCE, NEAR // max(1, nbytes)))


def _summed_in(dtype: Any) -> Any:
    """The element type that a product adds up in."""
    return jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.inexact) else dtype


def term_by_term(body: Any) -> Any:
    """A body of a step in which products of large picked data are made term by term."""
    found = picked_sums(body)
    if not found:
        return body
    values: dict[Any, Any] = {}

    def hook(eqn: Any, operands: list[Any]) -> list[Any] | None:
        values.update((a, x) for a, x in zip(eqn.invars, operands, strict=True) if not jx.is_literal(a) and a in read)
        if id(eqn) not in found:
            return None
        summed, data = found[id(eqn)]
        with jx.made_by(eqn):
            y = summed.product(values[summed.picked.array], operands[1 - data])
            return [y.astype(eqn.outvars[0].aval.dtype)]

    read = {summed.picked.array for summed, _ in found.values()}
    return jx.retrace(body, hook)


def picked_sums(body: Any) -> dict[int, tuple[PickedSum, int]]:
    """Of each product that is made term by term how, and in which place its data stand."""
    products = [eqn for eqn in jx.equations(body) if eqn.primitive.name == "etp" and len(eqn.invars) == 2]
    atoms = [atom for eqn in products for atom in eqn.invars if not jx.is_literal(atom)]
    picked = picked_data(body, list(dict.fromkeys(atoms)))
    found: dict[int, tuple[PickedSum, int]] = {}
    for eqn in products:
        for place, atom in enumerate(eqn.invars):
            if jx.is_literal(atom) or atom not in picked or says_more(atom.aval) or not pays(picked[atom]):
                continue
            summed = PickedSum.of(picked[atom], eqn.params["expression"], place)
            if summed is not None:
                found[id(eqn)] = summed, place
    return found
