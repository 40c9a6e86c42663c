"""A sequence that is cut anywhere, its carry saved, and resumed, is the whole sequence, bit for bit."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting_rnn import OPTIMIZER, PARAMS, STATES, loss, sequences, step
from oracles import by_path, relative_error

import etir

WINDOW, LENGTH = 3, 8
XS, TARGETS = sequences(LENGTH)


def compiled(rule: str = "d_rtrl", **options: Any) -> Any:
    return etir.compile(step, PARAMS, STATES, XS[0], rule=rule, window=WINDOW, on_truncated="ignore", **options)


def begun(learner: Any) -> Any:
    return learner.init(key=jax.random.key(6))


def trained(learner: Any, cuts: list[int], ends: bool) -> Any:
    """What training over the steps between the cuts gives, one call after the other, each from a saved carry."""
    train = learner.train(loss, OPTIMIZER, resumable=True)
    now, losses = (PARAMS, OPTIMIZER.init(PARAMS), begun(learner)), list[Any]()
    for start, stop in itertools.pairwise(cuts):
        part = jax.tree.map(lambda a, start=start, stop=stop: a[start:stop], (XS, TARGETS))
        found = train(*now, *part, ends=ends and len(losses) + 2 == len(cuts))
        now = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), found[:3])
        losses.append((found.losses, found.aux))
    return *now, jax.tree.map(lambda *parts: np.concatenate(parts), *losses)


def assert_same(found: Any, wanted: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_run_that_ends_is_that_of_calls_which_know_of_no_cuts():
    learner = compiled()
    plain = learner.train(loss, OPTIMIZER)(PARAMS, OPTIMIZER.init(PARAMS), begun(learner), XS, TARGETS)
    wanted = (*plain[:3], (plain.losses, plain.aux))
    whole = trained(learner, [0, LENGTH], ends=True)
    assert jax.tree.structure(whole) == jax.tree.structure(wanted)
    assert max(jax.tree.leaves(jax.tree.map(relative_error, whole, wanted))) < 1e-12
    for cuts in ([0, 1, 5, LENGTH], [0, 7, LENGTH, LENGTH]):  # the second ends when there are no more steps
        assert_same(trained(learner, cuts, ends=True), whole)


def test_gradients_of_pieces_are_added_window_by_window():
    learner = compiled(frozen=["readout"])
    drive = learner.grad(loss, resumable=True)
    whole = drive(PARAMS, begun(learner), XS, TARGETS, ends=True)
    plain = learner.grad(loss)(PARAMS, begun(learner), XS, TARGETS)
    carry, onto, losses = begun(learner), None, []
    for cut in range(LENGTH):
        found = drive(
            PARAMS, carry, XS[cut : cut + 1], TARGETS[cut : cut + 1], onto=onto, ends=cut + 1 == LENGTH
        )  # fmt: skip
        carry, onto, losses = found.carry, found.grads, [*losses, found.losses]
    assert_same((carry, onto, np.concatenate(losses)), (whole.carry, whole.grads, np.asarray(whole.losses)))
    pairs = zip(by_path(whole.grads).items(), by_path(plain.grads).values(), strict=True)
    assert max(relative_error(mine, theirs) for (_, mine), theirs in pairs) < 1e-12


def test_gradients_by_learned_initial_states_are_resumed_too():
    learner = compiled(initial="h")
    drive = learner.grad(loss, resumable=True)
    whole = drive(PARAMS, begun(learner), XS, TARGETS)
    first = drive(PARAMS, begun(learner), XS[:4], TARGETS[:4])
    rest = drive(PARAMS, first.carry, XS[4:], TARGETS[4:], onto=(first.grads, first.initial))
    assert_same((rest.grads, rest.initial, rest.carry), (whole.grads, whole.initial, whole.carry))
    assert np.any(whole.initial["h"])


def test_single_steps_go_before_and_states_inside_a_window_are_the_latest():
    learner = compiled()
    drive, carry = learner.grad(loss, resumable=True), begun(learner)
    for x in XS[:2]:
        carry, _ = learner.step(PARAMS, carry, x)
    plain = learner.grad(loss)(PARAMS, carry, XS[2:], TARGETS[2:])
    first = drive(PARAMS, carry, XS[2:6], TARGETS[2:6])
    more = drive(PARAMS, first.carry, XS[6:7], TARGETS[6:7])
    rest = drive(PARAMS, first.carry, XS[6:], TARGETS[6:], onto=first.grads, ends=True)
    after = [learner.predict(PARAMS, STATES, XS[:steps])[0] for steps in (6, 7)]
    wanted, found = (plain.carry.states, plain.grads), (rest.carry.states, rest.grads)
    assert max(jax.tree.leaves(jax.tree.map(relative_error, found, wanted))) < 1e-12
    assert (first.carry.place, more.carry.place) == (1, 2)
    found = [first.carry.states, more.carry.states]
    assert max(jax.tree.leaves(jax.tree.map(relative_error, found, after))) < 1e-12


PROGRAM = """
import sys, jax, numpy as np
import test_resumption as of
learner = of.compiled()
train = learner.train(of.loss, of.OPTIMIZER, resumable=True)
begin = of.PARAMS, of.OPTIMIZER.init(of.PARAMS), of.begun(learner)
like = jax.eval_shape(train, *begin, of.XS[:4], of.TARGETS[:4])[:3]
with np.load(sys.argv[1]) as saved:
    now = jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(saved[k]) for k in saved.files])
