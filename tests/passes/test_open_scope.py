"""The open scope: what is coupled when nothing is held, and the regions that are cut for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from snippets import expected
from stages import lowered, operations, section

import etir
from etir.coupling import Coupling
from etir.ir import jaxpr as jx
from etir.ir.parser import parse
from etir.ir.printer import isomorphic, render
from etir.ir.verify import verify
from etir.passes.open_scope import with_open_scope

DENSE = """
def step(p, s, x):
    drive = etir.matmul(x, p["Wx"]) * jnp.exp(x.sum())
    h = 0.5 * s["h"] + jnp.tanh(drive + etir.matmul(s["h"], p["Wh"]))
    return {"h": h}, h
"""
DENSE_TYPES = {"Wx": "f64[3,4]", "Wh": "f64[4,4]"}, {"h": "f64[4]"}, "f64[3]"


def opened(source: str, *types):
    return with_open_scope(etir.analyse(lowered(source, *types)))


def test_the_block_in_text():
    found = opened(DENSE, *DENSE_TYPES)
    assert section(found, "group", "open") == expected("""
        group #0 [%h] shape [4] {
          jacobian %h <- %h : [=]
          associate %Wx at %yx : [=] traced
          associate %Wh at %yh : [=] traced
        }
        open {
          group #1 [%h] shape [4] {
            jacobian %h <- %h : [*]
            associate %Wx at %yx : [=] traced
            associate %Wh at %yh : [=] traced
          }
        }
    """)
    assert verify(found) == []
    assert isomorphic(parse(render(found)), found)


def test_the_region_is_the_whole_way_from_state_to_state():
    found = opened(DENSE, *DENSE_TYPES)
    h, x = jnp.arange(4.0) / 4, jnp.array([0.3, -0.1, 0.2])
    w, u = jnp.sin(jnp.arange(12.0)).reshape(3, 4), jnp.cos(jnp.arange(16.0)).reshape(4, 4)
    forward, region = found.region("forward"), found.region("open")
    zeros = jnp.zeros(4)
    known = dict(zip(forward.inputs, [u, w, h, x, w, u, zeros, zeros], strict=True))
    if found.weights[0].paths == ("Wx",):
        known |= {found.weights[0].value: w, found.weights[1].value: u}
    known |= dict(zip(forward.outputs, jx.evaluate(forward.body, list(known.values())), strict=True))
    needs = [known.get(value, zeros) for value in region.inputs[1:]]

    def region_of(h):
        return jx.evaluate(region.body, [h, *needs])[0]

    def by_hand(h):
        return 0.5 * h + jnp.tanh(x @ w * jnp.exp(x.sum()) + h @ u)

    assert np.allclose(region_of(h), by_hand(h), atol=1e-14)
    assert np.allclose(jax.jacrev(region_of)(h), jax.jacrev(by_hand)(h), atol=1e-14)
    assert "exp" not in operations(region)


@pytest.mark.parametrize(
    ("update", "shape", "coupling"),
    [
        ("etir.matmul(h, p['U'])", (6,), "[*]"),
        ("h @ p['U']", (6,), "[*]"),
        ("etir.einsum('hi,hij->hj', h, p['B'])", (3, 2), "[=, *]"),
        ("jnp.einsum('hi,hij->hj', h.reshape(3, 2), p['B']).reshape(6)", (6,), "[b2]"),
        ("jnp.sort(h)", (6,), "[*]"),
        ("h - h.mean(-1, keepdims=True)", (2, 3), "[=, *]"),
        ("jnp.roll(h, 1)", (6,), "[-1,5]"),
    ],
)
def test_how_old_positions_come_to_new_ones(update: str, shape: tuple[int, ...], coupling: str):
    source = f"""
    def step(p, s, x):
        h = s["h"]
        h = jnp.tanh({update}) + etir.matmul(x, p["W"]).reshape(h.shape)
        return {{"h": h}}, h
    """
    size = f"f32[{','.join(map(str, shape))}]"
    found = opened(source, {"W": "f32[3,6]", "U": "f32[6,6]", "B": "f32[3,2,2]"}, {"h": size}, "f32[3]")
    assert found.open is not None
    (group,) = found.open.groups
    assert str(group.jacobian[0].coupling) == coupling


def test_states_of_one_shape_are_one_group_however_they_meet():
    source = """
    def step(p, s, x):
        a = jnp.tanh(s["a"] + etir.matmul(x, p["W"]))
        b = 0.5 * s["b"] + a @ p["P"]
        c = 0.5 * s["c"] + b[:3]
        return {"a": a, "b": b, "c": c}, c
    """
    types = {"W": "f32[3,4]", "P": "f32[4,4]"}, {"a": "f32[4]", "b": "f32[4]", "c": "f32[3]"}, "f32[3]"
    found = opened(source, *types)
    paths = [[state.path for state in group.states] for group in found.groups]
    assert found.open is not None
    open_paths = [[state.path for state in group.states] for group in found.open.groups]
    assert (paths, open_paths) == ([["a"], ["b"], ["c"]], [["a", "b"], ["c"]])
    couplings = [[str(c) for c in association.couplings] for association in found.open.associations]
    assert couplings == [["[=]", "[*]"], ["[*]"]]


def test_what_is_not_complex_differentiable_is_held_here_too():
    source = """
    def step(p, s, x):
        z = s["z"] * jnp.exp(0.3j) + etir.matmul(x, p["W"])
        return {"z": z, "h": 0.5 * s["h"] + z.real}, z.real
    """
    found = opened(source, {"W": "f32[3,4]"}, {"z": "c64[4]", "h": "f32[4]"}, "f32[3]")
    assert found.open is not None
    assert found.open.flow is not None
    assert [str(item.crossing) for item in found.open.flow.held.values()] == [
        "real (is not complex-differentiable)"
    ] * 2


def test_it_is_made_once():
    found = opened(DENSE, *DENSE_TYPES)
    assert with_open_scope(found) is found
    assert found.open is not None
    assert found.open.groups[0].jacobian[0].coupling == Coupling.all((4,), (4,))
