"""Layers with states against the zoo's models of the same name, which share no line with them: labels and gradients."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from oracles import relative_error

import etir
from etir import nn, zoo

STEPS, BATCH, INPUTS, SIZE = 6, 2, 3, 4


class Twin(NamedTuple):
    """A layer, the zoo's model of it, and the labels that it must get under D-RTRL."""

    make: Callable[[], nn.Module]
    zoo: str
    labels: Mapping[str, str]
    names: Mapping[str, str] = {}
    """The zoo's names of parameters that the layer has another path for."""


def behind(neuron: Callable[[], nn.Module], bias: bool = True) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(INPUTS, SIZE, bias=bias), neuron())


def labelled(label: str, paths: str) -> dict[str, str]:
    return dict.fromkeys(paths.split(), label)


DENSE = {"layers.0.w": "W", "layers.0.b": "b", "layers.1.U": "U"}
COMPLEX = "B_re B_im C_re C_im D"

TWINS = {
    "rnn": Twin(lambda: nn.RNN(INPUTS, SIZE), "rnn_vanilla", labelled("approximate", "W U b")),
    "gru": Twin(lambda: nn.GRU(INPUTS, SIZE), "gru_reset_after", labelled("approximate", "Wz Uz bz Wr Ur br Wh Uh bh")),
    "gru before": Twin(
        lambda: nn.GRU(INPUTS, SIZE, reset="before"),
        "gru_reset_before",
        labelled("approximate", "Wz Uz bz Wh Uh bh") | labelled("truncated", "Wr Ur br"),
    ),
    "lstm": Twin(lambda: nn.LSTM(INPUTS, SIZE), "lstm", labelled("approximate", "Wi Ui bi Wf Uf bf Wg Ug bg Wo Uo bo")),
    "mgu": Twin(lambda: nn.MGU(INPUTS, SIZE), "mgu", labelled("approximate", "Wf Uf bf Wh Uh bh")),
    "min gru": Twin(lambda: nn.MinGRU(INPUTS, SIZE), "min_gru", labelled("exact", "Wz bz Wh bh")),
    "min lstm": Twin(lambda: nn.MinLSTM(INPUTS, SIZE), "min_lstm", labelled("exact", "Wf bf Wi bi Wh bh")),
    "lru": Twin(lambda: nn.LRU(INPUTS, SIZE, 2), "lru", labelled("exact", f"nu theta gamma_log {COMPLEX}")),
    "s5": Twin(lambda: nn.S5(INPUTS, SIZE, 2), "s5", labelled("exact", f"Lambda_re Lambda_im log_step {COMPLEX}")),
    "s6": Twin(lambda: nn.S6(INPUTS, SIZE), "mamba", labelled("exact", "A_log D WB WC Wd bd")),
    "mlstm": Twin(lambda: nn.MLSTM(INPUTS, SIZE, heads=2), "mlstm", labelled("exact", "Wq Wk Wv Wi bi Wf bf Wo bo")),
    "lif": Twin(behind(lambda: nn.LIF(SIZE), bias=False), "lif_delta", labelled("exact", "layers.0.w"), DENSE),
    "current lif": Twin(
        behind(lambda: nn.CurrentLIF(SIZE), bias=False), "lif_current", labelled("exact", "layers.0.w"), DENSE
    ),
    "current lif, recurrent": Twin(
        behind(lambda: nn.CurrentLIF(SIZE, recurrent=True), bias=False),
        "lif_current_recurrent",
        labelled("approximate", "layers.0.w layers.1.U"),
        DENSE,
    ),
    "alif": Twin(behind(lambda: nn.ALIF(SIZE, decay=0.85)), "alif", labelled("exact", "layers.0.w layers.0.b"), DENSE),
    "alif, recurrent": Twin(
        behind(lambda: nn.ALIF(SIZE, decay=0.85, recurrent=True)),
        "alif_recurrent",
        labelled("approximate", "layers.0.w layers.0.b layers.1.U"),
        DENSE,
    ),
}


def zoo_run(twin: Twin, params: Mapping[str, Any], xs: jax.Array) -> jax.Array:
    """The outputs of the zoo's model with the layer's parameters, its readout the identity."""
    case, given = zoo.case(twin.zoo), {twin.names.get(path, path): value for path, value in params.items()}
    sizes = zoo.Sizes(inputs=INPUTS, hidden=SIZE)
    if "C_re" not in given:
        given |= dict.fromkeys(("readout", "Wo") if twin.zoo == "mamba" else ("readout",), jnp.eye(SIZE))
    if twin.zoo == "mamba":
        given["Wo"] = jnp.eye(INPUTS)
    states = case.initial(sizes, (BATCH,), xs.dtype)
    return jax.lax.scan(lambda s, x: case.step(given, s, x), states, xs)[1]


