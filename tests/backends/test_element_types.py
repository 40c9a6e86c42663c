"""Groups whose states differ in element type: what belongs to the group is held in the type that holds them all."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error

import etir
from etir.ir.plan import Jacobian, Sensitivity

STEPS, INPUTS, WIDTH = 7, 3, 4
TYPES = (("float32", "bfloat16"), ("float16", "float32"), ("bfloat16", "float16"), ("float32", "float64"))


def coupled(params, states, x):
    """An adapting neuron; `a` comes first in the group."""
    y = etir.matmul(x, params["W"])
    v = 0.9 * states["v"] - 0.1 * states["a"] + y
    a = 0.95 * states["a"] + 0.05 * states["v"] + 0.5 * jnp.tanh(y)
    return {"v": v.astype(states["v"].dtype), "a": a.astype(states["a"].dtype)}, v


def loss(v, t):
    return jnp.abs(v.astype(jnp.promote_types(v.dtype, jnp.float32)) - t).sum() ** 2


def example(a, v):
    keys = jax.random.split(jax.random.key(3), 3)
    wide = jnp.promote_types(a, v)
    params = {"W": jax.random.normal(keys[0], (INPUTS, WIDTH), wide) / 2}
    xs, ts = jax.random.normal(keys[1], (STEPS, INPUTS), wide), jax.random.normal(keys[2], (STEPS, WIDTH), wide)
    return params, {"a": jnp.zeros(WIDTH, a), "v": jnp.zeros(WIDTH, v)}, xs, ts


def through_time(step, loss, params, states, xs, ts):
    def run(params):
        def body(now, at):
            new, y = step(params, now, at[0])
            return new, loss(y, at[1])

        return jax.lax.scan(body, states, (xs, ts))[1].sum()

    return jax.jit(jax.grad(run))(params)["W"]


def found(step, loss, params, states, xs, ts, **options):
    """The gradient by the driver, and by differentiating `window`."""
    learner = etir.compile(step, params, states, xs[0], on_truncated="error", **options)
    driver = jax.jit(lambda p: learner.grad(loss)(p, learner.init(), xs, ts).grads)
    window = jax.jit(jax.grad(lambda p: jax.vmap(loss)(learner.window(p, learner.init(), xs)[1], ts).sum()))
    return [driver(params)["W"], window(params)["W"]]


def precision(*dtypes):
    """The lowest, times what a few steps of rounding make of it."""
    return 16 * max(float(jnp.finfo(dtype).eps) for dtype in dtypes)


CASES = [
    *((*pair, 3, "xla") for pair in (*TYPES, *(pair[::-1] for pair in TYPES), ("complex64", "complex128"))),
    ("float16", "float32", 1, "xla"),
    ("float16", "float32", 3, "reference"),
    ("float32", "bfloat16", 3, "reference"),
]


@pytest.mark.parametrize(("a", "v", "window", "backend"), CASES)
def test_coupled_states_of_two_types_have_the_gradient_of_reverse_mode(a, v, window, backend):
    of = example(a, v)
    wanted = through_time(coupled, loss, *of)
    for gradient in found(coupled, loss, *of, window=window, backend=backend):
        assert gradient.dtype == wanted.dtype
        assert relative_error(gradient, wanted) < precision(a, v)


@pytest.mark.parametrize(
    "options", [{"rule": "pp_prop"}, {"rule": "rtrl"}, {"rule": "d_rtrl", "credit": "rule"}], ids=str
)
def test_backends_agree_on_two_types_under_other_rules(options):
    params, states, xs, ts = example("float32", "bfloat16")
    gradients = {}
    for backend in ("xla", "reference"):
        learner = etir.compile(
            coupled, params, states, xs[0], window=2, backend=backend, on_truncated="ignore", **options
        )
        gradients[backend] = learner.grad(loss)(params, learner.init(), xs, ts).grads["W"]
    assert relative_error(gradients["xla"], gradients["reference"]) < precision("bfloat16")


@pytest.mark.parametrize(
    "dtypes", [("float16", "float32"), ("bfloat16", "float16"), ("float16", "float16")], ids="-".join
)
def test_what_a_group_shares_is_held_in_the_type_that_holds_its_states(dtypes):
    params, states, xs, _ = example(*dtypes)
    wide = str(reduce(jnp.promote_types, dtypes))
    learner = etir.compile(coupled, params, states, xs[0], window=2)
    plan = learner.transition.plan
    assert plan is not None
    shared = [op for op in plan.step if isinstance(op, (Jacobian, Sensitivity))]
    assert {value.type.dtype for op in shared for value in op.results} == {wide}
    carry, _ = learner.window(params, learner.init(), xs)
    for held in (learner.init(), carry):
        assert {str(x.dtype) for x in jax.tree.leaves(held.traces)} == {wide}
        assert {k: x.dtype for k, x in held.states.items()} == {k: x.dtype for k, x in states.items()}


def test_a_state_of_few_bits_does_not_narrow_its_neighbours_trace():
    """`v` has a trace of 1e5 and more, which float16 cannot hold."""

    def step(params, states, x):
        v = 0.99 * states["v"] - 0.1 * states["a"] + etir.matmul(1e5 * x, params["W"])
        return {"a": (0.5 * states["a"]).astype(jnp.float16), "v": v}, 1e-5 * v

    of = example("float16", "float32")
    wanted = through_time(step, loss, *of)
    for gradient in found(step, loss, *of, window=2):
        assert np.isfinite(gradient).all()
        assert relative_error(gradient, wanted) < 1e-5
