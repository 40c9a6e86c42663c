"""Effective memory: gradients beside jax.grad by hand, traces beside products of the recurrence's own factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir import EtirError, zoo
from etir.instruments import effective_memory
from etir.instruments.reach import INPUTS, STATES


def gated(params, states, x):
    """One factor a unit and step: a trace of W decays by their product."""
    z = jax.nn.sigmoid(x @ params["V"])
    h = z * states["h"] + (1 - z) * etir.matmul(x, params["W"])
    return {"h": h}, h @ params["readout"]


PARAMS = {
    "V": jax.random.normal(jax.random.key(0), (3, 4)),
    "W": jax.random.normal(jax.random.key(1), (3, 4)),
    "readout": jax.random.normal(jax.random.key(2), (4, 2)),
}
XS = jax.random.normal(jax.random.key(3), (24, 3))


def compiled(**options):
    return etir.compile(gated, PARAMS, {"h": jnp.zeros(4)}, XS[0], on_truncated="ignore", **options)


def test_a_trace_decays_by_the_products_of_the_gates():
    found = effective_memory(compiled(window=4), XS, trials=1)
    gates = np.asarray(jax.nn.sigmoid(XS @ PARAMS["V"]))
    E = np.zeros((3, 4))
    for x, z in zip(np.asarray(XS)[:12], gates[:12], strict=True):
        E = z * E + np.outer(x, 1 - z)
    left = [np.linalg.norm(E)]
    for z in gates[12:23]:
        E = z * E
        left.append(np.linalg.norm(E))
    np.testing.assert_allclose(found.curves["trace of W on h"], np.array(left) / left[0], atol=1e-12)


def test_gradients_are_those_of_bptt():
    found = effective_memory(compiled(), XS, trials=1, seed=5, traces=False)

    def body(h, at):
        x, move = at
        z = jax.nn.sigmoid(x @ PARAMS["V"])
        return z * (h + move) + (1 - z) * (x @ PARAMS["W"]), None

    def last(xs, moves, direction):
        return jax.lax.scan(body, jnp.zeros(4), (xs, moves))[0] @ PARAMS["readout"] @ direction

    # A random direction: the curve is a norm along one, and so a combination of those along both axes.
    gradient = jax.jit(jax.grad(last, (0, 1)))
    basis = [gradient(XS, jnp.zeros((24, 4)), d) for d in jnp.eye(2)]
    for name, place in ((INPUTS, 0), (STATES, 1)):
        a, b = (np.asarray(each[place])[::-1] for each in basis)
        squares = np.stack([(a * a).sum(1), 2 * (a * b).sum(1), (b * b).sum(1)], axis=1)
        wanted = found.curves[name] ** 2
        weights, *_ = np.linalg.lstsq(squares, wanted, rcond=None)
        np.testing.assert_allclose(squares @ weights, wanted, atol=1e-10 * wanted.max())
        np.testing.assert_allclose(weights[1] ** 2, weights[0] * weights[2], rtol=1e-5)


def test_lengths_of_a_leak():
    def leaky(params, states, x):
        h = 0.8 * states["h"] + etir.matmul(x, params["W"])
        return {"h": h}, h

    learner = etir.compile(leaky, {"W": jnp.eye(2)}, {"h": jnp.zeros(2)}, jnp.zeros(2))
    found = effective_memory(learner, steps=50, trials=2)
    above = int((0.8 ** np.arange(50) > 0.01).sum())
    assert {name: found.length(name) for name in found.curves} == dict.fromkeys(
        [INPUTS, STATES, "trace of W on h"], above
    )
    assert repr(found) == (
        "Effective memory\n"
        "of                  above 1%  after 1  10     100\n"
        "gradient to inputs  21 steps  0.8      0.107\n"
        "gradient to states  21 steps  0.8      0.107\n"
        "trace of W on h     21 steps  0.8      0.107"
    )
    short = effective_memory(learner, steps=8, trials=1)
    assert short.cut("trace of W on h")
    assert "over 4 steps" in repr(short)


def test_exact_traces_follow_the_gradient_where_others_do_not():
    model = zoo.case("rnn_leaky").build(jax.random.key(0))
    xs = model.make_inputs(jax.random.key(1), 40)[0]
    curves = {}
    for rule in ("rtrl", "d_rtrl"):
        learner = etir.compile(model.step, model.params, model.states, *model.inputs, rule=rule)
        curves[rule] = effective_memory(learner, xs, trials=1).curves["trace of b on h"]

    def influence(state):
        return jax.jacobian(lambda h: learner.predict(model.params, {"h": h}, xs[20:28])[0]["h"])(state)

    h = learner.predict(model.params, model.states, xs[:20])[0]["h"]
    whole = jax.jacobian(lambda b: learner.predict(model.params | {"b": b}, model.states, xs[:20])[0]["h"])(
        model.params["b"]
    )
    left = np.linalg.norm(influence(h) @ whole) / np.linalg.norm(whole)
    np.testing.assert_allclose(curves["rtrl"][8], left, rtol=1e-5)
    assert abs(curves["d_rtrl"][8] / left - 1) > 0.05


@pytest.mark.parametrize(
    ("rule", "note"),
    [
        ("bptt", "rule 'bptt' carries no trace: its memory ends with the window"),
        ("uoro", "the traces of rule 'uoro' are no linear recurrence: what they forget has no curve"),
    ],
)
def test_rules_without_such_traces_say_so(rule, note):
    found = effective_memory(compiled(rule=rule), XS, trials=1)
    assert set(found.curves) == {INPUTS, STATES}
    assert repr(found).endswith(note)


def test_integers_have_no_gradient_and_the_states_do():
    def reader(params, states, token):
        h = 0.5 * states["h"] + etir.embed(params["table"], token)
        return {"h": h}, h

    learner = etir.compile(reader, {"table": jnp.ones((5, 3))}, {"h": jnp.zeros(3)}, jnp.zeros((), jnp.int32))
    found = effective_memory(learner, jnp.arange(12) % 5, trials=1)
    assert [name for name in found.curves if name.startswith("gradient")] == [STATES]
    np.testing.assert_allclose(found.curves[STATES] / found.curves[STATES][0], 0.5 ** np.arange(12))


def test_one_step_is_no_memory():
    with pytest.raises(EtirError) as refused:
        effective_memory(compiled(), steps=1)
    assert str(refused.value) == ("error: steps=1, trials=8; wanted at least two steps and one trial [memory-length]")
