"""snap: the influence matrix where n steps fill it, against the paper's recursion by dense linear algebra."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import EXACT, differing, driver, labels_of
from oracles import bptt, by_path, relative_error
from snippets import expected
from sparse_rtrl import n_step_gradients
from stages import lowered, section

import etir
from etir.coupling import Coupling
from etir.ir.parser import parse
from etir.ir.printer import isomorphic, render
from etir.ir.verify import verify
from etir.rules import Rule, SnAp, Task, Writer
from etir.rules.shared.neighbourhood import neighbourhood_trace
from etir.rules.shared.positional import read_at_entry

SIZE, INPUTS, STEPS = 9, 3, 9


def ring(p: Any, s: Any, x: Any) -> Any:
    """Each unit feeds itself and its two neighbours."""
    h = s["h"]
    around = etir.scale(jnp.roll(h, 1), p["b"]) + etir.scale(jnp.roll(h, -1), p["c"])
    h = jnp.tanh(etir.scale(h, p["a"]) + around + etir.matmul(x, p["W"]))
    return {"h": h}, h


def two_states(p: Any, s: Any, x: Any) -> Any:
    """A slow state and a fast one, which move in opposite directions."""
    a = jnp.tanh(etir.scale(s["v"], p["a"]) + etir.matmul(x, p["W"]))
    v = 0.5 * jnp.roll(s["v"], 1) + etir.scale(a, p["b"])
    return {"a": 0.3 * jnp.roll(s["a"], -1) + a, "v": v}, v + s["a"]


def stencil(p: Any, s: Any, x: Any) -> Any:
    """A 3 x 3 sheet, joined along both axes, without wrapping."""
    h = jnp.pad(s["h"], 1)
    around = h[:-2, 1:-1] + h[2:, 1:-1] + h[1:-1, :-2] + h[1:-1, 2:]
    h = jnp.tanh(etir.scale(s["h"], p["a"]) + 0.4 * around + etir.einsum("i,ijk->jk", x, p["W"]))
    return {"h": h}, h


def gathered(p: Any, s: Any, x: Any) -> Any:
    """Each unit listens to two others, by index."""
    h = s["h"][np.arange(SIZE) * 2 % SIZE] + s["h"][(np.arange(SIZE) + 4) % SIZE]
    h = jnp.tanh(etir.scale(h, p["a"]) + etir.matmul(x, p["W"]))
    return {"h": h}, h


def spread_site(p: Any, s: Any, x: Any) -> Any:
    """What the weights feed comes to two positions at once."""
    y = etir.matmul(x, p["W"])
    h = jnp.tanh(0.6 * s["h"] + 0.5 * jnp.roll(s["h"], 1) + y - 0.7 * jnp.roll(y, 2) + etir.scale(s["h"], p["a"]))
    return {"h": h}, h


def batched(p: Any, s: Any, x: Any) -> Any:
    """The ring, for two samples at once."""
    h = s["h"]
    h = jnp.tanh(etir.scale(h, p["a"]) + etir.scale(jnp.roll(h, 1, -1), p["b"]) + etir.matmul(x, p["W"]))
    return {"h": h}, h


def dense(p: Any, s: Any, x: Any) -> Any:
    """Every unit listens to every other one."""
    h = jnp.tanh(etir.matmul(x, p["W"]) + etir.matmul(s["h"], p["U"]))
    return {"h": h}, h


def heads(p: Any, s: Any, x: Any) -> Any:
    """Dense blocks, one a row of the state."""
    h = jnp.tanh(etir.einsum("i,ihj->hj", x, p["W"]) + etir.einsum("hi,hij->hj", s["h"], p["U"]))
    return {"h": h}, h


def flat_heads(p: Any, s: Any, x: Any) -> Any:
    """The same blocks in one axis, by reshaping and a plain product."""
    h = jnp.einsum("hi,hij->hj", s["h"].reshape(p["U"].shape[:2]), p["U"]).ravel()
    h = jnp.tanh(etir.matmul(x, p["W"]) + h)
    return {"h": h}, h


def lstm(p: Any, s: Any, x: Any) -> Any:
    """Two states that share one product."""
    i, f, g, o = jnp.split(etir.matmul(x, p["W"]) + etir.matmul(s["h"], p["U"]), 4, -1)
    c = jax.nn.sigmoid(f) * s["c"] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return {"c": c, "h": jax.nn.sigmoid(o) * jnp.tanh(c)}, c


MODELS: dict[str, tuple[Any, dict[str, tuple[int, ...]], dict[str, tuple[int, ...]], tuple[int, ...]]] = {
    "ring": (ring, {"a": (SIZE,), "b": (SIZE,), "c": (SIZE,), "W": (INPUTS, SIZE)}, {"h": (SIZE,)}, (INPUTS,)),
    "two_states": (two_states, {"a": (5,), "b": (5,), "W": (INPUTS, 5)}, {"a": (5,), "v": (5,)}, (INPUTS,)),
    "stencil": (stencil, {"a": (3, 3), "W": (INPUTS, 3, 3)}, {"h": (3, 3)}, (INPUTS,)),
    "gathered": (gathered, {"a": (SIZE,), "W": (INPUTS, SIZE)}, {"h": (SIZE,)}, (INPUTS,)),
    "spread_site": (spread_site, {"a": (7,), "W": (INPUTS, 7)}, {"h": (7,)}, (INPUTS,)),
    "batched": (batched, {"a": (5,), "b": (5,), "W": (INPUTS, 5)}, {"h": (2, 5)}, (2, INPUTS)),
    "dense": (dense, {"W": (INPUTS, 4), "U": (4, 4)}, {"h": (4,)}, (INPUTS,)),
    "dense_batched": (dense, {"W": (INPUTS, 9), "U": (9, 9)}, {"h": (2, 9)}, (2, INPUTS)),
    "heads": (heads, {"W": (INPUTS, 3, 2), "U": (3, 2, 2)}, {"h": (3, 2)}, (INPUTS,)),
    "flat_heads": (flat_heads, {"W": (INPUTS, 6), "U": (3, 2, 2)}, {"h": (6,)}, (INPUTS,)),
    "lstm": (lstm, {"W": (INPUTS, 12), "U": (3, 12)}, {"c": (3,), "h": (3,)}, (INPUTS,)),
}


def drawn(name: str) -> tuple[Any, ...]:
    """A model's step, parameters, states, inputs and targets."""
    step, shapes, states, x = MODELS[name]
    keys = iter(jax.random.split(jax.random.key(3), 9))
    params = {path: 0.5 * jax.random.normal(next(keys), shape) for path, shape in shapes.items()}
    zeros = {path: jnp.zeros(shape) for path, shape in states.items()}
    xs = jax.random.normal(next(keys), (STEPS, *x))
    y = jax.eval_shape(step, params, zeros, xs[0])[1]
    return step, params, zeros, xs, jax.random.normal(next(keys), (STEPS, *y.shape))


