"""The pass over a trace in pieces, as a GPU takes it, and by entries, as a CPU does: what it gives is that at once."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir.backends.folds import pieces
from etir.backends.folds.entries import entry_by_entry
from etir.backends.folds.one_pass import Operands, Pass, advanced
from etir.backends.reverse import stacked_product
from etir.rules import SnAp

BATCH, INPUTS, UNITS, STEPS = 5, 3, 4, 2


def leaky(params: Any, states: Any, x: Any) -> Any:
    v = 0.9 * states["v"] + etir.matmul(x, params["w"]) * jnp.ones((BATCH, 1)) - 0.1 * states["a"]
    return {"v": v, "a": 0.8 * states["a"] + 0.1 * jnp.tanh(v)}, v


def ring(params: Any, states: Any, x: Any) -> Any:
    v = jnp.tanh(0.9 * states["v"] + jnp.roll(states["v"], 1, -1) + etir.matmul(x, params["w"]))
    return {"v": v}, v


def shifted(params: Any, states: Any, x: Any) -> Any:
    v = jnp.tanh(0.9 * states["v"] + etir.bias(x[..., :1], params["w"][0]))
    return {"v": v}, v


CASES = {
    "two states": (leaky, "va", (BATCH, INPUTS), "d_rtrl"),
    "data that entries share": (leaky, "va", (INPUTS,), "d_rtrl"),
    "no data": (shifted, "v", (BATCH, INPUTS), "d_rtrl"),
    "slots, and matrices that entries share": (ring, "v", (BATCH, INPUTS), SnAp(n=2)),
}


def passed(name: str, members: int | None) -> tuple[Pass, Operands]:
    """A pass and random operands, placed."""
    step, states, data, rule = CASES[name]
    params, before = {"w": jnp.ones((INPUTS, UNITS))}, {key: jnp.zeros((BATCH, UNITS)) for key in states}
    learner = etir.compile(step, params, before, jnp.zeros(data), rule=rule, on_truncated="ignore")
    (unit,) = learner._engine.program.sweeps.units
    (sweep,) = unit.sweeps
    draw, lead, place = np.random.default_rng(0), () if members is None else (members,), sweep.placement

    def array(*shape: int) -> Any:
        return jnp.asarray(draw.normal(size=shape))

    group = {k: jnp.zeros(place.association.group.shape) for k in sweep.states}
    product, credit = jax.eval_shape(lambda: unit.algebra.start(list(sweep.jacobians), group))
    of = Pass(unit.algebra, sweep, members)
    operands = Operands(
        {k: array(*lead, *place.shape) for k in sweep.states},
        {pair: array(*lead, *x.shape) for pair, x in product.items()},
        {k: array(STEPS, *lead, *place.output_shape) for k in sweep.factors},
        None if sweep.data is None else array(STEPS, *lead, *sweep.data.type.shape),
        {k: array(*lead, *x.shape) for k, x in credit.items()},
    )
    return of, of.placed(operands)


@pytest.mark.parametrize(
    ("name", "members", "share"),
    [*((name, None, 0.5) for name in CASES), ("two states", 3, 0.7), ("two states", 2, 0.2)],
    ids=[*CASES, "pieces of members", "pieces of each member"],
)
def test_pieces_make_up_the_pass(name: str, members: int | None, share: float, monkeypatch: pytest.MonkeyPatch):
    """A piece is a share of the trace: two entries of five at a time, then one; two members, then one."""
    of, placed = passed(name, members)
    monkeypatch.setattr(pieces, "PIECE", int(share * placed.nbytes))
    found = jax.jit(lambda given: pieces.in_pieces(of, given))(placed)
    whole = lambda *own: advanced(of, Operands(*own))  # noqa: E731
    wanted = (whole if members is None else jax.vmap(whole, pieces.OF_MEMBERS))(*placed)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_without_credit_nothing_is_read(monkeypatch: pytest.MonkeyPatch):
    of, placed = passed("two states", None)
    monkeypatch.setattr(pieces, "PIECE", 1)
    assert pieces.in_pieces(of, placed._replace(cotangents=None))[1] is None


@pytest.mark.parametrize("name", ["two states", "slots, and matrices that entries share"])
def test_entries_make_up_the_pass(name: str):
    """Of each case whose trace has a batch axis."""
    of, placed = passed(name, None)
    found = jax.jit(lambda given: entry_by_entry(of, given))(placed)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(advanced(of, placed)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_entries_take_the_sites_own_product_where_an_entry_is_a_matrix():
    assert {name: passed(name, None)[0].takes_own for name in CASES} == {name: name == "two states" for name in CASES}
    of, placed = passed("two states", None)
    sent = jnp.asarray(np.random.default_rng(1).normal(size=(STEPS, BATCH, UNITS)))
    new, read = jax.jit(lambda given, sent: entry_by_entry(of, given, sent))(placed, sent)
    wanted, without = advanced(of, placed)
    np.testing.assert_allclose(read, without + stacked_product(of.sweep.site, placed.data, sent), rtol=1e-10)
    for k, trace in wanted.items():
        np.testing.assert_allclose(new[k], trace, rtol=1e-10)
