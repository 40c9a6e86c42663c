"""quality: cosines and norms beside gradients that are taken by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir import EtirError, zoo
from etir.instruments import quality

MODEL = zoo.case("rnn_leaky").build(jax.random.key(0), dtype=jnp.float64)
XS = MODEL.make_inputs(jax.random.key(1), 30)[0]
TARGETS = MODEL.make_targets(jax.random.key(2), 30)


def loss(y, target):
    return jnp.mean((y - target) ** 2), y


def compiled(rule, window, **options):
    return etir.compile(
        MODEL.step,
        MODEL.params,
        MODEL.states,
        *MODEL.inputs,
        rule=rule,
        window=window,
        on_truncated="ignore",
        **options,
    )


def bptt(params, keep=None):
    def total(params):
        def body(states, at):
            x, target = at
            states, y = MODEL.step(params, states, x)
            return states, loss(y, target)[0]

        losses = jax.lax.scan(body, MODEL.states, (XS, TARGETS))[1]
        return jnp.sum(losses if keep is None else jnp.where(keep, losses, 0))

    return jax.grad(total)(params)


def test_cosines_and_ratios_of_norms():
    learners = [compiled("d_rtrl", 1), compiled("d_rtrl", 10), compiled("rtrl", 1)]
    found = quality(learners, loss, XS, TARGETS)
    assert list(found.found) == ["d_rtrl, window 1", "d_rtrl, window 10", "rtrl, window 1"]
    wanted = {path: np.asarray(x).ravel() for path, x in bptt(MODEL.params).items()}
    grads = learners[0].grad(loss)(MODEL.params, learners[0].init(), XS, TARGETS).grads
    for path, x in grads.items():
        g, w = np.asarray(x).ravel(), wanted[path]
        one = found["d_rtrl, window 1"][path]
        np.testing.assert_allclose(one.cosine, g @ w / np.linalg.norm(g) / np.linalg.norm(w), atol=1e-12)
        np.testing.assert_allclose(one.ratio, np.linalg.norm(g) / np.linalg.norm(w))
        np.testing.assert_allclose((found["rtrl, window 1"][path].cosine, found["rtrl, window 1"][path].ratio), 1)
    assert found["d_rtrl, window 1"]["U"].cosine < found["d_rtrl, window 10"]["U"].cosine < 1
    flat = [np.concatenate([np.asarray(of[path]).ravel() for path in grads]) for of in (grads, wanted)]
    together = found["d_rtrl, window 1"]["all together"]
    np.testing.assert_allclose(together.cosine, flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1]))
    lines = repr(found).splitlines()
    assert lines[0] == "Online gradients beside BPTT over 30 steps: cosine x ratio of norms"
    assert [line.split("  ")[-1].strip() for line in lines[2:7]] == ["1.000 x 1.00"] * 5


def test_one_learner_other_parameters_a_mask_and_frozen_weights():
    learner = compiled("rtrl", 4, mask="step", frozen="b")
    params = jax.tree.map(lambda x: 0.5 * x, MODEL.params)
    found = quality(learner, loss, XS, TARGETS, params=params, mask=jnp.ones(30, bool))
    assert set(found["rtrl, window 4"]) == {"W", "U", "readout", "all together"}
    assert all(abs(each.cosine - 1) < 1e-12 for each in found["rtrl, window 4"].values())
    last = quality(learner, loss, XS, TARGETS, params=params, mask=jnp.arange(30) < 20)
    assert all(abs(each.ratio - 1) < 1e-10 for each in last["rtrl, window 4"].values())


def test_rules_that_draw_numbers_take_a_key_and_names_may_be_given():
    found = quality({"random": compiled("uoro", 1)}, loss, XS, TARGETS, key=jax.random.key(7))
    assert abs(found["random"]["U"].cosine) < 0.999
    assert found["random"]["readout"].cosine == pytest.approx(1)


def test_zero_gradients_are_said_to_be_zero():
    learner = compiled("d_rtrl", 1)
    found = quality(learner, lambda y, _: 0.0 * jnp.sum(y), XS, TARGETS)
    assert {each.cell for each in found["d_rtrl, window 1"].values()} == {
        "approximate: zero",
        "exact: zero",
        "0, as BPTT's",
    }


def test_what_is_no_learner():
    with pytest.raises(EtirError, match="instrument-learner"):
        quality(MODEL.step, loss, XS, TARGETS)
    with pytest.raises(EtirError, match="instrument-learner"):
        quality([MODEL.step], loss, XS, TARGETS)


def test_learners_of_different_models_are_refused():
    other = zoo.case("rnn_diagonal").build(jax.random.key(0))
    learner = etir.compile(other.step, other.params, other.states, *other.inputs)
    for given, what in (
        ([compiled("d_rtrl", 1), learner], "the learners have different parameters"),
        ([], "no learner was given"),
    ):
        with pytest.raises(EtirError) as refused:
            quality(given, loss, XS, TARGETS)
        assert str(refused.value) == (
            f"error: {what} [quality-learners]\n"
            "  help: give learners of one model: [etir.compile(*model, rule=rule) for rule in ('d_rtrl', 'pp_prop')]"
        )
