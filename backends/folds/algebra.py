"""How the Jacobians of one unit are multiplied over time, and what they do to traces, sensitivities and credit.

Position by position where they are diagonal; on the slots that a trace is followed to where positions meet.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from ...ir.plan.contract import contraction
from ...ir.plan.links import collapsed, pick, places_in
from ...ir.plan.placement import Placement, align, as_type_of
from ...ir.plan.transfer import within

if TYPE_CHECKING:
    from ...coupling import Coupling
    from .pattern import Sweep

Pair = tuple[int, int]
"""A new state and an old one, as places among the hidden states."""

Cotangents: TypeAlias = dict[int, jax.Array]
"""One array for each state, by its place among the hidden states."""

Jacobians: TypeAlias = dict[Pair, jax.Array]

Held: TypeAlias = dict[int, jax.Array]
"""The arrays of one trace, by state."""

Passed: TypeAlias = tuple[dict[int, Any], Any]
"""What a pass gives: `P E` by state where there is any, and `<c, E>`, or None."""


def added(terms: Sequence[Any]) -> Any:
    """The sum of one array or more."""
    return reduce(operator.add, terms)


def as_multiplied(arrays: Sequence[Any]) -> int:
    """The bytes of arrays as they are multiplied: of those in fewer bits, of which that takes a copy, as float32."""
    return sum(x.size * max(x.dtype.itemsize, 4) for x in arrays)


class Algebra(ABC):
    """One unit's linear algebra. Its Jacobians and its credit have a layout of their own."""

    in_place_from: ClassVar[int] = 1 << 20
    """Traces of at least so many bytes are advanced entry by entry of their first axis: no second copy is ever held."""

    @abstractmethod
    def shape(self, group: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of credit, for a group of positions."""

    @abstractmethod
    def one(self, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """What multiplies nothing, for credit of this shape."""

    @abstractmethod
    def here(self, jacobians: Mapping[Pair, Any]) -> Jacobians:
        """A step's Jacobians, from what the plan computes of them."""

    @abstractmethod
    def arriving(self, cotangent: Any) -> Any:
        """Credit in the unit's layout, from a cotangent at the group's positions."""

    @abstractmethod
    def product(self, left: Any, right: Any) -> Any:
        """The product of two Jacobians."""

    @abstractmethod
    def pulled(self, credit: Any, jacobian: Any) -> Any:
        """Credit sent back through a Jacobian."""

    @abstractmethod
    def applied(self, sweep: Sweep, jacobian: Any, sensitivity: Any) -> Any:
        """A Jacobian times a sensitivity: at slots and output, as the trace's placement has them."""

    @abstractmethod
    def received(self, sweep: Sweep, credit: Any, sensitivity: Any) -> Any:
        """What credit makes of a sensitivity: a cotangent of the site's output."""

    @abstractmethod
    def placed(self, sweep: Sweep, x: Any) -> Any:
        """A Jacobian, or credit, as the pass over a trace takes it."""

    @abstractmethod
    def along(self, sweep: Sweep, axis: str) -> int:
        """Which axis of what `placed` gave is an axis of the output."""

    @abstractmethod
    def passed(self, sweep: Sweep, held: Held, pairs: Jacobians, credit: Cotangents | None, without: str) -> Passed:
        """`P E` by state, and `<c, E>`, of placed arrays and traces that may all lack the axis `without`."""

    # What follows from these.

    def entry(self, sweep: Sweep, placed: Any, axis: str, at: Any) -> Any:
        """One entry along an axis of the output of what `placed` gave, the same one where nothing changes along it."""
        place = self.along(sweep, axis)
        return jax.lax.dynamic_index_in_dim(placed, at if placed.shape[place] > 1 else 0, place, keepdims=False)

    def start(self, pattern: Sequence[Pair], like: Mapping[int, Any]) -> tuple[Jacobians, Cotangents]:
        """A product of no Jacobian, and no credit, in the element type that holds every state of the unit."""
        dtype = reduce(jnp.promote_types, [x.dtype for x in like.values()])
        credit = {k: jnp.zeros(self.shape(x.shape), dtype) for k, x in like.items()}
        return self.identity(pattern, credit), credit

    def identity(self, pattern: Sequence[Pair], credit: Mapping[int, Any]) -> Jacobians:
        """The product of no Jacobian, for credit of such shapes and element types."""
        one = {k: self.one(x.shape, x.dtype) for k, x in credit.items()}
        return {(i, j): one[i] if i == j else jnp.zeros_like(one[i]) for i, j in pattern}

    def times(self, product: Jacobians, here: Jacobians) -> Jacobians:
        """`product @ here`."""

        def entry(of: int, on: int) -> jax.Array:
            terms = [self.product(x, here[j, on]) for (i, j), x in product.items() if i == of and (j, on) in here]
            return added(terms).astype(product[of, on].dtype) if terms else jnp.zeros_like(product[of, on])

        return {pair: entry(*pair) for pair in product}

    def sent_back(self, credit: Cotangents, here: Jacobians, arrived: Mapping[int, Any]) -> Cotangents:
        """`credit @ here`, and what has arrived beside it at the group's positions."""

        def column(state: int) -> jax.Array:
            terms = [self.pulled(x, here[k, state]) for k, x in credit.items() if (k, state) in here]
            return added([*terms, self.arriving(arrived[state])]).astype(credit[state].dtype)

        return {k: column(k) for k in credit}

    def carried_on(self, sweep: Sweep, product: Jacobians, sensitive: Mapping[int, Any]) -> Cotangents:
        """`product @ f`, by state, at the sweep's slots."""
        found: Cotangents = {}
        for (of, on), x in product.items():
            if on in sensitive and of in sweep.states:
                term = self.applied(sweep, x, sensitive[on])
                found[of] = found[of] + term if of in found else term
        return found

    def sent(self, sweep: Sweep, credit: Cotangents, sensitive: Mapping[int, Any]) -> jax.Array:
        """`credit @ f` at the site's output."""
        terms = [self.received(sweep, credit[k], f) for k, f in sensitive.items()]
        kind = sweep.site.output.type
        if not terms:
            return jnp.zeros(kind.shape, kind.dtype)
        return as_type_of(added(terms), kind.dtype)


class OnPositions(Algebra):
    """Diagonal Jacobians: everything is an array at the group's positions."""

    def shape(self, group: tuple[int, ...]) -> tuple[int, ...]:
        """That of the group."""
        return group

    def one(self, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Ones."""
        return jnp.ones(shape, dtype)

    def here(self, jacobians: Mapping[Pair, Any]) -> Jacobians:
        """As they are."""
        return dict(jacobians)

    def arriving(self, cotangent: Any) -> Any:
        """As it is."""
        return cotangent

    def product(self, left: Any, right: Any) -> Any:
        """Position by position."""
        return left * right

    def pulled(self, credit: Any, jacobian: Any) -> Any:
        """Position by position."""
        return credit * jacobian

    def applied(self, sweep: Sweep, jacobian: Any, sensitivity: Any) -> Any:
        """Slot by slot."""
        return sweep.placement.gather(jacobian) * sensitivity

    def received(self, sweep: Sweep, credit: Any, sensitivity: Any) -> Any:
        """Slot by slot, summed over them."""
        return sweep.placement.summed_slots(sweep.placement.gather(credit), sensitivity)

    def placed(self, sweep: Sweep, x: Any) -> Any:
        """At slots and output, as the trace's placement has them."""
        return sweep.placement.gather(x)

    def along(self, sweep: Sweep, axis: str) -> int:
        """The output's own."""
        return sweep.placement.output.index(axis)

    def passed(self, sweep: Sweep, held: Held, pairs: Jacobians, credit: Cotangents | None, without: str) -> Passed:
        """Slot by slot."""
        layout = sweep.placement
        output, trace = layout.output.replace(without, ""), layout.trace.replace(without, "")
        found: dict[int, Any] = {}
        for (of, on), x in pairs.items():
            term = align(x, output, trace) * held[on]
            found[of] = found[of] + term if of in found else term
        if credit is None:
            return found, None
        return found, contraction(layout, [held[k] for k in credit], list(credit.values()), without)


class OnSlots(Algebra):
    """Jacobians between the slots of a reach: small matrices `[*output, slots, slots]`, credit `[*output, slots]`.

    Axes of the output along which the slots' positions do not change have size one: a dense recurrence has one matrix
    for each sample, one that is dense in blocks one for each block.
    """

    in_place_from: ClassVar[int] = 1 << 26  # beside its products, a copy takes little time

    def __init__(self, placement: Placement, couplings: Mapping[Pair, Coupling]) -> None:
        """Prepare for traces on this placement's reach."""
        self.placement, self.couplings = placement, dict(couplings)
        self.own = collapsed(placement.positions)
        rows = np.arange(self.own[..., 0].size).reshape(self.own.shape[:-1])
        self.row = np.broadcast_to(rows, placement.positions.shape[:-1])
        self.direct = Placement(placement.association)
        self.slot_of = places_in(placement.followed, self.direct.followed)

    def shape(self, group: tuple[int, ...]) -> tuple[int, ...]:
        """That of the slots."""
        del group
        return self.own.shape

    def one(self, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        """Unit matrices."""
        return jnp.broadcast_to(jnp.eye(shape[-1], dtype=dtype), (*shape, shape[-1]))

    def here(self, jacobians: Mapping[Pair, Any]) -> Jacobians:
        """Their entries on the slots."""
        return {pair: within(self.placement, self.couplings[pair], x) for pair, x in jacobians.items()}

    def arriving(self, cotangent: Any) -> Any:
        """At the slots."""
        return pick(cotangent, self.own)

    def product(self, left: Any, right: Any) -> Any:
        """Matrix by matrix."""
        return left @ right

    def pulled(self, credit: Any, jacobian: Any) -> Any:
        """Row by matrix."""
        return (credit[..., None, :] @ jacobian)[..., 0, :]

    def applied(self, sweep: Sweep, jacobian: Any, sensitivity: Any) -> Any:
        """The columns of the slots that the output feeds, times what it feeds them."""
        size = self.own.shape[-1]
        new = np.arange(size).reshape(-1, *[1] * self.row.ndim)
        columns = [np.where(old >= 0, (self.row * size + new) * size + old, -1) for old in self.slot_of]
        terms = [pick(jacobian, c) * f for c, f in zip(columns, self.direct.slots_first(sensitivity), strict=True)]
        return sweep.placement.from_slots_first(added(terms))

    def received(self, sweep: Sweep, credit: Any, sensitivity: Any) -> Any:
        """The credit of the slots that the output feeds, times what it feeds them."""
        size = self.own.shape[-1]
        at = [np.where(slot >= 0, self.row * size + slot, -1) for slot in self.slot_of]
        terms = [pick(credit, index) * f for index, f in zip(at, self.direct.slots_first(sensitivity), strict=True)]
        return added(terms)

    def placed(self, sweep: Sweep, x: Any) -> Any:
        """As it is."""
        return x

    def along(self, sweep: Sweep, axis: str) -> int:
        """The output's own, without slots."""
        return sweep.site.expression.output.index(axis)

    def passed(self, sweep: Sweep, held: Held, pairs: Jacobians, credit: Cotangents | None, without: str) -> Passed:
        """One product a trace: its credit is a further row of the Jacobians that it is multiplied by."""
        layout, found, read = sweep.placement, dict[int, Any](), list[Any]()
        labels = layout.trace.replace(without, "")
        rest = labels.replace(layout.slot, "")
        for on, trace in held.items():
            rows = {of: x for (of, at), x in pairs.items() if at == on}
            stacked = [*rows.values(), *([] if credit is None else [credit[on][..., None, :]])]
            if not stacked:
                continue
            whole = _spread(layout, jnp.concatenate(stacked, axis=-2), trace, labels, without)
            for k, of in enumerate(rows):
                term = whole[k * layout.slots : (k + 1) * layout.slots]
                term = jnp.moveaxis(term, 0, labels.index(layout.slot)) if layout.slot else term[0]
                found[of] = found[of] + term if of in found else term
            read.append(whole[-1])
        if credit is None:
            return found, None
        kind = sweep.site.weight.value.type
        return found, as_type_of(jnp.einsum(f"{rest}->{layout.weight}", added(read)), kind.dtype)


def _spread(layout: Placement, matrix: Any, trace: Any, labels: str, without: str) -> Any:
    """Rows `[*output, rows, slots]` times a trace with these labels: `[rows, *rest]`."""
    output = layout.association.site.expression.output.replace(without, "")
    kept = [axis for axis, size in enumerate(matrix.shape[:-2]) if size > 1]
    matrix = matrix.reshape([*(matrix.shape[axis] for axis in kept), *matrix.shape[-2:]])
    row, slot = [label for label in "XYZxyz" if label not in labels + output][:2]
    own = labels.replace(layout.slot, slot) if layout.slot else slot + labels
    within, rest = "".join(output[axis] for axis in kept), own.replace(slot, "")
    return jnp.einsum(f"{within}{row}{slot},{own}->{row}{rest}", matrix, trace if layout.slot else trace[None])
