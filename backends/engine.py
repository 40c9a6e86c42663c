"""The engine that every backend runs plans by: windows that can be differentiated, and gradients over sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir import jaxpr as jx
from ..ir.diagnostics import error
from ..ir.plan import Trace
from ..ir.transition import Site, Transition
from ..ir.types import TensorType
from .backend import Backend
from .calls import Arrays, Calls
from .filling import Filled, filled_with
from .folds.lag import Lag, Traces
from .folds.longest import Longest, longest_fold
from .folds.one_scan import OneScan
from .folds.schedule import Portion, near_divisor
from .guards import refuse_second_derivatives, sealed
from .picked import AnySource
from .program import Program
from .reverse import ByDefinition, BySites, Reverse, Run
from .sequence import SequenceGradient
from .window import Forward, Given, Windows

SMALL = 1 << 22
"""Bytes of traces that are sent from the host rather than made by a program of their own."""


class Engine:
    """One backend's program for one planned transition. Arrays are flat lists in the transition's order."""

    def __init__(self, transition: Transition, backend: Backend, trace_dtype: str | None = None) -> None:
        """Prepare to run `transition`'s plan, its traces held as `trace_dtype` (their own types by default).

        Raises EtirError for a plan that the backend cannot run.
        """
        self.transition, self.backend = transition, backend
        self.calls = Calls(transition, picked_sums=backend.reads_picked)
        self.program = Program(transition, self.calls.plan, backend)
        self.sources: Mapping[Site, AnySource] = {**self.calls.sources, **self.program.sources}
        self.windows = Windows(self.calls, self.program, self._reverse())
        hidden = [state.before.type for state in transition.hidden]
        self.held = [trace.held_as(trace_dtype).dtype for trace in self.calls.plan.traces]
        self.lag = Lag(self.program.sweeps, self.calls.plan.traces, hidden, self.held)

    def _reverse(self) -> Reverse:
        vjp = self.program.vjp
        if not self.backend.by_sites or self.program.reverse_results_read:
            return ByDefinition(self.calls, vjp)
        return BySites(self.calls, vjp, self.program.pullback.takers, self.sources)

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.backend.name

    @property
    def needs_key(self) -> bool:
        """Whether some trace begins as a function of a key; one that begins as a constant needs none."""
        starts = [trace.start for trace in self.calls.plan.traces if trace.start is not None]
        return any(jx.reads_arguments(self.transition.region(name).body) for name in starts)

    @cached_property
    def longest_fold(self) -> Longest:
        """The most steps that a fold of the driver may have."""
        return longest_fold(self.program, self.lag.share_held(self.held))

    @property
    def bound(self) -> bool:
        """Whether traces belong to the states that they are carried with."""
        return bool(self.calls.plan.of_sequence)

    @property
    def bytes_held(self) -> list[int]:
        """What each of the plan's traces holds in a carry: nothing where it follows from others."""
        pairs = zip(self.calls.plan.traces, self.lag.carried, self.held, strict=True)
        return [TensorType(held, t.before.type.shape).bytes if carried else 0 for t, carried, held in pairs]

    @cached_property
    def _beginning(self) -> tuple[Any, Any]:
        """`start` from some key, as a closed jaxpr, and the tree of its results' kinds."""
        return jx.trace(lambda: self.start(jax.random.key(0)))

    @property
    def kinds(self) -> Any:
        """The shapes and element types of the traces at the beginning of a sequence, as a carry holds them."""
        return self._beginning[1]

    @cached_property
    def _compiled_start(self) -> Callable[..., Traces]:
        return jax.jit(self.start)

    @cached_property
    def _filled(self) -> Filled | None:
        """What the traces are full of at the beginning, where each is one number throughout, and all are small."""
        found = None if self.needs_key else filled_with(self._beginning[0])
        return (
            found if found is not None and sum(kind.size * kind.dtype.itemsize for kind, _ in found) <= SMALL else None
        )

    def started(self, key: jax.Array | None) -> Traces:
        """`start`: of small traces arrays from the host, of others one program, compiled once."""
        if self._filled is None or jx.current_trace() != jx.eager_trace():
            return self._compiled_start(key)
        arrays = [np.full(kind.shape, fill, kind.dtype) for kind, fill in self._filled]
        return jax.tree.unflatten(jax.tree.structure(self.kinds), jax.device_put(arrays, may_alias=False))

    def start(self, key: jax.Array | None = None) -> Traces:
        """The traces at the beginning of a sequence, from a key where some trace is drawn.

        Raises EtirError where a key is needed and none is given.
        """
        if key is None and self.needs_key:
            raise error(
                "key-missing",
                f"rule '{self.calls.plan.rule}' draws random numbers, and learner.init was given no key",
                help="pass learner.init(params, states, key=jax.random.key(0))",
            )
        found: list[Any] = []
        for k, (trace, dtype) in enumerate(zip(self.calls.plan.traces, self.held, strict=True)):
            if trace.start is None:
                found.append(jnp.zeros(trace.before.type.shape, dtype))
                continue
            given = jax.random.key(0) if key is None else key
            own = jax.random.bits(jax.random.fold_in(given, k), (2,), jnp.uint32)
            (value,) = jx.evaluate(self.transition.region(trace.start).body, [own])
            found.append(value.astype(dtype))
        # As any other arrays, wherever they are made: XLA would evaluate what is made of zeros while it compiles.
        return jax.lax.optimization_barrier(self.lag.begun(tuple(found)))

    def window(
        self, params: Arrays, states: Arrays, traces: Traces, inputs: Arrays, signals: Arrays, steps: int, seal: Any
    ) -> tuple[Arrays, Traces, Arrays]:
        """One window of `steps` steps: new states, new traces, and the outputs, `[time, ...]`.

        Differentiable in `params` and `inputs`: the traces send the credit of the entering states back to the weights.
        So states go in without a derivative, and come out with that of this window; traces have none. These go in in
        any form, and come out as `lag.ready` has them for so many steps. The gradient of parameters has `seal` added to
        it, a number whose own cotangent is NaN.
        """
        self._check_open()
        states, traces = jax.lax.stop_gradient((states, self.lag.settled(traces)))

        @jax.custom_vjp
        def run(params: Arrays, inputs: Arrays, given: Given, seal: Any) -> tuple[Any, Any, Any]:
            del seal
            return self._advanced(Run(self.calls, params), given._replace(inputs=inputs), steps)

        def forward(params: Arrays, inputs: Arrays, given: Given, seal: Any) -> tuple[Any, Any]:
            at = Run(self.calls, params)
            whole = given._replace(inputs=inputs)
            found, pull = self.windows.differentiated(at, whole, steps)
            kept = (params, whole, found, pull, seal)
            return self._after(at, whole, found, steps), kept

        def reverse(kept: Any, cotangents: Any) -> Any:
            (params, given, found, pull, seal), cotangents = refuse_second_derivatives((kept, cotangents))
            gradient, to_inputs = self._pulled(Run(self.calls, params), given, found, pull, steps, cotangents)
            return sealed(gradient, seal), to_inputs, None, jnp.full((), jnp.nan)

        run.defvjp(forward, reverse)
        after, held, outputs = run(params, inputs, Given(states, traces, inputs, signals), seal)
        return after, jax.lax.stop_gradient(held), outputs

    def _check_open(self) -> None:
        """Refuse to step a trace that takes the loss in: a step alone does not know it."""
        if self.program.driver_only:
            raise error(
                "loss-in-trace",
                f"trace '{self.program.driver_only[0].label}' is advanced by what the loss sends back, which a step or "
                "a window alone does not know",
                help="use learner.grad or learner.train, which are given the loss",
            )

    def _advanced(self, run: Run, given: Given, steps: int) -> tuple[Any, Any, Any]:
        found = self.windows.forward(run, given, steps)
        return self._after(run, given, found, steps)

    def _after(self, run: Run, given: Given, found: Forward, steps: int) -> tuple[Any, Any, Any]:
        """New states, new traces and outputs of a window whose cotangents are not known."""
        record = self.windows.record(found)
        late, _ = self.windows.late(run, given, record, steps, None)
        scene = self.windows.end(run, given, found.states, steps, {})
        self.windows.act(scene, self.program.slice(self.program.at_window, self._window_afters()))
        deferred = self.lag.close(self._deferred(given), record, steps, run.constants).traces
        traces = self.traces(given.traces, self.windows.stepped(found), late, scene.values, deferred)
        return found.states, self.lag.after(traces, record, steps, run.constants), found.outputs

    def _deferred(self, given: Given) -> dict[Trace, Any]:
        """The traces, as they entered, that the end of a window or of a fold advances."""
        return {trace: given.traces[self.program.place[trace]] for trace in self.program.deferred}

    def _window_afters(self) -> list[Any]:
        return [trace.after for trace in self.program.window_traces]

    def traces(
        self,
        old: Traces,
        early: Mapping[Trace, Any],
        late: Iterable[Any],
        values: Mapping[Any, Any],
        deferred: Mapping[Trace, Any],
    ) -> Traces:
        """All traces after a window, from where each of them was advanced."""
        program = self.program
        new = dict(early) | dict(zip(program.late_traces, late, strict=True))
        new |= {t: values[t.after] for t in program.window_traces if t.after in values} | dict(deferred)
        return tuple(
            jnp.asarray(new[trace], before.dtype) if trace in new else before
            for trace, before in zip(self.calls.plan.traces, old, strict=True)
        )

    def _pulled(
        self, run: Run, given: Given, found: Forward, pull: Any, steps: int, cotangents: Any
    ) -> tuple[list[Any], list[Any]]:
        """The gradient of the parameters and the cotangents of the inputs, from those of states and outputs."""
        program, windows, reverse = self.program, self.windows, self.windows.reverse
        states_bar, _, outputs_bar = cotangents
        record = windows.record(found)
        scene = windows.end(run, given, found.states, steps, {})
        windows.act(scene, program.for_exit())
        (bars,) = pull((outputs_bar, self.leaving(scene, states_bar)))
        late, late_totals = windows.late(run, given, record, steps, bars["outputs"])
        del late
        scene.totals.update(zip(program.early_totals, found.totals, strict=True))
        scene.totals.update(late_totals)
        scene.values.update(zip(program.hidden_bars, bars["hidden"], strict=True))
        totals = reverse.window(reverse.zeros(run), bars["own"])
        if program.reverse_results_read:
            scene.values.update(zip(program.vjp.results[len(bars["hidden"]) :], totals, strict=True))
        totals = reverse.products(totals, record, reverse.sites(bars["own"]), ())
        wanted = [*program.pullback.on_weights, *program.pullback.on_params]
        windows.act(scene, program.slice(program.at_window, wanted))
        hidden_bars = [scene[v] for v in program.hidden_bars]
        scene.values.update({c.results[0]: x for c, x in self.lag.read(self._deferred(given), hidden_bars).items()})
        gradient = self.finish(run, given, totals, [scene[v] for v in wanted])
        floats = iter(bars["inputs"])
        to_inputs = [next(floats) if jnp.issubdtype(x.dtype, jnp.inexact) else None for x in given.inputs]
        params = self.transition.params
        return [g if p.learns else None for p, g in zip(params, gradient, strict=True)], to_inputs

    def leaving(self, scene: Any, states_bar: Arrays) -> Arrays:
        """The cotangents of the states that leave and carry credit, what the plan's exit adds included."""
        found = list(states_bar)
        for k, value in zip(self.calls.hidden_places, self.program.vjp.exit, strict=False):
            found[k] = found[k] + scene[value]
        return [found[k] for k in self.calls.credit_places]

    def finish(self, run: Run, given: Given, totals: Any, contributions: list[Any]) -> list[Any]:
        """The plan's pull-back, on what was added up; None for frozen parameters.

        Behind a barrier: else XLA adds a trace up once more in each of an optimizer's passes over its gradient.
        """
        pullback = self.program.pullback
        scene = self.windows.end(run, given, given.states, 0, {})
        scene.values.update(zip(pullback.reverse, self.windows.reverse.gradient(run, totals), strict=True))
        wanted = [*pullback.on_weights, *pullback.on_params]
        scene.values.update(zip(wanted, contributions, strict=True))
        scene.run(pullback, self.program.overrides)
        found = dict(zip(self.calls.learned_places, pullback.results, strict=True))
        gradient = [scene[found[k]] if k in found else None for k, _ in enumerate(run.params)]
        return jax.lax.optimization_barrier(gradient)

    def gradient(
        self,
        loss: Any,
        params: Arrays,
        states: Arrays,
        traces: Traces,
        inputs: Arrays,
        signals: Arrays,
        targets: Any,
        *,
        portion: Portion | None = None,
        maybe_unread: bool = False,
    ) -> tuple[Any, ...]:
        """Gradients, losses, states, traces and auxiliary results of a sequence, with the parameters held.

        Or of a portion of its steps, where losses and auxiliary results of the others mean nothing. `maybe_unread` says
        that perhaps nothing reads these traces.
        """
        given = Given(states, traces, inputs, signals, targets)
        return SequenceGradient(self, loss, params).run(given, portion, maybe_unread=maybe_unread)

    def units(self, room: int) -> tuple[int, ...]:
        """Of what `gradient` takes whole numbers where its arrays have room for so many steps: longer ones, then less.

        One where it takes any number.
        """
        window = self.calls.plan.window
        if room > 1 and OneScan.takes(self.program, self.windows.reverse):
            return (1,)
        fold = window * near_divisor(room // window, max(1, self.longest_fold.steps // window))
        return (fold, window) if fold > window else (window,)
