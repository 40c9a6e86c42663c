"""Windows of a stateful learner that calls cut anywhere: gradients, training, and what is saved inside of one."""

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import etir
from etir import EtirError, nn, transform

XS = jax.random.normal(jax.random.key(0), (8, 4, 3))
"""Steps, samples, features."""
TARGETS = jax.random.normal(jax.random.key(1), (8, 4, 2))


def loss(y: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.sum((y - target) ** 2)


def started() -> tuple[nn.Module, etir.OnlineLearner]:
    etir.random.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LIB(4), nn.Linear(4, 2))
    online = etir.D_RTRL(model, window=3)
    online.compile_graph(XS[0])
    return model, online


def same(a: Any, b: Any) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def through_a_file(online: etir.OnlineLearner, kind: Any = None) -> Any:
    return pickle.loads(pickle.dumps(jax.device_get(nn.save_states(online, kind))))


def test_a_run_that_is_saved_inside_a_window_is_the_whole_run_bit_for_bit():
    _, online = started()
    whole = online.grad(loss, resumable=True)(XS, TARGETS, ends=True)
    nn.zero_states(online)
    first = online.grad(loss, resumable=True)(XS[:5], TARGETS[:5])
    saved = through_a_file(online)
    assert first.carry.place == 2
    assert saved["traces"]["unfinished"].place == 2

    def rest(online: etir.OnlineLearner) -> Any:
        return online.grad(loss, resumable=True)(XS[5:], TARGETS[5:], onto=first.grads, ends=True).grads

    assert same(rest(online), whole.grads)
    assert same(rest(nn.load_states(online, saved)), whole.grads)  # back to another place of another window


def test_what_is_loaded_before_the_first_compilation_stays():
    model, online = started()
    online(XS[0])
    saved = through_a_file(online)
    later = nn.load_states(etir.D_RTRL(model, window=3), saved)
    later.compile_graph(XS[0])
    assert same(nn.save_states(later), saved)
    later.compile_graph(XS[0])
    assert later.traces.is_set is False


@pytest.mark.slow
def test_training_in_pieces_is_that_of_the_functional_face():
    _, online = started()
    learner, optimizer = online.learner, optax.adam(1e-2)
    first = optimizer.init(learner.params)
    whole = learner.train(loss, optimizer, resumable=True)(
        learner.params, first, learner.init(), XS, TARGETS, ends=True
    )
    opt_state = first
    for begin, end in ((0, 5), (5, 8)):
        model, other = started()
        nn.load_states(other, through_a_file(online, ...))
        train = other.train(loss, optimizer, resumable=True)
        opt_state = train(opt_state, XS[begin:end], TARGETS[begin:end], ends=end == 8).opt_state
        online = other
    assert same(whole.params, {path: model.states()[path].value for path in whole.params})
    assert same(whole.carry.states, {path: model.states()[path].value for path in whole.carry.states})


def test_inside_a_window_only_its_own_kind_of_call_goes_on():
    _, online = started()
    gradient = online.grad(loss, resumable=True)
    gradient(XS[:2], TARGETS[:2])
    with pytest.raises(EtirError, match=r"the carry is inside a window \(steps so far: 2\)"):
        online(XS[2])
    assert gradient(XS[:0], TARGETS[:0], ends=True).losses.shape == (2,)
    online(XS[2])
    gradient(XS[:2], TARGETS[:2])
    nn.zero_states(online)
    assert online.traces.is_set is False


@pytest.mark.slow
def test_a_batch_by_vmap_and_a_compiled_call_hold_the_place_too():
    def gradient(online: etir.OnlineLearner) -> Any:
        return lambda xs, targets: online.grad(loss, resumable=True)(xs, targets).grads

    _, batch = started()
    whole = gradient(batch)(XS[:6], TARGETS[:6])
    model, online = started()
    nn.zero_states(model)
    online.compile_graph(XS[0, 0])
    transform.vmap_new_states(lambda: nn.init_all_states(online) and None, axis_size=4)()
    call = transform.jit(transform.vmap(gradient(online), in_axes=1))
    parts = [call(XS[a:b], TARGETS[a:b]) for a, b in ((0, 4), (4, 6))]
    for path, wanted in whole.items():
        assert jnp.abs(sum(part[path].sum(0) for part in parts) - wanted).max() < 1e-12


def test_a_rule_that_needs_the_loss_learns_by_its_driver():
    model = nn.Sequential(nn.RNN(3, 4), nn.Linear(4, 2))
    online = etir.DNI(model)
    online.compile_graph(XS[0])
    assert set(online.grad(loss)(XS, TARGETS).grads) == set(model.states(etir.ParamState))


def test_what_another_learner_carried_is_refused():
    model, online = started()
    online(XS[0])
    saved = nn.save_states(online)
    other = etir.D_RTRL(nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2)))
    nn.load_states(other, saved, strict=False)
    other.compile_graph(XS[0])
    with pytest.raises(EtirError, match=r"state 'layers.0.h' is none of those that the traces belong to: layers.1.V"):
        other(XS[0])
    other = etir.PpProp(model)
    nn.load_states(other, saved)
    other.compile_graph(XS[0])
    with pytest.raises(EtirError, match="the carry holds other traces than this learner's"):
        other(XS[0])
    with pytest.raises(EtirError, match=r"load_states was given f64\[3\] for 'traces'"):
        nn.load_states(other, saved | {"traces": jnp.zeros(3)})


@pytest.mark.parametrize("whole", [False, True])
def test_a_batch_by_vmap_is_loaded_whichever_was_initialised(whole: bool):
    def mapped() -> tuple[nn.Module, etir.OnlineLearner, Any]:
        model, online = started()
        nn.zero_states(model)
        online.compile_graph(XS[0, 0])
        transform.vmap_new_states(lambda: nn.init_all_states(online if whole else model) and None, axis_size=4)()
        return model, online, etir.vmap(online)

    model, online, call = mapped()
    call(XS[0])
    saved = through_a_file(online)
    wanted = transform.grad(lambda: jnp.sum(call(XS[1])), model)()
    model, online, call = mapped()
    nn.load_states(online, saved)
    assert same(transform.grad(lambda: jnp.sum(call(XS[1])), model)(), wanted)


def test_a_learner_is_taken_apart_and_put_together_as_any_module_is():
    _, online = started()
    online(XS[0])
    structure, values = nn.split(online)

    @jax.jit
    def pure(values: Any, x: jax.Array) -> Any:
        inside = nn.merge(structure, values)
        return inside(x), nn.split(inside)[1]

    y, after = pure(values, XS[1])
    assert jnp.abs(y - online(XS[1])).max() < 1e-12
    assert jnp.abs(after["traces"]["traces"][0] - online.traces.value["traces"][0]).max() < 1e-12
