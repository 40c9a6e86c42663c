"""Programs as maps: what is done position by position, on vectors of any length, and what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from etir.backends.folds.maps import Map
from etir.ir import jaxpr as jx

SHAPE = (2, 3)


def array(key: int, *shape: int) -> Any:
    return jax.random.normal(jax.random.key(key), shape, jnp.float32)


def map_of(program: Any, operands: int, *given: Any) -> Any:
    return Map.of(jx.trace(program, *given)[0], operands)


@jax.custom_jvp
def spike(v: Any) -> Any:
    return (v > 0).astype(v.dtype)


spike.defjvp(lambda primals, tangents: (spike(*primals), tangents[0] / (1 + jnp.abs(primals[0])) ** 2))


def gate(h: Any, x: Any, tau: Any, scale: Any) -> Any:
    """Derivatives of a step that reads a row for all samples, a number, and calls of every kind."""

    def step(h: Any) -> Any:
        kept = jax.nn.sigmoid(jnp.where(x > 0, h, 2.0 * x)) * jnp.exp(-1 / tau)
        return kept * jnp.tanh(h) + spike(h - 1.0) * scale

    out, pull = jax.vjp(step, h)
    return [pull(jnp.ones_like(out))[0], jax.nn.sigmoid(x) + jnp.zeros_like(h), jnp.ones_like(h)]


def test_a_map_is_its_program_on_flat_positions():
    steps, given = 4, (array(2, 3) ** 2 + 1, jnp.float32(0.3))
    h, x = array(0, steps, *SHAPE), array(1, steps, *SHAPE)
    found = map_of(gate, 2, h[0], x[0], *given)
    varying, fixed = found.laid_out([h, x], given)
    assert [a.shape for a in varying] == [(steps, *SHAPE)] * 2
    assert [a.shape for a in fixed] == [SHAPE] * 2
    assert not {"jit", "custom_jvp_call"} & {eqn.primitive.name for eqn in found.equations}
    flat = found([a[1].reshape(-1) for a in varying], [a.reshape(-1) for a in fixed], jnp.zeros(6, jnp.float32))
    for mine, wanted in zip(flat, gate(h[1], x[1], *given), strict=True):
        np.testing.assert_allclose(mine.reshape(SHAPE), wanted, rtol=1e-6)


def test_what_never_changes_takes_no_history():
    def program(h: Any, tau: Any) -> Any:
        return [jnp.full_like(h, 0.9), jnp.broadcast_to(jnp.exp(-tau), SHAPE)]

    found = map_of(program, 1, array(0, *SHAPE), jnp.float32(0.0))
    assert (found.varying, len(found.fixed)) == ((), 1)
    varying, fixed = found.laid_out([jnp.zeros((5, *SHAPE))], [jnp.float32(0.0)])
    like = jnp.zeros(SHAPE, jnp.float32)
    np.testing.assert_array_equal(found(varying, fixed, like), [like + 0.9, like + 1])


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (lambda h: jnp.tanh(h) + jnp.roll(jnp.tanh(h), 1, -1), "kernels do no slice position by position"),
        (lambda h: jnp.exp(h) / jnp.exp(h).sum(), "kernels do no reduce_sum position by position"),
        (
            lambda h: (jnp.tanh(h) * 4).astype(jnp.int32).astype(h.dtype),
            "its derivatives are made of int32; wanted float32",
        ),
        (lambda h: jnp.tanh(h).astype(jnp.bfloat16), "its derivatives are made of bfloat16; wanted float32"),
        (lambda h: jnp.tanh(h)[0, 0], "its derivatives are not all at the same positions"),
        (lambda h: jax.scipy.special.gammaln(jnp.tanh(h)), "kernels do no lgamma position by position"),
    ],
)
def test_what_is_no_map_says_why(program: Any, why: str):
    assert map_of(lambda h: [program(h)], 1, array(0, *SHAPE)) == why