def learnt(name: str, n: int | None, window: int = 1, backend: str = "xla") -> tuple[Any, Any]:
    """The learner of a model, and its gradients."""
    step, params, states, xs, ts = drawn(name)
    learner = etir.compile(step, params, states, xs[0], rule=SnAp(n=n), window=window, backend=backend, sites="auto")
    return learner, by_path(driver(learner)(params, states, xs, ts)[0])


def test_the_program_in_text():
    source = """
    def step(p, s, x):
        h = 0.5 * s["h"] + 0.3 * jnp.roll(s["h"], 1) + etir.matmul(x, p["Wx"])
        return {"h": h}, h
    """
    step = lowered(source, {"Wx": "f32[3,5]"}, {"h": "f32[5]"}, "f32[3]")
    planned = etir.plan(etir.analyse(step), SnAp(n=2), window=4)
    assert section(planned, "open", "certificate", "plan") == expected("""
        open {
          group #1 [%h] shape [5] {
            jacobian %h <- %h : [-1..0,4]
            associate %Wx at %yx : [=] traced
          }
        }
        certificate snap window=4 credit=full {
          "Wx" approximate "recurrence of 'h' moves between positions [-1..0,4], and is followed to 2 of 5"
        }
        plan snap window=4 credit=full {
          trace %e_Wx -> %e_Wx_next : f32[2,3,5] "Wx on h" loc(model.py:2:52)
          step {
            %D_h_h : f32[2,5] = jacobian(group=#1, pairs=[[0,0]], whole=true)
            %f_yx : f32[5] = sensitivity(association=%yx -> #1)
            %e_Wx_next : f32[2,3,5]
              = advance(trace=[%e_Wx],
                        by=neighbourhood(association=%yx -> #1,
                                         reach=coupling from [5] to [5] [-1..0,4],
                                         pairs=[[0,0]],
                                         couplings=[coupling from [5] to [5] [-1..0,4]],
                                         factors=[%D_h_h]),
                        add=outer(factors=[%f_yx], data=%x, reach=coupling from [5] to [5] [-1..0,4]))
          }
          window {
            %h_bar : f32[5],
            %Wx_bar : f32[3,5]
              = vjp(region="forward")
            %g_Wx : f32[3,5]
              = contract(association=%yx -> #1,
                         trace=[%e_Wx],
                         cotangents=[%h_bar],
                         reach=coupling from [5] to [5] [-1..0,4])
            %grad_Wx : f32[3,5] = pullback(reverse=[%Wx_bar], weights=weight [%Wx], on_weights=[%g_Wx], takers=param [%Wx])
          }
        }
    """)  # noqa: E501


