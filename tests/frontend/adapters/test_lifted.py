"""Modules of nnx whose step goes through nnx's own transforms, which give every Variable back."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import etir


def scaled(module, h, x):
    return jnp.tanh(module.scale[...] * h + module.dense(x))


def looped(module, h, x):
    return nnx.fori_loop(0, 2, lambda _, carry: (carry[0], scaled(*carry, x)), (module, h))[1]


def branched(module, h, x):
    return nnx.cond(x.sum() > 0, scaled, lambda module, h, x: h, module, h, x)


def scanned(module, h, x):
    take = nnx.scan(lambda h, module, x: (scaled(module, h, x), h), in_axes=(nnx.Carry, None, None), length=2)
    return take(h, module, x)[0]


class Net(nnx.Module):
    def __init__(self, lifted):
        self.dense = nnx.Linear(3, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        self.scale = nnx.Variable(jnp.full(4, 0.5, jnp.float64))
        self.h = nnx.Variable(jnp.zeros((2, 4), jnp.float64))
        self.lifted = lifted

    def __call__(self, x):
        self.h[...] = self.lifted(self, self.h[...], x)
        return self.h[...]


LIFTED = {
    "remat": nnx.remat(scaled),
    "jit": nnx.jit(scaled),
    "cond": branched,
    "fori_loop": looped,
    "scan": scanned,
}


@pytest.mark.parametrize("name", LIFTED)
def test_what_a_transform_gives_back_as_it_was_is_neither_written_nor_hidden(name: str):
    model, xs = Net(LIFTED[name]), jax.random.normal(jax.random.key(0), (5, 2, 3), jnp.float64)
    learner = etir.compile(model, xs[0], rule="rtrl", window=2)
    graph, weights, rest = nnx.split(model, nnx.Param, ...)

    def whole(weights):
        fresh = nnx.merge(graph, weights, jax.tree.map(jnp.copy, rest))
        return sum(jnp.sum(fresh(x) ** 2) for x in xs)

    wanted = jax.grad(whole)(weights)["dense"]
    found = learner.grad(lambda h: jnp.sum(h**2))(learner.params, learner.init(), xs).grads
    assert [s.path for s in learner.transition.hidden] == ["h"]
    assert {str(entry.label) for entry in learner.certificate} == {"exact"}
    for leaf in ("kernel", "bias"):
        assert jnp.allclose(found[f"dense.{leaf}"], wanted[leaf].get_value(), rtol=1e-10, atol=1e-12)


def test_a_weight_that_a_transform_writes_is_refused():
    @nnx.jit
    def grown(module, h, x):
        module.dense.bias[...] += 1
        return scaled(module, h, x)

    with pytest.raises(etir.EtirError, match=r"the step writes 'dense\.bias', which"):
        etir.compile(Net(grown), jnp.ones((2, 3), jnp.float64))
