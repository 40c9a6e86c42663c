"""Backward rules of `custom_vjp`: those that are linear in the cotangent are followed, others are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import bptt, by_path, loss, relative_error
from snippets import expected, message_of

import etir

X = jnp.linspace(-1.5, 1.5, 4)


def spread(x):
    return 1 / (1 + jnp.abs(x)) ** 2


def halves(c, a):
    return 0.5 * c + a, c * 2


def counted(x, change, start):
    """What a loop leaves whose number of trips depends on the operand."""
    trips = (x > 0).sum()
    return jax.lax.while_loop(lambda c: c[0] < trips, lambda c: (c[0] + 1, change(c[1])), (0, start))[1]


LINEAR = {
    "surrogate": lambda x, g: g * spread(x),
    "window of the operand": lambda x, g: jnp.where(jnp.abs(x) < 1, g, 0.0),
    "centred": lambda x, g: g - g.mean(-1, keepdims=True),
    "sums": lambda x, g: jnp.cumsum(g)[::-1] - g / 3,
    "matrix": lambda x, g: jnp.outer(x, x) @ g + jnp.einsum("i,ij->j", g, jnp.ones((4, 4))),
    "jit": lambda x, g: jax.jit(lambda a, b: a * b)(spread(x), g),
    "vmap": lambda x, g: jax.vmap(lambda a, b: a * b)(x, g),
    "scan": lambda x, g: jax.lax.scan(halves, 0.0, g)[1],
    "fori": lambda x, g: jax.lax.fori_loop(0, 3, lambda i, a: a * 0.5, g),
    "while": lambda x, g: counted(x, lambda a: a * 0.5, g),
    "cond": lambda x, g: jax.lax.cond(x.sum() > 0, lambda a: a, jnp.zeros_like, g),
    "scatter": lambda x, g: jnp.zeros_like(g).at[jnp.array([0, 1])].add(g[:2]),
    "gather": lambda x, g: jnp.take(g, jnp.array([1, 0, 3, 2])),
    "shift": lambda x, g: jnp.concatenate([g[2:], jnp.zeros(2)]) + jnp.roll(g, 1),
    "half precision": lambda x, g: g.astype(jnp.bfloat16).astype(g.dtype) / (1 + x**2),
    "fourier": lambda x, g: jnp.fft.ifft(jnp.fft.fft(g) * 2).real,
    "solve": lambda x, g: jnp.linalg.solve(2 * jnp.eye(4) + jnp.outer(x, x), g),
    "other derivative": lambda x, g: jax.vjp(jax.nn.selu, x)[1](g)[0],
    "zero": lambda x, g: jnp.zeros_like(x),
}
OTHER = {
    "clip": (lambda x, g: jnp.clip(g, -0.1, 0.1), "max"),
    "sign": (lambda x, g: jnp.sign(g), "sign"),
    "round": (lambda x, g: jnp.round(g), "round"),
    "square": (lambda x, g: g * g, "mul"),
    "normalised": (lambda x, g: g / (1e-6 + jnp.sqrt(g @ g)), "dot_general"),
    "penalty": (lambda x, g: g + 0.1 * jnp.sign(x), "add"),
    "gate": (lambda x, g: jnp.where(g > 0, g, 0.0), "gt"),
    "finite": (lambda x, g: jnp.where(jnp.isfinite(g), g, 0.0), "is_finite"),
    "sort": (lambda x, g: jnp.sort(g), "sort"),
    "branch": (lambda x, g: jax.lax.cond(g.sum() > 0, lambda a: a, lambda a: -a, g), "gt"),
    "product in a loop": (lambda x, g: jax.lax.scan(lambda c, a: (0.5 * c + a, c * a), 0.0, g)[1], "mul"),
    "loop from one": (lambda x, g: jax.lax.scan(halves, 1.0, g)[1], "add"),
    "square in a while": (lambda x, g: counted(x, lambda a: a * a, g), "mul"),
    "while from one": (lambda x, g: counted(x, lambda a: 0.5 * a + g, jnp.ones_like(g)), "add"),
    "while it is large": (lambda x, g: jax.lax.while_loop(lambda a: a.max() > 1, lambda a: 0.5 * a, g), "reduce_max"),
}


def with_rule(backward):
    """An identity with this backward rule."""

    @jax.custom_vjp
    def identity(x):
        return x * 1.0

    identity.defvjp(lambda x: (x * 1.0, x), lambda x, g: (backward(x, g),))
    return identity


def analysed(f, place="state"):
    def step(p, s, x):
        w = f(p) if place == "weight" else p
        h = 0.5 * s["h"] + etir.matmul(x, jnp.diag(w))
        h = f(h) if place == "state" else h
        return {"h": h}, f(h) if place == "readout" else h

    return etir.analyse(etir.lower(step, X, {"h": X}, X))


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_rule_is_followed(name):
    analysed(with_rule(LINEAR[name]))


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.each
def test_another_rule_is_refused(name):
    backward, culprit = OTHER[name]
    with pytest.raises(etir.EtirError, match=rf"it applies '{culprit}' to the cotangent") as refused:
        analysed(with_rule(backward))
    assert [finding.code for finding in refused.value.diagnostics] == ["nonlinear-rule"]


def test_between_parameters_and_a_weight_it_is_refused():
    analysed(with_rule(LINEAR["surrogate"]), "weight")
    with pytest.raises(etir.EtirError, match="nonlinear-rule"):
        analysed(with_rule(OTHER["clip"][0]), "weight")


def test_inside_a_loop_it_is_refused():
    f = with_rule(OTHER["clip"][0])
    with pytest.raises(etir.EtirError, match="nonlinear-rule"):
        analysed(lambda h: jax.lax.fori_loop(0, 2, lambda i, a: f(a), h))


@pytest.mark.parametrize("name", ["clip", "penalty"])
@pytest.mark.parametrize("rule", ["d_rtrl", "rtrl", "bptt"])
def test_in_a_readout_any_rule_may_stand(rule, name):
    f = with_rule(OTHER[name][0])

    def step(p, s, x):
        h = 0.5 * s["h"] + etir.matmul(x, p["W"])
        return {"h": h}, f(h) @ p["V"]

    params = {"W": jnp.outer(X, X + 0.3), "V": jnp.outer(X + 0.5, X[:2])}
    states, xs = {"h": jnp.zeros(4)}, jnp.sin(jnp.arange(28.0)).reshape(7, 4)
    ts = jnp.cos(jnp.arange(14.0)).reshape(7, 2)
    learner = etir.compile(step, params, states, xs[0], rule=rule, window=2, on_truncated="ignore")
    found = by_path(learner.grad(loss)(params, learner.init(), xs, ts).grads)
    wanted = bptt(step, params, states, (xs,), ts).grads
    exact = [path for path in wanted if learner.certificate[path].label == "exact"]
    assert exact == (["V"] if rule == "bptt" else ["V", "W"])
    assert max(relative_error(found[path], wanted[path]) for path in exact) < 1e-12
    assert np.abs(wanted["W"]).max() > 0


def test_what_is_said():
    program = """
        import etir
        @jax.custom_vjp
        def clip(x):
            return x
        clip.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -1, 1),))
        def step(params, states, x):
            h = clip(0.9 * states + etir.matmul(x, params))
            return h, h
        etir.compile(step, jnp.ones((3, 4)), jnp.zeros(4), jnp.ones(3))
    """
    assert message_of(program) == expected("""
        model.py:7:9: error: the backward rule of this custom_vjp is not linear in the cotangent, so it is no derivative [nonlinear-rule]
          h = clip(0.9 * states + etir.matmul(x, params))
              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: it applies 'max' to the cotangent: what it returns depends on all credit that arrives at once
          help: clip or rescale gradients outside the step, as optax.clip does, or write a rule that is linear
    """)  # noqa: E501
