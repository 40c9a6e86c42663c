"""sparse_matmul and JAX's own sparse products: values, labels, traces as large as the data, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO, BCSR
from oracles import bptt, loss, relative_error
from snippets import message_of

import etir

DRAW = np.random.default_rng(0)
DENSE = np.where(DRAW.random((5, 6)) < 0.5, DRAW.normal(size=(5, 6)), 0.0)
CROSS = np.where((np.arange(5)[:, None] == 0) | (np.arange(6) == 0), 1.0, 0.0)
"""A matrix one of whose columns is full: its columns make no rows of one length."""
ENTRIES = int(np.count_nonzero(DENSE))
XS, TS = DRAW.normal(size=(6, 3, 5)), DRAW.normal(size=(6, 3, 6))


def rebuilt(of, data):
    return BCOO((data, of.indices), shape=of.shape) if isinstance(of, BCOO) else BCSR((data, of.indices, of.indptr), shape=of.shape)  # fmt: skip # noqa: E501


CASES = {
    "BCOO, padded": (BCOO.fromdense(DENSE, nse=ENTRIES + 2), lambda w, x: etir.sparse_matmul(x, w)),
    "BCSR on the left": (BCSR.fromdense(DENSE.T), lambda w, x: etir.sparse_matmul(w, x.T).T),
    "a full column": (BCOO.fromdense(CROSS), lambda w, x: etir.sparse_matmul(x, w)),
    "x @ bcoo": (BCOO.fromdense(DENSE), lambda w, x: x @ w),
    "bcsr @ x": (BCSR.fromdense(DENSE.T), lambda w, x: (w @ x.T).T),
    "x @ bcoo.T": (BCOO.fromdense(DENSE.T), lambda w, x: x @ w.T),
    "vmap of bcoo @ x": (BCOO.fromdense(DENSE.T), lambda w, x: jax.vmap(lambda x: w @ x)(x)),
    "BCOO, transposed": (BCOO.fromdense(DENSE.T), lambda w, x: etir.sparse_matmul(x, w.T)),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str):
    of, product = CASES[name]
    dense = of.todense() if of.shape == (5, 6) else of.todense().T
    assert relative_error(product(of, jnp.asarray(XS[0])), XS[0] @ dense) < 1e-12

    def step(params, states, x):
        h = 0.9 * states["h"] + jnp.tanh(product(rebuilt(of, params["data"]), x))
        return {"h": h}, h

    params, states = {"data": of.data}, {"h": jnp.zeros((3, 6))}
    learner = etir.compile(step, params, states, XS[0], window=2, sites="auto" if "@" in name else "explicit")
    assert str(learner.certificate["data"].label) == "exact"
    assert sum(trace.before.type.size for trace in learner.transition.plan.traces) <= 3 * 2 * of.nse
    found = learner.grad(loss)(params, learner.init(), XS, TS).grads["data"]
    assert relative_error(found, bptt(step, params, states, (XS,), TS).grads["data"]) < 1e-10


def test_a_pattern_that_is_a_parameter_is_not_followed():
    def step(params, states, x):
        h = 0.9 * states["h"] + jnp.tanh(etir.sparse_matmul(x, params["w"]))
        return {"h": h}, h

    params = {"w": BCOO.fromdense(DENSE)}
    lowered = etir.lower(step, params, {"h": jnp.zeros((3, 6))}, XS[0])
    assert [str(label.label) for label in etir.plan(etir.analyse(lowered)).certificate] == ["truncated"]


def test_two_arrays_are_refused():
    source = """
    import etir
    etir.sparse_matmul(jnp.ones(3), jnp.ones((3, 4)))
    """
    assert message_of(source) == (
        "model.py:2:1: error: etir.sparse_matmul got an array of shape (3,) and an array of shape (3, 4); "
        "wanted a sparse matrix and an array [sparse-operand]\n"
        "  etir.sparse_matmul(jnp.ones(3), jnp.ones((3, 4)))\n"
        "  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "  help: make a BCOO or a BCSR of two axes, without batch or dense axes, of data and constant indices"
    )