def inputs() -> jax.Array:
    """Large enough that spiking neurons spike."""
    return 0.3 + 1.5 * jax.random.normal(jax.random.key(1), (STEPS, BATCH, INPUTS))


@pytest.mark.parametrize("name", TWINS)
def test_a_layer_is_the_zoos_model_and_learns_as_its_docstring_says(name: str):
    twin, xs = TWINS[name], inputs()
    etir.random.seed(1)
    exact = set(twin.labels.values()) == {"exact"}
    learner = etir.compile(twin.make(), xs[0], window=2 if exact else STEPS, on_truncated="ignore")
    assert {label.path: str(label.label) for label in learner.certificate} == twin.labels

    def total(ys: jax.Array) -> jax.Array:
        return jnp.sum((ys - 0.3) ** 2)

    wanted_ys, backwards = jax.vjp(lambda params: zoo_run(twin, params, xs), learner.params)
    wanted = backwards(jax.grad(total)(wanted_ys))[0]
    assert relative_error(learner.predict(xs=xs)[1], wanted_ys) < 1e-12
    found = learner.grad(total)(learner.params, learner.init(), xs).grads
    assert all(jnp.linalg.norm(gradient) > 0 for gradient in wanted.values())
    errors = {path: relative_error(found[path], wanted[path]) for path in wanted}
    assert max(errors.values()) < 1e-10, errors


def lib(v: Any, x: Any, decay: Any, threshold: Any) -> Any:
    v = decay * v + x
    s = nn.triangular_spike(v - threshold)
    return v - threshold * s, s


def test_lib_is_its_equation_and_its_two_constants_are_exact():
    etir.random.seed(0)
    model, xs = behind(lambda: nn.LIB(SIZE, decay=0.8))(), inputs()
    learner = etir.compile(model, xs[0], window=2)
    assert {str(label.label) for label in learner.certificate} == {"exact"}

    def by_hand(p: Mapping[str, Any]) -> jax.Array:
        decay, threshold = jax.nn.sigmoid(p["layers.1.decay"]), jax.nn.softplus(p["layers.1.threshold"])
        drive = xs @ p["layers.0.w"] + p["layers.0.b"]
        return jax.lax.scan(lambda v, x: lib(v, x, decay, threshold), jnp.zeros((BATCH, SIZE)), drive)[1]

    target = jnp.linspace(0, 1, SIZE)
    spikes = by_hand(learner.params)
    assert 0 < float(spikes.mean()) < 1
    assert (learner.predict(xs=xs)[1] == spikes).all()
    wanted = jax.grad(lambda p: jnp.sum((by_hand(p) - target) ** 2))(learner.params)
    found = learner.grad(lambda y: jnp.sum((y - target) ** 2))(learner.params, learner.init(), xs).grads
    for path, gradient in wanted.items():
        assert jnp.linalg.norm(gradient) > 0
        assert relative_error(found[path], gradient) < 1e-10


def test_a_leaky_readout_is_a_filtered_product_and_its_leak_may_learn():
    etir.random.seed(0)
    model, xs = nn.LeakyReadout(INPUTS, 2, leak=nn.Constrained(0.7)), inputs()
    learner = etir.compile(model, xs[0], window=2)
    assert {str(label.label) for label in learner.certificate} == {"exact"}

    def by_hand(p: Mapping[str, Any]) -> jax.Array:
        y, ys = jnp.zeros((BATCH, 2)), []
        for x in xs:
            ys.append(y := jax.nn.sigmoid(p["leak"]) * y + x @ p["W"] + p["b"])
        return jnp.stack(ys)

    wanted = jax.grad(lambda p: jnp.sum(by_hand(p) ** 2))(learner.params)
    found = learner.grad(lambda y: jnp.sum(y**2))(learner.params, learner.init(), xs).grads
    assert max(relative_error(found[path], wanted[path]) for path in wanted) < 1e-10


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "gru": lambda dim: nn.GRU(INPUTS, SIZE, dim=dim),
    "lstm": lambda dim: nn.LSTM(INPUTS, SIZE, dim=dim),
    "s5": lambda dim: nn.S5(INPUTS, SIZE, 2, dim=dim),
    "s6": lambda dim: nn.S6(INPUTS, SIZE, dim=dim),
    "mlstm": lambda dim: nn.MLSTM(INPUTS, SIZE, heads=2, dim=dim),
    "lib": lambda dim: nn.LIB(INPUTS, dim=dim),
    "alif": lambda dim: nn.ALIF(INPUTS, recurrent=True, dim=dim),
}


