"""A fold in one scan forwards and one backwards, in which credit, Jacobians and traces' histories ride together.

Forwards only states, data and the results of costly operations are kept. Backwards goes the loss's cotangent through
the step, and where it comes to a window's border it moves over into what the traces' own Jacobians carry on. Beside it
goes the product of these Jacobians, to the fold's end: what the sensitivities that traces take in are multiplied by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from ...ir.plan import Scene
from ...ir.values import Value
from ..calls import Arrays, Calls
from ..loops import count_down, count_up
from ..program import Action, Program
from ..reverse import BySites, Reverse, Run, stacked_product
from ..shared import Parts, Shared
from . import tape
from .algebra import Held, added
from .cells import Cells
from .family import Family, families
from .handed_on import HandedOn, Left, with_last
from .history import no_steps, swept_step
from .keeping import Keeping
from .lag import Lag
from .one_pass import Operands, Pass
from .replay import Replay, Slopes
from .rows import Back, Found, Kept
from .schedule import Way
from .trace_pass import caught_up, read_alone, trace_pass, xla_pass
from .traced import Traced, filled, only

Add: TypeAlias = Callable[[Any, Back], Any]
"""`(sums, back) -> sums`, with what a fold adds."""


class OneScan:
    """The folds of a program all of whose traces are swept, for one call of the driver."""

    def __init__(self, calls: Calls, program: Program, lag: Lag, reverse: BySites, run: Run, loss: Any) -> None:
        """Prepare for fixed parameters."""
        self.calls, self.program, self.reverse, self.given, self.loss = calls, program, reverse, run, loss
        self.lag = lag
        self.transition, self.region = calls.transition, calls.forward_region
        self.replay = Replay(self.region.body, self._moved())
        self.families, self.numbers = families(self.transition, program.plan, program.sweeps.units)
        self.cells = Cells(self.transition, self.region, self.families, program.uses, self.replay.moved)
        self.states = jx.argument_vars(self.region.body)[len(self.transition.weights) :][: len(self.transition.states)]
        kept = [*self.states, *self.replay.costly]
        self.keeping = Keeping(self.region, kept, self.families, self.numbers)
        self.outputs = [k for k, y in enumerate(self.transition.outputs) if y.value.type.carries_credit]
        self.bundles = [self._data_of(f, k) for f in self.families for k, _ in enumerate(f.unit.sweeps)]
        together = {v for bundle in self.bundles for v in bundle}
        alone = [(v,) for v in reverse.needs if v not in together]
        self.data = list(dict.fromkeys(bundle for bundle in [*self.bundles, *alone] if bundle))
        """What is kept of the data of sites and traces: values, or many units' together."""
        self.actions = [program.slice(program.early, f.unit.linear) for f in self.families]
        self.together = self._together()
        self.computed = {v for action in program.early for v in action.results}
        self.handed_on = HandedOn(lag, self.families, self.data)
        self.ahead = int(lag.stays_behind)
        """Rows of a fold before its first step: that of the step which the fold before it left pending."""

    def _moved(self) -> set[int]:
        """The places, among the arguments of a step, of what is differentiated by."""
        weights, states = len(self.transition.weights), len(self.transition.states)
        shifts = weights + states + len(self.transition.inputs) + len(self.transition.sites)
        found = {*self.calls.plain_weights, *(weights + k for k in self.calls.credit_places)}
        return found | {shifts + k for k in self.reverse.shifted}

    @staticmethod
    def _data_of(family: Family, place: int) -> tuple[Value, ...]:
        """The data of the units' sweeps in one place; empty where they have none."""
        return tuple(v for unit in family.units if (v := unit.sweeps[place].data) is not None)

    @staticmethod
    def takes(program: Program, reverse: Reverse) -> bool:
        """Whether all that a plan does, at steps and at the ends of windows, is in its sweeps."""
        others = (program.at_window, program.late, program.totals, program.vjp.exit, program.early_traces)
        others = (*others, program.window_traces, program.late_traces)
        by_sites = isinstance(reverse, BySites) and not program.reverse_results_read
        return by_sites and not any(others) and not program.output_bars

    def run(self, states: Arrays, traces: Any, sums: Any, arrays: Any, way: Way, add: Add) -> Any:
        """States, traces and sums after a sequence, with losses and what else the loss returns, `[time, ...]`.

        `traces` are settled, unless they always stay behind, and so are those returned. `arrays` are inputs, signals
        and targets, `[time, ...]`. `add` gives the sums after a fold.
        """
        first = tape.row(arrays, 0)
        fixed = {t.before: traces[self.program.place[t]] for t in self.program.fixed_traces}
        forwards = Traced(self._forwards, states, first, runs=way.room)
        _, kinds, *others = map(tape.joined, forwards.kinds)

        def backward_step(carry: Any, kept: Any, inputs: Arrays, signals: Arrays, begins: Any, last: Any) -> Any:
            return self._backwards(carry, kept, inputs, signals, begins, last, fixed, way)

        left = self.handed_on.pending(traces)
        begun = self._start(states, left)
        again = self.keeping.again(len(jax.tree.leaves(begun)), kinds, self.calls, self.given.weights)
        backwards = Traced(backward_step, begun, kinds, *first[:2], *[jnp.bool_(0)] * 2, runs=way.room, given=again)
        read, ahead, written = backwards.reads[1], self.ahead, self.numbers.written
        held = self.handed_on.arrays(traces)

        def fold(k: Any, now: Any) -> Any:
            states, held, _, left, sums, kept, data, found, out = now
            begin, steps = k * way.rows, way.steps(k)

            def forward(i: Any, now: Any) -> Any:
                states, kept, data, out = now
                states, left, used, given = forwards(states, tape.row(arrays, begin + i))
                kept = written(kept, i, only(read, left))
                return states, kept, written(data, ahead + i, used), written(out, begin + i, given)

            def backward(i: Any, now: Any) -> Any:
                carry, found = now
                at = filled(read, tape.row(kept, i), kinds), *tape.row(arrays[:2], begin + i)
                carry, given = backwards(carry, *at, _begins(i, way), i == steps - 1)
                return carry, written(found, ahead + i, given)

            states, kept, data, out = count_up(0, steps, forward, (states, kept, data, out))
            end, found = count_down(steps, backward, (self._start(states, left), found))
            if not isinstance(steps, int):
                past = steps + ahead, way.rows + ahead
                found = count_up(*past, lambda i, rows: tape.cleared(rows, i), found)
            end = self._arrived(way, end)
            if left is not None:
                end, data, found, left = self._with_pending(end, data, found, left, states, steps)
                data, found = jax.lax.optimization_barrier((data, found))  # else XLA writes both again for who reads
            held, back = self._back(held, data.tree, end, found.tree, way, k)
            return states, held, self._products(end[1], way), left, add(sums, back), kept, data, found, out

        kept = tape.blank(only(read, kinds), way.rows)
        rows = [tape.blank(of, ahead + way.rows) for of in (others[0], tape.joined(backwards.kinds[1]))]
        products = self._products(begun[2], way)
        now = (states, held, products, left, sums, kept, *rows, tape.blank(others[1], way.room))
        states, held, products, left, sums, _, data, found, out = count_up(0, way.folds, fold, now)
        if way.late:
            held = self._caught_up(held, products, data.tree, found.tree, way)
        return states, self.handed_on.released(traces, held, left), sums, out

    def _start(self, states: Arrays, left: Left | None) -> Any:
        """What the way back begins with: no credit, a product of no Jacobian, and what the last step will replace."""
        hidden = [states[k] for k in self.calls.hidden_places]
        return (
            [jnp.zeros_like(states[k]) for k in self.calls.credit_places],
            [jnp.zeros_like(self.given.weights[k]) for k in self.calls.plain_weights],
            [no_steps(family.unit, family.by_state(hidden), self.lag.stays_behind) for family in self.families],
            [] if left is None else left.steps,
        )

    def _arrived(self, way: Way, end: Any) -> Any:
        """What the way back comes to, with the credit of a fold's one window where it has but one."""
        entering, plain, carried, steps = end
        if way.windows == 1:
            arrived = [family.by_state(self._of_hidden(entering)) for family in self.families]
            carried = [
                (product, {k: family.unit.algebra.arriving(x) for k, x in own.items()})
                for family, (product, _), own in zip(self.families, carried, arrived, strict=True)
            ]
        return plain, carried, steps

    def _with_pending(self, end: Any, data: Any, found: Any, left: Left, states: Arrays, steps: Any) -> Any:
        """The step that was left pending taken in, as the first one of the fold; and what the last one leaves."""
        plain, carried, last = end
        hidden = [jnp.zeros_like(states[k]) for k in self.calls.hidden_places]
        swept = [
            swept_step(family.unit, product, credit, here, sensitive, family.by_state(hidden))
            for family, (product, credit), (here, sensitive) in zip(self.families, carried, left.steps, strict=True)
        ]
        shifts = [jnp.zeros_like(x[0]) for x in self.reverse.variables(self.given, 1)[0]]
        sent = self._sent(shifts, [given for _, given in swept])
        new = Left(last, {k: tape.row((data.tree | found.tree.data)[k], steps) for k in left.data})
        first = Found(*sent, {k: left.data[k] for k in found.tree.data})
        found = self.numbers.written(found, 0, found.alike(first))
        same = {id(data.tree[k]): x for k, x in left.data.items() if k in data.tree}
        rows = {k: same.get(id(x), jnp.zeros_like(x[0])) for k, x in data.tree.items()}
        return (plain, [moved for moved, _ in swept], last), self.numbers.written(data, 0, data.alike(rows)), found, new

    def _products(self, carried: list[Any], way: Way) -> list[Any]:
        """Of what the way back carries what traces that wait are advanced by."""
        return [product for product, _ in carried] if way.late else []

    def _waits(self, of: Pass, old: Held, way: Way) -> bool:
        """Whether a trace waits for its last advance, which XLA's code does apart from its contraction.

        Of several folds only large traces wait: the last of them runs other code then, and that has to be compiled.
        """
        if not way.late or (of.sweep.choice is not None and of.sweep.choice.run is not None):
            return False
        large = of.members is None and of.sweep.picked is None and of.is_large(Operands(old, {}, {}, None, None))
        return way.folds == 1 or large

    def _caught_up(
        self, held: list[list[Held]], products: list[Any], kept: dict[int, Any], found: Found, way: Way
    ) -> list[list[Held]]:
        """The traces after the last fold, those advanced that have waited."""
        data = self._rows(kept, found)
        new = [list(of_family) for of_family in held]
        for k, (family, product, (factors, _)) in enumerate(zip(self.families, products, found.by_family, strict=True)):
            for place, sweep in enumerate(family.unit.sweeps):
                of, old = Pass(family.unit.algebra, sweep, family.members), held[k][place]
                if old and self._waits(of, old, way):
                    x = data.get(self._data_of(family, place))
                    new[k][place] = caught_up(of, Operands(old, product, factors[place], x, None))
        return new

    def _rows(self, kept: dict[int, Any], found: Found) -> dict[tuple[Value, ...], Any]:
        """The data of a fold's steps."""
        return {bundle: (kept | found.data)[k] for k, bundle in enumerate(self.data)}

    def _back(
        self, held: list[list[Held]], kept: dict[int, Any], end: Any, found: Found, way: Way, fold: Any
    ) -> tuple[list[list[Held]], Back]:
        """The traces after a fold, and what the way back comes to."""
        plain, carried, _ = end
        data = self._rows(kept, found)
        values: dict[Value, Any] = {}
        for bundle, rows in data.items():
            parts = [rows] if len(bundle) == 1 else self.numbers.apart(rows, len(bundle), 1)
            values |= dict(zip(bundle, parts, strict=True))
        back = Back(plain=plain, data=values, sent=dict(found.sent), products=[], reads={}, rows=[])
        for (family, place), sent in zip(self.together, found.together, strict=True):
            x, site = data.get(self._data_of(family, place)), family.unit.sweeps[place].site
            axes = (None if x is None else 1, 1)
            products = jax.vmap(lambda x, y, site=site: stacked_product(site, x, y), axes)(x, sent)
            back.products.extend(zip(self._own_sites(family, place), family.apart(products), strict=True))
        new: list[list[Held]] = []
        parts = zip(self.families, held, carried, found.by_family, strict=True)
        for family, of_family, (product, credit), (factors, rows) in parts:
            new.append([])
            for place, sweep in enumerate(family.unit.sweeps):
                x = data.get(self._data_of(family, place))
                old, of = of_family[place], Pass(family.unit.algebra, sweep, family.members)
                sweeps = [unit.sweeps[place] for unit in family.units]
                new[-1].append(old)
                if old:
                    own = self._own(family, place, of, back.sent)
                    given = Operands(old, product, factors[place], x, credit)
                    if not self._waits(of, old, way):
                        new[-1][-1], read = trace_pass(of, given, own)
                    elif way.folds == 1:
                        new[-1][-1], read = read_alone(of, given, own)
                    else:
                        new[-1][-1], read = xla_pass(of, given, own, fold == way.folds - 1)
                    back.reads.update(zip((s.contract.results[0] for s in sweeps), family.apart(read), strict=True))
                if rows[place] is not None:
                    credits = zip(sweeps, family.apart(rows[place], 1), strict=True)
                    back.rows.extend((s.site, None if s.data is None else values[s.data], c) for s, c in credits)
        return new, back

    def _own(self, family: Family, place: int, of: Pass, sent: dict[int, Any]) -> Any:
        """What is taken out of `sent` because the pass over a trace does its product too; None for nothing."""
        sites = self._own_sites(family, place) if of.takes_own else []
        own = [sent.pop(k) for k in sites if k in sent and self.transition.sites[k] not in self.calls.sources]
        return own[0] if own else None

    def _of_hidden(self, entering: Arrays) -> Arrays:
        """Of the cotangents of states that carry credit, those of hidden states."""
        return [entering[self.calls.credit_places.index(place)] for place in self.calls.hidden_places]

    def _forwards(self, states: Arrays, xt: Any) -> tuple[Arrays, Any, Any, Any]:
        """One step of the model: the new states, what is kept of it, data of sites and traces, and its loss."""
        inputs, _, target = xt
        own = [self.given.weights[k] for k in self.calls.site_weights]
        given = [*self.given.weights, *states, *inputs, *own, *self.calls.no_shifts()]
        values = self.replay.forward(given)
        results = self._results(values)
        outputs = results[len(states) : len(states) + len(self.transition.outputs)]

        def loss(chosen: Arrays) -> tuple[Any, Any]:
            every = list(outputs)
            for k, y in zip(self.outputs, chosen, strict=True):
                every[k] = y
            return self.loss(every, target)

        value, pull, aux = jax.vjp(loss, [outputs[k] for k in self.outputs], has_aux=True)
        (bars,) = pull(jnp.ones_like(value))
        known = self._known(given, values)
        data = {
            k: known[bundle[0]] if len(bundle) == 1 else Parts([known[v] for v in bundle])
            for k, bundle in enumerate(self.data)
            if self.computed.isdisjoint(bundle)
        }
        kept = Kept(*self.keeping.packed(values), bars)
        return results[: len(states)], Shared(kept), Shared(data), (value, aux)

    def _results(self, values: dict[Any, Any]) -> Arrays:
        return [jx.read(values, atom) for atom in jx.outvars(self.region.body)]

    def _known(self, given: Arrays, values: dict[Any, Any]) -> dict[Value, Any]:
        """The values that a step's region takes and gives."""
        known = dict(zip(self.region.outputs, self._results(values), strict=True))
        return known | dict(zip(self.region.inputs, given, strict=True)) | self.given.constants

    def _backwards(
        self,
        carry: Any,
        kept: Any,
        inputs: Arrays,
        signals: Arrays,
        begins: Any,
        last: Any,
        fixed: Mapping[Value, Any],
        way: Way,
    ) -> tuple[Any, Any]:
        """One step back; `begins` says whether a window begins with it, `last` whether it is the fold's last."""
        bars, plain, units, left = carry
        given, of_step = self._values(kept.tree, inputs)
        scene = Scene(
            transition=self.transition,
            values={**self._known(given, of_step), **dict(zip(self.program.signals, signals, strict=True)), **fixed},
        )
        together = dict(zip(self.keeping.together, kept.tree.together, strict=True))
        linearised = [
            family.linearised(scene, together, lambda own, actions=actions: self._act(own, actions))
            for family, actions in zip(self.families, self.actions, strict=True)
        ]
        entering, shifts, more = self._pulled(given, of_step, self.cells.slopes(linearised), (bars, kept.tree.bars))
        crossing = self._of_hidden(entering) if way.windows > 1 else None
        entering = _inside(entering, begins, way)
        moved, found, steps = list[Any](), list[Any](), list[Any]()
        for family, (jacobians, sensitive), (product, credit) in zip(self.families, linearised, units, strict=True):
            here = family.unit.algebra.here(jacobians)
            steps.append((here, sensitive))
            arrived = None if crossing is None else _crossing(family.by_state(crossing), begins, way)
            begun = last if self.ahead else None
            carried, given = swept_step(family.unit, product, credit, here, sensitive, arrived, begun)
            moved.append(carried)
            found.append(given)
        sent = self._sent(shifts, found)
        late = {k: bundle for k, bundle in enumerate(self.data) if not self.computed.isdisjoint(bundle)}
        for bundle in late.values():
            self._act(scene, self.program.slice(self.program.early, bundle))
        plain = [x + y for x, y in zip(plain, more, strict=True)]
        left = [with_last(old, new, last) for old, new in zip(left, steps, strict=False)]
        return (entering, plain, moved, left), Shared(Found(*sent, {k: scene[v] for k, (v,) in late.items()}))

    def _act(self, scene: Scene, actions: list[Action]) -> None:
        """Run actions that have not been run in this scene yet."""
        for action in actions:
            if any(value not in scene.values for value in action.results):
                action.run(scene, self.program.overrides)

    def _values(self, kept: Kept, inputs: Arrays) -> tuple[Arrays, dict[Any, Any]]:
        """A step's arguments, and the values of all its variables."""
        weights, of_sites = self.given.weights, [self.given.weights[k] for k in self.calls.site_weights]
        left = self.keeping.unpacked(kept.alone, kept.together)
        states = [left[var] for var in self.states]
        given = [*weights, *states, *inputs, *of_sites, *self.calls.no_shifts()]
        return given, self.replay.values(given, left)

    def _pulled(
        self, given: Arrays, values: dict[Any, Any], slopes: Slopes, bars: tuple[Arrays, Arrays]
    ) -> tuple[Arrays, Arrays, Arrays]:
        """The cotangents of a step's states, of the shifts and of plain weights, from those of states and outputs."""
        places, run = self.calls.credit_places, self.given
        first, count = len(self.transition.weights), len(self.transition.states)
        wanted = [*places, *(count + k for k in self.outputs)]

        def again(credited: Arrays, own: Any) -> tuple[Arrays, Arrays]:
            weights, of_sites = self.reverse.weights(run, own)
            now = list(given[first : len(given) - 2 * len(of_sites)])
            for k, x in zip(places, credited, strict=True):
                now[k] = x
            arguments = [*weights, *now, *of_sites, *self.reverse.at_step(self.reverse.shifts(own))]
            found = self.replay.again(arguments, values, slopes, wanted)
            return found[: len(places)], found[len(places) :]

        shifts, plain = self.reverse.variables(run, 1)
        _, pull = jax.vjp(again, [given[first + k] for k in places], ([x[0] for x in shifts], plain))
        entering, (sent, more) = pull(bars)
        return entering, sent, more

    def _own_sites(self, family: Family, place: int) -> list[int]:
        """The sites of one sweep of each unit, where what later windows send joins their cotangents; else none."""
        sweeps = [unit.sweeps[place] for unit in family.units]
        own = all(s.of_site and self.reverse.takes_rows(s.site) for s in sweeps)
        return [self.transition.sites.index(s.site) for s in sweeps] if own else []

    def _together(self) -> list[tuple[Family, int]]:
        """The families and sweeps whose sites' products are done at once: no other sweep sends to these sites."""
        every = [(family, place) for family in self.families for place, _ in enumerate(family.unit.sweeps)]
        uses = Counter(unit.sweeps[place].site for family, place in every for unit in family.units)
        return [
            (family, place)
            for family, place in every
            if family.members is not None
            and self._own_sites(family, place)
            and all(uses[unit.sweeps[place].site] == 1 for unit in family.units)
        ]

    def _sent(self, shifts: Arrays, found: list[Any]) -> tuple[dict[int, Any], list[Any], list[Any]]:
        """The cotangents of sites' outputs, credit on the same data included: alone, together; and what is left."""
        by_shift = dict(zip(self.reverse.shifted, shifts, strict=True))
        sent = {k: [by_shift[self.reverse.shift_of[k]]] for k in self.reverse.product_sites}
        left: list[Any] = []
        together: list[Any] = []
        for family, (factors, credits) in zip(self.families, found, strict=True):
            rows = list(credits)
            for place, credit in enumerate(credits):
                sites = self._own_sites(family, place)
                if (family, place) in self.together:
                    own = [sent.pop(k)[0] for k in sites]
                    more = [] if credit is None else [family.apart(credit)]
                    together.append(Parts([added(terms) for terms in zip(own, *more, strict=True)]))
                elif credit is not None and sites:
                    for k, part in zip(sites, family.apart(credit), strict=True):
                        sent[k].append(part)
                rows[place] = None if sites else credit
            left.append((factors, rows))
        sums: dict[Any, Any] = {}
        return {k: _once(sums, terms) for k, terms in sent.items()}, together, left


def _begins(step: Any, way: Way) -> Any:
    """Whether a window begins with a step, which is not negative: so XLA need not tell what follows if it were."""
    return jax.lax.rem(step.astype(jnp.uint32), jnp.uint32(way.window)) == 0


def _once(known: dict[Any, Any], terms: list[Any]) -> Any:
    """The sum of some arrays, one and the same array for the same terms."""
    key = tuple(map(id, terms))
    if key not in known:
        known[key] = added(terms)
    return known[key]


def _crossing(sent: dict[int, Any], begins: Any, way: Way) -> dict[int, Any]:
    """Of what a step sends back to states, what crosses a window's border."""
    return sent if way.window == 1 else {k: jnp.where(begins, x, jnp.zeros_like(x)) for k, x in sent.items()}


def _inside(entering: Arrays, begins: Any, way: Way) -> Arrays:
    """What stays in its window."""
    if way.windows == 1:
        return entering
    if way.window == 1:
        return [jnp.zeros_like(x) for x in entering]
    return [jnp.where(begins, jnp.zeros_like(x), x) for x in entering]
