"""Steps that are told whether they count, and whether a sequence begins: padding and several sequences in one run."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import EXACT, compiled, differing, settled
from oracles import by_path, loss
from problems import problem

import etir
from etir.ir.plan import Total
from etir.rules import Rule

MODELS = ("lstm", "gru_reset_before_fused", "lif_current_recurrent", "lru", "gla", "shift_register")
RULES = ("d_rtrl", "snap", "rtrl")
LENGTH = 4
"""Of each sequence and of the padding between them: the windows of four steps are then cut alike."""


def padded(a: Any) -> jax.Array:
    """Two sequences as one, with padding of other numbers between them and after them."""
    a = jnp.asarray(a)
    junk = jnp.full((LENGTH, *a.shape[1:]), 3).astype(a.dtype)
    return jnp.concatenate([a[:LENGTH], junk, a[LENGTH : 2 * LENGTH], junk[:-1]])


MASK = jnp.array([1] * LENGTH + [0] * LENGTH + [1] * LENGTH + [0] * (LENGTH - 1), bool)
RESET = jnp.zeros(len(MASK), bool).at[2 * LENGTH].set(True)


@pytest.mark.parametrize(
    ("name", "rule", "window"), [(name, RULES[k % 3], (1, LENGTH)[k % 2]) for k, name in enumerate(MODELS)]
)
def test_two_sequences_and_padding_in_one_run_are_two_runs(name: str, rule: str, window: int):
    of = problem(name)
    plain, marked = (compiled(of, rule, window, **options) for options in ({}, {"mask": "step", "reset": "step"}))
    params, states, *sequences = of.arguments

    def alone(start: int) -> Any:
        parts = jax.tree.map(lambda a: jnp.asarray(a)[start : start + LENGTH], sequences)
        return plain.grad(loss)(params, plain.init(params, states), *parts)

    whole = marked.grad(loss)(
        params, marked.init(params, states), *jax.tree.map(padded, sequences), mask=MASK, reset=RESET
    )
    first, second = alone(0), alone(LENGTH)
    wanted = by_path(jax.tree.map(jnp.add, first.grads, second.grads))
    assert differing(by_path(whole.grads), wanted, EXACT) == {}
    assert np.array_equal(whole.losses, padded(jnp.concatenate([first.losses, second.losses])) * MASK)


def test_a_step_that_does_not_count_moves_nothing():
    of = problem("lstm")
    learner = compiled(of, "d_rtrl", 1, mask="step")
    params, states, xs, ts, weights = of.arguments
    carry, _ = learner.window(params, learner.init(params, states), xs, mask=jnp.ones(len(xs), bool))
    result = learner.grad(loss)(params, carry, xs, ts, weights, mask=jnp.zeros(len(xs), bool))
    before, after = (jax.tree.leaves(settled(learner, x)) for x in (carry, result.carry))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(np.any(x) for x in jax.tree.leaves((result.grads, result.losses)))


def test_marks_of_samples_are_marks_of_each_sample_alone():
    batched, single = problem("min_gru", batch=3), problem("min_gru")
    learner = compiled(batched, "d_rtrl", 5, mask="sample", reset="sample")
    one = compiled(single, "d_rtrl", 5, mask="step", reset="step")
    params, states, xs, ts, weights = batched.arguments
    mask, reset = jax.random.bernoulli(jax.random.key(3), jnp.array([[[0.6]], [[0.3]]]), (2, len(xs), 3))
    counted = mask[..., None]
    found = learner.grad(loss)(params, learner.init(params, states), xs, ts * counted, weights, mask=mask, reset=reset)

    def alone(k: int) -> Any:
        own = jax.tree.map(lambda a: a[:, k], (xs, ts * counted))
        carry = one.init(params, jax.tree.map(lambda h: h[k], states))
        return one.grad(loss)(params, carry, *own, weights, mask=mask[:, k], reset=reset[:, k]).grads

    wanted = by_path(jax.tree.map(lambda *grads: sum(grads), *map(alone, range(3))))
    assert differing(by_path(found.grads), wanted, EXACT) == {}


def test_a_mean_is_over_the_steps_that_count():
    of = problem("min_gru")
    learner = compiled(of, "d_rtrl", 2, mask="step")
    params, states, xs, ts, weights = of.arguments
    mask = jnp.arange(len(xs)) % 3 == 0  # some windows have no step that counts
    carry = learner.init(params, states)
    total, mean = (
        learner.grad(loss, reduction=r)(params, carry, xs, ts, weights, mask=mask).grads for r in ("sum", "mean")
    )
    assert differing(by_path(mean), by_path(jax.tree.map(lambda g: g / mask.sum(), total)), EXACT) == {}
    optimizer = optax.sgd(0.1)
    trained = learner.train(loss, optimizer, reduction="mean")(
        params, optimizer.init(params), carry, xs, ts, weights, mask=mask
    )
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(trained.params))


def test_the_model_alone_is_marked_as_well():
    of = problem("min_gru")
    learner = compiled(of, "d_rtrl", 1, mask="step", reset="step")
    params, states, xs, *_ = of.arguments
    marks = {"mask": jnp.arange(len(xs)) != 2, "reset": jnp.arange(len(xs)) == 5}
    carry, wanted = learner.window(params, learner.init(params, states), xs, **marks)
    after, found = learner.predict(params, states, xs, **marks)
    assert np.array_equal(found, wanted)
    assert not np.any(found[2])
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (after, carry.states)), strict=True))


def test_keys_of_random_numbers_go_on_where_a_sequence_begins():
    def drawing(params: Any, states: Any, x: Any) -> Any:
        keys = jax.vmap(lambda key: jax.random.split(key)[0])(states["keys"])
        return {"h": 0.9 * states["h"] + etir.matmul(x, params["w"]), "keys": keys}, keys.astype(float)

    states = {"h": jnp.zeros((4, 3)), "keys": jax.vmap(jax.random.PRNGKey)(jnp.arange(4))}
    learner = etir.compile(drawing, PARAMS, states, np.ones((4, 2)), mask="sample", reset="step")
    xs, counts = jnp.ones((3, 4, 2)), jnp.ones((3, 4), bool).at[1, 0].set(False)
    after, keys = learner.predict(PARAMS, states, xs, mask=counts, reset=jnp.array([False, False, True]))
    assert len({tuple(key) for key in np.asarray(keys[[0, 2], 0])} - {(0.0, 0.0)}) == 2  # on, and not from the start
    assert not np.array_equal(after["keys"][1], after["keys"][0])


def test_marked_labels_can_be_checked():
    learner = compile_step_with_rows(mask="sample", reset="step", window=2)
    assert all(finding.outcome.name != "LIE" for finding in etir.check(learner).findings)


def compile_step_with_rows(**options: Any) -> Any:
    return etir.compile(lambda p, s, x: (step(p, s, x)[0], s["h"]), PARAMS, STATES, np.ones((4, 2)), **options)


def step(params, states, x):
    h = 0.9 * states["h"] + etir.matmul(x, params["w"])
    return {"h": h}, jnp.sum(h)


PARAMS, STATES = {"w": np.full((2, 3), 0.5)}, {"h": np.zeros((4, 3))}


def compile_step(**options: Any) -> Any:
    return etir.compile(step, PARAMS, STATES, np.ones((4, 2)), **options)


def without_batch() -> Any:
    return etir.compile(step, {"w": np.ones(2)}, {"h": 0.0}, np.ones(2), reset="sample")


def of_shapes() -> Any:
    return etir.compile(step, PARAMS, {"h": jax.ShapeDtypeStruct((4, 3), float)}, np.ones((4, 2)), reset="step")


def called(learner: Any, **marks: Any) -> Any:
    return learner.step(PARAMS, learner.init(), np.ones((4, 2)), **marks)


class Unmasked(Rule):
    """A rule that learns from a signal whatever the step is said to count for."""

    name = "unmasked"

    def write(self, plan: Any, task: Any) -> None:
        signal = plan.signal("modulator", task.sites[0].weight.value.type)
        (found,) = plan.apply(lambda m: 2 * m, signal, name="taken")
        plan.contribute(task.sites[0].weight, *plan.window(Total(value=found), "sum"))


class Late(Rule):
    """A rule that learns something at every window's end."""

    name = "late"

    def write(self, plan: Any, task: Any) -> None:
        (site, *_) = task.sites
        total = plan.trace(site.weight.value.type, "how much was learned", "learned")
        plan.carry(total, *plan.apply(lambda x: x + 1, total, name="more", at_window=True))


