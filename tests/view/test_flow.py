"""What a picture of a real model connects: data flow between inputs, sites, states and outputs."""

import jax.numpy as jnp
import pytest

import etir
from etir.passes import ingest
from etir.view import picture, summary


def connections(step, params, states, *inputs, buffers=(), rule=None, **options):
    """The arrows as texts, with the boxes' first lines as names."""
    transition = etir.analyse(etir.lower(step, params, states, *inputs, buffers=buffers), **options)
    drawn = picture(etir.plan(transition, rule) if rule else transition)
    names = {box.key: box.lines[0].text for box in drawn.every_box}
    return [
        f"{names[a.source]} {'<' if a.both else ''}{'-->' if a.past else '->'} {names[a.target]} {a.text}".rstrip()
        for a in drawn.arrows
    ]


def arrays(**shapes):
    return {name: jnp.ones(shape) for name, shape in shapes.items()}


def test_a_recurrent_layer_and_its_readout():
    def step(p, s, x):
        h = jnp.tanh(etir.matmul(x, p["W"]) + etir.matmul(s["h"], p["U"]))
        return {"h": h}, h @ p["out"]

    assert connections(step, arrays(W=(3, 4), U=(4, 4), out=(4, 2)), arrays(h=4), jnp.ones(3)) == [
        "x -> W",
        "h --> U",
        "W -> h [=]",
        "U -> h [=]",
        "out -> y",
        "h -> y",
    ]


def test_a_path_within_the_step_hides_the_one_that_it_makes_between_steps():
    def step(p, s, x):
        c = 0.9 * s["c"] + etir.matmul(x, p["W"])
        return {"c": c, "h": jnp.tanh(c)}, None

    assert connections(step, arrays(W=(3, 4)), arrays(c=4, h=4), jnp.ones(3)) == [
        "x -> W",
        "c --> c [=]",
        "W -> c [=]",
        "c -> h",
    ]


def test_a_weight_that_feeds_a_site_is_no_weight_of_a_state():
    def step(p, s, x):
        r = jnp.tanh(etir.matmul(x, p["Wr"]))
        h = s["h"] + etir.matmul(r * s["h"], p["U"])
        return {"h": h}, None

    assert connections(step, arrays(Wr=(3, 4), U=(4, 4)), arrays(h=4), jnp.ones(3), rule="d_rtrl") == [
        "x -> Wr",
        "h --> U",
        "Wr -> U",
        "h --> h [=]",
        "U -> h [=]",
    ]


def test_a_parameter_is_drawn_once_a_use():
    def step(p, s, x):
        a = p["leak"] * s["a"] + etir.scale(x, p["w"])
        b = p["leak"] * s["b"] + etir.scale(x, p["w"])
        return {"a": a, "b": b}, None

    found = connections(step, arrays(leak=4, w=4), arrays(a=4, b=4), jnp.ones(4))
    assert sorted(found) == sorted(
        ["x -> w", "x -> w", "w -> a [=]", "w -> b [=]", "leak -> a", "leak -> b", "a --> a [=]", "b --> b [=]"]
    )


def test_a_weight_computed_from_parameters_names_them():
    def step(p, s, x):
        h = s["h"] + etir.matmul(x, p["a"] * jnp.tanh(p["b"]))
        return {"h": h}, None

    transition = etir.analyse(etir.lower(step, arrays(a=(3, 4), b=(3, 4)), arrays(h=4), jnp.ones(3)))
    (box,) = (box for box in picture(transition).boxes if box.key == "site0")
    assert [line.text for line in box.lines] == ["a", "b", "dot i,ij->j of f(a, b)"]


def test_states_that_are_copies_do_not_hide_what_they_copy():
    def step(p, s, x):
        h = 0.5 * s["h"] + etir.matmul(x, p["W"]) + s["last"]
        return {"h": h, "last": s["h"], "seen": x}, s["h"]

    assert connections(
        step, arrays(W=(3, 4)), {**arrays(h=4, last=4, seen=3)}, jnp.ones(3), buffers=["last", "seen"]
    ) == [
        "h <--> last",
        "x -> seen",
        "x -> W",
        "h --> h [=]",
        "W -> h [=]",
        "h --> y",
    ]


def test_states_that_need_each_other_are_tied_by_one_arrow():
    def step(p, s, x):
        v = 0.9 * s["v"] - 0.1 * s["a"] + etir.matmul(x, p["W"])
        return {"v": v, "a": 0.8 * s["a"] + 0.2 * s["v"]}, None

    found = connections(step, arrays(W=(3, 4)), arrays(v=4, a=4), jnp.ones(3))
    assert sorted(found) == ["W -> v [=]", "a --> a [=]", "a <--> v", "v --> v [=]", "x -> W"]


def test_a_weight_is_listed_where_it_acts_directly_and_not_where_it_leads_on():
    def step(p, s, x):
        h = jnp.tanh(etir.matmul(x, p["A"]) + 0.5 * s["h"])
        g = jnp.tanh(h @ p["plain"] + etir.matmul(s["g"], p["B"]))
        return {"g": g, "h": h}, g

    shapes = arrays(A=(3, 4), B=(2, 2), plain=(4, 2))
    transition = etir.analyse(etir.lower(step, shapes, arrays(g=2, h=4), jnp.ones(3)))
    assert summary(transition) == (
        "step: 2 hidden groups\n"
        "\n"
        "group #0: 1 state of shape [2]\n"
        "  state   g  f32[2]\n"
        "  weight  B  dot i,ij->j  to g [=]\n"
        "\n"
        "group #1: 1 state of shape [4]\n"
        "  state   h  f32[4]  depends on h [=]\n"
        "  weight  A  dot i,ij->j  to h [=]\n"
        "\n"
        "1 other parameter is associated with no group, and is learnt without a trace: plain"
    ).replace("f32", "f64" if jnp.ones(1).dtype == "float64" else "f32")


@pytest.mark.parametrize("stage", ["before the analysis", "after it"])
def test_the_flow_is_found_at_every_stage(stage):
    def step(p, s, x):
        return {"h": 0.5 * s["h"] + etir.matmul(x, p["W"])}, None

    lowered = etir.lower(step, arrays(W=(3, 4)), arrays(h=4), jnp.ones(3))
    drawn = picture(ingest(lowered) if stage == "before the analysis" else etir.analyse(lowered))
    ends = {(a.source, a.target) for a in drawn.arrows}
    if stage == "before the analysis":
        assert ends == {("input0", "state0"), ("param0_1", "state0"), ("state0", "state0")}
    else:
        assert ends == {("input0", "site0"), ("site0", "state0"), ("state0", "state0")}
