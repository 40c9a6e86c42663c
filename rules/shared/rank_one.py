"""A sum of two products as one random product of the same mean: the signs and the scales that stochastic rules use.

`(p a + c r b) (x) (a' / p + c b' / r)` with a random sign `c` has the mean `a (x) a' + b (x) b'` for all `p` and `r`
that do not depend on the sign; both sides are as long as each other where the variance is least.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...ir.types import TensorType
from ...ir.values import Value
from ..writer import Writer

_KEY = TensorType("uint32", (2,))


def random_signs(plan: Writer, types: Sequence[TensorType]) -> tuple[Value, ...]:
    """Arrays of independent signs, 1 or -1 with equal odds, of these types, anew at every step.

    A complex type gets a sign in each of its two parts. The key is a trace of the rule's own, which begins as a part of
    the key given to `learner.init`.
    """
    key = plan.trace(_KEY, f"the key of {plan.rule.name}'s random signs", "key", start=jax.random.key_data)
    hints = ["key_next", *["nu"] * len(types)]
    after, *signs = plan.apply(lambda raw: _drawn(raw, types), key, name="signs", hints=hints)
    plan.carry(key, after)
    return tuple(signs)


def _drawn(raw: Any, types: Sequence[TensorType]) -> list[Any]:
    """The next key, and the signs that the last one gives: one bit a sign."""
    sizes = [kind.size * (1 + kind.is_complex) for kind in types]
    words = jax.random.bits(jax.random.wrap_key_data(raw, impl="threefry2x32"), (2 + -(-sum(sizes) // 32),), jnp.uint32)
    bits = ((words[2:, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1).reshape(-1)
    found, start = [words[:2]], 0
    for kind, size in zip(types, sizes, strict=True):
        found.append(_as_type(2 * bits[start : start + size].astype("int8") - 1, kind))
        start += size
    return found


def _as_type(signs: Any, kind: TensorType) -> Any:
    if not kind.is_complex:
        return signs.astype(kind.dtype).reshape(kind.shape)
    real, imaginary = signs.astype(jnp.finfo(kind.dtype).dtype).reshape(2, *kind.shape)
    return jax.lax.complex(real, imaginary)


def length(arrays: Sequence[Any], axes: Sequence[int] | None = None) -> Any:
    """The Euclidean norm of some arrays together, in float32 at least; for each index of `axes`, one axis an array."""
    dtype = jnp.result_type(jnp.float32, *(x.real.dtype for x in arrays))
    squares: list[Any] = []
    for k, array in enumerate(arrays):
        others = None if axes is None else tuple(n for n in range(array.ndim) if n != axes[k])
        parts = (array.real, array.imag) if jnp.iscomplexobj(array) else (array,)
        squares += [jnp.sum(jnp.square(part.astype(dtype)), others) for part in parts]
    return jnp.sqrt(sum(squares[1:], squares[0]))


def scales(left: Any, right: Any) -> tuple[Any, Any]:
    """The factors that give both sides of a product one length, from the lengths of the two; their product is one.

    Where either side is zero the product is, and both factors are zero: nothing of the other side stays as noise.
    """
    some = (left > 0) & (right > 0)
    roots = [jnp.sqrt(jnp.where(some, x, 1)) for x in (left, right)]
    return jnp.where(some, roots[1] / roots[0], 0), jnp.where(some, roots[0] / roots[1], 0)


def mixed(a: Any, left: Any, b: Any, right: Any) -> Any:
    """`a left + b right`, computed in float32 at least, as the type of `left`."""
    wide = jnp.result_type(left.dtype, jnp.float32)
    return (a * left.astype(wide) + b * right.astype(wide)).astype(left.dtype)