@pytest.mark.parametrize(("n", "backend"), [(1, "xla"), (2, "xla"), (2, "reference")])
@pytest.mark.parametrize("name", MODELS)
def test_n_steps_are_those_of_the_paper(name: str, n: int, backend: str):
    step, params, states, xs, ts = drawn(name)
    _, found = learnt(name, n, backend=backend)
    assert differing(found, n_step_gradients(step, params, states, (xs,), ts, n)) == {}


@pytest.mark.parametrize(
    ("name", "window", "backend"),
    [*((name, 2, "xla") for name in MODELS), *((name, 1, "reference") for name in ("ring", "two_states", "heads"))],
)
def test_what_is_closed_is_exact(name: str, window: int, backend: str):
    step, params, states, xs, ts = drawn(name)
    learner, found = learnt(name, None, window, backend)
    assert set(labels_of(learner).values()) == {"exact"}
    assert differing(found, bptt(step, params, states, (xs,), ts).grads, EXACT) == {}


def test_the_error_falls_with_n_as_the_trace_grows():
    step, params, states, xs, ts = drawn("ring")
    exact = bptt(step, params, states, (xs,), ts).grads
    errors, held = [], []
    for n in (1, 2, 3, 4, 5):
        learner, found = learnt("ring", n)
        errors.append(max(relative_error(found[path], grad) for path, grad in exact.items()))
        held.append(learner.cost().held)
        assert set(labels_of(learner).values()) == ({"exact"} if n == 5 else {"approximate"})
    assert all(later < earlier / 2 for earlier, later in pairwise(errors))
    assert errors[-1] < EXACT
    per_position = 8 * SIZE * (3 + INPUTS)
    assert held == [per_position * neighbours for neighbours in (1, 3, 5, 7, 9)]


@pytest.mark.parametrize(
    ("name", "n", "traces"),
    [
        ("dense", 1, ["f64[3,4]", "f64[4,4]"]),
        ("dense", 2, ["f64[4,3,4]", "f64[4,4,4]"]),
        ("dense_batched", None, ["f64[9,2,3,9]", "f64[9,2,9,9]"]),
        ("heads", None, ["f64[2,3,3,2]", "f64[2,3,2,2]"]),
        ("flat_heads", None, ["f64[2,3,2,2]", "f64[2,3,6]"]),
        ("lstm", 1, ["f64[3,12]", "f64[3,12]", "f64[3,12]", "f64[3,12]"]),
    ],
)
def test_a_trace_is_as_large_as_what_is_coupled(name: str, n: int | None, traces: list[str]):
    """Dense recurrences couple all positions of a sample, and blocks those of a block."""
    learner, _ = learnt(name, n)
    assert [str(trace.before.type) for trace in learner.transition.plan.traces] == traces


def test_how_far_a_dense_recurrence_is_followed_is_said():
    learner, _ = learnt("dense", 1)
    assert [str(reason) for reason in learner.certificate["U"].reasons] == [
        "recurrence of 'h' moves between positions [*], and is followed to 1 of 4"
    ]


def layers(p: Any, s: Any, x: Any) -> Any:
    """A dense layer below an element-wise one; `P` is a plain use of a parameter."""
    a = jnp.tanh(etir.matmul(x, p["W"]) + etir.matmul(s["a"], p["U"]))
    b = jnp.tanh(etir.scale(s["b"], p["u"]) + etir.matmul(a, p["V"]) + a @ p["P"])
    return {"a": a, "b": b}, b @ p["U"][:, : b.shape[-1]].T


