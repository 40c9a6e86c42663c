"""The gradient over a sequence: windows inside folds, one pass over each swept trace a fold.

`window` is what the estimator means. `fold`, a multiple of it, is the schedule: while the weights do not change, the
contractions of a fold's windows with the trace that entered the fold are linear in their cotangents, so they are added
up as vectors and done in the pass that advances the trace. What later windows send back through the fold's own history
takes one backward sweep. And a site's weight cotangent is one product over the whole fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..ir.plan import LatestProduct, PickedProduct, Product, Trace
from ..ir.values import Value
from .calls import Arrays
from .drivers import counted, merged, scan_pieces, steps_of
from .folds.close import Closed
from .folds.filters import filters
from .folds.lag import Traces
from .folds.one_scan import OneScan
from .folds.rows import Back
from .folds.schedule import Portion, Stretch, Way, schedule
from .program import Action
from .reverse import Run
from .shared import Shared
from .window import Given, Windows


class Sums(NamedTuple):
    """Gradients added up so far."""

    reverse: Any
    """Reverse mode's, as the engine's reverse mode adds them up."""
    contributions: list[Any]
    """What the pull-back takes beside them, in its order; None for what is added to `reverse`."""


class WindowResult(NamedTuple):
    """What one window leaves for its fold."""

    record: Any
    """The stacked values of its steps."""
    sent: Any
    """The cotangents of sites' outputs, `[time, *output]`."""
    entering: Any
    """The cotangents of the hidden states that entered the window, by place."""
    rows: Any
    """For each deferred product the pair of data, None where a filter stands for them, and cotangent."""
    losses: jax.Array
    aux: Any


