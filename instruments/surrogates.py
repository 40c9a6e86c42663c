"""Spikes and their surrogate derivatives, found in a model's step: what has a derivative only by a rule of its own."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..ir import jaxpr as jx
from ..passes.analyses.credit import Credit

Found = dict[str, tuple[jax.Array, jax.Array]]
"""Of each spike function of a step, by name and place, its value and its surrogate derivative."""

_PRIMITIVES = {"heaviside_surrogate_gradient": "heaviside"}
"""Primitives of spikes by name, which other libraries have, and what their spikes are called; of the first operand."""


class SurrogateHook:
    """A hook for `ir.jaxpr.evaluate` that keeps the value and the derivative of each spike function.

    A spike function is a `custom_jvp` or a `custom_vjp` whose own computation has derivative zero (a comparison, a
    rounding), or a primitive of spikes, as brainpy's surrogates have. Those inside `scan`, `cond` and other constructs
    are not seen. The derivative is that of the first result by the first operand of its shape, position by position.
    """

    def __init__(self, *, derivatives: bool) -> None:
        """Begin with nothing found; zeros stand for `derivatives` that are not wanted."""
        self.found: Found = {}
        self._derivatives = derivatives

    def __call__(self, eqn: Any, operands: list[Any]) -> list[Any] | None:
        """The equation's results, kept if it is a spike function; None for any other equation."""
        place = _differentiated(eqn)
        if place is None:
            return None
        results = jx.bind(eqn, *operands)
        slope = _slope(eqn, operands, place) if self._derivatives else jnp.zeros_like(results[0])
        self.found[self._name(eqn)] = results[0], slope
        return results

    def _name(self, eqn: Any) -> str:
        """The function's name and place; the second of one place is called so."""
        body = next(iter(jx.sub_jaxprs(eqn)), None)
        info = None if body is None else getattr(jx.open_jaxpr(body), "debug_info", None)
        name = str(getattr(info, "func_name", "") or _PRIMITIVES.get(eqn.primitive.name, "surrogate"))
        place = jx.location(eqn)
        whole = name if place is None else f"{name} ({place})"
        again = [known for known in self.found if known == whole or known.startswith(f"{whole} #")]
        return f"{whole} #{len(again) + 1}" if again else whole


def _differentiated(eqn: Any) -> int | None:
    """The place of the operand that a spike function is differentiated by; None for an equation that is none."""
    if eqn.primitive.name in _PRIMITIVES:
        return 0
    if not eqn.primitive.name.startswith(("custom_jvp_call", "custom_vjp_call")):
        return None
    shape = jx.shape_of(eqn.outvars[0])
    places = [k for k, x in enumerate(eqn.invars) if jx.type_of(x).carries_credit and jx.shape_of(x) == shape]
    body = next(jx.sub_jaxprs(eqn))
    if not places or not jx.type_of(eqn.outvars[0]).carries_credit:
        return None
    smooth = not Credit(body).leading_to(jx.outvars(body)).isdisjoint(jx.all_invars(body))
    return None if smooth else places[0]


def _slope(eqn: Any, operands: list[Any], place: int) -> jax.Array:
    def value(x: Any) -> Any:
        return jx.bind(eqn, *operands[:place], x, *operands[place + 1 :])[0]

    out, pull = jax.vjp(value, operands[place])
    return pull(jnp.ones_like(out))[0]
