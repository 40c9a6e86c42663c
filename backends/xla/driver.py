"""The gradient over a sequence: windows inside folds, one pass over each trace a fold.

`window` is what the estimator means. `fold`, a multiple of it, is the schedule: while the weights do not change, the
contractions of a fold's windows with the trace that entered the fold are linear in their cotangents, so they are added
up as vectors and done in the pass that advances the trace. What later windows send back through the fold's own history
takes one backward sweep. And a site's weight cotangent is one product over the whole fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from ..calls import Arrays
from ..drivers import merged, scan_pieces, steps_of
from .engine import Engine
from .history import backward
from .schedule import Stretch, schedule
from .shared import Shared
from .stepping import Record, TraceState
from .sums import receivers


class Totals(NamedTuple):
    """Gradients added up so far. Lists follow the transition's weights (None where there is nothing) and influences."""

    reverse: list[jax.Array | None]
    """Cotangents of weights from reverse mode, and from traces where all of the weight's parameters take them."""
    traced: list[jax.Array | None]
    """Cotangents of weights from traces, where some parameter of the weight has a rule of its own."""
    full: Arrays
    """Gradients of the parameters with an influence matrix, from that matrix, in real coordinates."""


class WindowResult(NamedTuple):
    """What one window leaves for its fold."""

    record: Shared[Record]
    sent: Shared[list[jax.Array | None]]
    """The cotangent of each site's output, `[time, *output]`."""
    entering: Arrays
    """The cotangents of the hidden states that entered the window."""
    factored: list[Any]
    """For each factored trace the pair (data, cotangent) whose product is its contraction."""
    losses: jax.Array
    aux: Any