def of_a_weight_without_samples() -> Any:
    """Its use is in a loop that it is moved out of as it is, so that what comes to it is a sum over samples."""

    def inner(params: Any, states: Any, x: Any) -> Any:
        h, _ = jax.lax.scan(lambda h, _: (h + jnp.tanh(x + etir.scale(h, params["a"])), None), states["h"], length=2)
        return {"h": h}, h

    return etir.compile(inner, {"a": np.ones(3)}, STATES, np.ones((4, 3)), rule="ottt", reset="sample")


CALLS = {
    "error: mask='samples'; wanted one of 'step', 'sample', or None [unknown-option]\n"
    "  help: the option says what a mark is of; the marks themselves are given to the learner's methods":
        lambda: compile_step(mask="samples"),
    "error: mask='sample' cannot leave samples out of 'y', f64[] [mark-batch]":
        lambda: compile_step(mask="sample"),
    "error: reset='sample' is for states whose first axis counts samples; these do not share one [mark-batch]\n"
    "  note: 'h' is f64[]\n"
    "  help: give every state a batch axis, or compile for one sample with reset='step' and jax.vmap the learner":
        without_batch,
    "error: reset= begins sequences with the states given at compile, which were shapes alone [states-missing]\n"
    "  help: give arrays for the states: reset= puts these back":
        of_shapes,
    "error: mask= cannot hold rule 'late' still: its trace 'how much was learned' moves at the end of a window, "
    "whether steps of it count or not [mark-rule]\n"
    "  help: let the rule choose by plan.counted_steps() what the trace becomes; or leave mask= out":
        lambda: compile_step(mask="step", rule=Late()),
    "error: reset= cannot hold rule 'ottt' still: its trace 'data of a' moves by more than the derivative of the step, "
    "and no axis of it is shown to be of samples [mark-rule]\n":
        of_a_weight_without_samples,
    "error: mask= cannot keep rule 'unmasked' from learning: its signal 'modulator' is an input that says at every "
    "step what is to be learned [mark-rule]\n"
    "  help: let the rule read plan.counted(...) of it; or leave mask= out and give a signal of zero where a step is "
    "not to count":
        lambda: compile_step(mask="step", rule=Unmasked()),
    "error: the learner was compiled with mask=, and this call does not say mask [argument-mark]\n"
    "  help: pass mask=..., true or false for each step; or compile without":
        lambda: called(compile_step(mask="step")),
    "error: the learner was given reset=, and was compiled without [argument-mark]\n"
    "  help: compile with reset='step', or reset='sample' for one of each sample":
        lambda: called(compile_step(), reset=True),
}  # fmt: skip


@pytest.mark.parametrize("said", CALLS)
@pytest.mark.each
def test_what_is_refused(said: str):
    with pytest.raises(etir.EtirError) as refused:
        CALLS[said]()
    assert said in str(refused.value)
