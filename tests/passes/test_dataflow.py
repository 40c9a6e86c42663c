"""Data-flow: what each new state depends on directly, and what is held on the way."""

import pytest
from stages import before, lowered

from etir.ir import jaxpr as jx
from etir.ir.dataflow import Dataflow
from etir.passes import SliceRegions
from etir.passes.analyses.dataflow import analyse_dataflow

PARAMS = {"U": "f64[4,4]", "W": "f64[3,4]", "b": "f64[4]"}


def flow_of(update: str, state: str = "f64[4]") -> tuple[Dataflow, str]:
    """The data-flow of a step, and what its new state depends on, by name: `h`, `y`, weights, held operations."""
    source = f"def step(p, s, x):\n    y = etir.matmul(x, p['W'])\n    h = {update}\n    return {{'h': h}}, y"
    transition = before(SliceRegions, lowered(source, PARAMS, {"h": state}, "f64[3]"))
    body, flow = transition.region("step").body, analyse_dataflow(transition)
    names = dict(zip(jx.argument_vars(body), ("U", "W", "b", "h", "x"), strict=True))
    names |= {jx.equations(body)[site.equation].outvars[0]: "y" for site in transition.sites}
    names = {var: f"{held.crossing}" for var, held in flow.held.items()} | names
    (after, *_) = jx.outvars(body)
    found = {names[source]: coupling for source, coupling in flow.of(after).items()}
    return flow, ", ".join(f"{name} {found[name]}" if name in "hy" else name for name in sorted(found))


@pytest.mark.parametrize(
    ("update", "depends"),
    [
        ("s['h'] + y", "h [=], y [=]"),
        ("s['h'] * p['b'] + y", "b, h [=], y [=]"),
        ("s['h'] + y - jnp.sin(y).mean()", "h [=], reduce_sum (mixes positions), y [=]"),
        ("s['h'] - s['h'].mean() + y", "h [=], reduce_sum (mixes positions), y [=]"),
        ("s['h'] @ p['U'] + y", "matmul (mixes positions), y [=]"),
        ("s['h'] + jnp.sin(y).sum()", "h [=], reduce_sum (mixes positions)"),
        ("s['h'] * jnp.sin(y).sum()", "h [=], reduce_sum (mixes positions)"),
        ("s['h'] * y.sum()", "h [=], y [*]"),
        ("jnp.flip(s['h']) + y", "h [map:3..0], y [=]"),
        ("jnp.cumsum(s['h']) + y", "cumsum (mixes positions), y [=]"),
        ("jnp.where(s['h'] > y, 1.0, y)", "y [=]"),
        ("jnp.floor(s['h']) + y", "y [=]"),
        ("jnp.ones(4)", ""),
        ("s['h']", "h [=]"),
        ("p['b']", "b"),
    ],
)
def test_what_a_new_state_depends_on(update: str, depends: str):
    assert flow_of(update)[1] == depends


def test_a_statistic_is_held_where_it_was_made_and_the_direct_path_is_kept():
    """The mean is what spreads: every reader sees it held, and nothing that reads it is."""
    flow, _ = flow_of("s['h'] + (y - (y**2).mean()) * jnp.sin((y**2).mean())")
    assert {str(held.crossing.loc).partition(":")[2] for held in flow.held.values()} == {"3:23", "3:48"}


def test_what_feeds_a_held_value_still_reaches_the_state():
    flow, depends = flow_of("s['h'] + jnp.sort(etir.matmul(y, p['U']))")
    assert depends == "h [=], sort (mixes positions)"
    (_, sort), count = flow.held.values(), len(flow.held)
    assert count == 2
    assert flow.reaching([sort.var]) == {sort.var, *sort.feeds, *(s for f in sort.feeds for s in flow.held[f].feeds)}


@pytest.mark.parametrize(
    ("update", "depends"),
    [
        ("s['h'] * 1j + y", "h [=], y [=]"),
        ("jnp.conj(s['h']) + y", "conj (is not complex-differentiable), y [=]"),
        ("jnp.abs(s['h']) + y + 0j", "abs (is not complex-differentiable), y [=]"),
        ("s['h'].real * s['h'] + y", "h [=], real (is not complex-differentiable), y [=]"),
        ("s['h'] + jnp.conj(y * 1j)", "h [=], y [=]"),
    ],
)
def test_complex_states(update: str, depends: str):
    """A real site may be conjugated, since its factor is taken in two parts; a complex state may not."""
    assert flow_of(update, "c128[4]")[1] == depends
