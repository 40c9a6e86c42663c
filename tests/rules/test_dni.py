"""dni: with the derivative of all later losses for a prediction it is BPTT; else it is what its own recursion says."""

import itertools
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from learners import EXACT, differing, driver, labels_of
from learners import compiled as compiled_problem
from oracles import bptt, by_path, loss, relative_error
from problems import problem, truncated_gradients
from stages import lowered
from turns import turns

import etir
from etir.rules import Dni

ON_BOTH = pytest.mark.parametrize("backend", ["xla", "reference"])
WINDOWS = pytest.mark.parametrize("window", [1, 2, 5])
STEPS, UNITS, BATCH = 11, 4, 3


class Model(NamedTuple):
    """A step of one input, with numbers in float64 to run it on."""

    step: Any
    params: Any
    states: Any
    xs: Any
    ts: Any

    def compiled(self, rule: Any, window: int, backend: str = "xla") -> Any:
        given = self.params, self.states, self.xs[0]
        return etir.compile(self.step, *given, rule=rule, window=window, backend=backend)

    def gradient(self, learner: Any, by: Any = loss) -> dict[str, Any]:
        return by_path(learner.grad(by)(self.params, learner.init(), self.xs, self.ts).grads)

    def bptt(self, window: int | None = None) -> dict[str, Any]:
        return bptt(self.step, self.params, self.states, (self.xs,), self.ts, window=window).grads


# A perfect prediction, in closed form


def linear_step(p: Any, s: Any, x: Any) -> Any:
    h = etir.matmul(s["h"], p["A"]) + etir.matmul(x, p["W"])
    return {"h": h, "left": s["left"] - 1}, h


