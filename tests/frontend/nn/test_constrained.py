"""Constrained weights: their limits, compilation and back, and what is refused."""

import jax
import jax.numpy as jnp
import pytest
from oracles import relative_error
from snippets import expected, message_of

import etir
from etir import nn, transform


def test_it_is_trained_free_and_used_within_its_limits():
    decay = nn.Constrained(jnp.array([0.1, 0.9]))
    assert jnp.allclose(decay.constrained, jnp.array([0.1, 0.9]))
    decay.value = decay.value + 100
    assert float(decay.constrained.max()) <= 1
    threshold = nn.Constrained(1.0, to="positive")
    threshold.value = threshold.value - 50
    assert 0 < float(threshold.constrained) < 1e-20
    assert jnp.allclose(nn.Constrained(0.5, to=jnp.tanh).value, jnp.arctanh(0.5))
    cubed = nn.Constrained(8.0, to=lambda x: x**3, inverse=jnp.cbrt)
    assert jnp.allclose(jnp.stack([cubed.value, cubed.constrained]), jnp.array([2.0, 8.0]))


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_compiling_and_decompiling_are_inverse(kind: str):
    model = nn.Sequential(nn.LIB(4), nn.LIB(4))
    model.layers[0].decay.value = jnp.array([-30.0, 0.0, 9.0, 25.0], kind)  # two that sigmoid rounds to its limits
    free = {path: state.value for path, state in model.states(etir.ParamState).items()}
    x = jnp.linspace(0, 3, 4).astype(kind)
    before = [model(x) for _ in range(3)]
    nn.zero_states(nn.compile_params(model))
    assert nn.compile_params(model).layers[0].decay.compiled
    assert all((a == b).all() for a, b in zip(before, [model(x) for _ in range(3)], strict=True))
    nn.decompile_params(nn.decompile_params(model))
    assert all((state.value == free[path]).all() for path, state in model.states(etir.ParamState).items())


def test_what_was_changed_while_compiled_is_inverted():
    decay = nn.Constrained(jnp.array([0.2, 0.5, 0.9], jnp.float32))
    model = {"decay": decay}
    nn.compile_params(model)
    decay["constrained"] = decay["constrained"].at[1].set(0.75)
    nn.decompile_params(model)
    assert jnp.abs(decay.constrained - jnp.array([0.2, 0.75, 0.9])).max() < 1e-6
    saved, other = nn.save_states(nn.compile_params(model), ...), {"decay": nn.Constrained(jnp.full(3, 0.5, "float32"))}
    nn.decompile_params(nn.load_states(nn.compile_params(other), saved))
    assert jnp.abs(other["decay"].value - decay.inverse(decay.constrained)).max() < 1e-6


def test_inference_computes_no_transform():
    model = nn.LIB(4)

    def primitives() -> str:
        return str(jax.make_jaxpr(lambda: model.decay.constrained * 1)())

    assert "logistic" in primitives()
    nn.compile_params(model)
    assert "logistic" not in primitives()


def test_a_program_traced_before_is_traced_again():
    weight = nn.Constrained(0.25)
    read = transform.jit(lambda: weight.constrained)
    assert jnp.allclose(read(), 0.25)
    nn.compile_params({"w": weight})
    assert jnp.allclose(read(), 0.25)
    nn.decompile_params({"w": weight})
    assert jnp.allclose(read(), 0.25)


def test_it_compiles_under_a_transform_too():
    weight = nn.Constrained(0.25)
    transform.jit(lambda: nn.compile_params({"w": weight}) and None)()
    assert weight.compiled
    transform.jit(lambda: nn.decompile_params({"w": weight}) and None)()
    assert jnp.allclose(weight.constrained, 0.25)


def test_gradients_are_of_the_free_value():
    class Cell(nn.Module):
        def __init__(self) -> None:
            self.leak = nn.Constrained(jnp.array([0.3, 0.8]))
            self.h = etir.HiddenState(jnp.zeros(2))

        def update(self, x):
            self.h.value = etir.scale(self.h.value, self.leak.constrained) + x
            return self.h.value

    xs = jax.random.normal(jax.random.key(0), (6, 2))
    learner = etir.compile(Cell(), xs[0], window=2)
    assert str(learner.certificate["leak"].label) == "exact"

    def by_hand(free):
        h, total = jnp.zeros(2), 0.0
        for x in xs:
            h = jax.nn.sigmoid(free) * h + x
            total += jnp.sum(h**2)
        return total

    found = learner.grad(lambda y: jnp.sum(y**2))(learner.params, learner.init(), xs).grads
    assert relative_error(found["leak"], jax.grad(by_hand)(learner.params["leak"])) < 1e-12