class SequenceGradient:
    """One call of the driver: fixed parameters, one loss."""

    def __init__(self, engine: Engine, loss: Any, params: Arrays) -> None:
        """Prepare the weights."""
        self.engine, self.loss, self.params = engine, loss, params
        self.programs, self.calls = engine.programs, engine.calls
        self.transition = engine.transition
        chosen = [k for k, p in enumerate(self.transition.params) if p.value.type.carries_credit]
        self.selected = [params[k] for k in chosen]
        self.chosen = chosen
        self.rest = {k: x for k, x in enumerate(params) if k not in chosen}
        self.weights = self.calls.weights(params)
        self.credited = [k for k, w in enumerate(self.transition.weights) if self.calls.is_credited(w)]
        self.positional = set(self.programs.positional)
        self.product_sites = [k for k, s in enumerate(self.transition.sites) if self.calls.is_credited(s.weight)]
        self.shifted, self.shift_of = self._shifts()
        self.merged = {k for k in self.credited if self.positional.issuperset(self.transition.weights[k].params)}
        self.hidden_places = self.calls.hidden_places

    def run(self, states: Arrays, traces: TraceState, inputs: Arrays, targets: Any) -> tuple[Any, ...]:
        """Gradients, losses, states, traces and auxiliary results."""
        totals = self._zero_totals()
        length = _leading((inputs, targets))
        pieces: list[Any] = []
        carry: Any = (states, traces, totals)
        for stretch in schedule(length, self.programs.window, self._longest_fold()):
            carry, piece = self._stretch(stretch, carry, inputs, targets)
            pieces.append(piece)
        states, traces, totals = carry
        losses, aux = jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)
        return self._gradients(totals), losses, states, traces, aux

    def _stretch(self, stretch: Stretch, carry: Any, inputs: Arrays, targets: Any) -> tuple[Any, Any]:
        """Equal folds, one after the other."""

        def fold(carry: Any, xt: Any) -> tuple[Any, Any]:
            return self._fold(carry, xt, stretch.windows, stretch.window)

        if stretch.folds == 1:
            return fold(carry, steps_of((inputs, targets), stretch.start, stretch.stop))
        assert stretch.start == 0, "only the first stretch has several folds"
        carry, piece = scan_pieces(fold, carry, (inputs, targets), stretch.folds, stretch.windows * stretch.window)
        return carry, jax.tree.map(merged, piece)

    def _fold(self, carry: Any, xt: Any, windows: int, window: int) -> tuple[Any, Any]:
        """`windows` windows and one pass over each dense trace."""
        states, traces, totals = carry
        start = states
        inner: Any = (states, traces.factored, traces.full, totals)
        if windows == 1:
            inner, result = self._window(inner, xt)
            result = jax.tree.map(lambda a: a[None], result)
        else:
            inner, result = scan_pieces(self._window, inner, xt, windows, window)
        states, factored, full, totals = inner
        dense, totals = self._sweep(start, traces, totals, result)
        new = TraceState(dense=dense, factored=factored, full=full)
        return (states, new, totals), jax.tree.map(merged, (result.losses, result.aux))

    def _window(self, carry: Any, xt: Any) -> tuple[Any, WindowResult]:
        """Reverse mode through one window."""
        states, factored, full, totals = carry
        inputs, targets = xt
        length = _leading(xt)
        shifts = [
            jnp.zeros((length, *self.transition.sites[k].output.type.shape), self.transition.sites[k].output.type.dtype)
            for k in self.shifted
        ]
        hidden = [states[k] for k in self.hidden_places]
        plain = [self.weights[k] for k in self.calls.plain_weights]

        def run(hidden: Arrays, shifts: Arrays, plain: Arrays) -> tuple[Any, Any]:
            new, tracked, losses, aux, record = self._steps(states, factored, hidden, shifts, plain, inputs, targets)
            return (losses.sum(), [new[k] for k in self.hidden_places]), (new, tracked, losses, aux, record)

        (total, after), pull, (new, tracked, losses, aux, record) = jax.vjp(run, hidden, shifts, plain, has_aux=True)
        entering, sent, plain_bar = pull((jnp.ones_like(total), [jnp.zeros_like(x) for x in after]))
        totals = self._add_plain(totals, plain_bar)
        if self.programs.influenced:
            totals = self._contract_influence(entering, full, totals)
            if self.programs.influence_apart:
                full = self.engine.advance_full(self.params, states, full, inputs, length)
            else:
                full = self._advance_influence(pull, jnp.zeros_like(total), record.tree, full)
        contracted = self._contract_factored(factored, entering)
        by_site = Shared(self._by_site(sent))
        return (new, tracked, full, totals), WindowResult(record, by_site, entering, contracted, losses, aux)

    def _steps(
        self, states: Arrays, factored: Any, hidden: Arrays, shifts: Arrays, plain: Arrays, inputs: Arrays, targets: Any
    ) -> tuple[Any, ...]:
        """The window's steps, from the differentiated `hidden`, `shifts` and `plain` weights."""
        now = list(states)
        for k, x in zip(self.hidden_places, hidden, strict=True):
            now[k] = x
        weights = list(self.weights)
        for k, x in zip(self.calls.plain_weights, plain, strict=True):
            weights[k] = x
        own = [jax.lax.stop_gradient(self.weights[k]) for k in self.calls.site_weights]

        def body(carry: Any, at: Any) -> tuple[Any, Any]:
            now, tracked = carry
            x, target, shift = at
            every: list[Any] = self.calls.no_shifts()
            for k, s in zip(self.shifted, shift, strict=True):
                every[k] = s
            new, outputs, bindings = self.calls.forward(weights, now, x, own, every)
            loss, aux = self.loss(outputs, target)
            record = self.programs.record(bindings, self.product_sites)
            return (new, self.programs.step_factored(tracked, record)), (loss, aux, Shared(record))

        scanned = (inputs, targets, shifts)
        if _leading((inputs, targets)) == 1:
            carry, found = body((now, factored), jax.tree.map(lambda a: a[0], scanned))
            found = jax.tree.map(lambda a: jnp.asarray(a)[None], found)
        else:
            carry, found = jax.lax.scan(body, (now, factored), scanned)
        losses, aux, record = found
        return *carry, losses, aux, record

    def _sweep(
        self, start: Arrays, traces: TraceState, totals: Totals, result: WindowResult
    ) -> tuple[list[Any], Totals]:
        """The end of a fold: later windows' credit into its history, one pass over each trace, one product a site."""
        record: Record = jax.tree.map(merged, result.record).tree
        sent = jax.tree.map(merged, result.sent).tree
        windows = result.losses.shape[0]
        entering = self.programs.by_group(result.entering)
        like = self.programs.by_group([start[k] for k in self.hidden_places])
        credit: dict[int, jax.Array] = {}
        dense = list(traces.dense)
        arriving = [_arrivals(x, windows, record) for x in entering] if windows > 1 else None
        swept_groups = backward(self.engine.stretches(record, like, arriving))
        firsts = [x for x, program in zip(entering, self.programs.groups, strict=True) if program.dense]
        for program, swept, entered in zip(self.programs.with_dense, swept_groups, firsts, strict=True):
            cotangents = swept.cotangents if windows > 1 else {s: x[0] for s, x in entered.items()}
            for n, (_, place) in enumerate(program.dense):
                trace = self.programs.dense[place]
                site = self.programs.site_of(trace.layout)
                dense[place], read = trace.sweep(
                    traces.dense[place], swept.product, swept.factors[n], record.data[site], cotangents
                )
                totals = self._add_traced(totals, site, read)
                more = swept.credit[n]
                if more is not None:
                    credit[site] = credit[site] + more if site in credit else more
        for site in self.product_sites:
            totals = self._add_products(totals, site, record.data[site], sent[site], credit.get(site), result)
        return dense, totals

    def _add_products(
        self, totals: Totals, site: int, data: Any, sent: Any, credit: jax.Array | None, result: WindowResult
    ) -> Totals:
        """A site's share of its weight's cotangent: one product a fold, contractions of factored traces included."""
        rows: list[tuple[Any, jax.Array]] = []
        if credit is not None:
            rows.append((data, credit))
        for k, trace in enumerate(self.programs.factored):
            if self.programs.site_of(trace.layout) == site:
                rows.append(result.factored[k])
        weight = self.calls.site_weights[site]
        if weight not in self.merged:
            for x, y in rows:
                totals = self._add_traced(totals, site, self.engine.product(site, x, y))
            return self._add(totals, weight, self.engine.product(site, data, sent))
        if credit is not None:
            sent, rows = sent + credit, rows[1:]
        if rows:
            data = jnp.concatenate([data, *(x for x, _ in rows)])
            sent = jnp.concatenate([sent, *(y for _, y in rows)])
        return self._add(totals, weight, self.engine.product(site, data, sent))

    def _shifts(self) -> tuple[list[int], dict[int, int]]:
        """The sites to shift, and for each site with a product the one of them that has its cotangent."""
        region = self.calls.forward_region
        count = len(self.transition.sites)
        results = len(self.transition.states) + len(self.transition.outputs)
        found = receivers(region.body, jx.argument_vars(region.body)[-count:] if count else [], results)
        first: dict[Any, int] = {}
        shift_of = {k: first.setdefault(found[k], k) for k in self.product_sites}
        return list(first.values()), shift_of

    def _by_site(self, sent: Arrays) -> list[jax.Array | None]:
        """The cotangents of the shifts, for each site that takes part in a product."""
        by_shift = dict(zip(self.shifted, sent, strict=True))
        return [by_shift[self.shift_of[k]] if k in self.shift_of else None for k in range(len(self.transition.sites))]

    def _contract_factored(self, factored: Any, entering: Arrays) -> list[Any]:
        groups = {p.group: c for p, c in zip(self.programs.groups, self.programs.by_group(entering), strict=True)}
        return [
            (held[1], trace.credit(held, groups[trace.layout.association.group]))
            for trace, held in zip(self.programs.factored, factored, strict=True)
        ]

    def _contract_influence(self, entering: Arrays, full: Arrays, totals: Totals) -> Totals:
        """Add the contraction of the influence matrices with what the window sends back."""
        flat = self.programs.hidden.flatten(entering)
        return totals._replace(full=[t + flat @ e for t, e in zip(totals.full, full, strict=True)])

    def _advance_influence(self, pull: Any, no_loss: jax.Array, record: Record, full: Arrays) -> Arrays:
        """The influence matrices after the window, by unit cotangents through the pull-back that gave its gradient."""
        programs = self.programs

        def unit(vector: jax.Array) -> tuple[jax.Array, Arrays]:
            hidden, sent, plain = pull((no_loss, programs.hidden.unflatten(vector)))
            bars = self._add_plain(self._zero_totals(), plain).reverse
            by_shift = dict(zip(self.shifted, sent, strict=True))
            for site, shift in self.shift_of.items():
                y = by_shift[shift]
                bars = _plus(bars, self.calls.site_weights[site], self.engine.product(site, record.data[site], y))
            grads = self._pull_back(bars)
            own = [grads[self.transition.params.index(param)] for param in programs.influenced]
            return programs.hidden.flatten(hidden), own

        rows, own = jax.vmap(unit)(jnp.eye(programs.hidden.size, dtype=programs.hidden.dtype))
        return self.engine.influence_after(full, rows, own)

    def _gradients(self, totals: Totals) -> Arrays:
        """Gradients of all parameters, in order."""
        grads = self._pull_back(totals.reverse)
        if any(x is not None for x in totals.traced):
            more = self._pull_back(totals.traced)
            for k, param in enumerate(self.transition.params):
                if param in self.positional and param.value.type.carries_credit:
                    grads[k] = grads[k] + more[k]
        for param, columns, x in zip(self.programs.influenced, self.programs.influences, totals.full, strict=True):
            k = self.transition.params.index(param)
            grads[k] = grads[k] + columns.unflatten(x)[0]
        return grads

    def _pull_back(self, bars: Sequence[jax.Array | None]) -> Arrays:
        """Cotangents of weights pulled back to all parameters."""
        found = {k: x for k, x in enumerate(bars) if x is not None}
        grads = [jnp.zeros_like(x) for x in self.params]
        if found:
            for k, g in zip(self.chosen, self.engine.pull_back(self.selected, self.rest, found), strict=True):
                grads[k] = g
        return grads

    def _zero_totals(self) -> Totals:
        zeros = [jnp.zeros_like(w) if k in self.credited else None for k, w in enumerate(self.weights)]
        apart = [k in self.programs.traced_weights and k not in self.merged for k in range(len(self.weights))]
        return Totals(
            reverse=zeros,
            traced=[zero if on else None for zero, on in zip(zeros, apart, strict=True)],
            full=[jnp.zeros(columns.size, self.programs.hidden.dtype) for columns in self.programs.influences],
        )

    def _add(self, totals: Totals, weight: int, value: jax.Array) -> Totals:
        return totals._replace(reverse=_plus(totals.reverse, weight, value))

    def _add_traced(self, totals: Totals, site: int, value: jax.Array | None) -> Totals:
        assert value is not None
        weight = self.calls.site_weights[site]
        if weight in self.merged:
            return self._add(totals, weight, value)
        return totals._replace(traced=_plus(totals.traced, weight, value))

    def _add_plain(self, totals: Totals, bars: Arrays) -> Totals:
        for k, x in zip(self.calls.plain_weights, bars, strict=True):
            totals = self._add(totals, k, x)
        return totals

    def _longest_fold(self) -> int | None:
        """The most steps that a fold may have; None for no bound. Influence matrices advance every window."""
        if self.programs.influenced or not self.programs.dense:
            return self.programs.window
        return None


def _arrivals(entering: dict[int, jax.Array], windows: int, record: Record) -> dict[int, jax.Array]:
    """Credit that arrives before each step of a fold: what each window sends back, at its first step."""
    steps = _leading(record) // windows

    def spread(x: jax.Array) -> jax.Array:
        return merged(jnp.pad(x[:, None], [(0, 0), (0, steps - 1)] + [(0, 0)] * (x.ndim - 1)))

    return entering if steps == 1 else jax.tree.map(spread, entering)


def _leading(tree: Any) -> int:
    """The size of the leading axis that all leaves share."""
    return jax.tree.leaves(tree)[0].shape[0]


def _plus(bars: list[jax.Array | None], place: int, value: jax.Array) -> list[jax.Array | None]:
    new = list(bars)
    old = new[place]
    assert old is not None
    new[place] = old + value
    return new
