"""pp_prop: its recursion written out by hand, its decay given as a rank, its bias correction, and what it refuses."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import EXACT, differing
from oracles import by_path, loss, relative_error
from snippets import expected

import etir
from etir.rules import PpProp

STEPS, INPUTS, UNITS = 11, 3, 4


def step(p: Any, s: Any, x: Any) -> Any:
    """`h' = a h + tanh(x W)`: by hand, `D = a` and `f = 1 - tanh^2`."""
    h = etir.scale(s["h"], p["a"]) + jnp.tanh(etir.matmul(x, p["W"]))
    return {"h": h}, etir.matmul(h, p["out"])


def numbers(batch: int | None = None) -> Any:
    keys = jax.random.split(jax.random.key(0), 5)
    lead = () if batch is None else (batch,)
    params = {
        "W": jax.random.normal(keys[0], (INPUTS, UNITS)),
        "a": jax.random.uniform(keys[1], (UNITS,), minval=0.5),
        "out": jax.random.normal(keys[2], (UNITS, 2)),
    }
    xs, ts = jax.random.normal(keys[3], (STEPS, *lead, INPUTS)), jax.random.normal(keys[4], (STEPS, *lead, 2))
    return params, {"h": jnp.zeros((*lead, UNITS))}, xs, ts


def gradients(rule: PpProp, window: int, backend: str = "xla", batch: int | None = None, **options: Any) -> Any:
    params, states, xs, ts = numbers(batch)
    learner = etir.compile(step, params, states, xs[0], rule=rule, window=window, backend=backend, **options)
    return by_path(learner.grad(loss)(params, learner.init(), xs, ts).grads)


def by_hand(decay: float, window: int, corrected: bool) -> Any:
    """The gradient of `W`: reverse mode in each window, and `<h_bar, F> (x) X` with the factors that entered it."""
    params, states, xs, ts = jax.tree.map(np.asarray, numbers())
    h, column, row, total = states["h"], np.zeros(INPUTS), np.zeros(UNITS), np.zeros((INPUTS, UNITS))
    for start in range(0, STEPS, window):

        def run(weight: Any, h: Any, start: int = start) -> Any:
            lost = 0.0
            for x, t in zip(xs[start : start + window], ts[start : start + window], strict=True):
                h = params["a"] * h + jnp.tanh(x @ weight)
                lost += loss(h @ params["out"], t)
            return lost

        weight_bar, h_bar = jax.grad(run, (0, 1))(params["W"], h)
        age = (1 - decay**start) if corrected and start else 1.0
        total += weight_bar + np.outer(column, row * h_bar) / age
        for x in xs[start : start + window]:
            y = np.tanh(x @ params["W"])
            row = decay * params["a"] * row + (1 - decay) * (1 - y**2)
            column = decay * column + x
            h = params["a"] * h + y
    return total


@pytest.mark.parametrize("backend", ["xla", "reference"])
@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("corrected", [False, True], ids=["plain", "corrected"])
def test_its_recursion_is_the_papers(corrected: bool, window: int, backend: str):
    found = gradients(PpProp(decay=0.8, corrected=corrected), window, backend)["W"]
    assert relative_error(found, by_hand(0.8, window, corrected)) < EXACT


def test_the_correction_is_of_use():
    """What is constant in time has its mean from the first step on; without correction that mean grows slowly."""
    params, states, xs, ts = numbers()
    constant = jnp.broadcast_to(xs[:1], xs.shape)

    def gradient(rule: Any) -> Any:
        learner = etir.compile(step, params, states, xs[0], rule=rule, window=5)
        return learner.grad(loss)(params, learner.init(), constant, ts).grads["W"]

    exact = gradient("d_rtrl")
    plain, corrected = (relative_error(gradient(PpProp(decay=0.95, corrected=on)), exact) for on in (False, True))
    assert corrected < 0.7 * plain


@pytest.mark.parametrize("corrected", [False, True], ids=["plain", "corrected"])
def test_a_batch_is_its_rows(corrected: bool):
    """Each row has a decaying mean of its own."""
    rule = PpProp(corrected=corrected)
    params, states, xs, ts = numbers(batch=2)
    learner = etir.compile(step, params, {"h": states["h"][0]}, xs[0, 0], rule=rule, window=2)

    def row(xs: Any, ts: Any) -> Any:
        return learner.grad(loss)(params, learner.init(), xs, ts).grads

    rows = jax.tree.map(lambda g: g.sum(0), jax.vmap(row, in_axes=1)(xs, ts))
    assert differing(gradients(rule, 2, batch=2), by_path(rows)) == {}


def test_a_rank_is_a_decay():
    """A mean over `n` steps decays by `(n - 1) / (n + 1)`."""
    assert PpProp(rank=19).factor == 0.9
    assert differing(gradients(PpProp(rank=19), 2), gradients(PpProp(decay=0.9), 2)) == {}
    assert differing(gradients(PpProp(rank=3), 2), gradients(PpProp(decay=0.5), 2)) == {}


@pytest.mark.parametrize("decay", [0, 1])
def test_at_its_ends_the_correction_divides_by_nothing(decay: float):
    """`a = 0` is a mean over one step, whose weight is one; `a = 1` takes nothing new in."""
    plain, corrected = (gradients(PpProp(decay=decay, corrected=on), 2) for on in (False, True))
    assert differing(corrected, plain) == {}


def test_the_age_is_counted_whatever_traces_are_held_as():
    """In bfloat16 a count ends at 256."""
    params, states, xs, _ = numbers()
    learner = etir.compile(step, params, states, xs[0], rule=PpProp(corrected=True), trace_dtype=jnp.bfloat16)
    many = jnp.broadcast_to(xs[0], (300, INPUTS))
    traces = learner.traces(learner.window(params, learner.init(), many)[0])
    ages = [x for x, t in zip(traces, learner.transition.plan.traces, strict=True) if t.label.startswith("steps since")]
    assert [int(age) for age in ages] == [300]


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"decay": 1.5}, "decay=1.5"),
        ({"decay": -0.1}, "decay=-0.1"),
        ({"decay": float("nan")}, "decay=nan"),
        ({"decay": "slow"}, "decay='slow'"),
        ({"rank": 0}, "rank=0"),
        ({"rank": -1}, "rank=-1"),
        ({"rank": float("inf")}, "rank=inf"),
    ],
    ids=str,
)
@pytest.mark.parametrize("only", ["a", "W"])
def test_what_it_refuses(options: Any, given: str, only: str):
    """Also where no trace would have used it."""
    with pytest.raises(etir.EtirError) as failure:
        gradients(PpProp(), 2, rules={only: PpProp(**options)})
    assert str(failure.value) == expected(f"""
        error: pp_prop has {given}; wanted a decay from 0 to 1, or a rank of at least 1 [rule-option]
    """)
