"""braintrace's operations in a plain step: each is a site, exact where ours is, and equal to backpropagation.

The oracle differentiates braintrace's own primitives.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import differing
from oracles import bptt, by_path

import etir

braintrace = pytest.importorskip("braintrace", reason="braintrace is not installed on this leg")
import brainevent.config  # noqa: E402

brainevent.config.set_backend("cpu", "jax_raw")  # its default on a CPU needs numba

STEPS = 5
RANDOM = np.random.default_rng(0)
PRESENT = RANDOM.random((4, 5)) < 0.5


def array(*shape):
    return jnp.asarray(RANDOM.normal(size=shape))


MATRIX = brainevent.CSR.fromdense(jnp.asarray(PRESENT, float))
ENTRIES = int(PRESENT.sum())


def low_rank(p, x):
    return braintrace.lora_matmul(x, p["B"], p["A"], alpha=0.5, bias=p["b"], b_fn=jnp.sin, bias_fn=jnp.tanh)


def grouped(p, x):
    return braintrace.grouped_matmul(x, p["w"], p["b"])


def convolved(p, x):
    return braintrace.conv(x, p["w"], p["b"], kernel_fn=jnp.sin)


def transposed(p, x):
    return braintrace.sparse_matmul(x, p["w"], sparse_mat=MATRIX.T)


def in_scan(p, x):
    add = lambda total, _: (total + braintrace.matmul(x, p["w"]), None)  # noqa: E731
    return jax.lax.scan(add, jnp.zeros((2, 5)), None, length=3)[0]


def in_branch(p, x):
    return jax.lax.cond(x[0, 0] > 0, lambda: braintrace.matmul(x, p["w"]), lambda: braintrace.matmul(-2 * x, p["w"]))


CASES = {
    "matmul": (lambda p, x: braintrace.matmul(x, p["w"], p["b"], weight_fn=jnp.tanh), {"w": (4, 5), "b": (5,)}, (2, 4)),
    "matmul_alone": (lambda p, x: braintrace.matmul(x, p["w"]), {"w": (4, 5)}, (4,)),
    "einsum": (lambda p, x: braintrace.einsum("bhd,hde->bhe", x, p["w"]), {"w": (3, 4, 5)}, (2, 3, 4)),
    "element_wise": (lambda p, x: x + braintrace.element_wise(p["w"], weight_fn=jnp.exp), {"w": (4,)}, (2, 4)),
    "grouped_matmul": (grouped, {"w": (3, 4, 5), "b": (3, 5)}, (2, 3, 4)),
    "embedding": (lambda p, x: braintrace.embedding(jnp.int32(x), p["w"]), {"w": (6, 5)}, (2,)),
    "conv": (convolved, {"w": (4, 3, 5), "b": (4,)}, (2, 3, 8)),
    "conv_nhwc": (
        lambda p, x: braintrace.conv(
            x, p["w"], p["b"], strides=(2, 1), padding="VALID", feature_group_count=2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ),
        {"w": (2, 3, 1, 4), "b": (4,)},
        (2, 5, 5, 2),
    ),
    "sparse_matmul": (
        lambda p, x: braintrace.sparse_matmul(x, p["w"], sparse_mat=MATRIX, bias=p["b"]),
        {"w": (ENTRIES,), "b": (5,)},
        (2, 4),
    ),
    "sparse_matmul_csc": (transposed, {"w": (ENTRIES,)}, (5,)),
    "lora_matmul": (low_rank, {"B": (4, 2), "A": (2, 5), "b": (5,)}, (2, 4)),
    "in_scan": (in_scan, {"w": (4, 5)}, (2, 4)),
    "in_cond": (in_branch, {"w": (4, 5)}, (2, 4)),
}  # fmt: skip


def problem(name: str):
    """The step, parameters, states and inputs of a leaky layer driven by an operation."""
    drive, weights, shape = CASES[name]
    params = {path: array(*of) for path, of in weights.items()}

    def step(params, h, x):
        h = 0.8 * h + jnp.tanh(drive(params, x))
        return h, h

    xs = array(STEPS, *shape)
    if name == "embedding":
        xs = jnp.asarray(RANDOM.integers(-6, 6, (STEPS, *shape)).astype(float))
    states = jnp.zeros(jax.eval_shape(drive, params, xs[0]).shape)
    return step, params, states, xs


def online(learner, params, xs, targets):
    squares = lambda y, t: 0.5 * jnp.sum((y - t) ** 2)  # noqa: E731
    return by_path(learner.grad(squares)(params, learner.init(), xs, targets).grads)


@pytest.mark.parametrize("name", CASES)
def test_each_operation_is_a_site_and_exact(name: str):
    step, params, states, xs = problem(name)
    learner = etir.compile(step, params, states, xs[0], rule="d_rtrl", window=2)
    targets = array(STEPS, *states.shape)
    assert {entry.path: str(entry.label) for entry in learner.certificate} == dict.fromkeys(params, "exact")
    assert differing(online(learner, params, xs, targets), bptt(step, params, states, (xs,), targets).grads) == {}


def test_a_site_is_where_the_user_wrote_it():
    def step(params, h, x):
        h = jnp.tanh(braintrace.matmul(h, params["w"]) + x)
        return h, h

    learner = etir.compile(step, {"w": array(4, 4)}, jnp.zeros(4), array(4), rule="d_rtrl")
    (reason,) = learner.certificate["w"].reasons
    assert reason.loc.file == __file__
    assert reason.loc.source_line().strip() == 'h = jnp.tanh(braintrace.matmul(h, params["w"]) + x)'


def test_plain_products_beside_them_are_no_sites():
    def step(params, h, x):
        h = 0.9 * h + braintrace.matmul(x, params["w"]) + x @ params["plain"]
        return h, h

    params = {"w": array(4, 4), "plain": array(4, 4)}
    learner = etir.compile(step, params, jnp.zeros(4), array(4), on_truncated="ignore")
    assert {entry.path: str(entry.label) for entry in learner.certificate} == {"w": "exact", "plain": "truncated"}


UNLISTED = braintrace.register_primitive("etp_of_a_test", lambda x, w: x @ jnp.sin(w))


@jax.custom_vjp
def hidden_by_a_rule(x, w):
    return braintrace.matmul(x, w)


hidden_by_a_rule.defvjp(lambda x, w: (braintrace.matmul(x, w), (x, w)), lambda kept, y: (y @ kept[1].T, kept[0].T @ y))


@pytest.mark.parametrize("product", [UNLISTED.bind, hidden_by_a_rule])
def test_what_is_not_known_is_labelled(product):
    """A primitive of the user's own, and an operation under a derivative of the user's own: a window's credit alone."""

    def step(params, h, x):
        h = 0.8 * h + jnp.tanh(product(x, params["w"]) + braintrace.matmul(x, params["known"]))
        return h, h

    params, states, xs, targets = (
        {"w": array(4, 5), "known": array(4, 5)},
        jnp.zeros((2, 5)),
        array(STEPS, 2, 4),
        array(STEPS, 2, 5),
    )
    learner = etir.compile(step, params, states, xs[0], on_truncated="ignore")
    assert {entry.path: str(entry.label) for entry in learner.certificate} == {"w": "truncated", "known": "exact"}
    found = online(learner, params, xs, targets)
    assert differing(found, {"w": bptt(step, params, states, (xs,), targets, window=1).grads["w"]}) == {}
    assert differing(found, {"known": bptt(step, params, states, (xs,), targets).grads["known"]}) == {}


def test_a_model_of_batched_operations_is_the_vmap_of_one():
    """Batching by braintrace itself keeps its operations, and says so where it does not."""

    def step(params, h, x):
        h = 0.8 * h + jnp.tanh(jax.vmap(braintrace.matmul, (0, None))(x, params["w"]))
        return h, h

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = etir.compile(step, {"w": array(4, 5)}, jnp.zeros((2, 5)), array(2, 4))
    assert str(learner.certificate["w"].label) == "exact"
