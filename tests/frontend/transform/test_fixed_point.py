"""fixed_point: the place where an iteration comes to rest, and its derivative."""

import jax
import jax.numpy as jnp
import numpy as np

import etir


def test_the_derivative_is_that_of_the_place_and_not_of_the_way():
    with jax.enable_x64(True):
        w = 0.2 * jax.random.normal(jax.random.key(0), (3, 3))
        settle = lambda w, start: etir.transform.fixed_point(lambda x: {"x": jnp.cos(w @ x["x"])}, {"x": start})["x"]  # noqa: E731
        unrolled = lambda w: jax.lax.fori_loop(0, 100, lambda _, x: jnp.cos(w @ x), jnp.zeros(3))  # noqa: E731
        x = settle(w, jnp.zeros(3))
        assert np.allclose(x, jnp.cos(w @ x), rtol=1e-14, atol=0)
        found, of_start = jax.grad(lambda *args: jnp.sum(jnp.sin(settle(*args))), (0, 1))(w, jnp.ones(3))
        assert np.allclose(found, jax.grad(lambda w: jnp.sum(jnp.sin(unrolled(w))))(w), rtol=1e-12, atol=1e-15)
        assert not np.any(of_start)


def test_it_ends_where_it_is_told_to():
    halved = lambda **options: etir.transform.fixed_point(lambda x: x / 2, jnp.ones(()), **options)  # noqa: E731
    assert (float(halved(trips=3)), float(halved(tolerance=0.1))) == (0.125, 0.125)