def of_layers(upper: int, **options: Any) -> tuple[dict[str, str], dict[str, float], Any]:
    """Labels, and what differs from BPTT, of two layers of 4 and `upper` units."""
    shapes = {"W": (INPUTS, 4), "U": (4, 4), "V": (4, upper), "P": (4, upper), "u": (upper,)}
    keys = iter(jax.random.split(jax.random.key(0), 9))
    params = {path: 0.5 * jax.random.normal(next(keys), shape) for path, shape in shapes.items()}
    states = {"a": jnp.zeros(4), "b": jnp.zeros(upper)}
    xs = jax.random.normal(next(keys), (STEPS, INPUTS))
    ts = jax.random.normal(next(keys), (STEPS, 4))
    learner = etir.compile(layers, params, states, xs[0], window=2, on_truncated="ignore", **options)
    found = by_path(driver(learner)(params, states, xs, ts)[0])
    return labels_of(learner), differing(found, bptt(layers, params, states, (xs,), ts).grads), learner


def test_layers_of_one_size_are_followed_through_each_other():
    labels, off, _ = of_layers(4, rule="snap")
    assert labels == {"W": "exact", "U": "exact", "V": "exact", "u": "exact", "P": "truncated"}
    assert set(off) == {"P"}


def test_layers_of_two_sizes_are_two_groups():
    labels, off, learner = of_layers(3, rule="snap")
    assert labels == {"W": "approximate", "U": "approximate", "V": "exact", "u": "exact", "P": "truncated"}
    assert set(off) == {"W", "U", "P"}
    assert "'a' feeds 'b', a state of another group" in [str(reason) for reason in learner.certificate["W"].reasons]


def test_rules_of_both_scopes_share_a_plan():
    rules = {"W": "d_rtrl", "V": SnAp(n=1), "P": "rtrl"}
    labels, off, learner = of_layers(4, rule="snap", rules=rules)
    assert labels == {"W": "approximate", "U": "exact", "V": "exact", "u": "exact", "P": "exact"}
    assert set(off) == {"W"}
    assert verify(learner.transition) == []
    assert isomorphic(parse(render(learner.transition)), learner.transition)


def test_a_window_that_is_the_whole_sequence_needs_no_trace():
    step, params, states, xs, ts = drawn("ring")
    _, found = learnt("ring", 1, window=STEPS)
    assert differing(found, bptt(step, params, states, (xs,), ts).grads, EXACT) == {}


@pytest.mark.parametrize("n", [0, -1, True, "open", 1.5])
def test_what_is_no_number_of_steps(n: Any):
    step, params, states, xs, _ = drawn("ring")
    with pytest.raises(etir.EtirError, match="wanted a number of steps of at least 1, or 'closed'"):
        etir.compile(step, params, states, xs[0], rule=SnAp(n=n))


def test_closed_may_be_said_in_a_word():
    step, params, states, xs, _ = drawn("ring")
    by_name = etir.compile(step, params, states, xs[0], rule="snap")
    assert SnAp(n="closed").steps is SnAp().steps is None
    assert by_name.cost() == etir.compile(step, params, states, xs[0], rule=SnAp(n="closed")).cost()


@pytest.mark.parametrize("name", ["ring", "two_states", "heads"])
def test_the_plan_is_well_formed_and_reads_back(name: str):
    learner, _ = learnt(name, 2)
    planned = learner.transition
    assert verify(planned) == []
    assert isomorphic(parse(render(planned)), planned)


@dataclass(frozen=True)
class Elsewhere(Rule):
    """Follows each output to positions of its own choosing."""

    name: ClassVar[str] = "elsewhere"

    reach: str = "[=]"

    def write(self, plan: Writer, task: Task) -> None:
        for association in task.associations:
            reach = Coupling.parse(self.reach, association.site.output.type.shape, association.group.shape)
            read_at_entry(plan, neighbourhood_trace(plan, association, reach))


@pytest.mark.parametrize(("reach", "label"), [("[0,1]", "approximate"), ("[*]", "exact"), ("[0..1]", "approximate")])
def test_a_label_says_what_a_strange_reach_leaves_out(reach: str, label: str):
    step, params, states, xs, ts = drawn("spread_site")
    learner = etir.compile(step, params, states, xs[0], rule=Elsewhere(reach=reach), window=2)
    assert labels_of(learner)["W"] == label
    text = "its trace leaves out some of the positions that it feeds"
    assert (text in [str(reason) for reason in learner.certificate["W"].reasons]) == (label != "exact")
    found = by_path(driver(learner)(params, states, xs, ts)[0])
    off = differing(found, bptt(step, params, states, (xs,), ts).grads)
    assert ("W" in off) == (label != "exact")
