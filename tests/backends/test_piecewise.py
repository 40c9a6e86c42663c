"""A sequence that is driven in pieces is the whole sequence, and one of another length compiles nothing."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest
from counting_rnn import OPTIMIZER, PARAMS, STATES, loss, sequences, step
from oracles import bptt, by_path, relative_error
from oracles import loss as squared

import etir
from etir.backends.piecewise import Turn, turns

LENGTH, PIECE = 23, 10
XS, TARGETS = sequences(LENGTH)


def compiled(rule: str = "d_rtrl", window: int = 5, of: Any = step, x: Any = XS[0], **options: Any) -> Any:
    return etir.compile(of, PARAMS, STATES, x, rule=rule, window=window, on_truncated="ignore", **options)


def begun(learner: Any) -> Any:
    return learner.init(key=jax.random.key(6))


def both(learner: Any, piece: int | None, given: Any = (XS, TARGETS), **signals: Any) -> Any:
    """What `grad` and `train` return; what they are given is as it was."""
    carry, opt_state = begun(learner), OPTIMIZER.init(PARAMS)
    options: Any = {"reduction": "mean", "piece": piece}
    found = (
        learner.grad(loss, **options)(PARAMS, carry, *given, **signals),
        learner.train(loss, OPTIMIZER, **options)(PARAMS, opt_state, carry, *given, **signals),
    )
    assert not any(x.is_deleted() for x in jax.tree.leaves((PARAMS, carry, opt_state, given)) if hasattr(x, "devices"))
    return found


def assert_same(found: Any, wanted: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    numbers = jax.tree.map(lambda x: np.asarray(x) * 1.0, (found, wanted))
    assert max(jax.tree.leaves(jax.tree.map(relative_error, *numbers))) < 1e-12


MOST = (("d_rtrl", 1), ("d_rtrl", 5), ("pp_prop", 1), ("uoro", 5), ("e_prop", 5), ("rtrl", 1))
REST = [
    (rule, window)
    for rule in ("d_rtrl", "pp_prop", "rtrl", "snap", "cascade", "e_prop", "rflo", "ottt", "three_factor", "uoro",
                 "kf_rtrl", "dni", "bptt")
    for window in (1, 5)
    if (rule, window) not in MOST
]  # fmt: skip


@pytest.mark.parametrize(("rule", "window"), [*MOST, *(pytest.param(*x, marks=pytest.mark.slow) for x in REST)])
def test_pieces_are_the_whole_sequence(rule: str, window: int):
    learner = compiled(rule, window)
    signals = {"modulator": TARGETS[:, 0, 0]} if rule == "three_factor" else {}
    assert_same(both(learner, PIECE, **signals), both(learner, None, **signals))


@pytest.mark.parametrize("window", [1, 5])
def test_exact_rtrl_of_pieces_is_bptt(window: int):
    learner, truth = compiled("rtrl", window), bptt(step, PARAMS, STATES, (XS,), TARGETS)
    found = learner.grad(squared, piece=PIECE)(PARAMS, begun(learner), XS, TARGETS)
    assert max(relative_error(g, truth.grads[path]) for path, g in by_path(found.grads).items()) < 1e-10
    assert relative_error(found.losses, truth.losses) < 1e-12


@contextmanager
def compiling() -> Generator[list[str]]:
    """What XLA compiles meanwhile."""
    seen: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del duration_secs, kwargs
        if event.endswith("backend_compile_duration"):
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(("rule", "window"), [("d_rtrl", 5), ("pp_prop", 1)])
def test_another_length_compiles_nothing_and_is_the_beginning_of_a_longer_one(rule: str, window: int):
    learner = compiled(rule, window)
    grad, train = learner.grad(loss, piece=PIECE), learner.train(loss, OPTIMIZER, piece=PIECE)
    begin = PARAMS, OPTIMIZER.init(PARAMS), begun(learner)
    xs, targets = (np.concatenate([a, a]) for a in (XS, TARGETS))

    def run(length: int) -> Any:
        given = xs[:length], targets[:length]
        return grad(PARAMS, begin[2], *given), train(*begin, *given)

    with compiling() as first:
        longest = run(45)
    assert first
    for length in (25, 40, 5):
        with compiling() as seen:
            found = run(length)
        assert seen == []
        parts = [jax.tree.map(lambda x, n=length: x[:n], (of.losses, of.aux)) for of in longest]
        assert_same([(of.losses, of.aux) for of in found], parts)
    if rule == "d_rtrl":  # `grad` takes any number of steps
        with compiling() as seen:
            found = grad(PARAMS, begin[2], XS, TARGETS)
        assert seen == []
        assert_same(found, learner.grad(loss)(PARAMS, begin[2], XS, TARGETS))


def of_marks() -> Any:
    mask = jnp.arange(LENGTH)[:, None] % jnp.array([4, 3]) > 0
    reset = jnp.zeros((LENGTH, 2), bool).at[12, 0].set(True)
    return compiled("d_rtrl", 1, mask="sample", reset="sample"), {"mask": mask, "reset": reset}, (XS, TARGETS)


def of_a_mask_of_steps() -> Any:
    mask = [bool(k % 4) for k in range(LENGTH)]
    return compiled("d_rtrl", 5, mask="step"), {"mask": mask}, (np.asarray(XS), TARGETS)


def of_keys() -> Any:
    """A key for each step, beside the input, and targets that are a tree."""

    def noisy(params: Any, states: Any, x: Any, key: Any) -> Any:
        return step(params, states, x + 0.1 * jax.random.normal(key, x.shape))

    keys = jax.random.split(jax.random.key(7), LENGTH)
    learner = etir.compile(noisy, PARAMS, STATES, XS[0], keys[0], rule="e_prop", window=5)
    return learner, {}, ((XS, keys), TARGETS)


def of_frozen_and_initial() -> Any:
    return compiled("d_rtrl", 5, frozen=["readout"], initial="h"), {}, (XS, TARGETS)


@pytest.mark.parametrize("case", [of_marks, of_a_mask_of_steps, of_keys, of_frozen_and_initial])
def test_whatever_has_a_time_axis_is_cut(case: Callable[[], Any]):
    learner, signals, given = case()
    assert_same(both(learner, PIECE, given, **signals), both(learner, None, given, **signals))


def test_the_model_alone_runs_in_pieces_too():
    learner = compiled("bptt", 5, mask="step")
    mask, states = jnp.arange(LENGTH) % 4 > 0, jax.tree.map(jnp.copy, STATES)
    whole = learner.predict(PARAMS, states, XS, mask=mask)
    with compiling() as first:
        assert_same(learner.predict(PARAMS, states, XS, mask=mask, piece=7), whole)
    assert first
    with compiling() as seen:
        found = learner.predict(PARAMS, states, np.asarray(XS)[:9], mask=np.asarray(mask)[:9], piece=7)
    assert seen == []
    assert_same(found[1], whole[1][:9])
    assert not states["h"].is_deleted()


def test_a_model_without_inputs_runs_in_pieces_as_long_as_it_is_told():
    def decay(params: Any, states: Any) -> Any:
        h = etir.scale(states, params)
        return h, h

    learner = etir.compile(decay, jnp.full(3, 0.9), jnp.ones(3))
    assert_same(learner.predict(steps=9, piece=4), learner.predict(steps=9))


def test_how_a_sequence_is_cut():
    assert list(turns(23, 10, (1,))) == [Turn(0, 10, 1, 10), Turn(10, 10, 1, 10), Turn(20, 3, 1, 10)]
    assert list(turns(23, 20, (8, 2))) == [
        Turn(0, 16, 8, 16), Turn(16, 4, 2, 8), Turn(20, 2, 2, 8), Turn(22, 1, 1, 1)
    ]  # fmt: skip
    for length in range(1, 40):
        found = list(turns(length, 12, (6, 2)))
        assert [t.start for t in found] == [0, *np.cumsum([t.steps for t in found])[:-1]]
        assert sum(t.steps for t in found) == length
        assert all(t.steps % t.unit == t.room % t.unit == 0 and 0 < t.steps <= t.room for t in found)


def on_a_mesh() -> Any:
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    return jax.device_put(XS, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "data")))


def call(given: Any = (XS, TARGETS), jitted: bool = False, carry: Any = None) -> Any:
    learner = compiled()
    drive = learner.grad(loss, piece=PIECE)
    return (jax.jit(drive) if jitted else drive)(PARAMS, carry or begun(learner), *given)


REFUSED = {
    "error: piece=7 steps are no whole number of windows, which have 5 [unknown-option]\n  help: piece=10":
        lambda: compiled().grad(loss, piece=7),
    "error: piece=0; wanted a positive number of steps, or None [unknown-option]":
        lambda: compiled().train(loss, OPTIMIZER, piece=0),
    "error: piece=True; wanted a positive number of steps, or None [unknown-option]":
        lambda: compiled().predict(xs=XS, piece=True),
    "error: piece=10 and resumable=True: a resumable call holds the steps of an open window in its carry, and is "
    "compiled for their number [option-pair]\n  help: leave one out":
        lambda: compiled().grad(loss, piece=10, resumable=True),
    "error: piece=10 and on_nonfinite='stop': training is taken back to the last good window, which earlier pieces "
    "have overwritten [option-pair]\n  help: leave one out":
        lambda: compiled().train(loss, OPTIMIZER, piece=10, on_nonfinite="stop"),
    "error: piece=10 runs compiled programs one after the other, and inside a transform of JAX none runs "
    "[piece-traced]\n  help: call it outside jax.jit: it is compiled by itself; or leave piece= out":
        lambda: call(jitted=True),
    "error: piece=10 overwrites arrays from call to call, which JAX does not do where types name mesh axes "
    "[piece-mesh]\n  help: make the mesh of Auto axes, for etir.shard; or leave piece= out":
        lambda: call((on_a_mesh(), TARGETS)),
    "error: the carry is a str; wanted a pair of states and traces [argument-carry]": lambda: call(carry="carry"),
    "error: inputs and targets have different lengths [sequence-length]\n"
    "  note: input 'x' has 22 steps\n  note: target 0 has 23 steps\n":
        lambda: call((XS[1:], TARGETS)),
    "error: 'x' is f64[2,3]; wanted f64[2,3] with a leading time axis [argument-type]":
        lambda: call((XS[0], TARGETS[:2])),
    "error: the loss takes (y: Any, target: Any) -> Any, which does not fit the outputs and 2 targets":
        lambda: call((XS, TARGETS, TARGETS)),
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
@pytest.mark.each
def test_what_is_refused(said: str):
    with pytest.raises(etir.EtirError) as refused:
        REFUSED[said]()
    assert said in str(refused.value)
