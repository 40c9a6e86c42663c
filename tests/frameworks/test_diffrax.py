"""An inner solver of diffrax with a fixed step, as a part of the step: exact, and refused where it cannot be."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import pytest
from beside_bptt import beside_bptt, loss
from oracles import by_path, relative_error

import etir

B, N, T = 3, 4, 5


def model(solver: Any, adjoint: Any) -> Any:
    """A continuous-time layer that is solved over each step in four steps of its own."""

    def step(params: Any, states: Any, x: jax.Array) -> Any:
        drive = jnp.tanh(x @ params["w"])
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: -params["rate"] * y + drive * jnp.cos(t)),
            solver, t0=0.0, t1=0.4, dt0=0.1, y0=states["h"],
            stepsize_controller=diffrax.ConstantStepSize(), adjoint=adjoint, max_steps=4,
        )  # fmt: skip
        (h,) = solution.ys
        return {"h": h}, h

    keys = jax.random.split(jax.random.key(0))
    params = {"w": jax.random.normal(keys[0], (N, N)), "rate": jnp.linspace(0.5, 2.0, N)}
    return step, params, {"h": jnp.full((B, N), 0.3)}, jax.random.normal(keys[1], (T, B, N))


def test_an_inner_solver_is_exact():
    with jax.enable_x64(True):
        step, params, states, xs = model(diffrax.Heun(), diffrax.DirectAdjoint())

        learner, found = beside_bptt(step, params, states, xs)
        assert {entry.label for entry in learner.certificate} == {"exact"}
        assert max(found.values()) < 1e-10


@pytest.mark.slow
def test_the_default_adjoint_is_exact_within_a_window_and_truncated_between():
    with jax.enable_x64(True):
        step, params, states, xs = model(diffrax.Heun(), diffrax.RecursiveCheckpointAdjoint())
        learner, found = beside_bptt(step, params, states, xs, window=T, on_truncated="ignore")
        assert {entry.label for entry in learner.certificate} == {"truncated"}
        assert max(found.values()) < 1e-10

        def cut(params: Any) -> jax.Array:
            def body(states: Any, x: jax.Array) -> Any:
                states, y = step(params, jax.lax.stop_gradient(states), x)
                return states, loss(y)

            return jax.lax.scan(body, states, xs)[1].sum()

        learner = etir.compile(step, params, states, xs[0], sites="auto", on_truncated="ignore")
        short, wanted = by_path(learner.grad(loss)(params, learner.init(), xs).grads), by_path(jax.grad(cut)(params))
        assert max(relative_error(short[path], wanted[path]) for path in wanted) < 1e-10


def test_an_adjoint_without_reverse_mode_is_refused():
    step, params, states, xs = model(diffrax.Euler(), diffrax.ForwardMode())
    with pytest.raises(etir.EtirError) as refusal:
        etir.compile(step, params, states, xs[0], sites="auto")
    assert [found.code for found in refusal.value.diagnostics] == ["no-reverse-mode"]
