"""Layers that learn online without being asked: their labels, and gradients beside BPTT."""

import jax
import jax.numpy as jnp
import numpy as np
from oracles import relative_error

import etir
from etir import nn

EDGES = np.array([[0, 1], [2, 1], [1, 3], [0, 2]])


class Cell(nn.Module):
    def __init__(self) -> None:
        self.low = nn.LoRA(3, 4, 2, alpha=4, base=nn.Linear(3, 4))
        self.wired = nn.SparseLinear(3, 4, EDGES)
        self.norm = nn.LayerNorm(4)
        self.h = etir.HiddenState(jnp.zeros((2, 4)))

    def update(self, x):
        self.h.value = 0.8 * self.h.value + jnp.tanh(self.low(x) + self.norm(self.wired(x)))
        return self.h.value


def test_labels_and_gradients():
    etir.random.seed(0)
    cell = Cell()
    cell.low.b.value = etir.random.randn(2, 4)
    xs = jax.random.normal(jax.random.key(0), (7, 2, 3))
    learner = etir.compile(cell, xs[0], window=2, frozen="low.base.*")
    assert {label.path: str(label.label) for label in learner.certificate} == {
        "low.a": "exact", "low.b": "exact", "low.base.b": "frozen", "low.base.w": "frozen", "norm.b": "exact",
        "norm.w": "exact", "wired.b": "approximate", "wired.w": "approximate",
    }  # fmt: skip
    params, loss = learner.params, lambda y: jnp.sum(y**2)
    found = learner.grad(loss)(params, learner.init(), xs).grads
    wanted = jax.grad(lambda p: jnp.sum(learner.predict(p, None, xs)[1] ** 2))(params)
    for path in ("low.a", "low.b", "norm.w", "norm.b"):
        assert relative_error(found[path], wanted[path]) < 1e-10


def test_a_sparse_layer_is_a_masked_dense_one():
    layer, x = nn.SparseLinear(3, 4, EDGES), jax.random.normal(jax.random.key(0), (2, 3))
    layer.b.value = jnp.arange(4.0)
    dense = jnp.zeros((3, 4)).at[EDGES[:, 0], EDGES[:, 1]].add(layer.w.value)
    assert relative_error(layer(x), x @ dense + layer.b.value) < 1e-12
