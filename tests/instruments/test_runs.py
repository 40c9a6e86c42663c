"""Stateless and stateful runs: what a sequence begins with, and what passes from one piece to the next."""

import jax
import jax.numpy as jnp
import numpy as np

import etir


def step(params, states, x):
    h = 0.9 * states["h"] + jnp.tanh(etir.matmul(x, params["W"]))
    return {"h": h}, h


PARAMS = {"W": jax.random.normal(jax.random.key(0), (3, 4))}
XS = jax.random.normal(jax.random.key(1), (20, 3))


def loss(y):
    return jnp.sum(y**2)


@jax.jit
def bptt(params, h, xs):
    """The summed loss, and the last state."""
    h, ys = jax.lax.scan(lambda h, x: (step(params, {"h": h}, x)[0]["h"], step(params, {"h": h}, x)[1]), h, xs)
    return jnp.sum(ys**2), h


def test_stateful_pieces_have_the_gradient_of_the_whole_and_stateless_ones_their_own():
    learner = etir.compile(step, PARAMS, {"h": jnp.zeros(4)}, XS[0], window=3)
    gradient = learner.grad(loss)
    pieces = [XS[:8], XS[8:]]
    carry, stateful = learner.init(), []
    for piece in pieces:
        result = gradient(PARAMS, carry, piece)
        carry, stateful = result.carry, [*stateful, result.grads["W"]]
    whole = jax.grad(lambda p: bptt(p, jnp.zeros(4), XS)[0])(PARAMS)["W"]
    np.testing.assert_allclose(sum(stateful), whole, rtol=1e-10)
    np.testing.assert_allclose(carry.states["h"], bptt(PARAMS, jnp.zeros(4), XS)[1], rtol=1e-12)
    for piece in pieces:
        alone = gradient(PARAMS, learner.init(), piece).grads["W"]
        wanted = jax.grad(lambda p, xs=piece: bptt(p, jnp.zeros(4), xs)[0])(PARAMS)["W"]
        np.testing.assert_allclose(alone, wanted, rtol=1e-10)
    detached = jax.grad(lambda p: bptt(p, jax.lax.stop_gradient(bptt(PARAMS, jnp.zeros(4), XS[:8])[1]), XS[8:])[0])
    assert float(jnp.abs(stateful[1] - detached(PARAMS)["W"]).max()) > 1e-2  # what a detached state would have lost
