"""Predicted seconds of a learner's programs: the driver's gradient, and what of it the model alone would take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from ...ir.types import TensorType
from ..calls import Arrays
from ..engine import Engine
from .device import DeviceModel
from .work import Work, work_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Predicted seconds of one step: of the model, of reverse mode through it, and of what a plan adds to these."""

    forward: float
    reverse: float
    traces: float

    @property
    def total(self) -> float:
        """Those of a step of the gradient."""
        return self.forward + self.reverse + self.traces


def predict(engine: Engine, device: DeviceModel) -> Seconds:
    """Seconds of a step of the driver's gradient, with the weights held for one fold; nothing runs.

    The squares of the outputs stand in for the user's loss, and `jax.grad` of a scan says what of the time is not the
    plan's: where the plan does it with less, `reverse` is what is left of it.
    """
    window = engine.calls.plan.window
    steps = max(1, engine.longest_fold.steps // window) * window
    given = _arguments(engine, steps)
    alone = given[0], given[1], given[3]
    programs = (lambda *a: _scanned(engine, *a), lambda *a: _gradient(engine, *a))
    forward, both = (device.seconds(_work(program, alone)) / steps for program in programs)
    total = device.seconds(_work(lambda *a: engine.gradient(_squares, *a, ()), given)) / steps
    reverse = max(0.0, min(both, total) - forward)
    return Seconds(forward=forward, reverse=reverse, traces=total - forward - reverse)


def window_work(engine: Engine) -> Work:
    """The work in one window's gradient, as `train` takes it: weights change at its end."""
    given = _arguments(engine, engine.calls.plan.window)
    return _work(lambda *a: engine.gradient(_squares, *a, ()), given)


def _work(program: Callable[..., Any], given: tuple[Any, ...]) -> Work:
    traced, _ = jx.trace(program, *given)
    return work_of(traced)


def _arguments(engine: Engine, steps: int) -> tuple[Any, ...]:
    """Stand-ins for parameters, states, traces, inputs and signals."""
    t = engine.transition

    def struct(kind: TensorType, *lead: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*lead, *kind.shape), kind.dtype)

    params, states = [struct(p.value.type) for p in t.params], [struct(s.before.type) for s in t.states]
    inputs = [struct(x.value.type, steps) for x in t.inputs]
    signals = [struct(s.value.type, steps) for s in engine.calls.plan.signals]
    traces = jax.eval_shape(lambda held: engine.lag.ready(held, steps), engine.kinds)
    return params, states, traces, inputs, signals


def _squares(outputs: Arrays, _: Any = None) -> tuple[jax.Array, None]:
    parts = [jnp.sum(jnp.abs(y) ** 2) for y in outputs if jnp.issubdtype(y.dtype, jnp.inexact)]
    return sum((x.astype(jnp.float32) for x in parts), jnp.float32(0)), None


def _scanned(engine: Engine, params: Arrays, states: Arrays, inputs: Arrays) -> Any:
    def body(now: Arrays, x: Arrays) -> tuple[Arrays, Any]:
        states, outputs = engine.calls.model(params, now, x)
        return states, _squares(outputs)[0]

    states, losses = jax.lax.scan(body, states, inputs)
    return losses.sum(), states


def _gradient(engine: Engine, params: Arrays, states: Arrays, inputs: Arrays) -> Any:
    carried = [k for k, p in enumerate(engine.transition.params) if p.value.type.carries_credit]

    def loss(chosen: Arrays) -> Any:
        every = list(params)
        for k, x in zip(carried, chosen, strict=True):
            every[k] = x
        return _scanned(engine, every, states, inputs)

    return jax.grad(loss, has_aux=True)([params[k] for k in carried])
