"""Filtered data, read and advanced once a fold: which traces are, and that no number changes."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from learners import differing, settled
from oracles import by_path, loss

import etir
from etir.backends.folds.filters import filters
from etir.ir.plan import Product
from etir.rules import PpProp

UNITS, INPUTS, BATCH, STEPS = 4, 3, 2, 37


def step(p: Any, s: Any, x: Any) -> Any:
    """Two weights of the same data, one of other data, and a recurrence through them; one state is complex."""
    u = jnp.concatenate([x, s["h"]], -1)
    gate = jax.nn.sigmoid(etir.matmul(u, p["gate"]))
    h = gate * s["h"] + jnp.tanh(etir.matmul(u, p["new"]))
    z = (0.6 + 0.5j) * s["z"] + etir.matmul(h.astype(s["z"].dtype), p["turned"])
    return {"h": h, "z": z}, h + z.real


def numbers(length: int) -> Any:
    keys = iter(jax.random.split(jax.random.key(5), 6))
    rows = (BATCH, UNITS)
    params = {k: jax.random.normal(next(keys), (INPUTS + UNITS, UNITS)) for k in ("gate", "new")}
    params["turned"] = jax.random.normal(next(keys), (UNITS, UNITS), complex)
    xs, ts = jax.random.normal(next(keys), (length, BATCH, INPUTS)), jax.random.normal(next(keys), (length, *rows))
    return params, {"h": jnp.full(rows, 0.3), "z": jnp.full(rows, 0.1 + 0.2j)}, xs, ts


def learner_of(rule: Any, length: int, **options: Any) -> tuple[Any, Any]:
    params, states, xs, ts = numbers(length)
    learner = etir.compile(step, params, states, xs[0], rule=rule, on_truncated="ignore", **options)
    return learner, (params, learner.init(), xs, ts)


def outcome(length: int, **options: Any) -> Any:
    """The gradient, states and traces of a sequence that goes on where another has ended."""
    learner, (params, carry, xs, ts) = learner_of(PpProp(decay=0.8), length, **options)
    carry = learner.window(params, carry, xs[:5])[0]
    found = jax.jit(learner.grad(loss))(params, carry, xs, ts)
    return by_path(found.grads) | by_path(settled(learner, found.carry)) | {"losses": found.losses}


@pytest.mark.parametrize(
    ("length", "window", "credit"),
    [(1, 1, "full"), (37, 1, "full"), (37, 1, "rule"), (37, 3, "full"), (37, 40, "full")],
)
def test_they_agree_with_a_trace_of_every_step(length: int, window: int, credit: str):
    options = {"window": window, "credit": credit}
    assert differing(outcome(length, **options), outcome(length, backend="reference", **options)) == {}


def chosen(rule: Any, **options: Any) -> list[str]:
    """The data traces of a plan that are filters."""
    engine = learner_of(rule, STEPS, **options)[0]._engine
    products = [op for op in engine.calls.plan.at_window if isinstance(op, Product)]
    return [f.trace.label for f in filters(engine.program, products, engine.calls.sources)]


def test_what_only_products_at_windows_ends_read_is_filtered_by_folds():
    assert chosen(PpProp()) == ["data of gate", "data of new", "data of turned"]


def test_what_a_step_reads_is_not():
    assert chosen("ottt") == []


def test_nothing_is_where_the_data_are_narrower_than_their_trace():
    def narrow(p: Any, s: Any, x: Any) -> Any:
        y = etir.matmul(x.astype(jnp.bfloat16), p["W"].astype(jnp.bfloat16)).astype(jnp.float32)
        return {"h": 0.5 * s["h"] + jnp.tanh(y)}, s["h"]

    params, states = {"W": jnp.ones((3, 4), jnp.float32)}, {"h": jnp.zeros(4, jnp.float32)}
    engine = etir.compile(narrow, params, states, jnp.ones(3, jnp.float32), rule="pp_prop")._engine
    products = [op for op in engine.calls.plan.at_window if isinstance(op, Product)]
    (data,) = (site.data.type.dtype for site in engine.transition.sites)
    held = [trace.before.type.dtype for trace in engine.calls.plan.traces if trace.label == "data of W"]
    assert (data, held) == ("bfloat16", ["float32"])
    assert filters(engine.program, products, engine.calls.sources) == ()
