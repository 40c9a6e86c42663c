"""What has no derivative in reverse mode on the way of credit, and the whole text of what is said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import bptt, by_path
from oracles import loss as squared
from own_primitives import heaviside, own_primitive
from snippets import expected, run_program

import etir
from etir.coupling.primitives import elementwise_coupling
from etir.ir.diagnostics import EtirError

STEP = """\
from etir import compile, matmul
from jax.lax import fori_loop, scan, stop_gradient, while_loop
def decay(v):
    return while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, 0.9 * c[1]), (0, v))[1]
def step(p, s, x):
    {line}
    return {{"v": v}}, v
learner = compile(step, {{"w": jnp.eye(3)}}, {{"v": jnp.zeros(3)}}, jnp.ones(3), window=2)
xs = jnp.ones((5, 3))
grads = learner.grad(lambda y: jnp.sum(y ** 2))(learner.params, learner.init(), xs).grads["w"]
"""

REFUSED = {
    "of a state": 'v = decay(s["v"]) + matmul(x, p["w"])',
    "of a site": 'v = 0.5 * s["v"] + decay(matmul(x, p["w"]))',
    "of a weight": 'v = 0.5 * s["v"] + matmul(x, decay(p["w"]))',
    "in a loop": 'v = scan(lambda c, _: (decay(c), None), s["v"], None, length=2)[0] + matmul(x, p["w"])',
    "to an output": 'v = 0.5 * s["v"] + matmul(x, p["w"]); return {"v": v}, decay(v)',
    "trips": 'v = fori_loop(0, jnp.sum(x > 0), lambda i, v: 0.9 * v, s["v"]) + matmul(x, p["w"])',
    "of an input": 'v = 0.5 * s["v"] + matmul(decay(x), p["w"])',
}
LET_BE = {
    "counter": 'v = 0.5 * s["v"] + while_loop(lambda n: n < 3, lambda n: n + 1, jnp.sum(x > 9)) * matmul(x, p["w"])',
    "cut off before": 'v = 0.5 * s["v"] + decay(stop_gradient(s["v"])) + matmul(x, p["w"])',
    "cut off after": 'v = 0.5 * s["v"] + stop_gradient(decay(s["v"])) + matmul(x, p["w"])',
    "input cut off": 'v = 0.5 * s["v"] + matmul(decay(stop_gradient(x)), p["w"])',
    "known trips": 'v = fori_loop(0, 3, lambda i, v: 0.9 * v, s["v"]) + matmul(x, p["w"])',
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_while_loop_on_the_way_of_credit_is_refused(name: str):
    program = STEP.format(line=REFUSED[name])
    place = (6, 9) if name == "trips" else (4, 12)
    source = program.splitlines()[place[0] - 1].strip()
    with pytest.raises(EtirError) as raised:
        run_program(program)
    message = str(raised.value).splitlines()
    whose = "an input" if name == "of an input" else "weights and states"
    inside = " inside 'scan'" if name == "in a loop" else ""
    assert [message[k] for k in (0, 1, -1)] == [
        f"model.py:{place[0]}:{place[1]}: error: credit of {whose} passes through a while loop{inside}, "
        "which JAX cannot differentiate in reverse mode [no-reverse-mode]",
        f"  {source}",
        "  help: let the number of its trips be known before it runs (lax.scan, or lax.fori_loop with Python ints), "
        "or write etir.transform.fixed_point where that is what it comes to; "
        "or, if no credit is meant to pass, give it jax.lax.stop_gradient of its operands",
    ]


@pytest.mark.parametrize("name", LET_BE)
def test_a_while_loop_beside_the_way_of_credit_is_let_be(name: str):
    assert np.asarray(run_program(STEP.format(line=LET_BE[name]))["grads"]).any()


@pytest.mark.parametrize("declared", [False, True])
def test_a_primitive_without_a_derivative_is_refused(declared: bool):
    odd = own_primitive("odd", jnp.sin)
    if declared:
        etir.declare_coupling(odd, elementwise_coupling)
    with pytest.raises(EtirError) as raised:
        run_program(
            """
            from etir import compile, matmul
            def step(p, s, x):
                v = 0.9 * odd.bind(s["v"]) + matmul(x, p["w"])
                return {"v": v}, v
            compile(step, {"w": jnp.eye(3)}, {"v": jnp.zeros(3)}, jnp.ones(3))
            """,
            odd=odd,
        )
    assert str(raised.value) == expected("""
        model.py:3:15: error: credit of weights and states passes through 'odd', which JAX cannot differentiate in reverse mode [no-reverse-mode]
          v = 0.9 * odd.bind(s["v"]) + matmul(x, p["w"])
                    ^^^^^^^^^^^^^^^^
          note: JAX says: Differentiation rule for 'odd' not implemented
          help: give it a derivative (jax.custom_vjp); or, if no credit is meant to pass, give it jax.lax.stop_gradient of its operands
    """)  # noqa: E501


IN_PART = {
    "jnp.ones(3).at[jnp.array([0, 1, 1])].multiply(s['v'])": "scatter_mul gradients are only implemented if",
    "lax.polygamma(s['v'], x)": "polygamma gradient with respect to m is not supported",
    "jnp.linalg.svd(jnp.outer(x, s['v'])[:2])[2][0]": "Singular value decomposition JVP not implemented",
    "lax.betainc(x, x, s['v'])": None,
}
"""Updates of a state by what JAX differentiates by some operands, or for some parameters; what it says of others."""


@pytest.mark.parametrize("update", IN_PART)
def test_what_has_a_derivative_in_part_is_asked_for_that_part(update: str):
    program = STEP.format(line=f"from jax import lax; v = {update} + matmul(x, p['w'])")
    if IN_PART[update] is None:
        assert np.asarray(run_program(program)["grads"]).any()
        return
    with pytest.raises(EtirError) as raised:
        run_program(program)
    (found,) = raised.value.diagnostics
    assert found.code == "no-reverse-mode"
    assert found.notes[0].startswith(f"JAX says: {IN_PART[update]}")


def test_a_surrogate_that_is_a_primitive_is_followed_position_by_position():
    def step(p, s, x):
        v = 0.9 * s["v"] + etir.matmul(x, p["w"]) - s["z"]
        z = heaviside.bind(v - 1)
        return {"v": v, "z": z}, z

    keys = jax.random.split(jax.random.key(0), 3)
    params, states = {"w": jax.random.normal(keys[0], (4, 3))}, {"v": jnp.zeros(3), "z": jnp.zeros(3)}
    xs, ts = jax.random.normal(keys[1], (9, 4)) + 1, jax.random.normal(keys[2], (9, 3))
    learner = etir.compile(step, params, states, xs[0], window=2)
    result = learner.grad(squared)(params, learner.init(), xs, ts)
    _, spikes = learner.window(params, learner.init(), xs)
    assert spikes.sum() > 3
    assert learner.certificate["w"].label == "exact"
    wanted = bptt(step, params, states, (xs,), ts).grads["w"]
    np.testing.assert_allclose(by_path(result.grads)["w"], wanted, rtol=1e-10)
