"""The reference engine: runs the plan's lists in order, once a step and once a window."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ...ir.plan import Operation, Pullback
from ...ir.transition import Transition
from ..calls import Arrays, Calls
from ..guards import refuse_second_derivatives
from .reverse import window_results
from .rules import EMIT, Spaces, check_known
from .scene import Scene, Values

Traces: TypeAlias = tuple[jax.Array, ...]
"""One matrix (or vector) for each trace of the plan, in order."""


class Engine:
    """The reference backend for one planned transition."""

    name = "reference"

    def __init__(self, transition: Transition, trace_dtype: str | None = None) -> None:
        """Prepare to run `transition`'s plan, its traces held as `trace_dtype` (the states' own by default).

        Raises EtirError for an operation without an emit rule.
        """
        self.calls = Calls(transition)
        self.plan = self.calls.plan
        check_known(self.plan)
        self.trace_dtype = trace_dtype
        after = {trace.after for trace in self.plan.traces}
        self.advances = [op for op in self.plan.at_window if after.intersection(op.results)]
        self.reads = [op for op in self.plan.at_window if op not in self.advances]

    def zeros(self) -> Traces:
        """The traces at the beginning of a sequence."""
        spaces: Spaces = {}
        for op in self.plan.operations:
            spaces |= EMIT[type(op)].traces(op, self.calls.transition)
        return tuple(self._zero(*spaces[trace.before]) for trace in self.plan.traces)

    def _zero(self, *axes: Any) -> jax.Array:
        dtype = self.trace_dtype or jnp.result_type(*(space.dtype for space in axes))
        return jnp.zeros([space.size for space in axes], dtype)

    def window(
        self, params: Arrays, states: Arrays, traces: Traces, inputs: Arrays, steps: int
    ) -> tuple[Arrays, Traces, Arrays]:
        """One window of `steps` steps: new states, new traces, and the outputs, `[time, ...]`.

        Differentiable in `params` and `inputs`; the traces' part of the gradient is added to that of the parameters.
        States go in without a derivative, and come out with that of this window; traces have none.
        """
        states, traces = jax.lax.stop_gradient((states, traces))
        run = jax.custom_vjp(partial(self._run, steps))
        run.defvjp(partial(self._run_and_keep, steps), partial(self._reverse, steps))
        (after, held), outputs = run(params, states, traces, inputs)
        return after, jax.lax.stop_gradient(held), outputs

    def _run(
        self, steps: int, params: Arrays, states: Arrays, traces: Traces, inputs: Arrays
    ) -> tuple[tuple[Arrays, Traces], Arrays]:
        weights = self.calls.weights(params)

        def body(carry: Any, x: Arrays) -> tuple[Any, Arrays]:
            now, held = carry
            after, outputs, bindings = self.calls.forward(weights, now, x)
            scene = self._scene(params, now, held, x, 1)
            _execute(self.plan.step, replace(scene, bindings=bindings))
            return (after, self._carried(scene.values)), outputs

        (after, held), outputs = jax.lax.scan(body, (states, traces), inputs, length=steps)
        at_end = self._scene(params, states, held, inputs, steps)
        _execute(self.advances, at_end)
        return (after, self._carried(at_end.values)), outputs

    def _run_and_keep(self, steps: int, *arguments: Any) -> tuple[Any, Any]:
        return self._run(steps, *arguments), arguments

    def _reverse(self, steps: int, kept: Any, cotangents: Any) -> tuple[Any, ...]:
        kept, ((after_bar, _), outputs_bar) = refuse_second_derivatives((kept, cotangents))
        params, states, traces, inputs = kept
        scene = self._scene(params, states, traces, inputs, steps)
        scene = replace(scene, result_cotangents=(after_bar, outputs_bar))
        _execute(self.reads, scene)
        pullback = next(op for op in self.reads if isinstance(op, Pullback))
        return [scene.values[value] for value in pullback.results], None, None, self._to_inputs(scene)

    def _to_inputs(self, scene: Scene) -> list[Any]:
        """The cotangents of the window's inputs; None for one that carries no credit."""
        chosen = [k for k, x in enumerate(self.calls.transition.inputs) if x.value.type.carries_credit]

        def run(selected: Arrays) -> tuple[Arrays, Arrays]:
            inputs = list(scene.inputs)
            for k, x in zip(chosen, selected, strict=True):
                inputs[k] = x
            return window_results(
                self.calls, self.calls.forward_region, scene.params, scene.states, inputs, scene.steps
            )

        _, pull = jax.vjp(run, [scene.inputs[k] for k in chosen])
        found = dict(zip(chosen, pull(scene.result_cotangents)[0], strict=True))
        return [found.get(k) for k in range(len(scene.inputs))]

    def _scene(self, params: Arrays, states: Arrays, traces: Traces, inputs: Arrays, steps: int) -> Scene:
        values: Values = {trace.before: held for trace, held in zip(self.plan.traces, traces, strict=True)}
        return Scene(calls=self.calls, values=values, params=params, states=states, inputs=inputs, steps=steps)

    def _carried(self, values: Values) -> Traces:
        """Each trace after the operations that ran; one that none of them advances is what it was."""
        return tuple(values.get(trace.after, values[trace.before]) for trace in self.plan.traces)


def _execute(operations: Iterable[Operation], scene: Scene) -> None:
    """Run some operations in order, their results added to the scene's values."""
    for op in operations:
        scene.values.update(zip(op.results, EMIT[type(op)].emit(op, scene), strict=True))
