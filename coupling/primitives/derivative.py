"""Operations with a derivative rule of their own: `custom_jvp`, `custom_vjp`, and primitives that JAX does not know.

Their primal says nothing about the derivative: a surrogate spike's is zero where the surrogate's is not, a
straight-through estimator rounds and passes its cotangent on, a backward pass may normalise and so mix positions. So
the rule itself is traced, as a pull-back, and the structure of what it does to cotangents is transposed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax

from ...ir import jaxpr as jx
from .context import Context, Couplings, Rule, carries, couples_everything


def by_pullback(eqn: Any, context: Context) -> Couplings:
    """The couplings of an equation whose derivative rule JAX knows, from its vector-Jacobian product.

    A derivative in which the same primitive stands again, as in a transform that is its own transpose, says nothing.
    """
    if eqn.primitive in context.unfolded:
        return couples_everything(eqn, context)
    try:
        body, cotangents = pullback(eqn, context)
    except Exception:  # a rule that refuses reverse mode refuses here too, and its own message belongs to its use
        return couples_everything(eqn, context)
    # Cotangents alone are followed: a rule may well evaluate its own operation on the operands.
    nothing = [None] * len(jx.argument_vars(body))
    found = context.analyse(body, nothing, range(cotangents), unfolding=eqn.primitive)
    rows = iter(found)
    by_operand = [next(rows)[:cotangents] if carries(atom) else [None] * cotangents for atom in eqn.invars]
    by_output = iter(zip(*by_operand, strict=True))
    return [
        [None if c is None else c.transpose() for c in next(by_output)] if carries(var) else [None] * len(eqn.invars)
        for var in eqn.outvars
    ]


def pullback(
    eqn: Any, context: Context, by: Collection[int] | None = None, of: Collection[int] | None = None
) -> tuple[Any, int]:
    """A jaxpr from cotangents and free operands to operand cotangents, and how many cotangents there are.

    Of all results that carry a derivative and by all such operands, or of and by those at these places alone. Raises
    whatever JAX says where it has no such derivative.
    """
    values = [context.value(atom) for atom in eqn.invars]
    free = [k for k, value in enumerate(values) if value is None or carries(eqn.invars[k])]
    smooth = [k for k in free if carries(eqn.invars[k]) and (by is None or k in by)]
    outputs = [k for k, var in enumerate(eqn.outvars) if carries(var) and (of is None or k in of)]

    def pull(cotangents: list[Any], operands: list[Any]) -> Any:
        arguments: list[Any] = list(values)
        for k, operand in zip(free, operands, strict=True):
            arguments[k] = operand

        def apply(*floats: Any) -> list[Any]:
            for k, value in zip(smooth, floats, strict=True):
                arguments[k] = value
            results = jx.bind(eqn, *arguments)
            return [results[k] for k in outputs]

        return jax.vjp(apply, *(arguments[k] for k in smooth))[1](cotangents)

    structs = [jx.struct_of(eqn.outvars[k]) for k in outputs], [jx.struct_of(eqn.invars[k]) for k in free]
    return jx.trace(pull, *structs)[0], len(outputs)


RULES: dict[str, Rule] = {
    "custom_jvp_call": by_pullback,
    "custom_vjp_call": by_pullback,
    "custom_vjp_call_jaxpr": by_pullback,
    "custom_lin": couples_everything,
}
