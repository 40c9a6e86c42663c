"""sum-edges: sums over the edges of a large graph become products at the positions that the edges lead to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..coupling.limits import COLOURS
from ..coupling.primitives import Constants
from ..ir import jaxpr as jx
from ..ir.expression import Expression
from ..ir.regions import STEP, make_region, with_regions
from ..ir.sparse import Pattern, rows_of, sparse_product
from ..ir.transition import Transition
from .base import Pass
from .canonicalise import without_calls
from .hoisting import Known, everywhere, is_named, of_operands

_SUMS = ("transpose", "reshape", "squeeze", "reduce_sum", "scatter-add")
"""What may lie between the products of all edges and their sums: each result is a sum of some of them."""

_COUNTABLE = 2**24
"""Positions are told apart by float32 numbers below this one."""


@dataclass(frozen=True)
class SumEdges(Pass):
    """Write a gather, a product with a parameter and a sum, over a fixed pattern, as one product.

    A trace at edges needs tables to and from the states; that of the product is at the states' own positions. In the
    step itself only where the pattern is too irregular to be followed from position to position: small ones, bands and
    blocks stay. In a branch or a loop all of them, for products alone are moved out of these.

    Before: `segment_sum(z[:, sources] * w, targets)`.  After: `einsum("bnd,nd->bn", z[:, rows], w[places])`.
    """

    name: ClassVar[str] = "sum-edges"

    params: tuple[str, ...] = ()
    """Globs of the parameters of which that is done."""

    def run(self, transition: Transition) -> Transition:
        """The transition with another `step` region, where it has such sums."""
        region = transition.region(STEP)
        if not self.params or transition.weights or region.body is None:
            return transition
        chosen = {k for k, param in enumerate(transition.params) if is_named(param, self.params)}
        step = without_calls(region.body)
        body = everywhere(step, len(transition.params), transition.frozen_places, partial(_changes, step, chosen))
        if body is step:
            return transition
        return with_regions(transition, make_region(STEP, body, region.inputs, region.outputs))


class _Sum(NamedTuple):
    """Edges that are summed up: the gather that reads positions, the product, and the equation that ends the sum."""

    gather: Any
    product: Any
    weight: int
    """The place of the weight among the product's operands."""
    end: Any
    pattern: Pattern


def _changes(
    step: Any, chosen: Collection[int], body: Any, known: Known, constants: Constants
) -> Mapping[int, jx.Change]:
    """A product in the place of each sum of the step, or of a body in it."""
    values: dict[Any, Any] = {}
    found: dict[int, jx.Change] = {}

    def kept(eqn: Any, place: int, operands: list[Any]) -> list[Any]:
        values[eqn.invars[place]] = operands[place]
        return jx.bind(eqn, *operands)

    def product(of: _Sum, _: list[Any]) -> list[Any]:
        x, weight = values[of.gather.invars[0]], values[of.product.invars[of.weight]]
        with jx.made_by(of.product):
            y = sparse_product(_einsum, x, weight.reshape(-1), of.pattern)
            return [y.astype(of.end.outvars[0].aval.dtype)]

    for of in _sums(body, known, chosen, constants, irregular=body is step):
        found[id(of.gather)] = partial(kept, of.gather, 0)
        found[id(of.product)] = partial(kept, of.product, of.weight)
        found[id(of.end)] = partial(product, of)
    return found


def _einsum(expression: Expression, x: Any, weight: Any) -> Any:
    return jnp.einsum(str(expression), x, weight)


def _sums(body: Any, known: Known, chosen: Collection[int], constants: Constants, *, irregular: bool) -> Iterator[_Sum]:
    """The sums over edges, or over `irregular` ones alone, that have a weight made of chosen parameters."""
    eqns, producers = jx.equations(body), jx.Producers(body)
    readers: dict[Any, list[Any]] = {}
    for eqn in eqns:
        for atom in dict.fromkeys(a for a in eqn.invars if not jx.is_literal(a)):
            readers.setdefault(atom, []).append(eqn)
    uses = Counter(
        [*(a for a, found in readers.items() for _ in found), *(a for a in jx.outvars(body) if not jx.is_literal(a))]
    )
    for eqn in eqns:
        if eqn.primitive.name != "mul":
            continue
        places = [k for k, on in enumerate(of_operands(eqn.invars, known)) if on]
        if len(places) != 1 or not set(known[eqn.invars[places[0]]]).issubset(chosen):
            continue
        gather = producers.producer(eqn.invars[1 - places[0]])
        if gather is None or gather.primitive.name != "gather" or constants.get(gather.invars[1]) is None:
            continue
        chain = list(_chain(eqn, readers, uses, constants))
        for count in range(len(chain), 0, -1):
            pattern = _pattern(gather, eqn, places[0], chain[:count], constants, irregular)
            if pattern is not None:
                yield _Sum(gather, eqn, places[0], chain[count - 1], pattern)
                break


