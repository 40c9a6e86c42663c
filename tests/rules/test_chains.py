"""Chains of products, `(x @ A) @ B`: two vectors under pp_prop, the product of the weights under d_rtrl."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import bptt, loss, relative_error

import etir
from etir.rules import PpProp

SHAPES = {"A": (5, 2), "B": (2, 2), "C": (2, 6), "R": (6, 2), "W0": (5, 6)}
PARAMS = {path: np.random.default_rng(k).normal(size=shape) for k, (path, shape) in enumerate(SHAPES.items())}
STATES = {"h": jnp.zeros((3, 6))}
XS, TS = (np.random.default_rng(9).normal(size=(7, 3, size)) for size in (5, 2))


def chained(params, states, x):
    low = etir.matmul(etir.matmul(etir.matmul(x, params["A"]), params["B"]), params["C"])
    h = 0.7 * states["h"] + jnp.tanh(etir.matmul(x, params["W0"]) + 0.5 * low)
    return {"h": h}, h @ params["R"]


def composed(params, states, x):
    weight = params["A"] @ params["B"] @ params["C"]
    h = 0.7 * states["h"] + jnp.tanh(etir.matmul(x, params["W0"]) + 0.5 * etir.matmul(x, weight))
    return {"h": h}, h @ params["R"]


def learner(step, rule, backend: str = "auto"):
    return etir.compile(step, PARAMS, STATES, XS[0], rule=rule, window=2, frozen="W0", backend=backend)


@pytest.mark.parametrize(
    ("rule", "backend"),
    [("pp_prop", "xla"), pytest.param(PpProp(corrected=True), "reference", marks=pytest.mark.slow)],
)
def test_two_vectors_a_weight_are_what_those_of_the_whole_product_give(rule, backend: str):
    """While weights are still, the data of a later product are those of the first one times the weights between."""
    found, wanted = (
        of.grad(loss)(PARAMS, of.init(), XS, TS).grads
        for of in (learner(chained, rule, backend), learner(composed, rule, backend))
    )
    assert all(relative_error(found[path], wanted[path]) < 1e-10 for path in "ABCR")
    entering = jax.grad(lambda p: loss(chained(p, STATES, XS[0])[1], TS[0]))(PARAMS)
    assert all(np.any(entering[path]) for path in "ABC")


def test_what_it_says():
    of = learner(chained, "pp_prop")
    assert str(of.certificate).splitlines()[1:4] == [
        "A       approximate  its trace is kept as a product of two vectors  (test_chains.py:19:35)",
        "                     its credit comes back through 'B' as it is when it is read  (test_chains.py:19:23)",
        "                     its credit comes back through 'C' as it is when it is read  (test_chains.py:19:11)",
    ]
    assert max(trace.before.type.size for trace in of.transition.plan.traces) == 3 * 6
    exact = learner(chained, "d_rtrl").certificate["B"]
    assert str(exact.reasons[0]) == (
        "every path from it to a hidden state is traced in f64[5,6], which it makes with 'A' and 'C': 720 B"
    )


def test_the_product_of_the_weights_is_exact():
    of = learner(chained, "d_rtrl")
    found = of.grad(loss)(PARAMS, of.init(), XS, TS).grads
    wanted = bptt(chained, PARAMS, STATES, (XS,), TS).grads
    assert all(relative_error(found[path], wanted[path]) < 1e-10 for path in "ABCR")
