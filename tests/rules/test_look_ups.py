"""pp_prop of a table: the places of its last look-ups in the place of filtered one-hot data."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import EXACT
from oracles import bptt, loss, relative_error

import etir
from etir.ir.plan import Latest, LatestProduct
from etir.ir.plan.latest import look_ups
from etir.rules import PpProp

ROWS, FEATURES, BATCH, STEPS, DECAY, LEAK = 40, 3, 2, 70, 0.5, 0.8
DRAW = np.random.default_rng(0)
TABLE = DRAW.normal(size=(ROWS, FEATURES))
IDS = DRAW.integers(0, ROWS + 3, (STEPS, BATCH)).astype(np.int32)
"""Some of them beyond the table."""
TS = DRAW.normal(size=(STEPS, BATCH, FEATURES))
STATES = {"h": jnp.zeros((BATCH, FEATURES))}


def model(mode: str, axis: int = 0) -> Any:
    """A leaky state; where an index beyond the table is filled, such a sample is left as it is."""

    def step(params: Any, states: Any, ids: Any) -> Any:
        table = params["table"]
        y = jnp.take(table.T, ids, axis=1, mode=mode).T if axis else jnp.take(table, ids, axis=0, mode=mode)
        y = jnp.where((ids < ROWS)[:, None], y, 0) if mode == "fill" else y
        h = LEAK * states["h"] + jnp.tanh(y)
        return {"h": h}, h

    return step


def by_hand(mode: str, window: int, decay: float = DECAY) -> Any:
    """The recursion with one-hot data, filtered as they are."""
    column, factor, h = np.zeros((BATCH, ROWS)), np.zeros((BATCH, FEATURES)), np.zeros((BATCH, FEATURES))
    found = np.zeros_like(TABLE)
    for begin in range(0, STEPS, window):
        steps = range(begin, min(begin + window, STEPS))
        kept = []
        for t in steps:
            inside = IDS[t] < ROWS
            x = np.eye(ROWS)[np.minimum(IDS[t], ROWS - 1)]
            x = x * inside[:, None] if mode == "fill" else x
            y = x @ TABLE
            h = LEAK * h + np.tanh(y)
            f = (1 - np.tanh(y) ** 2) * (inside[:, None] if mode == "fill" else 1)
            kept.append((x, f, h - TS[t]))
        credit = np.zeros_like(h)
        for x, f, bar in reversed(kept):
            credit = credit + bar
            found += x.T @ (f * credit)
            credit = LEAK * credit
        found += column.T @ (factor * credit)
        for x, f, _ in kept:
            column, factor = decay * column + x, decay * LEAK * factor + (1 - decay) * f
    return found


@pytest.mark.parametrize(
    ("mode", "axis", "window", "backend"),
    [("clip", 0, 1, "xla"), ("fill", 0, 3, "xla"), ("clip", 1, 4, "xla"), ("fill", 0, 3, "reference")],
)
def test_they_are_what_filtered_one_hot_data_are(mode: str, axis: int, window: int, backend: str):
    """Over more steps than are kept, in two parts."""
    learner: Any = etir.compile(
        model(mode, axis), {"table": TABLE}, STATES, IDS[0],
        rule=PpProp(decay=DECAY), window=window, sites="auto", backend=backend,
    )  # fmt: skip
    kept = [trace.before.type for trace in learner.transition.plan.traces if trace.label == "data of table"]
    assert [str(kind) for kind in kept] == ["i32[2,54]"]
    driver, cut = learner.grad(loss, reduction="sum"), 24
    first = driver({"table": TABLE}, learner.init(), IDS[:cut], TS[:cut])
    found = first.grads["table"] + driver({"table": TABLE}, first.carry, IDS[cut:], TS[cut:]).grads["table"]
    assert relative_error(found, by_hand(mode, window)) < EXACT
    assert str(learner.certificate["table"].label) == "approximate"


def test_so_are_fewer_than_are_added_at_once():
    learner: Any = etir.compile(
        model("clip"), {"table": TABLE}, STATES, IDS[0].astype(np.uint64), rule=PpProp(decay=0), window=2, sites="auto"
    )
    found = learner.grad(loss, reduction="sum")({"table": TABLE}, learner.init(), IDS.astype(np.uint64), TS)
    assert relative_error(found.grads["table"], by_hand("clip", 2, 0)) < EXACT


def test_a_step_a_call_reads_them_too():
    learner: Any = etir.compile(
        model("clip"), {"table": TABLE}, STATES, IDS[0], rule=PpProp(decay=DECAY), window=1, sites="auto"
    )

    @jax.jit
    @jax.grad
    def total(table: Any) -> Any:
        def body(carry: Any, at: Any) -> Any:
            carry, y = learner.step({"table": table}, carry, at[0])
            return carry, loss(y, at[1])

        return jax.lax.scan(body, learner.init(), (IDS, TS))[1].sum()

    assert relative_error(total(jnp.asarray(TABLE)), by_hand("clip", 1)) < EXACT


def test_a_plain_index_beyond_the_table_reads_the_nearest_row_and_has_no_gradient():
    def step(params: Any, states: Any, ids: Any) -> Any:
        h = LEAK * states["h"] + jnp.tanh(params["table"][ids])
        return {"h": h}, h

    of: Any = step, {"table": TABLE[:30]}, STATES
    learner: Any = etir.compile(*of, IDS[0], window=1, sites="auto")
    found = learner.grad(loss, reduction="sum")(of[1], learner.init(), IDS[:9], TS[:9])
    assert str(learner.certificate["table"].label) == "exact"
    assert relative_error(found.grads["table"], bptt(*of, (IDS[:9],), TS[:9]).grads["table"]) < EXACT


def test_samples_are_held_and_begin_each_by_itself():
    """The first one begins anew in the middle, the second one ends early and is padded."""
    of, params, rule = model("clip"), {"table": TABLE}, PpProp(decay=DECAY)
    marked: Any = etir.compile(
        of, params, STATES, IDS[0], rule=rule, window=2, sites="auto", mask="sample", reset="sample"
    )
    single: Any = etir.compile(of, params, {"h": STATES["h"][:1]}, IDS[0, :1], rule=rule, window=2, sites="auto")
    begin, end, steps = 10, 14, 24
    mask, reset = jnp.ones((steps, BATCH), bool).at[end:, 1].set(False), jnp.zeros((steps, BATCH), bool)
    marks = {"mask": mask, "reset": reset.at[begin, 0].set(True)}
    ts = TS[:steps] * mask[..., None]
    found = marked.grad(loss, reduction="sum")(params, marked.init(), IDS[:steps], ts, **marks).grads["table"]
    pieces = ((0, 0, begin), (0, begin, steps), (1, 0, end))
    alone = [
        single.grad(loss, reduction="sum")(params, single.init(), IDS[a:b, k : k + 1], TS[a:b, k : k + 1])
        for k, a, b in pieces
    ]
    assert relative_error(found, sum(x.grads["table"] for x in alone)) < EXACT


@pytest.mark.parametrize(("rows", "decay", "kept"), [(20, DECAY, "f64[20]"), (40, 1, "f64[40]"), (40, 0, "i32[1]")])
def test_data_are_filtered_as_they_are_where_that_takes_less_room_or_nothing_fades(rows: int, decay: float, kept: str):
    def step(params: Any, states: Any, i: Any) -> Any:
        h = LEAK * states["h"] + etir.embed(params["table"], i)
        return {"h": h}, h

    given = {"table": jnp.zeros((rows, 2))}, {"h": jnp.zeros(2)}, jnp.int32(0)
    planned = etir.plan(etir.analyse(etir.lower(step, *given)), PpProp(decay=decay))
    assert planned.plan is not None
    assert str(planned.plan.traces[0].before.type) == kept


def test_what_is_wrong_with_one_is_said():
    learner: Any = etir.compile(model("clip"), {"table": TABLE}, STATES, IDS[0], rule=PpProp(decay=DECAY), sites="auto")
    t = learner.transition
    factor = next(trace.before for trace in t.plan.traces if trace.label == "table on h")
    latest = next(op for op in t.plan.step if isinstance(op, Latest))
    product = next(op for op in t.plan.at_window if isinstance(op, LatestProduct))
    assert list(latest.faults(t)) == list(product.faults(t)) == []
    assert list(replace(latest, index=factor).faults(t)) == [
        "has a looked-up index of f64[2,3]; wanted shape [2]",
        "counts places by f64[2,3]; wanted integers",
    ]
    assert list(replace(product, data=factor).faults(t)) == ["counts places by f64[2,3]; wanted integers"]
    assert list(replace(product, without="a").faults(t)) == ["is of a site that looks no whole rows of a table up"]


def test_how_many_are_kept_leaves_out_less_than_a_rounding():
    for decay, dtype in ((0.5, "float64"), (0.9, "float32"), (0.99, "float32")):
        count = look_ups(decay, dtype)
        assert count is not None
        eps = float(jnp.finfo(dtype).eps)
        assert decay**count / (1 - decay) <= eps / 2 < decay ** (count - 1) / (1 - decay)
    assert look_ups(1.0, "float32") is None