@cache
def linear(batch: tuple[int, ...] = ()) -> Model:
    """`h' = h A + x W`, all of `h` read out, and a count of the steps to go."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = {"A": 0.4 * jax.random.normal(keys[0], (UNITS, UNITS)), "W": jax.random.normal(keys[1], (2, UNITS))}
    states = {"h": jnp.zeros((*batch, UNITS)), "left": jnp.int32(STEPS)}
    xs = jax.random.normal(keys[2], (STEPS, *batch, 2))
    return Model(linear_step, params, states, xs, jax.random.normal(keys[3], (STEPS, *batch, UNITS)))


def powers() -> list[Any]:
    """`A^k`, by `k`."""
    matrix = np.asarray(linear().params["A"])
    return [np.linalg.matrix_power(matrix, k) for k in range(STEPS + 1)]


@pytest.mark.parametrize(
    ("batch", "window", "backend"), turns([((),), ((BATCH,),)], [1, 2, 5], ["xla", "reference"], ids=["one", "batch"])
)
def test_it_is_bptt_where_each_loss_is_linear(window: int, backend: str, batch: tuple[int, ...]):
    """A step that loses `<c, h>` has `dL/dh = sum_k A^k c` after it, over the steps `k` to go."""
    model, c = linear(batch), np.arange(1.0, UNITS + 1)
    table = jnp.asarray([sum((a @ c for a in powers()[1 : n + 1]), np.zeros(UNITS)) for n in range(STEPS)])

    def later(_: Any, s: Any) -> Any:
        return {"h": jnp.broadcast_to(table[s["left"]], s["h"].shape)}

    def total(params: Any) -> Any:
        def body(s: Any, x: Any) -> Any:
            s, y = model.step(params, s, x)
            return s, jnp.sum(y * c)

        return jax.lax.scan(body, model.states, model.xs)[1].sum()

    learner = model.compiled(Dni(predictor=later, learning_rate=0), window, backend)
    found = model.gradient(learner, lambda y, _: jnp.sum(y * c))
    assert differing(found, by_path(jax.grad(total)(model.params))) == {}
    assert labels_of(learner) == {"A": "approximate", "W": "approximate"}


@ON_BOTH
@WINDOWS
def test_it_is_bptt_where_each_loss_is_quadratic(window: int, backend: str):
    """`dL/dh = sum_k (h_k - target_k) (A^k)^T`, where `h_k` is `h A^k` and what later inputs bring: affine in `h`."""
    model = linear()
    slopes, offsets = np.zeros((STEPS, UNITS, UNITS)), np.zeros((STEPS, UNITS))
    for left in range(STEPS):
        brought = np.zeros(UNITS)
        for k in range(1, left + 1):
            at = STEPS - left + k - 1
            brought = brought @ powers()[1] + np.asarray(model.xs[at] @ model.params["W"])
            slopes[left] += powers()[k] @ powers()[k].T
            offsets[left] += (brought - np.asarray(model.ts[at])) @ powers()[k].T

    def later(p: Any, s: Any) -> Any:
        return {"h": s["h"] @ p["slopes"][s["left"]] + p["offsets"][s["left"]]}

    rule = Dni(predictor=later, initial=lambda _: {"slopes": slopes, "offsets": offsets}, learning_rate=0)
    assert differing(model.gradient(model.compiled(rule, window, backend)), model.bptt()) == {}


# A perfect prediction for any model, from a table


def cotangents(of: Any) -> dict[str, Any]:
    """The derivative of all later losses by the states after each step: by shifts that are added to them."""

    def total(shifts: Any) -> Any:
        def body(s: Any, at: Any) -> Any:
            x, t, shift = at
            s, y = of.model.step(of.model.params, s, *x)
            return jax.tree.map(jnp.add, s, shift), loss(y, t)

        return jax.lax.scan(body, of.states, (of.xs, of.ts, shifts))[1].sum()

    return by_path(jax.grad(total)(jax.tree.map(lambda s: jnp.zeros((STEPS, *s.shape), s.dtype), of.states)))


@ON_BOTH
@pytest.mark.parametrize(
    ("name", "window"),
    [("gru_reset_before_fused", 1), ("lstm", 2), ("lru", 5), ("lif_current_recurrent", 2), ("two_layer_leaky", 1)],
)
def test_it_is_bptt_of_any_model_where_the_prediction_is_right(name: str, window: int, backend: str):
    """Gates, two states a unit, complex states, spikes, two layers."""
    of = problem(name)
    table = {f"model.{path}": jnp.asarray(x) for path, x in cotangents(of).items()}

    def counted(params: Any, states: Any, *x: Any) -> Any:
        inner, y = of.model.step(params, states["model"], *x)
        return {"model": inner, "done": states["done"] + 1}, y

    rule = Dni(predictor=lambda _, s: {path: x[s["done"] - 1] for path, x in table.items()}, learning_rate=0)
    states = {"model": of.states, "done": jnp.int32(0)}
    inputs = of.model.inputs
    learner = etir.compile(counted, of.model.params, states, *inputs, rule=rule, window=window, backend=backend)
    found = driver(learner)(of.model.params, states, *of.arguments[2:])[0]
    assert differing(by_path(found), of.bptt().grads) == {}
    assert differing(of.bptt(window).grads, of.bptt().grads, 1e-3), "a model that truncation has right shows nothing"


def test_a_fixed_predictor_serves_single_steps_and_windows():
    """`jax.grad` through `learner.step` at each step, and through `learner.window`: what the driver gives."""
    model = linear()

    def later(p: Any, s: Any) -> Any:
        return {"h": jnp.sin(s["h"] @ p)}

    rule = Dni(predictor=later, initial=lambda key: jax.random.normal(key, (UNITS, UNITS)), learning_rate=0)
    learner = model.compiled(rule, 1)
    start = learner.init(key=jax.random.key(3))

    def whole(params: Any) -> Any:
        return loss(learner.window(params, start, model.xs)[1], model.ts)

    def one(params: Any, carry: Any, x: Any, t: Any) -> Any:
        carry, y = learner.step(params, carry, x)
        return loss(y, t), carry

    carry, sums = start, jax.tree.map(jnp.zeros_like, model.params)
    for x, t in zip(model.xs, model.ts, strict=True):
        grads, carry = jax.grad(one, has_aux=True)(model.params, carry, x, t)
        sums = jax.tree.map(jnp.add, sums, grads)
    driven = by_path(learner.grad(loss)(model.params, start, model.xs, model.ts).grads)
    assert differing(by_path(sums), driven) == {}
    assert differing(by_path(jax.grad(whole)(model.params)), driven) == {}
    assert differing(driven, model.bptt(1), 0.1), "a predictor that says nothing shows nothing"


# A predictor that learns


def tanh_step(p: Any, s: Any, x: Any) -> Any:
    h = jnp.tanh(etir.matmul(jnp.concatenate([x, s["h"]], -1), p["W"]))
    c = 0.5 * s["c"] + h
    return {"h": h, "c": c}, etir.matmul(h * c, p["readout"])


@cache
def nonlinear(batch: tuple[int, ...] = ()) -> Model:
    """Two hidden states of four units, and a readout that reaches neither."""
    keys = jax.random.split(jax.random.key(1), 4)
    shapes = {"W": (2 + UNITS, UNITS), "readout": (UNITS, 2)}
    params = {name: jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=False)}
    states = {"h": jnp.zeros((*batch, UNITS)), "c": jnp.zeros((*batch, UNITS))}
    xs, ts = (jax.random.normal(key, (STEPS, *batch, 2)) for key in keys[2:])
    return Model(tanh_step, params, states, xs, ts)


def own(layers: Any, states: Any) -> Any:
    """The network that the rule has of its own: states side by side, rectified layers, a linear last one."""
    x = jnp.concatenate([states["c"], states["h"]], -1)
    for w, b in layers[:-1]:
        x = jnp.maximum(x @ w + b, 0)
    x = x @ layers[-1][0] + layers[-1][1]
    return {"c": x[..., :UNITS], "h": x[..., UNITS:]}


def layers_of(vector: Any, hidden: tuple[int, ...]) -> Any:
    """The layers of the rule's own network in the trace that holds them."""
    sizes = [2 * UNITS, *hidden, 2 * UNITS]
    empty = [(jnp.zeros((n, m)), jnp.zeros(m)) for n, m in itertools.pairwise(sizes)]
    return ravel_pytree(empty)[1](vector)


