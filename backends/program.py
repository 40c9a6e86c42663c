"""When each operation of a plan runs: with the step, after the loss is known, at the window's end, or for a whole fold.

The order is the backend's, the numbers are the plan's. What depends on the loss (a signal read at each step's exit)
runs *late*, in a second loop over the window's steps, with every trace that it reads; all else runs with the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..ir.diagnostics import error
from ..ir.plan import Along, LossSignal, Operation, Plan, Pullback, Scene, Total, Trace, Vjp
from ..ir.transition import Transition
from ..ir.values import Value
from .backend import Backend, Fused, Override, Table, Uses
from .folds.exits import FROM, Exits
from .folds.pattern import Sweeps
from .picked import picked_sources


@dataclass(frozen=True, eq=False)
class Action:
    """One operation, or a kernel for several."""

    results: tuple[Value, ...]
    needs: tuple[Value, ...]
    operation: Operation | None
    fused: Fused | None = None

    def run(self, scene: Scene, overrides: Mapping[type[Operation], Override]) -> None:
        """Add the results to the scene's values."""
        if self.fused is not None:
            scene.values.update(zip(self.results, self.fused.run(scene), strict=True))
        elif self.operation is not None:
            scene.run(self.operation, overrides)


class Program:
    """The actions of one plan, sorted by when they run."""

    def __init__(self, transition: Transition, plan: Plan, backend: Backend) -> None:
        """Sort the operations of `plan`. Raises EtirError for a plan without its two ends, or a kernel that misfits."""
        self.transition, self.plan = transition, plan
        self.table = Table.of(backend, transition)
        self.uses = Uses(plan)
        self.vjp = plan.only(Vjp)
        self.pullback = plan.only(Pullback)
        self.hidden_bars = self.vjp.results[: len(transition.hidden)]
        self.constants = {p.value for p in transition.params} | {w.value for w in transition.weights}
        self.signals = [signal.value for signal in plan.signals]
        self.picked = picked_sources(transition, backend)
        """What the data of sites are picked of, where the backend reads that."""
        self.sources = {site: found for site, found in self.picked.items() if found.choice.run is not None}
        """Of these what is read in the data's place, by sites' products and by sweeps."""
        self.sweeps = self._sweeps(backend)
        kept = {sweep.data for sweep in self.sweeps.sweeps}
        spared = {site: f for site, f in self.sources.items() if f.choice.kernel != "xla" or site.data not in kept}
        self.sources = spared
        taken = self.sweeps.operations
        step = self._actions([op for op in plan.step if op not in taken])
        self.loss_signals = {v for op in plan.step if isinstance(op, LossSignal) for v in op.results}
        self.loss_order = next((op.results for op in plan.step if isinstance(op, LossSignal)), ())
        forwards = plan.window == 1 and any(isinstance(op, Along) for op in plan.at_window)
        self.output_bars = bool(self.loss_signals) or forwards
        """Whether something asks for the loss's derivative by the outputs."""
        exits = self._exits(backend)
        late, late_values = self._late(step, exits if plan.window >= FROM else Exits())
        self.early = [a for a in step if a not in late]
        self.late = [a for a in step if a in late]
        self.exits = exits.among({a.operation for a in self.late})
        window = [op for op in plan.at_window if op not in (self.vjp, self.pullback) and op not in taken]
        self.at_window = self._actions(window)
        self._sort_traces(late_values)
        self.totals = list(dict.fromkeys(op.value for op in window if isinstance(op, Total)))
        made_late = {v for a in self.late for v in a.results}
        self.late_totals = [v for v in self.totals if v in made_late]
        self.early_totals = [v for v in self.totals if v not in made_late]
        self.kept = self._kept(made_late)
        self.credited = self._credited()
        self.driver_only = [t for t in plan.traces if t.after in self.credited]
        self.reverse_results_read = any(
            op is not self.pullback for v in self.vjp.results[len(transition.hidden) :] for op in self.uses.of(v)
        )

    def _sweeps(self, backend: Backend) -> Sweeps:
        """What whole folds run at once: nothing where the backend overrides an operation that a sweep stands for."""
        found = Sweeps.none()
        if backend.folds:
            found = Sweeps.of(self.transition, self.plan, self.uses, backend, self.overrides, self.sources)
        return found if self.overrides.keys().isdisjoint(map(type, found.operations)) else Sweeps.none()

    def _exits(self, backend: Backend) -> Exits:
        """Traces that are read at every step and could be passed over at once; nothing that the backend overrides."""
        if not backend.folds:
            return Exits()
        found = Exits.of(self.transition, self.plan, self.uses, backend, self.overrides)
        return found.among({op for op in self.plan.step if type(op) not in self.overrides})

    @property
    def overrides(self) -> Mapping[type[Operation], Override]:
        """The backend's overrides."""
        return self.table.overrides

    def for_exit(self) -> list[Action]:
        """The actions at a window's end that the exit cotangents of reverse mode need, in order."""
        return self.slice(self.at_window, self.vjp.exit)

    @staticmethod
    def slice(actions: Iterable[Action], targets: Iterable[Value]) -> list[Action]:
        """The actions that some values need, in order."""
        needed, found = set(targets), list[Action]()
        for action in reversed(list(actions)):
            if needed.intersection(action.results):
                found.append(action)
                needed.update(action.needs)
        return found[::-1]

    def _actions(self, operations: list[Operation]) -> list[Action]:
        """One action an operation, or a kernel, which runs where its last operation stood."""
        fused: dict[Operation, Fused] = {}
        for operation in operations:
            if any(operation in f.operations for f in fused.values()):
                continue
            found = next((f for k in self.table.kernels if (f := k.match(operation, self.uses)) is not None), None)
            if found is not None:
                self._check_kernel(found, operations)
                fused[found.operations[-1]] = found
        covered = {op for f in fused.values() for op in f.operations}
        actions: list[Action] = []
        for op in operations:
            if op in fused:
                inside = {v for o in fused[op].operations for v in o.results}
                needs = [v for o in fused[op].operations for v in o.needs(self.transition) if v not in inside]
                actions.append(Action(fused[op].results, tuple(dict.fromkeys(needs)), None, fused[op]))
            elif op not in covered:
                actions.append(Action(op.results, op.needs(self.transition), op))
        return actions

    def _check_kernel(self, fused: Fused, operations: list[Operation]) -> None:
        """Refuse a pattern that is not whole: something outside reads what the kernel does not give, or gives late."""
        places = [operations.index(op) for op in fused.operations if op in operations]
        if len(places) != len(fused.operations) or places != sorted(places):
            raise error(
                "kernel-pattern",
                f"kernel '{fused.name}' matched operations of several phases, or out of order",
                help="a pattern lies in one phase, and is given in program order",
            )
        inside = {v for op in fused.operations for v in op.results}
        last = operations[places[-1]]
        for value in inside:
            readers = [op for op in self.uses.of(value) if op not in fused.operations]
            early = [op for op in readers if op in operations and operations.index(op) < places[-1]]
            lost = (readers or value in self.uses.carried) and value not in fused.results
            if lost or early:
                what = "does not give" if lost else "gives too late"
                raise error(
                    "kernel-pattern",
                    f"kernel '{fused.name}' {what} a value of the pattern that is read outside it",
                    loc=last.loc,
                    help="match only where uses.of(value) lies inside the pattern, or list the value in results",
                )

    def _late(self, step: list[Action], exits: Exits) -> tuple[set[Action], set[Value]]:
        """The actions that run once the loss is known, and the values that are known only then.

        An action is late where it reads a late value. A trace that a late action reads is late as well, and so is what
        advances it and all that reads it: it is stepped in the late loop, beside its reader. `exits` are late anyway.
        """
        traces = [t for t in self.plan.traces if not self.sweeps.carries(t) and t.after is not t.before]
        begun = [v for trace in exits.traces for v in (trace.before, trace.after)]
        values, late = {*self.loss_signals, *begun}, set[Action]()
        while True:
            read = {v for a in late for v in a.needs}
            for trace in traces:
                if {trace.before, trace.after} & (read | values):
                    values |= {trace.before, trace.after}
            new = {a for a in step if a not in late and (values & {*a.needs, *a.results})}
            if not new:
                return late, values
            late |= new
            values |= {v for a in new for v in a.results}

    def _sort_traces(self, late_values: set[Value]) -> None:
        self.fixed_traces = [t for t in self.plan.traces if t.after is t.before]
        stepped = {v for op in self.plan.step for v in op.results}
        self.deferred: list[Trace] = [t for t in self.plan.traces if self.sweeps.carries(t)]
        others = [t for t in self.plan.traces if not self.sweeps.carries(t)]
        self.late_traces = [t for t in others if t.after in stepped and t.after in late_values]
        self.early_traces = [t for t in others if t.after in stepped and t.after not in late_values]
        self.window_traces = [t for t in others if t.after not in stepped]
        self.place = {trace: k for k, trace in enumerate(self.plan.traces)}

    def _kept(self, made_late: set[Value]) -> list[Value]:
        """The values of each step that later loops read: they are stacked over the window's steps."""
        carried = {t.before for t in self.late_traces}
        fixed = self.constants | set(self.signals) | self.loss_signals | made_late | carried
        fixed |= {t.before for t in self.fixed_traces}
        needs = [v for a in self.late for v in a.needs]
        needs += [v for unit in self.exits.units for v in unit.kept]
        return list(dict.fromkeys(v for v in [*needs, *self.sweeps.needs] if v not in fixed))

    def _credited(self) -> set[Value]:
        """Every value that depends on the loss."""
        found = {*self.loss_signals, *self.vjp.results}
        while True:
            size = len(found)
            for op in self.plan.operations:
                if found.intersection([*op.operands, *(op.needs(self.transition))]) or (
                    isinstance(op, Total) and op.value in found
                ):
                    found.update(op.results)
            for trace in self.plan.traces:
                if trace.after in found:
                    found.add(trace.before)
            if len(found) == size:
                return found
