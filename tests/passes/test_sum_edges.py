"""sum-edges: gathers, products and sums over an irregular pattern as one product; regular ones are left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import bptt, loss, relative_error

import etir

N, DEGREE, BATCH = 60, 3, 2
DRAW = np.random.default_rng(0)
SOURCES, TARGETS = DRAW.integers(0, N, N * DEGREE), np.repeat(np.arange(N), DEGREE)
ORDER = DRAW.permutation(N * DEGREE)


def gathered(z, w):
    return jnp.sum(z[:, SOURCES.reshape(N, DEGREE)] * w.reshape(N, DEGREE), -1)


def in_order(z, w):
    return jax.ops.segment_sum((z[:, SOURCES] * w).T, TARGETS, N, indices_are_sorted=True).T


def permuted(z, w):
    parts = z[:, SOURCES[ORDER]] * w
    return jax.vmap(lambda e: jax.ops.segment_sum(e, TARGETS[ORDER], N))(parts)


def twice_read(z, w):
    parts = z[:, SOURCES.reshape(N, DEGREE)] * w.reshape(N, DEGREE)
    return jnp.sum(parts, -1) + parts[..., 0]


def ring(z, w):
    return jnp.sum(z[:, (np.arange(N)[:, None] + np.arange(DEGREE)) % N] * w.reshape(N, DEGREE), -1)


def step_of(drive):
    def step(params, states, x):
        h = 0.5 * states["h"] + drive(jnp.tanh(x), params["w"]) + 0.1 * drive(jax.nn.relu(states["h"]), params["u"])
        return {"h": h}, h

    return step


PARAMS = {path: jnp.asarray(DRAW.normal(size=N * DEGREE)) for path in ("u", "w")}
STATES = {"h": jnp.zeros((BATCH, N))}
XS, TS = DRAW.normal(size=(5, BATCH, N)), DRAW.normal(size=(5, BATCH, N))


@pytest.mark.parametrize(
    ("drive", "sites"),
    [
        (gathered, ["product"] * 2),
        (in_order, ["product"] * 2),
        (permuted, ["product"] * 2),
        (twice_read, ["identity"] * 2),
        (ring, ["identity"] * 2),
    ],
)
def test_what_becomes_a_product(drive, sites):
    step = step_of(drive)
    transition = etir.analyse(etir.lower(step, PARAMS, STATES, XS[0]), "auto")
    assert [site.operation for site in transition.sites] == sites
    body = etir.ir.jaxpr.function(transition.region("step").body)
    found, _ = body(*PARAMS.values(), STATES["h"] + 1.0, XS[0])
    assert relative_error(found, step(PARAMS, {"h": STATES["h"] + 1.0}, XS[0])[0]["h"]) < 1e-12


def test_gradients():
    """One window of all steps is BPTT; over windows the weight of the inputs, whose way to the outputs is not mixed."""
    step = step_of(lambda z, w: permuted(jax.lax.stop_gradient(z), w))
    learner = etir.compile(step, PARAMS, STATES, XS[0], window=2, sites="auto")
    found = learner.grad(loss)(PARAMS, learner.init(), XS, TS).grads
    wanted = bptt(step, PARAMS, STATES, (XS,), TS).grads
    assert {str(learner.certificate[path].label) for path in PARAMS} == {"exact"}
    assert all(relative_error(found[path], wanted[path]) < 1e-10 for path in PARAMS)


def test_a_weight_that_is_not_asked_for_stays():
    lowered = etir.lower(step_of(gathered), PARAMS, STATES, XS[0])
    assert [site.operation for site in etir.analyse(lowered, ["w"]).sites] == ["product"]
    assert not etir.analyse(lowered).sites


def scanned(of):
    return lambda h: jax.lax.scan(lambda h, _: (of(h), None), h, None, length=3)[0]


def branched(of):
    return lambda h: jax.lax.cond(jnp.sum(h) > 0, of, lambda h: 0.5 * of(h), h)


@pytest.mark.parametrize("construct", [scanned, branched])
@pytest.mark.parametrize("drive", [gathered, permuted, ring])
def test_sums_in_loops_and_branches_are_products_too(construct, drive):
    def step(params, states, x):
        h = construct(lambda h: 0.9 * h + 0.1 * jnp.tanh(drive(x, params["w"])))(states["h"])
        return {"h": h}, h

    params = {"w": PARAMS["w"]}
    learner = etir.compile(step, params, STATES, XS[0], window=2, sites="auto")
    found = learner.grad(loss)(params, learner.init(), XS, TS).grads
    assert str(learner.certificate["w"].label) == "exact"
    assert relative_error(found["w"], bptt(step, params, STATES, (XS,), TS).grads["w"]) < 1e-10