def yours(params: Any, states: Any) -> Any:
    return {path: jnp.tanh(x) * params["gain"] + params["shift"] for path, x in states.items()}


def by_hand(model: Model, predict: Any, params: Any, window: int, rule: Dni) -> Any:
    """The gradient, and the predictor's parameters after the sequence: the paper's recursion, written out."""
    adam = optax.adam(rule.learning_rate)
    moments, states, sums = adam.init(params), model.states, jax.tree.map(jnp.zeros_like, model.params)
    for start in range(0, STEPS, window):
        piece = model.xs[start : start + window], model.ts[start : start + window]

        def run(weights: Any, states: Any, piece: Any = piece) -> Any:
            def body(s: Any, at: Any) -> Any:
                s, y = model.step(weights, s, at[0])
                return s, loss(y, at[1])

            states, losses = jax.lax.scan(body, states, piece)
            return losses.sum(), states

        (_, leaving), pull = jax.vjp(run, model.params, states)
        grads, bars = pull((jnp.ones(()), {k: rule.scale * c for k, c in predict(params, leaving).items()}))

        def distance(params: Any, states: Any = states, bars: Any = bars) -> Any:
            guess = predict(params, states)
            return sum(jnp.mean(jnp.sum((guess[k] - bars[k]) ** 2, -1)) for k in guess) / 2

        updates, moments = adam.update(jax.grad(distance)(params), moments, params)
        params, states = optax.apply_updates(params, updates), leaving
        sums = jax.tree.map(jnp.add, sums, grads)
    return by_path(sums), params


@pytest.mark.parametrize(
    ("options", "batch", "window", "backend"),
    turns(
        [
            ({}, ()),
            ({"hidden": (5, 3), "scale": 0.5}, (BATCH,)),
            ({"predictor": yours, "initial": lambda _: {"gain": jnp.ones(UNITS), "shift": jnp.ones(())}}, (BATCH,)),
        ],
        [1, 2, 5],
        ["xla", "reference"],
        ids=["linear", "layers", "yours"],
    ),
)
def test_its_recursion_is_the_papers(options: Any, batch: tuple[int, ...], window: int, backend: str):
    model, rule = nonlinear(batch), Dni(learning_rate=0.05, **options)
    learner = model.compiled(rule, window, backend)
    carry = learner.init(key=jax.random.key(2))
    found = learner.grad(loss)(model.params, carry, model.xs, model.ts)
    predict = rule.predictor or own
    begin = rule.initial(None) if rule.initial else layers_of(carry.traces[0], options.get("hidden", ()))
    sums, after = by_hand(model, predict, begin, window, rule)
    assert differing(by_path(found.grads), sums) == {}
    assert relative_error(found.carry.traces[0], ravel_pytree(after)[0]) < EXACT
    assert differing(sums, model.bptt(window), 1e-3), "a predictor that says nothing shows nothing"


