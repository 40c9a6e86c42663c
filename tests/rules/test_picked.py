"""pp_prop over edges: the filter of what they are picked of in the place of that of what is picked."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import EXACT
from oracles import by_path, loss, relative_error

import etir
from etir.coupling.primitives import picks
from etir.ir.parser import parse
from etir.ir.plan import PickedProduct
from etir.ir.printer import render
from etir.rules import PpProp

NEURONS, DEGREE, BATCH, STEPS, DECAY = 5, 7, 3, 13, 0.7
DRAW = np.random.default_rng(0)
SOURCES = DRAW.integers(0, NEURONS, (NEURONS, DEGREE))
PARAMS = {"w": jnp.asarray(DRAW.normal(size=(NEURONS, DEGREE))), "c": jnp.asarray(DRAW.normal(size=NEURONS))}
STATES = {k: jnp.asarray(DRAW.normal(size=(BATCH, NEURONS))) for k in "va"}
XS, TS = DRAW.normal(size=(2, STEPS, BATCH, NEURONS))


def step(params: Any, states: Any, x: Any) -> Any:
    z = jnp.tanh(states["v"] - 0.3 * states["a"])
    v = 0.9 * states["v"] - z + etir.einsum("bnd,nd->bn", z[:, SOURCES], params["w"]) + jnp.tanh(x * params["c"])
    return {"v": v, "a": 0.8 * states["a"] + z}, v


def compiled(**options: Any) -> Any:
    return etir.compile(step, PARAMS, STATES, XS[0], rule=PpProp(decay=DECAY), sites="auto", **options)


def kept(learner: Any) -> list[str]:
    return [str(trace.before.type) for trace in learner.transition.plan.traces if trace.label == "data of w"]


def outcome(learner: Any, **marks: Any) -> Any:
    """Gradients of two parts of a sequence, and the traces of factors."""
    driver, cut = learner.grad(loss, reduction="sum"), 8
    parts = [{k: x[a:b] for k, x in marks.items()} for a, b in ((0, cut), (cut, STEPS))]
    first = driver(PARAMS, learner.init(PARAMS, STATES), XS[:cut], TS[:cut], **parts[0])
    second = driver(PARAMS, first.carry, XS[cut:], TS[cut:], **parts[1])
    return {**by_path(first.grads), **{f"{k}, later": x for k, x in by_path(second.grads).items()}}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Arrays of any size are large."""
    return lambda large: monkeypatch.setattr(picks, "LARGE", 1 << 20 if large else 0)


def same(small: Any, backend: str = "xla", marks: Any = None, **options: Any) -> None:
    small(True)
    whole = compiled(backend="reference", **options)
    small(False)
    found = compiled(backend=backend, **options)
    assert kept(whole) == ["f64[3,5,7]"]
    assert kept(found) == ["f64[3,5]"]
    one, other = outcome(found, **marks or {}), outcome(whole, **marks or {})
    assert {k for k in one if relative_error(one[k], other[k]) > EXACT} == set()
    assert str(found.certificate["w"].label) == str(whole.certificate["w"].label) == "approximate"


@pytest.mark.parametrize(("window", "backend"), [(1, "xla"), (3, "xla"), (4, "reference"), (20, "xla"), (2, "pallas")])
def test_it_is_the_filter_of_the_data(window: int, backend: str, small: Any):
    same(small, backend, window=window)


def test_samples_are_held_and_begin_each_by_itself(small: Any):
    mask = jnp.ones((STEPS, BATCH), bool).at[4:6, 1].set(False).at[10:, 2].set(False)
    reset = jnp.zeros((STEPS, BATCH), bool).at[6, 0].set(True).at[9, 1].set(True)
    same(small, window=2, mask="sample", reset="sample", marks={"mask": mask, "reset": reset})


def test_a_step_a_call_reads_it_too(small: Any):
    small(False)
    learner = compiled(window=1)

    @jax.jit
    @jax.grad
    def total(params: Any) -> Any:
        def body(carry: Any, at: Any) -> Any:
            carry, y = learner.step(params, carry, at[0])
            return carry, loss(y, at[1])

        return jax.lax.scan(body, learner.init(PARAMS, STATES), (XS, TS))[1].sum()

    whole = learner.grad(loss, reduction="sum")(PARAMS, learner.init(PARAMS, STATES), XS, TS).grads
    assert relative_error(total(PARAMS)["w"], whole["w"]) < EXACT


def test_its_text_is_read_back_and_what_is_wrong_with_it_is_said(small: Any):
    small(False)
    t = compiled(window=2).transition
    product = next(op for op in t.plan.at_window if isinstance(op, PickedProduct))
    text = render(t)
    assert "picked_product" in text
    assert render(parse(text)) == text
    assert list(product.faults(t)) == []
    assert list(replace(product, labels="a").faults(t)) == ["has labels 'a' for data of f64[3,5]"]
    assert list(replace(product, region="none").faults(t)) == ["picks by region @none, which is not there"]
    assert list(replace(product, data=t.hidden[0].before, cotangent=product.data).faults(t)) == []
    assert list(replace(product, data=t.weights[0].value).faults(t)) == [
        "picks by region @picked_0 of shapes [(3, 5), (3, 5, 7)]; wanted [(5, 7), (3, 5, 7)]"
    ]


def test_no_history_holds_what_is_picked():
    """Edges of one step take 2 MiB, of sixteen steps 32."""
    n, degree, batch, steps = 256, 64, 32, 16
    sources = DRAW.integers(0, n, (n, degree))

    def leaky(params: Any, states: Any, x: Any) -> Any:
        v = 0.9 * states["v"] + etir.einsum("bnd,nd->bn", jnp.tanh(states["v"])[:, sources], params["w"]) + x
        return {"v": v}, v

    f32 = jnp.float32
    params, states = {"w": jnp.zeros((n, degree), f32)}, {"v": jnp.zeros((batch, n), f32)}
    xs = jnp.zeros((steps, batch, n), f32)
    learner: Any = etir.compile(leaky, params, states, xs[0], rule="pp_prop", sites="auto")
    driver = jax.jit(learner.grad(loss))
    memory = driver.lower(params, learner.init(params, states), xs, xs).compile().memory_analysis()
    edges = n * degree * batch * 4
    assert memory.temp_size_in_bytes < 5 * edges
