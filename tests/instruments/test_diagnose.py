"""diagnose: each symptom on a model that has it, none on those that have none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir import zoo
from etir.instruments import diagnose, record
from etir.instruments.symptoms import CHECKS

KEY = jax.random.key(0)
N = 6


def rnn(gain=1.0, drive=1.0, activation=jnp.tanh, transform=lambda h: h):
    """A recurrent network, and what makes it ill."""

    def step(params, states, x):
        h = activation(etir.matmul(x, params["W"]) * drive + etir.matmul(states["h"], params["U"]) * gain)
        h = transform(h)
        return {"h": h}, h @ params["readout"]

    keys = jax.random.split(KEY, 3)
    params = {
        "W": jax.random.normal(keys[0], (3, N)),
        "U": jax.random.normal(keys[1], (N, N)) / np.sqrt(N),
        "readout": jax.random.normal(keys[2], (N, 2)),
    }
    return etir.compile(step, params, {"h": jnp.zeros((4, N))}, jnp.zeros((4, 3)), on_truncated="ignore")


XS = jax.random.normal(jax.random.key(1), (30, 4, 3))


def loss(y):
    return jnp.mean((y - 1) ** 2)


def rectified(x):
    return jnp.maximum(x, 0)


def first_unit_off(x):
    return jnp.maximum(x - 1e3 * (jnp.arange(N) == 0), 0)


ILL = {
    "not finite": lambda: rnn(gain=1e30, activation=rectified, drive=1e10),
    "all zeros": lambda: rnn(drive=1e-4),
    "saturated": lambda: rnn(drive=40.0),
    "same for every sample": lambda: rnn(transform=lambda h: h.mean(0, keepdims=True) + 0 * h),
    "dead units": lambda: rnn(activation=first_unit_off, gain=0.5),
    "no gradient": lambda: rnn(activation=lambda x: rectified(x - 1e3)),
    "exploding gradients": lambda: rnn(gain=2.5, activation=lambda x: x, drive=1e-3),
    "vanishing gradients": lambda: rnn(gain=0.01),
}
"""Of each symptom, a model that has it."""

MAY_ALSO = {
    "not finite": {"no gradient", "dead units"},
    "all zeros": set(),
    "saturated": {"vanishing gradients"},
    "no gradient": {"all zeros"},
}
"""What else such a model has, by its nature."""


@pytest.mark.parametrize("name", ILL)
def test_a_symptom_is_seen_where_it_is(name):
    found = diagnose(ILL[name](), loss, XS)
    assert name in found.names, found
    assert found.names <= {name} | MAY_ALSO.get(name, set()), found
    assert not found
    symptom = next(s for s in found.symptoms if s.name == name)
    assert symptom.where
    assert symptom.remedy in repr(found)


@pytest.mark.parametrize("case", ["rnn_leaky", "gru_reset_after", "lstm", "lif_recurrent", "lru"])
def test_nothing_is_seen_where_nothing_is(case):
    model = zoo.case(case).build(jax.random.key(3), batch=4, sizes=zoo.Sizes(inputs=8, hidden=12, outputs=2))
    learner = etir.compile(model.step, model.params, model.states, *model.inputs, window=10)
    found = diagnose(learner, lambda y: sum(jnp.mean(jnp.abs(a - 1) ** 2) for a in jax.tree.leaves(y)),
                     model.make_inputs(jax.random.key(4), 60)[0])  # fmt: skip
    assert found, found
    assert repr(found).endswith("nothing is wrong")


def test_every_check_has_an_ill_model():
    assert len(ILL) == len(CHECKS)


def test_it_says_at_which_step_numbers_ceased_to_be_finite():
    def step(params, states, x):
        h = 0.5 * states["h"] + etir.matmul(x, params["W"])
        return {"h": h}, jnp.sum(h)

    learner = etir.compile(step, {"W": jnp.ones((2, 2))}, {"h": jnp.zeros(2)}, jnp.zeros(2))
    xs = jnp.ones((9, 2)).at[5].set(jnp.inf).at[7].set(-jnp.inf)
    found = diagnose(learner, None, xs)
    assert repr(found) == (
        "Hidden states\n"
        "state  shape  mean  std    min  max   near 0  above 0.99  NaN  inf\n"
        "h      [2]    3.23  0.682  2    3.88  0%      56%         4    4\n"
        "1 found:\n"
        "  not finite: h: 4 NaN, 4 infinite, first after step 6\n"
        "    likely cause: exploding states or gradients; a division, a logarithm or a root at zero\n"
        "    to do: clip the gradient (optax.clip_by_global_norm), lower the learning rate, "
        "shrink the recurrent weights"
    )
    assert not found.norms


def test_weights_that_have_diverged_are_seen_through():
    learner = rnn()
    found = diagnose(learner, loss, XS, params=learner.params | {"U": learner.params["U"].at[0, 0].set(jnp.nan)})
    assert {(s.name, s.where) for s in found.symptoms} >= {("not finite", "h"), ("not finite", "gradient of W")}
    assert "first after step 1" in repr(found)


def test_a_rule_with_a_signal_of_its_own():
    learner = rnn()
    signalled = etir.compile(learner_step, learner.params, learner.states, XS[0], rule="three_factor")
    found = diagnose(signalled, loss, XS, modulator=jnp.ones(30))
    assert set(found.norms) == {"W", "U", "readout"}
    recorded = record(signalled, XS, traces=True, modulator=jnp.ones(30))
    assert len(recorded.traces) == 2


def learner_step(params, states, x):
    h = jnp.tanh(etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"]))
    return {"h": h}, h @ params["readout"]


def test_norms_of_gradients_are_listed():
    learner = rnn()
    found = diagnose(learner, loss, XS)
    grads = learner.grad(loss)(learner.params, learner.init(), XS).grads
    assert found.norms == {path: pytest.approx(float(jnp.linalg.norm(x))) for path, x in grads.items()}
    assert f"norms of gradients: U {found.norms['U']:.3g}, W {found.norms['W']:.3g}" in repr(found)