@WINDOWS
def test_it_begins_as_truncation(window: int):
    """From zeros, and from a random hidden layer with a last one of zeros, a first window is BPTT over that window."""
    model = nonlinear()
    first = model._replace(xs=model.xs[:window], ts=model.ts[:window])
    for rule in (Dni(), Dni(hidden=5)):
        learner = model.compiled(rule, window)
        found = learner.grad(loss)(model.params, learner.init(key=jax.random.key(0)), first.xs, first.ts)
        assert differing(by_path(found.grads), first.bptt()) == {}


@pytest.mark.parametrize(("name", "window"), [("lru_pair", 1), ("gif", 2), ("noisy_counter", 5)])
def test_one_that_says_zero_is_truncation_for_ever(name: str, window: int):
    of = problem(name)
    zero = Dni(predictor=lambda _, s: {k: 0 * x for k, x in s.items() if k in hidden}, learning_rate=0)
    hidden = [k for k, x in by_path(jax.tree.map(jnp.ndim, of.states)).items() if k not in ("count", "key") and x >= 0]
    found = driver(compiled_problem(of, zero, window))(*of.arguments)[0]
    assert differing(by_path(found), truncated_gradients(name, window)) == {}


# Labels


@ON_BOTH
def test_readouts_are_exact_and_the_rest_is_not(backend: str):
    """The labels are true: so is `exact` while the predictor learns, and so is `approximate`."""
    model = nonlinear()
    learner = model.compiled(Dni(learning_rate=0.05), 2, backend)
    assert labels_of(learner) == {"W": "approximate", "readout": "exact"}
    assert list(differing(model.gradient(learner), model.bptt())) == ["W"]


STEP = """
def step(p, s, x):
    h = jnp.tanh(etir.matmul(x, p["W"]) + s["late"])
    unread = 0.5 * s["unread"] + x @ p["aside"]
    return {"h": h + s["h"], "late": h @ p["U"], "unread": unread}, h @ p["out"]
"""
TYPES = {"W": "f32[3,4]", "U": "f32[4,4]", "aside": "f32[3,4]", "out": "f32[4,2]"}
STATES = {"h": "f32[4]", "late": "f32[4]", "unread": "f32[4]"}


def test_the_reasons_of_its_labels():
    """Credit through a buffer is not predicted; what an output never shows has a prediction none the less."""
    transition = etir.analyse(lowered(STEP, TYPES, STATES, "f32[3]", buffers=("late",)))
    certificate = etir.plan(transition, "dni", window=2).certificate
    assert certificate is not None
    predicted = "credit from after the window is predicted, not computed"
    dropped = "credit through 'late', declared not hidden, is dropped"
    assert {entry.path: [str(entry.label), *map(str, entry.reasons)] for entry in certificate} == {
        "U": ["approximate", predicted, dropped],
        "W": ["approximate", predicted, dropped],
        "aside": ["approximate", predicted],
        "out": ["exact", "reaches no hidden state: its gradient needs no trace"],
    }


def test_what_no_output_shows_has_a_gradient_by_a_predictor_that_says_so():
    """Why the label of such a parameter is not `exact`."""

    def step(p: Any, s: Any, x: Any) -> Any:
        return {"h": 0.5 * s["h"] + p["a"] * x, "unread": 0.5 * s["unread"] + p["aside"] * x}, s["h"]

    params, states = {"a": jnp.ones(3), "aside": jnp.ones(3)}, {"h": jnp.zeros(3), "unread": jnp.zeros(3)}
    rule = Dni(predictor=lambda _, s: {"h": 0 * s["h"], "unread": jnp.ones(3)}, learning_rate=0)
    learner = etir.compile(step, params, states, jnp.ones(3), rule=rule)
    found = learner.grad(loss)(params, learner.init(), jnp.ones((2, 3)), jnp.ones((2, 3))).grads
    assert np.all(np.asarray(found["aside"]) == 2)
    assert labels_of(learner) == {"a": "approximate", "aside": "approximate"}
