"""rtrl: what of the influence matrix can ever be other than zero, or the whole of it, advanced once a window."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from learners import EXACT, differing, driver, labels_of
from oracles import bptt, by_path
from snippets import expected
from stages import lowered, section

import etir

PLAIN = """
def step(p, s, x):
    h = p["a"] * s["h"] + jnp.tanh(x @ p["W"])
    return {"h": h}, h
"""
TYPES = {"W": "f32[3,4]", "a": "f32[4]"}, {"h": "f32[4]"}, "f32[3]"


def test_the_program_of_plain_uses_in_text():
    planned = etir.plan(etir.analyse(lowered(PLAIN, *TYPES)), "rtrl", window=4)
    assert section(planned, "certificate", "plan") == expected("""
        certificate rtrl window=4 credit=full {
          "W" exact "its influence on every hidden state is carried"
          "a" exact "its influence on every hidden state is carried"
        }
        plan rtrl window=4 credit=full {
          trace %e_W -> %e_W_next : f32[4,12] "W on every hidden state"
          trace %e_a -> %e_a_next : f32[4,4] "a on every hidden state"
          window {
            %h_bar : f32[4],
            %W_bar : f32[3,4],
            %a_bar : f32[4]
              = vjp(region="forward")
            %e_W_next : f32[4,12] = advance_full(param=param %W, trace=%e_W)
            %g_W : f32[3,4] = contract_full(param=param %W, trace=%e_W, cotangents=[%h_bar])
            %e_a_next : f32[4,4] = advance_full(param=param %a, trace=%e_a)
            %g_a : f32[4] = contract_full(param=param %a, trace=%e_a, cotangents=[%h_bar])
            %grad_W : f32[3,4],
            %grad_a : f32[4]
              = pullback(reverse=[%W_bar, %a_bar], params=param [%W, %a], on_params=[%g_W, %g_a])
          }
        }
    """)


def elementwise(p: Any, s: Any, x: Any) -> Any:
    h = etir.scale(s["h"], p["a"]) + jnp.tanh(etir.matmul(x, p["W"]))
    return {"h": h}, h


def heads(p: Any, s: Any, x: Any) -> Any:
    h = jnp.tanh(etir.einsum("i,ihj->hj", x, p["W"]) + etir.einsum("hi,hij->hj", s["h"], p["U"]))
    return {"h": h}, h


def flat_heads(p: Any, s: Any, x: Any) -> Any:
    h = jnp.einsum("hi,hij->hj", s["h"].reshape(p["U"].shape[:2]), p["U"]).ravel()
    return {"h": jnp.tanh(etir.matmul(x, p["W"]) + h)}, s["h"]


def dense(p: Any, s: Any, x: Any) -> Any:
    h = jnp.tanh(etir.matmul(x, p["W"]) + etir.matmul(s["h"], p["U"]))
    return {"h": h}, h


def half_plain(p: Any, s: Any, x: Any) -> Any:
    """`B` is used by an operation and plainly; `A` only beside it, in one weight."""
    h = jnp.tanh(etir.matmul(x, p["A"] * p["B"]) + etir.matmul(s["h"], p["U"]) + x @ p["B"])
    return {"h": h}, h


def plain(p: Any, s: Any, x: Any) -> Any:
    h = jnp.tanh(x @ p["W"] + s["h"] @ p["U"])
    return {"h": h}, h


CASES = {
    "elementwise": (elementwise, {"W": (3, 4), "a": (4,)}, (4,), (3,), ["f64[3,4]", "f64[4]"]),
    "heads": (heads, {"W": (3, 3, 2), "U": (3, 2, 2)}, (3, 2), (3,), ["f64[2,3,2,2]", "f64[2,3,3,2]"]),
    "flat_heads": (flat_heads, {"W": (3, 6), "U": (3, 2, 2)}, (6,), (3,), ["f64[2,3,2,2]", "f64[2,3,6]"]),
    "dense": (dense, {"W": (3, 4), "U": (4, 4)}, (4,), (3,), ["f64[4,3,4]", "f64[4,4,4]"]),
    "batch": (dense, {"W": (3, 4), "U": (4, 4)}, (2, 4), (2, 3), ["f64[4,2,3,4]", "f64[4,2,4,4]"]),
    "plain_batch": (plain, {"W": (3, 4), "U": (4, 4)}, (2, 4), (2, 3), ["f64[8,12]", "f64[8,16]"]),
    "half_plain": (
        half_plain, {"A": (3, 4), "B": (3, 4), "U": (4, 4)}, (4,), (3,), ["f64[4,12]", "f64[4,3,4]", "f64[4,4,4]"],
    ),
}  # fmt: skip


def drawn(name: str) -> tuple[Any, ...]:
    """A case's step, parameters, states, inputs and targets."""
    step, shapes, state, x, _ = CASES[name]
    keys = iter(jax.random.split(jax.random.key(1), 9))
    params = {path: 0.5 * jax.random.normal(next(keys), shape) for path, shape in shapes.items()}
    xs, ts = jax.random.normal(next(keys), (7, *x)), jax.random.normal(next(keys), (7, *state))
    return step, params, {"h": jnp.zeros(state)}, xs, ts


def traces(learner: Any) -> list[str]:
    return sorted(str(trace.before.type) for trace in learner.transition.plan.traces)


def check_exact(learner: Any, name: str) -> None:
    step, params, states, xs, ts = drawn(name)
    assert set(labels_of(learner).values()) == {"exact"}
    found = by_path(driver(learner)(params, states, xs, ts)[0])
    assert differing(found, bptt(step, params, states, (xs,), ts).grads, EXACT) == {}


@pytest.mark.parametrize("backend", ["reference", "xla"])
@pytest.mark.parametrize("name", CASES)
def test_traces_are_no_larger_than_what_is_coupled_and_exact(name: str, backend: str):
    step, params, states, xs, _ = drawn(name)
    lowered = etir.lower(step, params, states, xs[0])
    sites = ["U"] if name == "flat_heads" else "explicit"
    planned = etir.plan(etir.analyse(lowered, sites), "rtrl", window=2)
    learner = etir.emit(planned, backend, signature=lowered)
    assert traces(learner) == CASES[name][-1]
    check_exact(learner, name)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("flat_heads", CASES["flat_heads"][-1]), ("plain_batch", CASES["batch"][-1])],
)
def test_plain_products_are_taken_for_operations(name: str, wanted: list[str]):
    step, params, states, xs, _ = drawn(name)
    learner = etir.compile(step, params, states, xs[0], rule="d_rtrl", rules={"*": "rtrl"}, window=2)
    assert traces(learner) == wanted
    check_exact(learner, name)


def test_what_is_no_product_of_a_weights_elements_keeps_its_matrix():
    """Each element of the centre feeds every position: as a trace, its sensitivity would be as large as the matrix."""

    def step(p: Any, s: Any, x: Any) -> Any:
        h = jnp.tanh(s["h"] * jnp.exp(-jnp.sum((x[:3] - p["k"]) ** 2)))
        return {"h": h + x}, h

    shapes = {"k": jnp.ones(3)}, {"h": jnp.zeros(6)}, jnp.ones(6)
    learner = etir.compile(step, *shapes, rule="rtrl")
    assert traces(learner) == [f"{jnp.ones(()).dtype.name.replace('float', 'f')}[6,3]"]
    assert set(labels_of(learner).values()) == {"exact"}
