"""rflo, ottt and three_factor against their papers' recursions, and e_prop against D-RTRL where they are one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import differing, labels_of
from local_models import LEAK, STEPS, Task, added, eligibility, error, learned, local, read, samples, task
from oracles import bptt

import etir
from etir.rules import EProp, Ottt, Rflo, ThreeFactor

BACKENDS = ("xla", "reference")
TRACED = ("W", "U", "b")
KEY = jax.random.key(11)


def learner_of(of: Task, rule: Any, window: int, backend: str = "xla", **options: Any) -> Any:
    return etir.compile(
        of.step, of.params, of.states, of.xs[0],
        rule=rule, window=window, backend=backend, on_truncated="ignore", **options,
    )  # fmt: skip


def assert_learns(of: Task, learner: Any, wanted: Any, **given: Any) -> None:
    """Its traced weights by every driver; the readout's as each window's reverse mode has it; true labels."""
    readout = bptt(of.step, of.params, of.states, (of.xs,), of.ts).grads["R"]
    for how, found in learned(of, learner, **given).items():
        assert differing({p: found[p] for p in TRACED}, wanted) == {}, how
        assert differing({"R": found["R"]}, {"R": readout}) == {}, how
    labels = labels_of(learner)
    assert ({labels[p] for p in TRACED}, labels["R"]) == ({"approximate"}, "exact")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("window", "batch"), [(1, 2), (2, None), (5, 2)])
def test_rflo_is_murrays_recursion(window: int, batch: int | None, backend: str):
    of = task("rate", batch)
    learner = learner_of(of, Rflo(), window, backend)
    carry = learner.init(of.params, of.states, key=KEY)
    (matrix,) = [a for t, a in zip(learner.transition.plan.traces, carry.traces, strict=True) if t.start is not None]
    wanted = added([read(error(one) @ np.asarray(matrix), eligibility(one), one) for one in samples(of)])
    assert_learns(of, learner, wanted, key=KEY)


def presynaptic(of: Task, leak: float) -> Any:
    """`sum_t a_t (x) g_t`, with `a' = leak a + x` and `g` what the loss of the step sends to the neurons' input."""
    at, found = local(of), dict[str, Any]()
    credit = error(of) @ np.asarray(of.params["R"]).T * at.shown * at.driven
    for path, data in at.data.items():
        a, total = np.zeros(data.shape[1]), np.zeros((data.shape[1], credit.shape[1]))
        for t in range(STEPS):
            a = leak * a + data[t]
            total += np.outer(a, credit[t])
        found[path] = total.reshape(np.shape(of.params[path]))
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "leak", "window", "batch"), [("lif", LEAK, 1, None), ("lif", 0.4, 2, 2), ("rate", 0.5, 5, None)]
)
def test_ottt_is_its_papers_recursion(name: str, leak: float, window: int, batch: int | None, backend: str):
    of = task(name, batch)
    wanted = added([presynaptic(one, leak) for one in samples(of)])
    assert_learns(of, learner_of(of, Ottt(leak=leak), window, backend), wanted)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "shape", "window", "batch"),
    [("rate", (), 1, None), ("lif", (4,), 2, 2), ("lif", (2, 1), 5, 2), ("lif", (), 2, 2)],
)
def test_three_factor_reads_with_the_modulator(name: str, shape: Any, window: int, batch: int | None, backend: str):
    of = task(name, batch)
    modulator = jax.random.normal(jax.random.key(3), (STEPS, *shape))
    state = next(iter(of.states.values()))
    aligned = modulator.reshape(STEPS, *(1,) * (state.ndim - len(shape)), *shape)
    whole = np.broadcast_to(aligned, (STEPS, *state.shape))
    signals = [whole] if batch is None else [whole[:, n] for n in range(batch)]
    wanted = added([read(m, eligibility(one), one) for m, one in zip(signals, samples(of), strict=True)])
    assert_learns(of, learner_of(of, ThreeFactor(shape=shape), window, backend), wanted, modulator=modulator)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("credit", ["full", "rule"])
def test_e_prop_is_d_rtrl_where_recurrent_spikes_have_no_credit(credit: str, backend: str):
    of = task("alif_cut")
    mine = learned(of, learner_of(of, EProp(), 1, backend))["grad"]
    wanted = learned(of, learner_of(of, "d_rtrl", 1, backend, credit=credit))["grad"]
    assert any(np.any(wanted[p]) for p in TRACED)
    assert differing({p: mine[p] for p in TRACED}, {p: wanted[p] for p in TRACED}) == {}


def test_rules_side_by_side():
    """Each weight by its own rule is what it is where all weights are by that rule."""
    of = task("rate")
    rules = {"W": Rflo(), "U": Ottt(), "b": "d_rtrl"}
    found = learned(of, learner_of(of, "bptt", 2, rules=rules), KEY)["grad"]
    for path, rule in {**rules, "R": "bptt"}.items():
        alone = learned(of, learner_of(of, rule, 2), KEY)["grad"] if not isinstance(rule, Rflo) else None
        if alone is not None:
            assert differing({path: found[path]}, {path: alone[path]}) == {}


def test_seeds_of_random_feedback_can_be_vmapped():
    of, keys = task("rate"), jax.random.split(KEY, 3)
    learner = learner_of(of, Rflo(), 2)

    def run(key: Any) -> Any:
        carry = learner.init(of.params, of.states, key=key)
        return learner.grad(lambda y, t: jnp.sum((y - t) ** 2))(of.params, carry, of.xs, of.ts).grads

    many = jax.vmap(run)(keys)
    for n, key in enumerate(keys):
        assert differing({p: many[p][n] for p in many}, {p: np.asarray(g) for p, g in run(key).items()}, 1e-12) == {}
    assert not np.allclose(many["W"][0], many["W"][1])


def said(call: Any) -> str:
    with pytest.raises(etir.EtirError) as refused:
        call()
    return "\n".join(line for line in str(refused.value).splitlines() if line.startswith(("error", "  help"))
                     or ": error" in line)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: learner_of(task("rate"), Rflo(), 1).init(),
            "error: rule 'rflo' draws random numbers, and learner.init was given no key [key-missing]\n"
            "  help: pass learner.init(params, states, key=jax.random.key(0))",
        ),
        (
            lambda: learner_of(task("rate"), Rflo(feedback="rand"), 1),
            "error: rflo has feedback='rand'; wanted 'symmetric' or 'random' [rule-option]",
        ),
        (
            lambda: learner_of(task("rate"), Ottt(leak=2.0), 1),
            "error: ottt has leak=2.0; wanted a factor from 0 to 1 [rule-option]",
        ),
        (
            lambda: learner_of(task("rate"), ThreeFactor(), 1).step(task("rate").params, None, task("rate").xs[0]),
            "error: the carry is a NoneType; wanted a pair of states and traces [argument-carry]\n"
            "  help: begin with learner.init(), and hand on what each call returns",
        ),
    ],
)
def test_what_is_refused(call: Any, text: str):
    assert said(call) == text


def test_a_modulator_is_asked_for_by_name():
    of = task("rate")
    learner = learner_of(of, ThreeFactor(), 1)
    carry = learner.init()
    assert said(lambda: learner.step(of.params, carry, of.xs[0])) == (
        "error: the learning rule reads the signal 'modulator' at every step, and it was not given [argument-signal]\n"
        "  help: pass modulator=... to the learner's method"
    )
    assert said(lambda: learner.step(of.params, carry, of.xs[0], modulator=1.0, reward=2.0)) == (
        "error: the learner was given 'reward', a signal that its learning rule does not read [argument-signal]\n"
        "  help: known: modulator"
    )