found = train(*now, of.XS[4:], of.TARGETS[4:])
np.savez(sys.argv[2], *jax.tree.leaves(found))
"""


def test_a_run_goes_on_in_another_process(tmp_path: Path):
    learner = compiled()
    train = learner.train(loss, OPTIMIZER, resumable=True)
    first = train(PARAMS, OPTIMIZER.init(PARAMS), begun(learner), XS[:4], TARGETS[:4])
    np.savez(tmp_path / "saved.npz", *jax.tree.leaves(first[:3]))
    here = train(*first[:3], XS[4:], TARGETS[4:])
    paths = [str(tmp_path / name) for name in ("saved.npz", "found.npz")]
    flags = "import jax; jax.config.update('jax_enable_x64', True)\n" if XS.dtype == np.float64 else ""
    flags += f"import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}\n"
    subprocess.run([sys.executable, "-c", flags + PROGRAM, *paths], check=True)
    with np.load(paths[1]) as found:
        assert all(np.array_equal(found[k], leaf) for k, leaf in zip(found.files, jax.tree.leaves(here), strict=True))


def test_orbax_saves_a_carry_inside_a_window(tmp_path: Path):
    checkpoint = pytest.importorskip("orbax.checkpoint")
    learner = compiled()
    train = learner.train(loss, OPTIMIZER, resumable=True)
    first = train(PARAMS, OPTIMIZER.init(PARAMS), begun(learner), XS[:4], TARGETS[:4])
    with checkpoint.StandardCheckpointer() as saver:
        saver.save(tmp_path / "carry", first.carry)
        saver.wait_until_finished()
        restored = saver.restore(tmp_path / "carry", jax.tree.map(jnp.zeros_like, first.carry))
    assert_same(restored, first.carry)
    assert restored.place == 1


def inside() -> tuple[Any, Any]:
    learner = compiled()
    return learner, learner.grad(loss, resumable=True)(PARAMS, begun(learner), XS[:2], TARGETS[:2]).carry


def stepped() -> Any:
    learner, carry = inside()
    return learner.step(PARAMS, carry, XS[2])


def edited() -> Any:
    _, carry = inside()
    return carry._replace(states=STATES)


def other_targets() -> Any:
    learner, carry = inside()
    return learner.grad(lambda y: jnp.sum(y), resumable=True)(PARAMS, carry, XS[2:])


def of_mean() -> Any:
    return compiled().grad(loss, reduction="mean", resumable=True)


def onto_something() -> Any:
    learner = compiled()
    return learner.grad(loss, resumable=True)(PARAMS, begun(learner), XS, TARGETS, onto={"W": PARAMS["W"]})


def onto_half() -> Any:
    learner = compiled(initial="h")
    return learner.grad(loss, resumable=True)(PARAMS, begun(learner), XS, TARGETS, onto=PARAMS)


def ended_unasked() -> Any:
    learner = compiled()
    return learner.grad(loss)(PARAMS, begun(learner), XS, TARGETS, ends=True)


def trained_onto() -> Any:
    learner = compiled()
    train = learner.train(loss, OPTIMIZER, resumable=True)
    return train(PARAMS, OPTIMIZER.init(PARAMS), begun(learner), XS, TARGETS, onto=PARAMS)


CALLS = {
    "error: the carry is inside a window (steps so far: 2), and this call knows nothing of that window "
    "[carry-unfinished]\n"
    "  help: go on as it was begun, by grad or train with resumable=True; ends=True in such a call ends the window, "
    "with xs[:0] and targets[:0] where there are no more steps":
        stepped,
    "error: the carry is inside a window (steps so far: 2), and its states are replaced [carry-unfinished]": edited,
    "error: the carry is inside a window (steps so far: 2), and its steps were given inputs or targets of other "
    "shapes or types [carry-unfinished]": other_targets,
    "error: reduction='mean' is over the steps of a call, resumable=True is for gradients that calls share "
    "[option-pair]\n  help: leave reduction= out, and divide the sum by the number of steps": of_mean,
    "error: the gradient given as onto= is not like the gradients of this learner [argument-onto]\n"
    "  note: found {'W': (3, 4)}\n"
    "  note: wanted {'U': (4, 4), 'W': (3, 4), 'readout': (4, 3)}": onto_something,
    "error: the gradient given as onto= is a dict; wanted a pair, since initial states learn too [argument-onto]\n"
    "  help: give it (result.grads, result.initial) of the call before, or leave it out to begin with zero":
        onto_half,
    "error: the learner was given ends=, which goes with resumable=True [option-pair]\n"
    "  help: learner.grad(loss, resumable=True) and learner.train(..., resumable=True) take it": ended_unasked,
    "error: the learner was given onto=, which goes with resumable=True [option-pair]\n"
    "  help: learner.grad(loss, resumable=True) takes it": trained_onto,
}  # fmt: skip


@pytest.mark.parametrize("said", CALLS)
def test_what_is_refused(said: str):
    with pytest.raises(etir.EtirError) as refused:
        CALLS[said]()
    assert said in str(refused.value)
