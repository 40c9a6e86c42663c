"""One window: run forward, with what its traces will need; pulled back, with the plan's operations run on what comes.

Everything that a learner does goes through here: a step is a window of one, `grad` and `train` are loops over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..ir.plan import Scene, Trace, WindowRun
from ..ir.values import Value
from .calls import Arrays, Calls
from .folds.exits import FROM, Exits
from .folds.lag import Traces
from .program import Action, Program
from .reverse import Reverse, Run
from .shared import Shared


class Given(NamedTuple):
    """What a window is given: states and traces as they enter, and arrays with a leading time axis."""

    states: Arrays
    traces: Traces
    inputs: Arrays
    signals: Arrays
    targets: Any = ()


class Forward(NamedTuple):
    """What a window that was run leaves."""

    states: Arrays
    early: list[Any]
    """The traces that step with the model, in the order of `Windows.early_traces`."""
    totals: list[Any]
    """Sums over the steps, in the order of `program.early_totals`."""
    record: Any
    """A `Shared` dictionary of the values of each step that are read later, `[time, ...]`."""
    outputs: Any
    """The stacked outputs; with a loss, the pair (losses, auxiliary results) instead."""


class LateLoop(NamedTuple):
    """What a loop over a window's steps runs once the loss is known."""

    actions: list[Action]
    traces: list[Trace]
    """Those that it steps."""
    sums: list[Value]
    """What it adds up."""
    wanted: list[Value]
    """What it gives of each step."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Runs windows of one program."""

    calls: Calls
    program: Program
    reverse: Reverse
    apart: frozenset[Value] = frozenset()
    """What traces are after a step, of those that no step advances: their fold does."""

    @cached_property
    def early(self) -> list[Action]:
        """What runs with the model."""
        return [a for a in self.program.early if self.apart.isdisjoint(a.results)]

    @cached_property
    def early_traces(self) -> list[Trace]:
        """The traces that step with the model."""
        return [t for t in self.program.early_traces if t.after not in self.apart]

    def stepped(self, found: Forward) -> dict[Trace, Any]:
        """The traces that stepped with the model, after a window."""
        return dict(zip(self.early_traces, found.early, strict=True))

    @property
    def read(self) -> tuple[Value, ...]:
        """The values of the model's step that something reads: their derivatives are not wanted."""
        early = [v for a in self.early for v in a.needs]
        return tuple(dict.fromkeys([*early, *self.kept, *self.program.early_totals]))

    @property
    def kept(self) -> list[Value]:
        """The values of each step that are stacked."""
        return list(dict.fromkeys([*self.program.kept, *self.reverse.needs]))

    def forward(self, run: Run, given: Given, steps: int, loss: Any = None) -> Forward:
        """Run a window without differentiating it."""
        hidden = [given.states[k] for k in self.calls.hidden_places]
        return self._steps(run, given, steps, loss, self._variables(run, hidden, steps, given))

    def differentiated(
        self, run: Run, given: Given, steps: int, loss: Any = None
    ) -> tuple[Forward, Callable[[Any], tuple[dict[str, Any]]]]:
        """Run a window, and its pull-back.

        The pull-back takes a pair: the cotangent of the summed losses, or those of the outputs, and those of the states
        that leave and carry credit. It gives those of the entering `hidden` states, of what the reverse mode
        differentiates (`own`), of the `inputs` that carry credit, and of the `outputs` at every step.
        """
        hidden = [given.states[k] for k in self.calls.hidden_places]
        variables = self._variables(run, hidden, steps, given)

        def results(variables: dict[str, Any]) -> tuple[Any, Forward]:
            found = self._steps(run, given, steps, loss, variables)
            first = found.outputs[0].sum() if loss is not None else found.outputs
            return (first, [found.states[k] for k in self.calls.credit_places]), found

        _, pull, found = jax.vjp(results, variables, has_aux=True)
        return found, pull

    def _variables(self, run: Run, hidden: Arrays, steps: int, given: Given) -> dict[str, Any]:
        outputs = self.calls.transition.outputs if self.program.output_bars else ()
        kinds = [output.value.type for output in outputs if output.value.type.carries_credit]
        return {
            "hidden": hidden,
            "own": self.reverse.variables(run, steps),
            "inputs": [x for x in given.inputs if jnp.issubdtype(x.dtype, jnp.inexact)],
            "outputs": [jnp.zeros((steps, *kind.shape), kind.dtype) for kind in kinds],
        }

    def _steps(self, run: Run, given: Given, steps: int, loss: Any, variables: dict[str, Any]) -> Forward:
        """The window's steps, from what is differentiated."""
        program, calls = self.program, self.calls
        now = list(given.states)
        for k, x in zip(calls.hidden_places, variables["hidden"], strict=True):
            now[k] = x
        weights, own = self.reverse.weights(run, variables["own"])
        inputs = replaced(given.inputs, variables["inputs"], lambda x: jnp.issubdtype(x.dtype, jnp.inexact))
        held = [given.traces[program.place[t]] for t in self.early_traces]
        fixed = self._fixed(given)
        read, kept = self.read, self.kept

        def body(carry: Any, at: Any) -> tuple[Any, Any]:
            now, held, totals = carry
            x, signals, target, shifts, out = at
            new, outputs, bindings = calls.forward(weights, now, x, own, self.reverse.at_step(shifts))
            outputs = self._shifted(outputs, out)
            values: dict[Value, Any] = dict(run.constants)
            values |= {v: jax.lax.stop_gradient(bindings[v]) for v in read if v in bindings and v not in values}
            values |= dict(zip(program.signals, signals, strict=True))
            values |= dict(zip((t.before for t in self.early_traces), held, strict=True)) | fixed
            scene = Scene(transition=calls.transition, values=values)
            for action in self.early:
                action.run(scene, program.overrides)
            held = [_like(values[t.after], old) for t, old in zip(self.early_traces, held, strict=True)]
            totals = [t + values[v] for t, v in zip(totals, program.early_totals, strict=True)]
            record = Shared({k: values[v] for k, v in enumerate(kept)})
            ys = outputs if loss is None else loss(outputs, target)
            return (new, held, totals), (ys, record)

        totals = [jnp.zeros(v.type.shape, v.type.dtype) for v in program.early_totals]
        scanned = (inputs, given.signals, given.targets, self.reverse.shifts(variables["own"]), variables["outputs"])
        if steps == 1:
            carry, found = body((now, held, totals), jax.tree.map(lambda a: a[0], scanned))
            found = jax.tree.map(lambda a: jnp.asarray(a)[None], found)
        else:
            carry, found = jax.lax.scan(body, (now, held, totals), scanned, length=steps)
        new, held, totals = carry
        return Forward(new, held, totals, found[1], found[0])

    def _fixed(self, given: Given) -> dict[Value, Any]:
        """The traces that no operation changes, which each step reads as constants."""
        return {t.before: given.traces[self.program.place[t]] for t in self.program.fixed_traces}

    def _shifted(self, outputs: Arrays, shifts: Arrays) -> Arrays:
        """The outputs, with what is added to those that carry credit so that their cotangents can be had."""
        if not self.program.output_bars:
            return outputs
        remaining = iter(shifts)
        return [y + next(remaining) if jnp.issubdtype(y.dtype, jnp.inexact) else y for y in outputs]

    def record(self, found: Forward) -> dict[Value, Any]:
        """The stacked values by value."""
        return {v: found.record.tree[k] for k, v in enumerate(self.kept)}

    def late(
        self, run: Run, given: Given, record: Mapping[Value, Any], steps: int, bars: Sequence[Any] | None
    ) -> tuple[list[Any], dict[Value, Any]]:
        """The late loop over the window's steps: its traces after the window, and sums over the steps.

        `bars` are the loss's derivatives by the outputs, `[time, ...]`; without them only what does not depend on the
        loss is run.
        """
        program, credited = self.program, bars is not None
        entered = {t: given.traces[program.place[t]] for t in program.late_traces}
        exits = program.exits if steps >= FROM else Exits()
        actions = [a for a in program.late if a.operation not in exits.operations]
        if not credited:
            actions = [a for a in actions if not program.credited.intersection(a.results)]
        if not actions and not exits.units:
            return list(entered.values()), {}
        stepped = {t: x for t, x in entered.items() if t not in exits.traces}
        sums = [v for v in program.late_totals if v not in exits.reads] if credited else []
        wanted = [v for v in exits.needs(credited) if v not in record]
        loop = LateLoop(actions, list(stepped), sums, wanted)
        held, totals, found = self._late_steps(run, given, record, steps, bars, loop, list(stepped.values()))
        after, read = exits.close(entered, {**record, **found}, run.constants, credited)
        after |= dict(zip(stepped, held, strict=True))
        return [after[t] for t in program.late_traces], dict(zip(sums, totals, strict=True)) | read

    def _late_steps(
        self,
        run: Run,
        given: Given,
        record: Mapping[Value, Any],
        steps: int,
        bars: Sequence[Any] | None,
        loop: LateLoop,
        held: list[Any],
    ) -> tuple[list[Any], list[Any], dict[Value, Any]]:
        """The loop's traces, `held` before it, its sums, and what is wanted of each step, `[time, ...]`."""
        program, names, fixed = self.program, list(record), self._fixed(given)

        def body(carry: Any, at: Any) -> tuple[Any, Any]:
            held, totals = carry
            rows, signals, bars = at
            values: dict[Value, Any] = dict(run.constants) | dict(zip(names, rows, strict=True))
            values |= dict(zip(program.signals, signals, strict=True))
            values |= dict(zip((t.before for t in loop.traces), held, strict=True)) | fixed
            values |= dict(zip(program.loss_order, bars, strict=True)) if bars is not None else {}
            scene = Scene(transition=self.calls.transition, values=values)
            for action in loop.actions:
                action.run(scene, program.overrides)
            held = [_like(values.get(t.after, old), old) for t, old in zip(loop.traces, held, strict=True)]
            totals = [t + values[v] for t, v in zip(totals, loop.sums, strict=True)]
            return (held, totals), Shared({k: values[v] for k, v in enumerate(loop.wanted)})

        zeros = [jnp.zeros(v.type.shape, v.type.dtype) for v in loop.sums]
        scanned = (list(record.values()), given.signals, bars)
        (held, totals), found = jax.lax.scan(body, (held, zeros), scanned, length=steps)
        return held, totals, {v: found.tree[k] for k, v in enumerate(loop.wanted)}

    def end(self, run: Run, given: Given, leaving: Arrays, steps: int, totals: Mapping[Value, Any]) -> Scene:
        """The scene at a window's end, nothing of it run yet."""
        t = self.calls.transition
        values: dict[Value, Any] = dict(run.constants)
        values |= {trace.before: given.traces[k] for k, trace in enumerate(self.program.plan.traces)}
        values |= dict(zip((s.before for s in t.states), given.states, strict=True))
        values |= dict(zip((s.after for s in t.states), leaving, strict=True))
        window = WindowRun(params=run.params, states=given.states, inputs=given.inputs, steps=steps)
        return Scene(transition=t, values=values, window=window, totals=dict(totals))

    def act(self, scene: Scene, actions: Iterable[Action]) -> None:
        """Run actions that have not been run in this scene yet."""
        for action in actions:
            if any(value not in scene.values for value in action.results):
                action.run(scene, self.program.overrides)


def replaced(whole: Arrays, part: Arrays, chosen: Callable[[Any], Any]) -> Arrays:
    """The arrays, those that are `chosen` replaced by the next of `part`."""
    remaining = iter(part)
    return [next(remaining) if chosen(x) else x for x in whole]


def _like(value: Any, old: Any) -> Any:
    """A trace's new value, held in the element type that the trace is held in."""
    return value if value.dtype == old.dtype else value.astype(old.dtype)
