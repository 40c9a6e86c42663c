"""Arrays with no elements are arrays like any other, wherever the user's functions may hold one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import etir

STEPS, WINDOW = 5, 2
PARAMS = {"W": jnp.full((3, 4), 0.1), "Z": jnp.ones((0, 4)), "E": jnp.ones((3, 0))}


def output(params, states, x):
    h = 0.9 * states["h"] + etir.matmul(x, params["W"])
    return {"h": h}, (h, jnp.zeros((0,)))


def data(params, states, x):
    h = 0.9 * states["h"] + etir.matmul(x, params["W"]) + etir.matmul(x[:0], params["Z"])
    return {"h": h}, (h, h[:0])


def layer(params, states, x):
    h = 0.9 * states["h"] + etir.matmul(x, params["W"])
    e = 0.5 * states["e"] + etir.matmul(x, params["E"])
    return {"h": h, "e": e}, (h, e)


def part(params, states, x):
    """A weight without elements is put beside what reaches the state."""
    rows = jnp.concatenate([etir.matmul(x, params["W"])[None], etir.bias(jnp.zeros((0, 4)), params["Z"])])
    h = 0.9 * states["h"] + rows[0]
    return {"h": h}, (h, h[:0])


STATES = {
    output: {"h": jnp.zeros(4)},
    data: {"h": jnp.zeros(4)},
    part: {"h": jnp.zeros(4)},
    layer: {"h": jnp.zeros(4), "e": jnp.zeros(0)},
}


def plain(params, states, x):
    h = 0.9 * states["h"] + etir.matmul(x, params["W"])
    return {"h": h}, (h, h[:0])


def loss(y, t):
    return jnp.sum((y[0] - t) ** 2), {"nothing": y[1], "all": y[0]}


CASES = [
    *((step, "d_rtrl", window, "xla") for step in STATES for window in (1, WINDOW)),
    *((layer, rule, WINDOW, "xla") for rule in ("pp_prop", "rtrl", "bptt")),
    (output, "d_rtrl", WINDOW, "reference"),
    (layer, "d_rtrl", WINDOW, "reference"),
]


@pytest.mark.parametrize(("step", "rule", "window", "backend"), CASES)
def test_sizes_of_zero_change_nothing(step, rule, window, backend):
    xs, ts = jax.random.normal(jax.random.key(0), (STEPS, 3)), jnp.ones((STEPS, 4))
    optimizer = optax.sgd(0.1)

    def run(step, states):
        options = {"rule": rule, "backend": backend, "window": window, "on_truncated": "ignore"}
        learner = etir.compile(step, PARAMS, states, xs[0], **options)
        drive, train = learner.grad(loss), learner.train(loss, optimizer)
        result = drive(PARAMS, learner.init(), xs, ts)
        trained = train(PARAMS, optimizer.init(PARAMS), learner.init(), xs, ts)
        carry, ys = learner.window(PARAMS, learner.init(), xs)
        assert result.aux["nothing"].shape == trained.aux["nothing"].shape == ys[1].shape == (STEPS, 0)
        assert jax.tree.map(jnp.shape, (result.grads, trained.params)) == (jax.tree.map(jnp.shape, PARAMS),) * 2
        through = jax.grad(lambda p: jax.vmap(loss)(learner.window(p, learner.init(), xs)[1], ts)[0].sum())(PARAMS)
        return result.grads["W"], trained.params["W"], through["W"], carry.states["h"], ys[0], result.aux["all"]

    for mine, wanted in zip(run(step, STATES[step]), run(plain, {"h": jnp.zeros(4)}), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-12)
