"""Convolutions: patches give what JAX computes, learners what BPTT does, in traces of kernel times positions."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import differing
from oracles import bptt, by_path, loss

import etir
from etir.ir import jaxpr as jx
from etir.ir.operations.call import operation_call

GEOMETRIES: list[tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = [
    ({"padding": "VALID"}, (2, 7, 2), (3, 2, 3)),
    ({"strides": 3, "padding": [(-1, 3)]}, (2, 9, 2), (2, 2, 3)),
    ({"strides": 2}, (5, 5, 2), (3, 3, 2, 3)),
    ({"dilation": (2, 1), "groups": 2}, (2, 5, 4, 4), (3, 2, 2, 6)),
    ({"strides": 2, "groups": 3}, (2, 6, 6, 3), (3, 3, 1, 3)),
    ({"groups": 2, "strides": (1, 2), "layout": ("NCHW", "OIHW", "NHWC")}, (2, 4, 5, 5), (6, 2, 3, 2)),
    ({"groups": 2, "layout": ("HWCN", "HOWI", "CHNW")}, (4, 5, 2, 3), (3, 4, 2, 1)),
    ({"strides": 2, "transposed": True, "groups": 2}, (2, 3, 3, 2), (3, 3, 1, 4)),
    ({"strides": (1, 2, 1)}, (2, 3, 4, 3, 1), (2, 3, 2, 1, 2)),
    ({"padding": "VALID"}, (2, 2, 2), (3, 2, 1)),
]


def drawn(*shapes: tuple[int, ...]) -> list[Any]:
    return [jax.random.normal(jax.random.key(k), shape) for k, shape in enumerate(shapes)]


@pytest.mark.parametrize("k", range(len(GEOMETRIES)))
def test_patches_times_the_kernel_are_the_convolution(k: int):
    options, of_data, of_kernel = GEOMETRIES[k]
    x, w = drawn(of_data, of_kernel)
    body, _ = jx.trace(partial(etir.conv, **options), x, w)
    seen = []

    def unfolded(eqn: Any, operands: list[Any]) -> Any:
        if eqn.primitive is not operation_call:
            return None
        operation, (data, kernel) = eqn.params["operation"], operands
        kind = jx.struct_of(eqn.invars[1])
        expression = operation.expression(jx.struct_of(eqn.invars[0]), kind)
        seen.append((operation, data, kind))
        return [jnp.einsum(str(expression), operation.unfold(data, kind), kernel)]

    (found,) = jx.evaluate(body, [x, w], hook=unfolded)
    np.testing.assert_allclose(found, etir.conv(x, w, **options), rtol=1e-12, atol=1e-12)
    ((operation, data, kind),) = seen
    steps = jnp.stack([data, 2 * data])
    back = jax.random.normal(jax.random.key(3), jax.eval_shape(operation.apply, data, kind).shape)
    (once,) = jax.linear_transpose(lambda w: operation.apply(data, w), kind)(back)
    np.testing.assert_allclose(
        operation.cotangent(steps, jnp.stack([back, back]), kind), 3 * once, rtol=1e-12, atol=1e-12
    )


def model(convolve: Any, data: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[Any, ...]:
    """A leaky layer fed by a convolution: step, parameters, states, a sequence of inputs."""

    def step(params: Any, states: Any, x: Any) -> Any:
        h = 0.8 * states["h"] + jnp.tanh(convolve(x, params["w"]))
        shown = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return {"h": h}, shown.sum((1, 2))

    xs, w = drawn((5, *data), kernel)
    return step, {"w": w}, {"h": jnp.zeros(jax.eval_shape(convolve, xs[0], w).shape)}, xs


def plain(x: Any, w: Any) -> Any:
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=layout, feature_group_count=2)


@pytest.mark.parametrize(
    ("convolve", "sites"),
    [
        (partial(etir.conv, strides=2, groups=2), "explicit"),
        (plain, "auto"),
        (jax.vmap(partial(etir.conv, strides=2, groups=2), (0, None)), "explicit"),
    ],
    ids=["conv", "plain", "vmapped"],
)
def test_d_rtrl_is_bptt_in_traces_of_kernel_times_positions(convolve: Any, sites: str):
    step, params, states, xs = model(convolve, (2, 4, 4, 2), (3, 3, 1, 4))
    learner = etir.compile(step, params, states, xs[0], rule="d_rtrl", window=2, sites=sites)
    ts = jnp.zeros((5, 2, 4))
    found = learner.grad(loss, reduction="sum")(params, learner.init(), xs, ts)
    assert str(learner.certificate["w"].label) == "exact"
    assert differing(by_path(found.grads), bptt(step, params, states, (xs,), ts).grads) == {}
    (trace,) = learner.transition.plan.traces
    assert trace.before.type.size == params["w"].size * 2 * 2 * 2  # the batch, and two by two positions


def test_a_step_runs_the_convolution_and_leaves_patches_to_traces():
    step, params, states, xs = model(partial(etir.conv, strides=2), (2, 4, 4, 2), (3, 3, 2, 4))
    learner = etir.compile(step, params, states, xs[0], rule="pp_prop", window=2)
    text = jax.jit(learner.predict).lower(params, states, xs).as_text()
    assert ("stablehlo.convolution" in text, "stablehlo.dot_general" in text, "concatenate" in text) == (
        True,
        False,
        False,
    )


def test_a_recurrent_depthwise_kernel_is_exact_where_its_neighbourhood_is_followed():
    def step(params: Any, states: Any, x: Any) -> Any:
        h = 0.5 * states["h"] + jnp.tanh(etir.conv(states["h"], params["u"], groups=2) + x)
        return {"h": h}, h

    xs, u = drawn((5, 4, 2), (3, 1, 2))
    states, ts = {"h": jnp.ones((4, 2))}, jnp.zeros((5, 4, 2))
    exact = bptt(step, {"u": u}, states, (xs,), ts).grads
    for rule in ("snap", "d_rtrl"):
        learner = etir.compile(step, {"u": u}, states, xs[0], rule=rule, window=2)
        found = by_path(learner.grad(loss, reduction="sum")({"u": u}, learner.init(), xs, ts).grads)
        assert (str(learner.certificate["u"].label), differing(found, exact)) == ("exact", {})
