"""Predicted seconds of a learner's programs: the driver's gradient, and what of it the model alone would take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from ...ir.regions import STEP
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
    steps = fold_steps(engine)
    given = _arguments(engine, steps)
    alone = given[0], given[1], given[3], given[5]
    programs = (lambda *a: _scanned(engine, *a), lambda *a: _gradient(engine, *a))
    forward, both = (device.seconds(_work(program, alone)) / steps for program in programs)
    total = device.seconds(_work(lambda *a: engine.gradient(_squares, *a), given)) / steps
    reverse = max(0.0, min(both, total) - forward)
    return Seconds(forward=forward, reverse=reverse, traces=total - forward - reverse)


def window_work(engine: Engine) -> Work:
    """The work in one window's gradient, as `train` takes it: weights change at its end."""
    given = _arguments(engine, engine.calls.plan.window)
    return _work(lambda *a: engine.gradient(_squares, *a), given)


def fold_work(engine: Engine) -> Work:
    """The work in the gradient of one fold, its weights held."""
    return _work(lambda *a: engine.gradient(_squares, *a), _arguments(engine, fold_steps(engine)))


def fold_steps(engine: Engine) -> int:
    """The steps of a fold, whole windows."""
    window = engine.calls.plan.window
    return max(1, engine.longest_fold.steps // window) * window


def _work(program: Callable[..., Any], given: tuple[Any, ...]) -> Work:
    traced, _ = jx.trace(program, *given)
    return work_of(traced)


def _arguments(engine: Engine, steps: int) -> tuple[Any, ...]:
    """Stand-ins for parameters, states, traces, inputs, signals and a target."""
    t = engine.transition
    every = [jx.struct_of(var) for var in jx.argument_vars(t.region(STEP).body)]
    first, last = len(t.params), len(t.params) + len(t.states)
    params, states, inputs = every[:first], every[first:last], every[last:]
    kinds = [s.value.type for s in engine.calls.plan.signals]
    signals = [jax.ShapeDtypeStruct(kind.shape, kind.dtype) for kind in kinds]
    traces = jax.eval_shape(lambda held: engine.lag.ready(held, steps), engine.kinds)
    target = jax.ShapeDtypeStruct((steps,), jnp.float32)
    return params, states, traces, _in_time(inputs, steps), _in_time(signals, steps), target


def _in_time(kinds: Sequence[Any], steps: int) -> list[Any]:
    return [jax.ShapeDtypeStruct((steps, *kind.shape), kind.dtype) for kind in kinds]


def _squares(outputs: Arrays, _: Any) -> tuple[jax.Array, None]:
    parts = [jnp.sum(jnp.abs(y) ** 2) for y in outputs if jnp.issubdtype(y.dtype, jnp.inexact)]
    return sum((x.astype(jnp.float32) for x in parts), jnp.float32(0)), None


def _scanned(engine: Engine, params: Arrays, states: Arrays, inputs: Arrays, target: Any) -> Any:
    def body(now: Arrays, at: Any) -> tuple[Arrays, Any]:
        states, outputs = engine.calls.model(params, now, at[0])
        return states, _squares(outputs, at[1])[0]

    states, losses = jax.lax.scan(body, states, (inputs, target))
    return losses.sum(), states


def _gradient(engine: Engine, params: Arrays, *given: Any) -> Any:
    carried = [k for k, p in enumerate(engine.transition.params) if p.value.type.carries_credit]

    def loss(chosen: Arrays) -> Any:
        every = list(params)
        for k, x in zip(carried, chosen, strict=True):
            every[k] = x
        return _scanned(engine, every, *given)

    return jax.grad(loss, has_aux=True)([params[k] for k in carried])
