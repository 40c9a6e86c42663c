"""Kernel 4, interpreted: a history's Jacobians and sensitivities made where it is swept, and never stored."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import etir
from etir.backends import Pallas, kernels
from etir.backends.folds.history import Stretch, in_one_loop
from etir.backends.pallas.target import takes_references
from etir.backends.reverse import Run
from etir.rules import EProp

interpreted = pytest.mark.skipif(not takes_references(), reason="this JAX interprets no kernels for a GPU")
INPUTS = 3


def adaptive(params: Any, states: Any, x: Any) -> Any:
    """A voltage that forgets at a learned rate and a threshold that adapts; both derivatives move."""
    drive = etir.matmul(x, params["w"]) + etir.matmul(jnp.tanh(states["v"]), params["u"])
    z = jax.nn.sigmoid(states["v"] - states["a"])
    v = jnp.exp(-1 / params["tau"]) * states["v"] * (1 - z) + jnp.tanh(drive)
    return {"v": v, "a": 0.8 * states["a"] + 0.2 * z * v}, v


def model(batch: int, units: int) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(units)

    def array(*shape: int) -> Any:
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    params = {"w": array(INPUTS, units), "u": array(units, units) * 0.3, "tau": array(units) ** 2 + 1}
    return params, {key: array(batch, units) for key in "va"}, array(batch, INPUTS)


def units_of(batch: int, units: int, **options: Any) -> tuple[Any, Any]:
    """The one unit as the backend of kernels has it, and the run's constants."""
    params, states, x = model(batch, units)
    learner = etir.compile(adaptive, params, states, x, backend="pallas", window=4, on_truncated="ignore", **options)
    program = learner._engine.program
    (unit,) = program.sweeps.units
    assert program.kept == list(dict.fromkeys(program.sweeps.needs)), "D and f are kept"
    assert set(unit.kept).isdisjoint(unit.linear)
    run = Run(learner._engine.calls, jax.tree.leaves(params))
    return unit, run.constants


def differences(steps: int, batch: int, units: int, credited: bool) -> float:
    unit, constants = units_of(batch, units)
    random = np.random.default_rng(steps)

    def array(*shape: int) -> Any:
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    record = {v: array(steps, *v.type.shape) for v in unit.kept}
    arriving = {k: array(steps, *unit.group.shape) for k in unit.states} if credited else None
    like = {k: jnp.zeros(unit.group.shape, jnp.float32) for k in unit.states}

    def swept(run: Any) -> Any:
        carried = run(Stretch(unit, record, arriving, like, constants))
        return carried.product, carried.cotangents, carried.factors, carried.credit

    found = jax.jit(lambda: swept(unit.choice.run))()
    wanted = jax.jit(lambda: swept(lambda stretch: in_one_loop([stretch], behind=False)[0]))()
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    return max(float(jnp.abs(a - b).max() / (jnp.abs(b).max() + 1e-6)) for a, b in pairs)


SHAPES = {
    "steps": st.integers(1, 9),
    "batch": st.integers(1, 3),
    "units": st.integers(2, 90),
    "credited": st.booleans(),
}


@interpreted
@settings(max_examples=2)
@given(**SHAPES)
def test_it_equals_the_sweep_by_xla(steps: int, batch: int, units: int, credited: bool):
    assert differences(steps, batch, units, credited) < 1e-5


@interpreted
@pytest.mark.slow
@settings(max_examples=8)
@given(**SHAPES)
def test_it_equals_the_sweep_by_xla_often(steps: int, batch: int, units: int, credited: bool):
    assert differences(steps, batch, units, credited) < 1e-5


@interpreted
@pytest.mark.parametrize("rule", ["d_rtrl", EProp()], ids=["window", "e_prop"])
def test_a_learner_has_the_same_numbers(rule: Any):
    """A trace after two windows, and the gradient of a rule that reads it at every step."""
    params, states, _ = model(2, 5)
    xs = jnp.asarray(np.random.default_rng(1).normal(size=(8, 2, INPUTS)), jnp.float32)

    def learned(backend: str) -> Any:
        options: dict[str, Any] = {"rule": rule, "window": 4, "backend": backend, "on_truncated": "ignore"}
        learner = etir.compile(adaptive, params, states, xs[0], **options)
        if rule == "d_rtrl":
            return learner.traces(learner.window(params, learner.init(), xs)[0])
        result = learner.grad(lambda y: (y**2).sum())(params, learner.init(), xs)
        return result.grads, learner.traces(result.carry)

    for a, b in zip(jax.tree.leaves(learned("pallas")), jax.tree.leaves(learned("xla")), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@interpreted
def test_a_history_whose_last_step_stays_pending_is_left_to_xla():
    def read(params: Any, states: Any, x: Any) -> Any:
        v = jnp.tanh(states["v"]) + etir.matmul(x, params["w"])
        return {"v": v, "h": jnp.tanh(v)}, v

    params, states, x = model(2, 5)
    given = {"w": params["w"]}, {"v": states["v"], "h": states["a"]}, x
    text = kernels(etir.plan(etir.analyse(etir.lower(read, *given)), "d_rtrl", 4), Pallas())
    assert text.splitlines()[-1].split()[:5] == ["history", "of", "h,", "v", "xla"]
    assert text.endswith(" some trace is not carried, so that a fold's last step stays pending")


@interpreted
def test_the_text_says_what_is_made_and_what_is_stored():
    def squared(params: Any, states: Any, x: Any) -> Any:
        v = states["v"] ** 1.5 + etir.matmul(x, params["w"])
        return {"v": v}, v

    params, states, x = model(2, 5)
    found = etir.plan(etir.analyse(etir.lower(adaptive, params, states, x)), "d_rtrl", 4)
    assert kernels(found, Pallas()).splitlines()[-2:] == [
        "history of a, v  map-suffix  it was asked for",
        f"{'':29}a launch for all steps of a history of 10 positions, 128 a block; D and f are made in it, by 53 "
        "operations from 4 arrays a step, and never stored; XLA code elsewhere",
    ]
    powers = etir.plan(etir.analyse(etir.lower(squared, {"w": params["w"]}, {"v": states["v"]}, x)), "d_rtrl", 4)
    assert kernels(powers, Pallas()).splitlines()[-2:] == [
        "history of v  suffix  it was asked for",
        f"{'':22}a launch for all steps of a history of 10 positions, 128 a block; D and f are stored: kernels do no "
        "pow position by position; XLA code elsewhere",
    ]
