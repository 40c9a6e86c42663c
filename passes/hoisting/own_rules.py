"""Products with weights in functions that have a derivative rule of their own, outside them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from ...ir.operations.call import call_operation
from ...ir.operations.convolution import CONVOLUTION, convolve
from ...ir.operations.lookup import looked_up
from ...ir.weight_operations import apply_expression, identity
from ..analyses.products import product_expression
from ..canonicalise import without_calls
from .uses import Enter, Reached, Wanted, inputs_of, needed, run, weight_operands

OWN_RULES = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "call_hi_primitive")
"""The primitives that stand for functions with a derivative rule of their own."""


class OwnRule:
    """One call of a function that has its own derivative rule, cut where that rule multiplies weights.

    What the rule makes of small changes of the operands is a linear function of these, `push`. The products in it with
    changes of weights become sites, with the same data, which no credit flows into; the function takes their results
    as further operands, which its value does not depend on, and its derivative does, as `push` says. Products with
    changes of other operands stand apart too, so that what is held is they alone; their values are zeros.
    """

    def __init__(self, eqn: Any, operands: Sequence[Reached], wanted: Wanted, enter: Enter) -> None:
        """Find the products in the derivative of an equation whose operands are made of these parameters."""
        del enter  # what the rule is made of is seen when the rule is traced
        self.eqn = eqn
        self.smooth = [k for k, atom in enumerate(eqn.invars) if jx.type_of(atom).carries_credit]
        self.results = [k for k, var in enumerate(eqn.outvars) if jx.type_of(var).carries_credit]
        marked = weight_operands(eqn, operands)
        self.weights = {k for k in self.smooth if (of := operands[k]) and (k in marked or wanted(of))}
        self.products: list[Any] = []
        self.direct: list[Any] = []
        """Changes made of those of weights alone that are used in no product."""
        known = all(of is not None for of in operands)
        self.push = None if known or not self.weights or not self.results else _push(eqn, self.smooth, self.results)
        if self.push is not None:
            self._find()

    @property
    def uses_weights(self) -> bool:
        """Whether there are products with weights at all."""
        return any(self._change(eqn) in self.alone for eqn in self.products)

    def _find(self) -> None:
        changes = dict(zip(self.smooth, jx.argument_vars(self.push)[len(self.eqn.invars) :], strict=True))
        self.changing = set(changes.values())
        """Variables of the push that are linear functions of changes of operands."""
        self.alone = {changes[k] for k in self.weights}
        """Those of changes of weights, and of nothing else."""
        used: set[Any] = set(jx.outvars(self.push))
        constants = set(jx.all_invars(self.push)) - set(jx.argument_vars(self.push))
        for eqn in jx.equations(self.push):
            read = {atom for atom in eqn.invars if not jx.is_literal(atom)}
            if read.isdisjoint(self.changing):
                continue
            self.changing.update(eqn.outvars)
            if read & self.alone and read <= self.alone | constants:
                self.alone.update(eqn.outvars)
            elif len(read & self.changing) == 1 and (product_expression(eqn) is not None or self._is_use(eqn)):
                self.products.append(eqn)
            else:
                used |= read
        self.direct = [var for var in self.alone if var in used]

    def _is_use(self, eqn: Any) -> bool:
        """Whether an equation convolves data with a change of weights, or looks rows of one up."""
        if eqn.primitive.name == CONVOLUTION:
            return eqn.invars[1] in self.alone and eqn.params["batch_group_count"] == 1
        return eqn.primitive.name == "gather" and eqn.invars[0] in self.alone and looked_up(eqn) is not None

    def _change(self, eqn: Any) -> Any:
        """The operand of a product that is a change."""
        return next(atom for atom in eqn.invars if not jx.is_literal(atom) and atom in self.changing)

    def change(self, operands: Sequence[Any]) -> list[Any]:
        """The results."""
        apart = {var: identity(self._weight(var, operands)) for var in self.direct}
        for eqn in self.products:
            (var,), of = eqn.outvars, self._change(eqn)
            if of in self.alone:
                apart[var] = self._product(eqn, self._weight(of, operands), operands)
            else:
                nothing = partial(jnp.zeros, jx.shape_of(var), var.aval.dtype)
                (apart[var],) = self._ruled(lambda *_, zeros=nothing: [zeros()], [var], [0])(operands, apart)
        call = lambda *operands: jx.bind(self.eqn, *operands)  # noqa: E731
        return self._ruled(call, jx.outvars(self.push), self.results)(operands, apart)

    def _weight(self, var: Any, operands: Sequence[Any]) -> Any:
        """What the push makes of weights in the place of their changes: a linear function of them."""
        return run(self.push, [*operands, *(operands[k] for k in self.smooth)], {}, [var])[0]

    def _product(self, eqn: Any, weight: Any, operands: Sequence[Any]) -> Any:
        """The site that a product with a change of weights stands for."""
        place = next(k for k, atom in enumerate(eqn.invars) if atom is self._change(eqn))
        fixed = [*map(jax.lax.stop_gradient, operands), *(None for _ in self.smooth)]
        (data,) = run(self.push, fixed, {}, [eqn.invars[1 - place]])
        if eqn.primitive.name == CONVOLUTION:
            return convolve(eqn.params, data, weight, call_operation)
        if (look := looked_up(eqn)) is not None:
            return look.by(call_operation, [weight, data])
        expression = product_expression(eqn)
        assert expression is not None
        params = {"precision": eqn.params.get("precision")}
        params["preferred"] = eqn.params.get("preferred", eqn.params.get("preferred_element_type"))
        pair = [weight, data] if place == 0 else [data, weight]
        return apply_expression("product", expression, *pair, **params).astype(eqn.outvars[0].aval.dtype)

    def _ruled(
        self, value: Callable[..., list[Any]], targets: Sequence[Any], places: Sequence[int]
    ) -> Callable[[Sequence[Any], Mapping[Any, Any]], list[Any]]:
        """A function of operands and of what stands apart: `value`, with these derivatives at these of its results."""

        def function(operands: Sequence[Any], apart: Mapping[Any, Any]) -> list[Any]:
            given, beside = list(apart), list(apart.values())
            free = [k for k in self.smooth if k not in self.weights]
            kept = self._kept(targets, given)

            def forward(operands: list[Any], beside: list[Any]) -> Any:
                fixed = [*operands, *(None for _ in self.smooth)]
                return value(*operands), run(self.push, fixed, {}, kept)

            def backward(kept_values: list[Any], cotangents: list[Any]) -> Any:
                of_operands, of_apart = self._pull(targets, given, free, dict(zip(kept, kept_values, strict=True)))(
                    [cotangents[k] for k in places]
                )
                bars = dict(zip(free, of_operands, strict=True))
                return [bars.get(k) for k in range(len(operands))], of_apart

            ruled = jax.custom_vjp(lambda operands, beside: value(*operands))
            ruled.defvjp(forward, backward)
            return ruled(list(operands), beside)

        return function

    def _kept(self, targets: Sequence[Any], given: Collection[Any]) -> list[Any]:
        """What the changes of some variables are computed with that is no change: known where the function is run."""
        changed = self.changing
        read = inputs_of(self.push, list(targets), given)
        reading = [eqn for eqn in needed(jx.equations(self.push), targets, given) if changed & set(eqn.outvars)]
        constants = set(jx.all_invars(self.push)) - set(jx.argument_vars(self.push))
        atoms = dict.fromkeys(atom for eqn in reading for atom in eqn.invars if not jx.is_literal(atom))
        return [atom for atom in atoms if atom in read and atom not in changed and atom not in constants]

    def _pull(
        self, targets: Sequence[Any], given: Sequence[Any], free: Sequence[int], kept: Mapping[Any, Any]
    ) -> Callable[[list[Any]], Any]:
        """From cotangents of some variables of the push to those of its free changes, and of what is given."""
        nothing: list[Any] = [None] * len(self.eqn.invars)

        def push(changes: list[Any], beside: list[Any]) -> list[Any]:
            at = dict(zip(free, changes, strict=True))
            known = dict(kept) | dict(zip(given, beside, strict=True))
            return run(self.push, [*nothing, *(at.get(k) for k in self.smooth)], known, targets)

        structs = [jx.struct_of(self.eqn.invars[k]) for k in free], [jx.struct_of(var) for var in given]
        return jax.linear_transpose(push, *structs)


def _push(eqn: Any, smooth: Sequence[int], results: Sequence[int]) -> Any:
    """A jaxpr from an equation's operands and changes of the smooth ones to those of some results.

    It is the transpose of the pull-back, which every rule has; None where that cannot be transposed: such a rule is no
    derivative, or is written with what JAX does not transpose.
    """

    def push(operands: list[Any], changes: list[Any]) -> Any:
        arguments = list(operands)

        def apply(*floats: Any) -> list[Any]:
            for k, value in zip(smooth, floats, strict=True):
                arguments[k] = value
            found = jx.bind(eqn, *arguments)
            return [found[k] for k in results]

        _, pull = jax.vjp(apply, *(operands[k] for k in smooth))
        return jax.linear_transpose(pull, [jx.struct_of(eqn.outvars[k]) for k in results])(tuple(changes))[0]

    structs = [jx.struct_of(atom) for atom in eqn.invars], [jx.struct_of(eqn.invars[k]) for k in smooth]
    try:
        return without_calls(jx.trace(push, *structs)[0])
    except Exception:  # what JAX says of such a rule belongs to where it is used
        return None