MISTAKES = {
    'nn.Constrained(0.5, to="unit_intervall")': """
        model.py:1:1: error: there is no constraint 'unit_intervall' [constraint-name]
          nn.Constrained(0.5, to="unit_intervall")
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: did you mean 'unit_interval'?
    """,
    "nn.Constrained(0.5, to=jnp.sin)": """
        model.py:1:1: error: the inverse of the constraint 'sin' is not known, and the first value is given as it is used [constraint-inverse]
          nn.Constrained(0.5, to=jnp.sin)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: give it: Constrained(init, to=sin, inverse=...)
    """,  # noqa: E501
    "nn.Constrained(1.5)": """
        model.py:1:1: error: a first value 1.5 is outside what the constraint 'unit_interval' gives [constraint-range]
          nn.Constrained(1.5)
          ^^^^^^^^^^^^^^^^^^^
          help: give a first value strictly inside its limits
    """,
    "w = nn.compile_params({'w': nn.Constrained(0.5, name='w')})['w']\ntransform.grad(lambda: w.constrained, w)()": """
        model.py:2:1: error: weight 'w' is compiled for inference, and what it holds is not what is trained [compiled-weight]
          transform.grad(lambda: w.constrained, w)()
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:29: weight 'w' is declared here
          help: call nn.decompile_params(model) first
    """,  # noqa: E501
    "nn.GRU(3, 4)(jnp.ones((2, 5)))": """
        model.py:1:1: error: GRU takes 3 features along axis -1, and was given f64[2,5] [layer-input]
          nn.GRU(3, 4)(jnp.ones((2, 5)))
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: make the layer for as many features as it gets, or say with dim= along which axis they are
    """,
    "nn.LIF(3)([1.0, 2.0, 3.0])": """
        model.py:1:1: error: LIF takes 3 features along axis -1, and was given something of type list [layer-input]
          nn.LIF(3)([1.0, 2.0, 3.0])
          ^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: make the layer for as many features as it gets, or say with dim= along which axis they are
    """,
    "layer = nn.LIF(3)\nlayer(jnp.ones(3))\nlayer(jnp.ones((5, 3)))": """
        model.py:3:1: error: LIF was given f64[5,3], and state 'V' is f64[3], of another batch [layer-state]
          layer(jnp.ones((5, 3)))
          ^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:9: state 'V' is declared here
          help: nn.zero_states(model) before another batch; a layer that is used twice takes one shape
    """,
    'nn.GRU(3, 4, reset="befor")': """
        model.py:1:1: error: GRU: reset='befor'; wanted 'after' or 'before' [layer-option]
          nn.GRU(3, 4, reset="befor")
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^
    """,
    "nn.MLSTM(3, 5, heads=2)": """
        model.py:1:1: error: MLSTM: size=5 does not divide into heads=2 [layer-option]
          nn.MLSTM(3, 5, heads=2)
          ^^^^^^^^^^^^^^^^^^^^^^^
    """,
    "nn.Conv(1, 2, 3)": """
        model.py:1:1: error: Conv: window=3; wanted a size for each of one to three dimensions, such as (3, 3) [layer-option]
          nn.Conv(1, 2, 3)
          ^^^^^^^^^^^^^^^^
    """,  # noqa: E501
    "nn.SparseLinear(3, 2, [(0, 0), (2, 2)])": """
        model.py:1:1: error: SparseLinear: index (2, 2) is outside [3, 2] [layer-option]
          nn.SparseLinear(3, 2, [(0, 0), (2, 2)])
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    """,
}  # fmt: skip


@pytest.mark.parametrize("source", MISTAKES)
def test_mistakes(source: str):
    assert message_of(source) == expected(MISTAKES[source])


def test_a_compiled_model_does_not_learn():
    model = nn.compile_params(nn.LIB(4))
    with pytest.raises(etir.EtirError, match=r"weight 'threshold' is compiled for inference.*\[compiled-weight\]"):
        etir.compile(model, jnp.ones(4))
