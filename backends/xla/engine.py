"""What the compiler emits: a window that can be differentiated, and a driver that computes gradients over sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...ir.transition import Transition
from ..calls import Arrays
from ..guards import refuse_second_derivatives
from .history import Stretch, backward
from .shared import Shared
from .stepping import Programs, Record, TraceState


class Engine:
    """The XLA backend for one planned transition."""

    name = "xla"

    def __init__(self, transition: Transition, trace_dtype: str | None = None) -> None:
        """Prepare to run `transition`'s plan, its traces held as `trace_dtype` (the states' own by default)."""
        self.programs = Programs(transition, trace_dtype)
        self.calls = self.programs.calls
        self.transition = transition

    def zeros(self) -> TraceState:
        """The traces at the beginning of a sequence."""
        return self.programs.zeros()

    def window(
        self, params: Arrays, states: Arrays, traces: TraceState, inputs: Arrays, steps: int
    ) -> tuple[Arrays, TraceState, Arrays]:
        """One window of `steps` steps: new states, new traces, and the outputs, `[time, ...]`.

        Differentiable in `params` and `inputs`: the traces send the credit of the entering states back to the weights.
        So states go in without a derivative, and come out with that of this window; traces have none.
        """
        states, traces = jax.lax.stop_gradient((states, traces))
        weights = self.calls.weights(params)
        places = self.calls.hidden_places
        hidden = self._credited(params, [states[k] for k in places], traces)
        entering = list(states)
        for k, x in zip(places, hidden, strict=True):
            entering[k] = x
        sites = sorted({self.programs.site_of(t.layout) for t in self.programs.all_traces})

        def body(carry: Any, x: Arrays) -> tuple[Any, Any]:
            now, factored = carry
            new, outputs, bindings = self.calls.forward(weights, now, x)
            record = self.programs.record(bindings, sites)
            return (new, self.programs.step_factored(factored, record)), (outputs, Shared(record))

        (after, factored), (outputs, record) = jax.lax.scan(body, (entering, traces.factored), inputs, length=steps)
        dense = self.advance(traces, record.tree, states)
        full = self.advance_full(params, states, traces.full, inputs, steps)
        new = TraceState(dense=dense, factored=factored, full=full)
        return after, jax.lax.stop_gradient(new), outputs

    def advance(self, traces: TraceState, record: Record, states: Arrays) -> list[Any]:
        """The dense traces after the steps that left `record`, whose arrays have a leading time axis."""
        new = list(traces.dense)
        like = self.programs.by_group([states[k] for k in self.calls.hidden_places])
        for program, swept in zip(self.programs.with_dense, backward(self.stretches(record, like, None)), strict=True):
            for n, (_, place) in enumerate(program.dense):
                trace = self.programs.dense[place]
                data = record.data[self.programs.site_of(trace.layout)]
                new[place], _ = trace.sweep(traces.dense[place], swept.product, swept.factors[n], data, None)
        return new

    def stretches(self, record: Record, like: list[Any], arriving: list[Any] | None) -> list[Stretch]:
        """What the dense traces of each group need of the steps that left `record`."""
        return [
            Stretch(
                pattern=list(program.linearise.pattern),
                layouts=[program.layouts[layout] for layout, _ in program.dense],
                jacobians=record.jacobians[k],
                sensitivities=[record.sensitivities[k][layout] for layout, _ in program.dense],
                arriving=None if arriving is None else arriving[k],
                like=like[k],
            )
            for k, program in enumerate(self.programs.groups)
            if program.dense
        ]

    def contributions(self, traces: TraceState, cotangents: Arrays) -> dict[int, jax.Array]:
        """What positional traces add to the gradient of weights, by the weights' places."""
        by_group = dict(zip((p.group for p in self.programs.groups), self.programs.by_group(cotangents), strict=True))
        found: dict[int, jax.Array] = {}

        def add(layout: Any, value: jax.Array) -> None:
            place = self.calls.weight_places[layout.association.site.weight]
            found[place] = found[place] + value if place in found else value

        for trace, held in zip(self.programs.dense, traces.dense, strict=True):
            add(trace.layout, trace.contract(held, by_group[trace.layout.association.group]))
        for trace, held in zip(self.programs.factored, traces.factored, strict=True):
            credit = trace.credit(held, by_group[trace.layout.association.group])
            add(trace.layout, self.product(self.programs.site_of(trace.layout), held[1][None], credit[None]))
        return found

    def product(self, site: int, data: jax.Array | None, cotangents: jax.Array) -> jax.Array:
        """A site's weight cotangent from stacked data and cotangents of its output, both `[time, ...]`."""
        this = self.transition.sites[site]
        expression, weight = this.expression, this.weight_labels
        time = next(label for label in "tuvTUV" if label not in expression.labels)
        if data is None:
            value = jnp.einsum(f"{time}{expression.output}->{weight}", cotangents)
        else:
            value = jnp.einsum(f"{time}{this.data_labels},{time}{expression.output}->{weight}", data, cotangents)
        return value.astype(this.weight.value.type.dtype)

    def _credited(self, params: Arrays, hidden: Arrays, traces: TraceState) -> Arrays:
        """`hidden` itself; in reverse mode its cotangent is contracted with the traces and sent to `params`."""
        programs = self.programs
        names = {param: k for k, param in enumerate(self.transition.params)}
        chosen = [k for k, p in enumerate(self.transition.params) if p.value.type.carries_credit]
        rest = {k: params[k] for k in range(len(params)) if k not in chosen}
        positional = {names[param] for param in programs.positional}

        @jax.custom_vjp
        def credited(selected: Arrays, rest: Any, hidden: Arrays, traces: TraceState) -> Arrays:
            del selected, rest, traces
            return hidden

        def forward(selected: Arrays, rest: Any, hidden: Arrays, traces: TraceState) -> tuple[Arrays, Any]:
            return hidden, (selected, rest, traces)

        def reverse(kept: Any, cotangents: Arrays) -> tuple[Arrays, None, Arrays, Any]:
            (selected, rest, traces), cotangents = refuse_second_derivatives((kept, cotangents))
            found = self.contributions(traces, cotangents)
            gradient = [jnp.zeros_like(x) for x in selected]
            if found:
                gradient = self.pull_back(selected, rest, found)
                gradient = [g if k in positional else jnp.zeros_like(g) for k, g in zip(chosen, gradient, strict=True)]
            flat = programs.hidden.flatten(cotangents) if programs.influenced else None
            for param, columns, held in zip(programs.influenced, programs.influences, traces.full, strict=True):
                place = chosen.index(names[param])
                gradient[place] = gradient[place] + columns.unflatten(flat @ held)[0]
            return gradient, None, [jnp.zeros_like(x) for x in cotangents], jax.tree.map(jnp.zeros_like, traces)

        credited.defvjp(forward, reverse)
        return credited([params[k] for k in chosen], rest, hidden, traces)

    def pull_back(self, selected: Arrays, rest: dict[int, jax.Array], found: dict[int, jax.Array]) -> Arrays:
        """Cotangents of weights (by place) pulled back to the credited parameters."""
        count = len(self.transition.params)

        def chosen_weights(selected: Arrays) -> Arrays:
            remaining = iter(selected)
            params = [rest[k] if k in rest else next(remaining) for k in range(count)]
            weights = self.calls.weights(params)
            return [weights[k] for k in sorted(found)]

        _, pull = jax.vjp(chosen_weights, selected)
        return pull([found[k] for k in sorted(found)])[0]

    def advance_full(self, params: Arrays, states: Arrays, full: Arrays, inputs: Arrays, steps: int) -> Arrays:
        """The influence matrices after a window: `E' = w_bar + h_bar E` over unit cotangents at its end.

        What passes through states that are not hidden is dropped at every step, whatever the window.
        """
        programs = self.programs
        if not programs.influenced:
            return []
        places = [self.transition.params.index(param) for param in programs.influenced]

        def run(hidden: Arrays, own: Arrays) -> Arrays:
            everything, now = list(params), list(states)
            for k, x in zip(places, own, strict=True):
                everything[k] = x
            for k, x in zip(self.calls.hidden_places, hidden, strict=True):
                now[k] = x
            weights = self.calls.weights(everything)

            def body(now: Arrays, x: Arrays) -> tuple[Arrays, None]:
                kept = [s if k in self.calls.hidden_places else jax.lax.stop_gradient(s) for k, s in enumerate(now)]
                return self.calls.forward(weights, kept, x)[0], None

            after, _ = jax.lax.scan(body, now, inputs, length=steps)
            return [after[k] for k in self.calls.hidden_places]

        hidden = [states[k] for k in self.calls.hidden_places]
        _, pull = jax.vjp(run, *jax.lax.stop_gradient((hidden, [params[k] for k in places])))

        def unit(vector: jax.Array) -> tuple[jax.Array, Arrays]:
            entering, own = pull(programs.hidden.unflatten(vector))
            return programs.hidden.flatten(entering), own

        rows, own = jax.vmap(unit)(jnp.eye(programs.hidden.size, dtype=programs.hidden.dtype))
        return self.influence_after(full, rows, own)

    def influence_after(self, full: Arrays, rows: jax.Array, own: Sequence[jax.Array]) -> Arrays:
        """`w_bar + h_bar E` from pull-backs of all unit cotangents, to the states (`rows`) and parameters (`own`)."""
        flat = [c.flatten([x]) for c, x in zip(self.programs.influences, own, strict=True)]
        return [(w + rows @ e).astype(e.dtype) for w, e in zip(flat, full, strict=True)]