def _chain(product: Any, readers: dict[Any, list[Any]], uses: Counter[Any], constants: Constants) -> Iterator[Any]:
    """The equations that only move and add up what a product gives, one after the other."""
    var = product.outvars[0]
    while uses[var] == 1 and var in readers:
        (eqn,) = readers[var]
        name = eqn.primitive.name
        if name not in _SUMS or (name == "scatter-add" and not _adds_to_nothing(eqn, var, constants)):
            return
        yield eqn
        var = eqn.outvars[0]


def _adds_to_nothing(eqn: Any, var: Any, constants: Constants) -> bool:
    """Whether an equation scatters a variable onto zeros, to places that are constant."""
    onto = eqn.invars[0]
    while (made := constants.maker(onto)) is not None and made.primitive.name == "broadcast_in_dim":
        onto = made.invars[0]
    zeros = jx.is_literal(onto) and onto.val == 0
    return zeros and eqn.invars[2] is var and constants.get(eqn.invars[1]) is not None


def _pattern(
    gather: Any, product: Any, weight: int, chain: list[Any], constants: Constants, irregular: bool
) -> Pattern | None:
    """Where the edges lead, if a batch axis by axis they read one axis and add to one; None where they do not."""
    edges, held = jx.shape_of(product.outvars[0]), jx.shape_of(product.invars[weight])
    read, added = jx.shape_of(gather.invars[0]), jx.shape_of(chain[-1].outvars[0])
    lead = len(read) - 1
    own = held[lead:] if len(held) == len(edges) and set(held[:lead]) <= {1} else held
    if jx.shape_of(gather.outvars[0]) != edges or own != edges[lead:] or added[:-1] != edges[:lead] != () or not own:
        return None
    if len(added) != lead + 1 or read[:-1] != edges[:lead] or max(math.prod(read), math.prod(added)) >= _COUNTABLE:
        return None
    with jax.ensure_compile_time_eval():
        sources = [_gathered(gather, position, constants) for position in _positions(read)]
        targets = [_sent_back(chain, edges, position, constants) for position in (*_positions(added), np.ones(added))]
    batch = _positions((*edges[:lead], math.prod(own)))[0]
    flat = [np.asarray(a).reshape(*edges[:lead], -1) for a in (*sources, *targets)]
    if not (np.array_equal(flat[0], batch) and np.array_equal(flat[2], batch) and np.all(flat[4] == 1)):
        return None
    source, target = (flat[k].reshape(-1, flat[k].shape[-1]).astype(np.int64) for k in (1, 3))
    if np.any(source != source[:1]) or np.any(target != target[:1]):
        return None
    if irregular and len(np.unique(source[0] - target[0])) <= COLOURS:
        return None
    if rows_of(target[0], added[-1]) is None:
        return None
    return Pattern(source[0], target[0], added[-1])


def _positions(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """For each entry of an array its place along the batch, which is every axis but the last, and along the last."""
    flat = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    return flat // shape[-1], flat % shape[-1]


def _gathered(gather: Any, values: np.ndarray, constants: Constants) -> Any:
    return jx.apply(gather, [jnp.asarray(values), jnp.asarray(constants.get(gather.invars[1]))])[0]


def _sent_back(chain: list[Any], shape: tuple[int, ...], values: np.ndarray, constants: Constants) -> Any:
    """What each entry of the product is sent back of some values at the sums, as a cotangent would be."""

    def run(product: Any) -> Any:
        for eqn in chain:
            indices = constants.get(eqn.invars[1]) if eqn.primitive.name == "scatter-add" else None
            zeros = jnp.zeros(jx.shape_of(eqn.invars[0]), jnp.float32)
            (product,) = jx.apply(eqn, [product] if indices is None else [zeros, jnp.asarray(indices), product])
        return product

    transposed = jax.linear_transpose(run, jax.ShapeDtypeStruct(shape, jnp.float32))
    return transposed(jnp.asarray(values, jnp.float32))[0]