class SequenceGradient:
    """One call of the driver: fixed parameters, one loss."""

    def __init__(self, engine: Any, loss: Any, params: Arrays) -> None:
        """Prepare the weights."""
        self.engine, self.loss = engine, loss
        self.program, self.reverse = engine.program, engine.windows.reverse
        self.run_ = Run(engine.calls, params)
        one_scan = OneScan.takes(self.program, self.reverse)
        own = engine.calls, self.program, engine.lag, self.reverse, self.run_, loss
        self.one_scan = OneScan(*own) if one_scan else None
        self.pullback = self.program.pullback
        self.operands: list[Value] = [*self.pullback.on_weights, *self.pullback.on_params]
        self.weight_of = dict(zip(self.pullback.on_weights, self.pullback.weights, strict=True))
        products = [action for action in self.program.at_window if self._is_deferred(action)]
        found: list[Any] = [action.operation for action in products]
        self.filters = filters(self.program, found, engine.sources) if engine.backend.folds else ()
        self.filter_of = {product: f for f in self.filters for product in f.products}
        self.products = [
            a for a, op in zip(products, found, strict=True) if type(op) is Product or op in self.filter_of
        ]
        self.actions = [action for action in self.program.at_window if action not in self.products]
        self.windows: Windows = replace(engine.windows, apart=frozenset(f.trace.after for f in self.filters))

    def _is_deferred(self, action: Action) -> bool:
        """Whether a window's action is a product that can be done with its site's own, once a fold."""
        op = action.operation
        if (
            not isinstance(op, Product)
            or type(op) not in (Product, LatestProduct, PickedProduct)
            or op.data is None
            or op.without
        ):
            return False
        if type(op) in self.program.overrides:
            return False
        readers = self.program.uses.of(op.results[0])
        once = len(readers) == 1 and readers[0] is self.pullback and op.results[0] in self.weight_of
        return once and self.weight_of[op.results[0]] is op.site.weight and self.reverse.takes_rows(op.site)

    def run(self, given: Given, portion: Portion | None = None, *, maybe_unread: bool = False) -> tuple[Any, ...]:
        """Gradients, losses, states, traces and auxiliary results; of a portion of the steps where it is given.

        `maybe_unread` says that perhaps nothing reads these traces.
        """
        sums = Sums(self.reverse.zeros(self.run_), [self._zero(v) for v in self.operands])
        length = _leading((given.inputs, given.signals, given.targets))
        pieces: list[Any] = []
        arrays = (given.inputs, given.signals, given.targets)
        carry: Any = (given.states, given.traces, sums)
        lag, longest = self.engine.lag, self.engine.longest_fold.steps
        if self.one_scan is not None and length > 1:
            steps = None if portion is None else portion.steps
            way = Way.through(length, self.program.plan.window, longest, steps, maybe_unread=maybe_unread)
            traces = lag.ready(given.traces, length)
            found = self.one_scan.run(given.states, traces, sums, arrays, way, self._end)
            states, traces, sums, (losses, aux) = found
        elif portion is not None:
            (states, traces, sums), (losses, aux) = self._portion(portion, carry, arrays)
        else:
            for stretch in schedule(length, self.program.plan.window, longest):
                states, traces, sums = carry
                carry = states, lag.ready(traces, stretch.windows * stretch.window), sums
                carry, piece = self._stretch(stretch, carry, arrays)
                pieces.append(piece)
            states, traces, sums = carry
            losses, aux = jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)
        gradient = self.engine.finish(self.run_, given, sums.reverse, sums.contributions)
        return gradient, losses, states, traces, aux

    def _end(self, sums: Sums, back: Back) -> Sums:
        """The sums after a fold that was taken in one scan."""
        sums, rows = self._read(sums, back.reads, back.rows)
        totals = self.reverse.plus_products(self.reverse.window(sums.reverse, ((), back.plain)), back.products)
        return sums._replace(reverse=self.reverse.stacked(totals, back.data, back.sent, rows))

    def _zero(self, value: Value) -> Any:
        weight = self.weight_of.get(value)
        return None if weight is not None and self.reverse.takes(weight) else self._zero_of(value)

    def _zero_of(self, value: Value) -> Any:
        return jnp.zeros(value.type.shape, value.type.dtype)

    def _portion(self, portion: Portion, carry: Any, arrays: Any) -> tuple[Any, Any]:
        """Folds of one unit each, one after the other."""
        states, traces, sums = carry
        window = min(portion.unit, self.program.plan.window)

        def fold(carry: Any, xt: Any) -> tuple[Any, Any]:
            return self._fold(carry, xt, portion.unit // window, window)

        carry = states, self.engine.lag.ready(traces, portion.unit), sums
        return counted(fold, carry, (arrays, 0, _leading(arrays)), portion.unit, portion.steps // portion.unit)

    def _stretch(self, stretch: Stretch, carry: Any, arrays: Any) -> tuple[Any, Any]:
        """Equal folds, one after the other."""

        def fold(carry: Any, xt: Any) -> tuple[Any, Any]:
            return self._fold(carry, xt, stretch.windows, stretch.window)

        if stretch.folds == 1:
            return fold(carry, steps_of(arrays, stretch.start, stretch.stop))
        assert stretch.start == 0, "only the first stretch has several folds"
        carry, piece = scan_pieces(fold, carry, arrays, stretch.folds, stretch.windows * stretch.window)
        return carry, jax.tree.map(merged, piece)

    def _fold(self, carry: Any, xt: Any, windows: int, window: int) -> tuple[Any, Any]:
        """`windows` windows and one pass over each swept trace."""
        states, traces, sums = carry
        traces = self.engine.lag.settled(traces)
        held = {trace: traces[self.program.place[trace]] for trace in self.at_end}
        inner: Any = (states, self._without_deferred(traces), sums)
        if windows == 1:
            inner, result = self._window(inner, xt)
            result = jax.tree.map(lambda a: a[None], result)
        else:
            inner, result = scan_pieces(self._window, inner, xt, windows, window)
        states, moved, sums = inner
        stacked = jax.tree.map(merged, result.record).tree
        record = {v: stacked[k] for k, v in enumerate(self.windows.kept)}
        closed = self.engine.lag.close(held, record, windows * window, self.run_.constants, result.entering)
        sums = self._added(sums, closed, held, record, result)
        deferred = closed.traces | {f.trace: f.advanced(held[f.trace], record[f.recorded]) for f in self.filters}
        new: Traces = tuple(deferred.get(t, x) for t, x in zip(self.program.plan.traces, moved, strict=True))
        new = self.engine.lag.after(new, record, windows * window, self.run_.constants)
        return (states, new, sums), jax.tree.map(merged, (result.losses, result.aux))

    @cached_property
    def at_end(self) -> frozenset[Trace]:
        """The traces that only a fold's end touches."""
        return frozenset([*self.program.deferred, *(f.trace for f in self.filters)])

    def _without_deferred(self, traces: Traces) -> Traces:
        """The traces, an empty array in the place of each that only the fold's end touches."""
        return tuple(() if t in self.at_end else x for t, x in zip(self.program.plan.traces, traces, strict=True))

    def _window(self, carry: Any, xt: Any) -> tuple[Any, WindowResult]:
        """One window, forward and back, with the plan's operations at its end."""
        states, traces, sums = carry
        inputs, signals, targets = xt
        steps = _leading(xt)
        given = Given(states, traces, inputs, signals, targets)
        windows, program, reverse, run = self.windows, self.program, self.reverse, self.run_
        found, pull = windows.differentiated(run, given, steps, self.loss)
        losses, aux = found.outputs
        record = windows.record(found)
        scene = windows.end(run, given, found.states, steps, {})
        windows.act(scene, program.for_exit())
        no_credit = self._no_credit(found.states)
        one = jnp.ones((), losses.dtype)
        (bars,) = pull((one, self.engine.leaving(scene, no_credit)))
        late, late_totals = windows.late(run, given, record, steps, bars["outputs"])
        scene.totals.update(zip(program.early_totals, found.totals, strict=True))
        scene.totals.update(late_totals)
        scene.values.update(zip(program.hidden_bars, bars["hidden"], strict=True))
        if program.output_bars and not program.vjp.exit:
            scene.memo["output cotangents"] = bars["outputs"]
        scene.memo["pull to params"] = self._pull_to_params(pull, one, found.states, record)
        totals = reverse.window(sums.reverse, bars["own"])
        if program.reverse_results_read:
            own = reverse.window(reverse.zeros(run), bars["own"])
            scene.values.update(zip(program.vjp.results[len(bars["hidden"]) :], own, strict=True))
        windows.act(scene, self.actions)
        sums = self._contributed(Sums(totals, sums.contributions), {v: scene.values.get(v) for v in self.operands})
        moved = self.engine.traces(traces, windows.stepped(found), late, scene.values, {})
        rows = [
            (None if op in self.filter_of else scene[op.data], scene[op.cotangent]) for op in self._deferred_products
        ]
        entering = dict(enumerate(bars["hidden"])) if program.sweeps.units else {}
        kept = Shared(dict(enumerate(record.values())))
        return (found.states, moved, sums), WindowResult(kept, reverse.sites(bars["own"]), entering, rows, losses, aux)

    def _no_credit(self, states: Arrays) -> list[Any]:
        """A cotangent of zero for each state that carries credit."""
        credited = set(self.engine.calls.credit_places)
        return [jnp.zeros_like(x) if k in credited else None for k, x in enumerate(states)]

    def _pull_to_params(self, pull: Any, one: Any, states: Arrays, record: dict[Value, Any]) -> Any:
        """The pull-back of hidden states that leave the window, to those that entered and to the parameters."""
        reverse, run, calls = self.reverse, self.run_, self.engine.calls

        def pulled(leaving: Arrays) -> tuple[Arrays, dict[int, Any]]:
            all_states = self._no_credit(states)
            for k, x in zip(calls.hidden_places, leaving, strict=True):
                all_states[k] = x
            (bars,) = pull((jnp.zeros_like(one), [all_states[k] for k in calls.credit_places]))
            totals = reverse.window(reverse.zeros(run), bars["own"])
            totals = reverse.products(totals, record, reverse.sites(bars["own"]), ())
            return bars["hidden"], dict(zip(calls.learned_places, reverse.gradient(run, totals), strict=True))

        return pulled

    @property
    def _deferred_products(self) -> Iterator[Any]:
        return (action.operation for action in self.products)

    def _contributed(self, sums: Sums, found: dict[Value, Any]) -> Sums:
        """The sums with contributions that a window, or a fold, has made."""
        reverse, contributions = sums.reverse, list(sums.contributions)
        for k, value in enumerate(self.operands):
            more = found.get(value)
            if more is None:
                continue
            if contributions[k] is None:
                reverse = self.reverse.add(reverse, self.weight_of[value], more)
            else:
                contributions[k] = contributions[k] + more
        return Sums(reverse, contributions)

    def _added(
        self, sums: Sums, closed: Closed, held: dict[Trace, Any], record: dict[Value, Any], result: WindowResult
    ) -> Sums:
        """The sums with what a fold's end gives, and with one product a site."""
        sent = jax.tree.map(merged, result.sent)
        reads = {contract.results[0]: read for contract, read in closed.reads.items()}
        sums, rows = self._read(sums, reads, closed.rows)
        for op, (data, credit) in zip(self._deferred_products, result.rows, strict=True):
            own = self.filter_of.get(op)
            if own is None:
                rows.append((op.site, data, credit))
            else:
                rows += own.spread(op, held[own.trace], record[own.recorded], credit)
        return sums._replace(reverse=self.reverse.products(sums.reverse, record, sent, rows))

    def _read(self, sums: Sums, reads: dict[Value, Any], rows: list[Any]) -> tuple[Sums, list[Any]]:
        """The sums with what traces were read for, and the rows that are left to their sites' products."""
        sums = self._contributed(sums, reads)
        apart = [row for row in rows if not self.reverse.takes_rows(row[0])]
        sweeps = {sweep.site: sweep for sweep in self.program.sweeps.sweeps}
        for site, data, credit in apart:
            sweep = sweeps[site]
            sums = self._contributed(sums, {sweep.contract.results[0]: sweep.product(data, credit)})
        return sums, [row for row in rows if self.reverse.takes_rows(row[0])]


def _leading(tree: Any) -> int:
    """The size of the leading axis that all leaves share."""
    return jax.tree.leaves(tree)[0].shape[0]