@pytest.mark.parametrize("name", LAYERS)
def test_along_another_axis_all_others_are_a_batch(name: str):
    images = jax.random.normal(jax.random.key(0), (3, 2, INPUTS, 2, 5))
    ys = []
    for dim, xs in ((-3, images), (1, images), (-1, jnp.moveaxis(images, 2, -1).reshape(3, 20, INPUTS))):
        etir.random.seed(0)
        layer = LAYERS[name](dim)
        y = jnp.stack([layer(x) for x in xs])
        ys.append(jnp.moveaxis(y, 2, -1).reshape(3, 20, -1) if dim != -1 else y)
    assert jnp.abs(ys[0] - ys[2]).max() < 1e-12
    assert (ys[0] == ys[1]).all()


def test_states_take_the_shape_of_the_input_with_their_own_axis_in_its_place():
    layer = nn.GRU(INPUTS, SIZE, dim=-3)
    assert not layer.h.is_set
    assert layer(jnp.ones((2, INPUTS, 5, 6))).shape == layer.h.varshape == (2, SIZE, 5, 6)
    assert nn.zero_states(layer)(jnp.ones((INPUTS, 5, 6))).shape == layer.h.varshape == (SIZE, 5, 6)
    memory = nn.MLSTM(INPUTS, SIZE, heads=2, dim=0)
    assert memory(jnp.ones((INPUTS, 5))).shape == (SIZE, 5)
    assert (memory.C.varshape, memory.n.varshape, memory.m.varshape) == ((5, 2, 2, 2), (5, 2, 2), (2, 5))


def test_a_state_is_of_the_type_that_it_leaves_with():
    for of_input, of_weights, kind in ((jnp.bfloat16, jnp.float32, "float32"), (jnp.float64, jnp.float32, "float64")):
        layer = nn.LSTM(2, 3)
        for weight in layer.states(etir.ParamState).values():
            weight.value = weight.value.astype(of_weights)
        etir.transform.for_loop(layer, jnp.ones((2, 2), of_input))
        assert {str(state.value.dtype) for state in layer.states(etir.HiddenState).values()} == {kind}


def test_exact_along_another_axis():
    etir.random.seed(0)
    model, xs = nn.LIB(INPUTS, dim=-3), 0.5 + jax.random.normal(jax.random.key(0), (5, 2, INPUTS, 2, 2))
    learner = etir.compile(model, xs[0], window=2)
    wanted = jax.grad(lambda p: jnp.sum(learner.predict(p, None, xs)[1] ** 2))(learner.params)
    found = learner.grad(lambda y: jnp.sum(y**2))(learner.params, learner.init(), xs).grads
    assert {str(label.label) for label in learner.certificate} == {"exact"}
    assert max(relative_error(found[path], wanted[path]) for path in wanted) < 1e-10


def test_step_by_step_along_another_axis_a_carry_is_known_to_be_its_own():
    """At full optimisation, where XLA computes this state twice if it may, and the two round otherwise."""
    etir.random.seed(0)
    model, xs = nn.LRU(3, 4, 3, dim=0), jax.random.normal(jax.random.key(1), (4, 3, 4, 2))
    learner = etir.compile(model, xs[0])

    def loss(params: Any, carry: Any, x: Any) -> Any:
        carry, y = learner.step(params, carry, x)
        return jnp.sum(y**2), carry

    options = {"xla_backend_optimization_level": 3}
    options |= {"xla_cpu_use_fusion_emitters": True} if version("jaxlib").startswith("0.10.") else {}
    step = jax.jit(jax.grad(loss, has_aux=True), compiler_options=options)
    carry, total = learner.init(), jax.tree.map(jnp.zeros_like, learner.params)
    for x in xs:
        grads, carry = step(learner.params, carry, x)
        assert (carry.states["h"] == carry.cut["h"]).all()
        total = jax.tree.map(jnp.add, total, grads)
    wanted = jax.grad(lambda p: jnp.sum(learner.predict(p, None, xs)[1] ** 2))(learner.params)
    assert max(relative_error(total[path], wanted[path]) for path in wanted) < 1e-10
