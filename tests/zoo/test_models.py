"""The zoo and the oracles alone: no learner is compiled here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handwritten import MODELS, per_step, windowed
from learners import VARIANTS, cells_first
from oracles import bptt, by_path, dense_rtrl, directional_error, relative_error
from problems import bptt_gradients, problem

from etir import zoo

NAMES = [case.name for case in zoo.ALL]
LABELS = {"exact", "approximate", "truncated"}
VARIED = ("rnn_leaky", "gru_reset_before", "lstm_fused", "lru", "lif_current_recurrent", "gif", "two_layer_rnn",
          "layer_norm_rnn", "delay_line")  # fmt: skip
EVERY_OPERATION = ("rnn_diagonal", "weight_left", "grouped_rnn", "lru_prologue", "tail_sort", "rnn_remat_jit")


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES)


def test_an_unknown_name_suggests_its_neighbours():
    with pytest.raises(KeyError, match="did you mean 'gru_reset_after'"):
        zoo.case("gru_reset_aftr")
    with pytest.raises(KeyError, match="no zoo case is called 'qqqq'"):
        zoo.case("qqqq")


def test_sizes_and_types_are_the_callers():
    model = zoo.case("lif_recurrent").build(
        jax.random.key(0), batch=7, sizes=zoo.Sizes(inputs=16, hidden=32, outputs=5)
    )
    assert (model.params["W"].shape, model.params["readout"].shape) == ((48, 32), (32, 5))
    assert (model.states["V"].shape, model.inputs[0].shape) == ((7, 32), (7, 16))
    assert model.params["W"].dtype == jnp.float32


@pytest.mark.parametrize("name", cells_first(NAMES, but_for=VARIANTS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_states_keep_their_types(name: str, dtype: str):
    for batch in (None, 2):
        model = zoo.case(name).build(jax.random.key(0), batch=batch, dtype=dtype)
        after, y = jax.eval_shape(model.step, model.params, model.states, *model.inputs)
        assert jax.tree.map(describe, after) == jax.tree.map(describe, model.states)
        assert y.dtype == dtype
        assert batch is None or y.shape[0] == batch


def describe(leaf: jax.Array) -> tuple[tuple[int, ...], str]:
    return leaf.shape, str(leaf.dtype)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.each
def test_labels_name_parameters(name: str):
    case, of = zoo.case(name), problem(name)
    paths = set(by_path(of.model.params))
    assert set(case.labels) | case.unused <= paths
    assert {choice for label in case.labels.values() for choice in label.split("|")} <= LABELS


@pytest.mark.parametrize("name", cells_first(NAMES, but_for=VARIANTS))
def test_every_parameter_that_is_used_has_a_gradient(name: str):
    grads = bptt_gradients(name)
    assert all(np.all(np.isfinite(grad)) for grad in grads.values())
    assert {path for path, grad in grads.items() if not np.any(grad)} == zoo.case(name).unused


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(case.name, marks=() if case.name in VARIED + EVERY_OPERATION else pytest.mark.slow)
        for case in zoo.ALL
        if case.smooth
    ],
)
def test_bptt_agrees_with_finite_differences(name: str):
    of = problem(name)
    assert directional_error(of.model.step, of.model.params, of.states, of.xs, of.ts, jax.random.key(4)) < 1e-6


@pytest.mark.parametrize("name", [case.name for case in zoo.ALL if case.spikes])
@pytest.mark.parametrize("batch", [None, 3])
def test_spiking_models_spike_and_rest(name: str, batch: int | None):
    of = problem(name, batch=batch)
    states, spikes = of.states, []
    for t in range(len(of.ts)):
        states, _ = of.model.step(of.model.params, states, *(x[t] for x in of.xs))
        spikes.append(of.case.spikes(states))
    assert 0.05 < np.mean(spikes) < 0.8


@pytest.mark.parametrize("name", VARIED)
def test_the_two_exact_oracles_agree(name: str):
    of = problem(name)
    found = dense_rtrl(of.model.step, of.model.params, of.states, of.xs, of.ts)
    assert {path: relative_error(found[path], grad) < 1e-12 for path, grad in of.bptt().grads.items()} == dict.fromkeys(
        found, True
    )


@pytest.mark.parametrize("name", ["lstm", "lru", "noisy_counter", "weight_shared"])
@pytest.mark.parametrize("window", [1, 2, 5])
def test_truncated_bptt_is_the_sum_of_its_windows(name: str, window: int):
    of, states = problem(name), problem(name).states
    total = dict.fromkeys(by_path(of.model.params), 0)
    for start in range(0, len(of.ts), window):
        xs, ts = jax.tree.map(lambda a, start=start: a[start : start + window], (of.xs, of.ts))
        grads, _, states = bptt(of.model.step, of.model.params, states, xs, ts)
        total = {path: total[path] + grad for path, grad in grads.items()}
    found = of.bptt(window).grads
    assert all(relative_error(found[path], grad) < 1e-12 for path, grad in total.items())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", ["per_step", 1, 2])
def test_handwritten_rules_are_exact_without_recurrent_weights(name: str, form: str | int):
    """With recurrent weights of value zero nothing is dropped, so a slip in a formula shows."""
    of = problem(name)
    params = {path: 0 * value if path.startswith("U") else value for path, value in of.model.params.items()}
    arguments = (name, of.model.step, params, of.states, of.xs, of.ts)
    found = per_step(*arguments) if form == "per_step" else windowed(*arguments, form)
    wanted = by_path(jax.grad(lambda p: total_loss(of, p))(params))
    assert {path: relative_error(found[path], grad) < 1e-10 for path, grad in wanted.items()} == dict.fromkeys(
        wanted, True
    )


def total_loss(of, params):
    def body(states, at):
        states, y = of.model.step(params, states, *at[0])
        return states, 0.5 * jnp.sum((y - at[1]) ** 2)

    return jax.lax.scan(body, of.states, (of.xs, of.ts))[1].sum()


@pytest.mark.parametrize("name", MODELS)
def test_handwritten_rules_differ_from_bptt_with_recurrent_weights(name: str):
    of = problem(name)
    found = windowed(name, of.model.step, of.model.params, of.states, of.xs, of.ts, 2)
    errors = {path: relative_error(found[path], grad) for path, grad in bptt_gradients(name).items()}
    assert errors.pop("readout") < 1e-12
    assert all(1e-3 < error < 1 for error in errors.values())
