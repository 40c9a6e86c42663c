"""Kernel 2, interpreted: loops of any length over any number of positions, and the sweep over a unit's history."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import etir
from etir.backends.folds.history import Stretch, in_one_loop
from etir.backends.pallas.target import takes_references

if takes_references():
    from jax.experimental.pallas.mosaic_gpu import InterpretGPUParams

    from etir.backends.pallas.history import SuffixSweep, fault
    from etir.backends.pallas.suffix import Suffix

interpreted = pytest.mark.skipif(not takes_references(), reason="this JAX interprets no kernels for a GPU")


def recurrence(carry: Any, rows: Any) -> tuple[Any, Any]:
    """A product of as many factors as there are, and a sum that it scales; a result that is given twice."""
    product, total = carry
    moved = [p * jnp.tanh(x) for p, x in zip(product, rows["factors"], strict=True)]
    total = total + sum(p * rows["term"] for p in product)
    return (moved, total), {"sums": total, "products": moved}


def differences(steps: int, positions: int, count: int) -> float:
    random = np.random.default_rng(steps)

    def array(*shape: int) -> Any:
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    start = [array(positions) for _ in range(count)], array(positions)
    rows = {"factors": [array(steps, positions) for _ in range(count)], "term": array(steps, positions)}
    suffix = Suffix(recurrence, steps)
    found = jax.jit(lambda *given: suffix.launch(*given, InterpretGPUParams()))(start, rows)
    wanted = suffix.by_definition(start, rows)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    return max(float(jnp.abs(a - b).max() / (jnp.abs(b).max() + 1e-6)) for a, b in pairs)


LAUNCHES = {"steps": st.integers(1, 9), "positions": st.integers(1, 300), "count": st.integers(1, 3)}


@interpreted
@settings(max_examples=2)
@given(**LAUNCHES)
def test_it_equals_its_definition(steps: int, positions: int, count: int):
    assert differences(steps, positions, count) < 1e-5


@interpreted
@pytest.mark.slow
@settings(max_examples=15)
@given(**LAUNCHES)
def test_it_equals_its_definition_often(steps: int, positions: int, count: int):
    assert differences(steps, positions, count) < 1e-5


def leaky(params: Any, states: Any, x: Any) -> Any:
    """Two states; two sites that feed them alike, and one that feeds them otherwise."""
    v = 0.9 * states["v"] + etir.matmul(x, params["w"]) + etir.matmul(jnp.tanh(states["v"]), params["u"])
    a = 0.8 * states["a"] + 0.1 * jnp.tanh(v) + etir.scale(x[..., :1], params["s"])
    return {"v": v - 0.1 * states["a"], "a": a}, v


def unit_of() -> Any:
    params = {name: jnp.ones(shape, jnp.float32) for name, shape in {"w": (3, 5), "u": (5, 5), "s": (5,)}.items()}
    states = {key: jnp.zeros((2, 5), jnp.float32) for key in "va"}
    learner = etir.compile(leaky, params, states, jnp.zeros((2, 3), jnp.float32), on_truncated="ignore")
    (unit,) = learner._engine.program.sweeps.units
    return unit


@interpreted
@pytest.mark.parametrize("credited", [True, False])
def test_the_sweep_by_the_kernel_is_the_sweep(credited: bool):
    unit, steps, random = unit_of(), 4, np.random.default_rng(0)
    assert fault(unit) is None
    values = {*unit.jacobians.values(), *(f for sweep in unit.sweeps for f in sweep.factors.values())}
    by_place = sorted(values, key=str)

    def array(*shape: int) -> Any:
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    arriving = {k: array(steps, *unit.group.shape) for k in unit.states} if credited else None
    like = {k: jnp.zeros(unit.group.shape, jnp.float32) for k in unit.states}

    def swept(run: Any) -> Any:
        def whole(rows: list[Any], arriving: Any) -> Any:
            carried = run(Stretch(unit, dict(zip(by_place, rows, strict=True)), arriving, like))
            return carried.product, carried.cotangents, carried.factors, carried.credit

        return jax.jit(whole)(rows, arriving)

    rows = [array(steps, *v.type.shape) for v in by_place]
    found = swept(SuffixSweep(interpreted=True))
    wanted = swept(lambda stretch: in_one_loop([stretch], behind=False)[0])
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@interpreted
def test_positions_that_meet_are_left_to_xla():
    def ring(params: Any, states: Any, x: Any) -> Any:
        v = jnp.tanh(states["v"] + jnp.roll(states["v"], 1, -1) + etir.matmul(x, params["w"]))
        return {"v": v}, v

    given = {"w": jnp.ones((3, 5), jnp.float32)}, {"v": jnp.zeros((2, 5), jnp.float32)}, jnp.zeros((2, 3), jnp.float32)
    learner = etir.compile(ring, *given, rule=etir.rules.SnAp(n=2), on_truncated="ignore")
    (unit,) = learner._engine.program.sweeps.units
    assert fault(unit) == "positions meet: its Jacobians are small matrices"
