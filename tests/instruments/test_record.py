"""record: what passes through a model, beside a loop by hand; every so many steps; in bounded memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir import EtirError, zoo
from etir.frontend.nn import fast_sigmoid_spike
from etir.instruments import Recording, record

STEPS = 23


def lif(params, states, x):
    drive = 0.9 * states["v"] + etir.matmul(x, params["W"]) + etir.matmul(states["s"], params["U"])
    s = fast_sigmoid_spike(drive - 1)
    return {"s": s, "v": drive - s}, s @ params["readout"]


PARAMS = {
    "W": jax.random.normal(jax.random.key(0), (3, 4)),
    "U": 0.3 * jax.random.normal(jax.random.key(1), (4, 4)),
    "readout": jax.random.normal(jax.random.key(2), (4, 2)),
}
STATES = {"s": jnp.zeros((2, 4)), "v": jnp.zeros((2, 4))}
XS = 1.5 * jax.random.normal(jax.random.key(3), (STEPS, 2, 3))


@pytest.fixture(scope="module")
def learner():
    return etir.compile(lif, PARAMS, STATES, XS[0], window=4)


@pytest.fixture(scope="module")
def whole(learner) -> Recording:
    return record(learner, XS, outputs=True, spikes=True, traces=lambda e: e)


def by_hand():
    """States, spikes, surrogate derivatives and outputs, one step at a time in numpy."""
    W, U, readout = (np.asarray(PARAMS[k]) for k in ("W", "U", "readout"))
    v = s = np.zeros((2, 4))
    found = []
    for x in np.asarray(XS):
        drive = 0.9 * v + x @ W + s @ U
        s = (drive > 1).astype(float)
        v = drive - s
        found.append((v, s, 0.5 / (1 + 2 * np.abs(drive - 1)) ** 2, s @ readout))
    return map(np.stack, zip(*found, strict=True))


def only(series):
    (value,) = series.values()
    return value


def test_it_records_what_the_model_computes(whole):
    v, s, slopes, outputs = by_hand()
    assert 0.1 < s.mean() < 0.9
    np.testing.assert_allclose(whole["v"], v, atol=1e-12)
    np.testing.assert_allclose(whole["s"], s)
    np.testing.assert_allclose(only(whole.outputs), outputs, atol=1e-12)
    np.testing.assert_allclose(only(whole.spikes), s)
    np.testing.assert_allclose(only(whole.surrogates), slopes, atol=1e-12)
    assert next(iter(whole.spikes)).startswith("fast_sigmoid_spike (test_record.py:")
    assert list(whole.steps) == list(range(1, STEPS + 1))
    np.testing.assert_array_equal(whole.after["v"], whole["v"][-1])


def test_traces_are_those_of_the_learner_after_each_step(learner, whole):
    carry, labels = learner.init(), [trace.label for trace in learner.transition.plan.traces]
    for k in range(9):
        carry, _ = learner.step(PARAMS, carry, XS[k])
        for label, trace in zip(labels, learner.traces(carry), strict=True):
            np.testing.assert_allclose(whole.traces[label][k], trace, atol=1e-12)


def test_of_every_fifth_step(learner, whole):
    some = record(learner, XS, outputs=True, spikes=True, traces=True, every=5)
    assert list(some.steps) == [5, 10, 15, 20]
    for kind in ("states", "outputs", "surrogates"):
        for name, values in getattr(some, kind).items():
            np.testing.assert_allclose(values, getattr(whole, kind)[name][4::5], atol=1e-12)
    rates = only(whole.spikes)[:20].reshape(4, 5, 2, 4).mean(1)
    np.testing.assert_allclose(only(some.spikes), rates)
    for label, strength in some.traces.items():
        squares = (whole.traces[label][4::5] ** 2).reshape(4, -1).mean(1)
        np.testing.assert_allclose(strength, np.sqrt(squares), atol=1e-12)
    np.testing.assert_array_equal(some.after["v"], whole["v"][-1])


def test_keys_of_random_numbers_are_recorded_as_their_data():
    def noisy(params, states, x):
        key, drawn = jax.random.split(states["key"])
        h = 0.9 * states["h"] + etir.matmul(x, params["W"]) + jax.random.normal(drawn, (4,))
        return {"h": h, "key": key}, h

    key = jax.random.key(5)
    learner = etir.compile(noisy, {"W": PARAMS["W"]}, {"h": jnp.zeros(4), "key": key}, XS[0, 0])
    found = record(learner, XS[:2, 0])
    np.testing.assert_array_equal(found["key"][0], jax.random.key_data(jax.random.split(key)[0]))
    assert (record(learner, XS[:2, 0], traces=True)["key"] == found["key"]).all()


def test_a_run_goes_on_from_where_another_ended(learner, whole):
    first = record(learner, XS[:10], traces=True)
    by_carry = record(learner, XS[10:], carry=first.carry, traces=lambda e: e)
    by_states = record(learner, XS[10:], states=first.after)
    np.testing.assert_allclose(by_carry["v"], whole["v"][10:], atol=1e-12)
    np.testing.assert_allclose(by_states["v"], whole["v"][10:], atol=1e-12)
    for label, trace in by_carry.traces.items():
        np.testing.assert_allclose(trace, whole.traces[label][10:], atol=1e-12)


def test_memory_is_bounded(learner):
    a_step = 2 * 2 * 4 * 8  # two states of [2, 4] in float64
    assert record(learner, XS, memory=a_step * STEPS).every == 1
    bounded = record(learner, XS, memory=5 * a_step)
    assert (bounded.every, bounded.nbytes) == (5, 4 * a_step)
    with pytest.raises(EtirError) as refused:
        record(learner, XS, every=2, memory=5 * a_step)
    assert str(refused.value) == (
        "error: recording every 2 of 23 steps would hold 1.41 kB; the budget is 640 B [record-memory]\n"
        "  help: every=5 fits, or record fewer states: keep="
    )
    with pytest.raises(EtirError) as refused:
        record(learner, XS, memory=10)
    assert str(refused.value) == (
        "error: recording a single time would hold 128 B; the budget is 10 B [record-memory]\n  help: give more memory="
    )


def test_traces_of_a_long_run_are_looked_at_fifty_times(learner):
    long = record(learner, jnp.tile(XS, (20, 1, 1)), traces=True)
    assert (long.length, long.every) == (460, 12)  # a tenth step would not end a window of four
    assert record(learner, XS, traces=True).every == 1


def test_some_states_alone(learner, whole):
    found = record(learner, XS, keep="v")
    assert list(found.series) == ["v"]
    np.testing.assert_allclose(found["v"], whole["v"], atol=1e-12)
    with pytest.raises(EtirError) as refused:
        record(learner, XS, keep=["v", "voltage"])
    assert str(refused.value) == "error: keep='voltage' matches no state [recorded-name]\n  help: known: s, v"
    with pytest.raises(EtirError) as refused:
        found["w"]
    assert str(refused.value) == "error: nothing was recorded as 'w' [recorded-name]\n  help: known: v"


def test_another_batch_marks_and_learned_beginnings(learner, whole):
    single = record(learner, XS[:, :1], states={"s": jnp.zeros((1, 4)), "v": jnp.zeros((1, 4))})
    np.testing.assert_allclose(single["v"], whole["v"][:, :1], atol=1e-12)
    marked = etir.compile(lif, PARAMS, STATES, XS[0], reset="step")
    reset = jnp.arange(STEPS) == 7
    found = record(marked, XS, reset=reset, traces=True)
    np.testing.assert_allclose(found["v"][:7], whole["v"][:7], atol=1e-12)
    again = record(learner, XS[7:])
    np.testing.assert_allclose(found["v"][7:], again["v"], atol=1e-12)
    learned = etir.compile(lif, PARAMS, STATES, XS[0], initial=["v"])
    found = record(learned, XS, states={"s": STATES["s"], "v": STATES["v"] + 1}, every=4, spikes=True)
    assert list(found.states) == ["s", "v"]
    np.testing.assert_allclose(found["v"], record(learner, XS, states=found_from(1), every=4)["v"], atol=1e-12)
    np.testing.assert_allclose(found.after["v"], record(learner, XS, states=found_from(1))["v"][-1], atol=1e-12)


def found_from(v: float):
    return {"s": STATES["s"], "v": STATES["v"] + v}


def test_a_step_without_inputs():
    def clock(params, states):
        h = 0.5 * states["h"] + etir.bias(jnp.zeros(3), params["b"])
        return {"h": h}, h

    learner = etir.compile(clock, {"b": jnp.ones(3)}, {"h": jnp.zeros(3)})
    found = record(learner, steps=6, every=2, traces=True)
    np.testing.assert_allclose(found["h"][:, 0], [2 - 0.5**k for k in (1, 3, 5)])
    np.testing.assert_allclose(only(found.traces), found["h"][:, 0])


def test_two_uses_of_one_spike_function_have_two_names():
    model = zoo.case("lif_delta").build(jax.random.key(0))
    learner = etir.compile(model.step, model.params, model.states, *model.inputs)
    found = record(learner, model.make_inputs(jax.random.key(1), 12)[0], spikes=True)
    assert len(found.spikes) == 2
    before, after = found.spikes.values()
    np.testing.assert_array_equal(after[:-1], before[1:])


@pytest.mark.parametrize(
    ("every", "message"),
    [
        (0, "error: every=0; wanted a positive number of steps, or None for what fits [record-every]"),
        (30, "error: every=30, and the sequence has 23 steps: nothing would be recorded [record-every]"),
    ],
)
def test_every_is_a_number_of_steps(learner, every, message):
    with pytest.raises(EtirError) as refused:
        record(learner, XS, every=every)
    assert str(refused.value) == message


def test_what_is_no_learner_and_what_predict_refuses(learner):
    with pytest.raises(EtirError) as refused:
        record(lif, XS)
    assert str(refused.value) == (
        "error: an instrument was given something of type function; wanted a learner [instrument-learner]\n"
        "  help: make one with etir.compile(...): any model that compiles can be looked at"
    )
    with pytest.raises(EtirError, match="argument-type"):
        record(learner, XS[..., :2])


def test_it_prints_as_a_table(whole):
    some = Recording(
        name="lif", length=4, every=2, steps=np.array([2, 4]), states={"v": np.array([[0.0, 1], [2, 1]])},
        outputs={}, spikes={}, surrogates={}, traces={}, after=None, carry=None,
    )  # fmt: skip
    assert repr(some) == (
        "lif: 4 steps, one in 2 recorded, 32 B\n"
        "recorded  type    mean  std    min  max\n"
        "v         f64[2]  1     0.707  0    2"
    )
    assert "<td style='text-align:left'>f64[2]</td>" in some._repr_html_()
