"""What a plan carries from window to window, read off its operations: which paths some trace follows, and how truly.

Only operations of this package are understood, and only in the patterns in which they mean what a derivative means. A
contribution of any other make counts for no more than an approximation, whatever its author says of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ...coupling import Coupling
from ...ir.attributes import mnemonic
from ...ir.diagnostics import error
from ...ir.plan import (
    Advance,
    AdvanceFull,
    Apply,
    Contract,
    ContractFull,
    ContractPushed,
    Outer,
    Plan,
    Product,
    Project,
    SendBack,
    Sensitivity,
    Total,
)
from ...ir.plan.links import covers
from ...ir.transition import Association, Param, Reason, Site, State, Transition, Weight
from ...ir.values import Value
from .positional import PositionalTraces
from .provenance import Provenance
from .pushed import Pushed, PushedTraces
from .recalled import Recalled, RecalledTraces


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """How a plan follows one association, or one parameter."""

    notes: tuple[Reason, ...] = ()
    """Why what it carries is not the derivative along the paths that it follows; none where it is."""
    states: tuple[int, ...] = ()
    """The places in the group of the states that are followed."""
    reach: Coupling | None = None
    """The state positions that are followed, where they are more than the site feeds."""
    moving: bool = False
    """Whether they are followed from position to position."""
    taken: frozenset[tuple[State, State]] = frozenset()
    """Where traces of the same site on other groups' states are taken in: (old state, new state)."""
    estimates: str = ""
    """Of which rule's gradient it is an unbiased estimate; nothing where it is none."""

    def of(self, association: Association) -> tuple[State, ...]:
        """The states of an association's group that are followed; all of them where it does not say which."""
        states = association.group.states
        return tuple(states[k] for k in self.states) or states


class Carriage:
    """What one plan carries."""

    def __init__(self, transition: Transition) -> None:
        """Read the transition's plan. Raises EtirError where one trace would count twice."""
        self.transition, self.made = transition, Provenance(transition)
        self.vjp, self.pullback = self.made.vjp, self.made.pullback
        self.by_association: dict[Association, Carried] = {}
        self.by_site: dict[Site, Carried] = {}
        """Sites whose output is followed through the whole step, nothing held."""
        self.by_param: dict[Param, Carried] = {}
        self.foreign: dict[Weight, Reason] = {}
        """Weights that something is added to which follows none of their uses."""
        self.pushed = PushedTraces(transition, self.made)
        self.positional = PositionalTraces(transition, self.made)
        self.filtered = RecalledTraces(transition, self.made, self.positional)
        self.recalled: dict[Association | Site, Recalled] = {}
        """Associations, and sites that no trace is on, which are followed into the memories of other groups."""
        self.across: dict[Site, dict[Association, Carried]] = {}
        """Sites whose output is followed through other uses of weights: what is followed of their associations."""
        self.direct: set[Site] = set()
        """Sites whose own use at each step is read at the step's exit, by the loss's derivative."""
        self._refuse_double_reading()
        self._refuse_prediction_of_what_is_traced()
        for weight, value in zip(self.pullback.weights, self.pullback.on_weights, strict=True):
            self._direct(weight, value)
        for weight, value in zip(self.pullback.weights, self.pullback.on_weights, strict=True):
            self._weight(weight, value)
        for site in self.filtered.of_site.keys() - self.recalled.keys():
            self.foreign[site.weight] = Reason(text="a part of a filtered trace is added to its gradient", loc=site.loc)
        for param, value in zip(self.pullback.params, self.pullback.on_params, strict=True):
            self._param(param, value)

    def of(self, param: Param) -> dict[Association, Carried]:
        """What is carried of the associations of a parameter's weights, where the parameter takes it."""
        if param not in self.pullback.takers:
            return {}
        found = {a: c for a, c in self.by_association.items() if param in a.site.weight.params}
        for site in self.crossing(param):
            found = self.across[site] | found
        return found

    def crossing(self, param: Param) -> tuple[Site, ...]:
        """The uses of a parameter that are followed through other uses of weights, where the parameter takes it."""
        if param not in self.pullback.takers:
            return ()
        return tuple(site for site in self.across if param in site.weight.params)

    def whole(self, param: Param) -> dict[Site, Carried]:
        """What is carried of a parameter's uses through the whole step, where the parameter takes it."""
        if param not in self.pullback.takers:
            return {}
        return {site: c for site, c in self.by_site.items() if param in site.weight.params}

    def into_memories(self, param: Param) -> dict[Association | Site, Recalled]:
        """What is followed of a parameter's uses into the memories of other groups, where the parameter takes it."""
        if param not in self.pullback.takers:
            return {}
        of = {key: key.site if isinstance(key, Association) else key for key in self.recalled}
        return {key: r for key, r in self.recalled.items() if param in of[key].weight.params}

    def replaced(self, param: Param) -> bool:
        """Whether the gradient of a parameter begins with something else than reverse mode's."""
        place = self.transition.learned.index(param)
        return self.pullback.reverse[place] is not self.vjp.results[len(self.made.entering) + place]

    def not_of_loss(self, weight: Weight) -> Iterator[Reason]:
        """What is added to a weight's gradient that the loss's derivative is no factor of: it is zero for no loss."""
        for of, value in zip(self.pullback.weights, self.pullback.on_weights, strict=True):
            op = self.made.source(value)
            if of is not weight or self._estimated(value):
                continue
            if isinstance(op, (Contract, Product, ContractPushed)):
                site = op.association.site if isinstance(op, Contract) else op.site
                read = self._cotangents(op)
                if not all(c in self.made.entering or self.positional.is_of_loss(c) for c in read):
                    yield from self._read_with(read, site)
            else:
                yield Reason(text=_made_by(getattr(op, "region", type(op).__name__)), loc=weight.loc)

    def _refuse_double_reading(self) -> None:
        seen: set[Any] = set()
        for value in (*self.pullback.on_weights, *self.pullback.on_params):
            for key in self._readings(value):
                if key in seen:
                    trace = self.made.trace_of.get(key[0]) if isinstance(key, tuple) else None
                    what = f"trace '{trace.label}'" if trace is not None else "a contribution"
                    raise error(
                        "trace-read-twice",
                        f"{what} is added to the gradient twice: its credit would count double",
                        help="read each trace by one contraction, and give each contribution to the pull-back once",
                    )
                seen.add(key)

    def _refuse_prediction_of_what_is_traced(self) -> None:
        """Later credit comes to a trace when it is there; where reverse mode begins with a guess, it comes twice."""
        if not self.vjp.exit:
            return
        predicting = {v for given in self.vjp.exit for v in self.made.slice(given)}
        for value in (*self.pullback.on_weights, *self.pullback.on_params):
            made_from = self.made.slice(value)
            traces = [t for t in self.made.plan.traces if t.before in made_from and t.before not in predicting]
            if traces and made_from.intersection(self.made.entering):
                raise error(
                    "plan-exit",
                    f"trace '{traces[0].label}' is read with what reverse mode sends back, which begins with a "
                    "prediction of later credit: that credit would count twice, when predicted and when it comes",
                    loc=traces[0].loc,
                    help="give all parameters that reach a hidden state the rule that predicts, or none",
                )

    def _readings(self, value: Value) -> list[Any]:
        """What identifies the reading that a contribution is: the value itself, and each trace with its cotangent."""
        op = self.made.source(value)
        found: list[Any] = [value]
        if isinstance(op, Contract):
            found += list(zip(op.trace, op.cotangents, strict=False))
        elif isinstance(op, ContractFull):
            found.append((op.trace, op.param))
        elif isinstance(op, ContractPushed):
            found += list(zip(op.trace, op.cotangents, strict=False))
        elif isinstance(op, Product):
            found.append((op.site, op.data, op.cotangent))
            project = self.made.maker.get(op.cotangent)
            if isinstance(project, Project):
                pairs = zip(project.factors, project.cotangents, strict=False)
                found += [(f, c) for f, c in pairs if f is not None]
        return found

    # Contributions to weights

    def _direct(self, weight: Weight, value: Value) -> None:
        """Note a product that is what the loss of each step sends back to one use of a weight."""
        op = self.made.source(value)
        if type(op) is not Product or not isinstance(self.made.maker.get(value), Total) or op.data is not op.site.data:
            return
        if op.site.weight is weight and self.positional.loss_credit(op.cotangent) is op.site:
            self.direct.add(op.site)

    def _weight(self, weight: Weight, value: Value) -> None:
        op = self.made.source(value)
        if type(op) is Product and op.site in self.direct and op.data is op.site.data:
            return
        if type(op) is Product and op.site.weight is weight and (into := self.filtered.follows_site(op)) is not None:
            if into.shown:
                self.recalled[op.site] = into
            return
        if isinstance(op, Product) and op.site.weight is weight and (crossed := self._crossed(op)) is not None:
            association, notes = crossed
            states = tuple(range(len(association.group.states)))
            self.across.setdefault(op.site, {})[association] = Carried(notes=notes, states=states)
            return
        of_weight = [a for a in self.transition.every_association if a.site.weight is weight]
        if type(op) is Contract and op.association in of_weight:
            recalled = self.filtered.follows(op)
            if recalled is not None and op.association not in self.recalled:
                self.recalled[op.association] = recalled
                return
            at_exit = isinstance(self.made.maker.get(value), Total)
            carried = self._contracted(op, at_exit, value)
            notes = (*carried.notes, *self._counted_beside(op.association.site, at_exit))
            self._add(op.association, replace(carried, notes=notes))
            return
        if (pushed := self.pushed.follows(op)) is not None and pushed.site.weight is weight:
            self._add_whole(pushed)
            return
        slice_ = self.made.slice(value)
        touched = self._touched(slice_, of_weight)
        own = tuple(self._notes(value, slice_, weight))
        for association in touched:
            beside = self._counted_beside(association.site, isinstance(self.made.maker.get(value), Total))
            notes = tuple(dict.fromkeys((*own, *beside)))
            self._add(association, Carried(notes=notes, states=tuple(range(len(association.group.states)))))
        if not touched:
            self.foreign[weight] = Reason(
                text="something is added to its gradient that follows none of its uses", loc=weight.loc
            )

    def _crossed(self, op: Product) -> tuple[Association, tuple[Reason, ...]] | None:
        """The association whose factor a product reads through other sites, and why that is not the derivative.

        None where it does not: each site that is crossed has the output of the one before for its data.
        """
        site, made = op.site, self.made.maker.get(op.cotangent)
        notes = [Reason(text="its trace is kept as a product of two vectors", loc=op.loc)]
        while isinstance(made, SendBack) and made.site.data is site.output:
            site = made.site
            paths = " and ".join(f"'{path}'" for path in site.weight.paths)
            notes.append(Reason(text=f"its credit comes back through {paths} as it is when it is read", loc=site.loc))
            cotangent = made.cotangent
            made = self.made.maker.get(cotangent)
            if isinstance(made, Apply) and len(self._projected(cotangent)) == 1:
                (made,) = self._projected(cotangent)
        if site is op.site or not isinstance(made, Project) or made.association.site is not site:
            return None
        return made.association, tuple(notes)

    def _projected(self, value: Value) -> list[Project]:
        """The projections that a value is made from."""
        makers = [self.made.maker.get(v) for v in self.made.slice(value)]
        return list(dict.fromkeys(m for m in makers if isinstance(m, Project)))

    def _add_whole(self, pushed: Pushed) -> None:
        site = pushed.site
        notes = tuple(self._counted_beside(site, at_exit=False))
        if site in self.by_site:
            notes = (Reason(text="several traces of it are added up", loc=site.loc), *self.by_site[site].notes, *notes)
        self.by_site[site] = Carried(notes=notes, estimates=pushed.estimates)

    def _counted_beside(self, site: Site, at_exit: bool) -> Iterator[Reason]:
        """What reverse mode counts that the reading counts too, or leaves out that it leaves out too."""
        detached = site in self.vjp.detached
        if at_exit and not detached:
            yield Reason(text="reverse mode counts again what is read at each step's exit", loc=site.loc)
        if detached and not at_exit:
            yield Reason(
                text="reverse mode leaves its use out, and its trace is read at the window's entry", loc=site.loc
            )

    def _add(self, association: Association, carried: Carried) -> None:
        known = self.by_association.get(association)
        if known is None:
            self.by_association[association] = carried
            return
        note = Reason(text="several traces of it are added up", loc=association.loc)
        notes = tuple(dict.fromkeys((note, *known.notes, *carried.notes)))
        self.by_association[association] = Carried(notes=notes, states=known.states)

    def _contracted(self, op: Contract, at_exit: bool, value: Value) -> Carried:
        """What a contraction follows: exactly where the trace, what carries it and what reads it are a derivative's."""
        course = self.positional.followed(op)
        if course is not None:
            notes, union = self._signal_notes(op, at_exit, course.states), op.association.union
            if course.reach is not None and union is not None and not covers(course.reach, union):
                lacking = "its trace leaves out some of the positions that it feeds"
                notes = (*notes, Reason(text=lacking, loc=op.association.site.loc))
            return Carried(
                notes=notes, states=course.states, reach=course.reach, moving=course.moving, taken=course.taken
            )
        slice_ = self.made.slice(value)
        notes = tuple(dict.fromkeys(self._notes(value, slice_, op.association.site.weight)))
        return Carried(notes=notes, states=tuple(range(len(op.association.group.states))), reach=op.reach)

    def _signal_notes(self, op: Contract, at_exit: bool, states: tuple[int, ...]) -> tuple[Reason, ...]:
        """What a trace is read with, where it is not the loss's derivative by the states that it follows."""
        group, site = op.association.group, op.association.site
        right = [self.positional.state_of(c, group) for c in op.cotangents] == list(states)
        at_entry = all(c in self.made.entering for c in op.cotangents)
        if not right or at_entry == at_exit:
            return tuple(self._read_with(op.cotangents, site))
        if at_exit and site not in self.direct:
            return (Reason(text="what its use at a step does to that same step is left out", loc=site.loc),)
        return ()

    def _read_with(self, cotangents: tuple[Value, ...], site: Site) -> Iterator[Reason]:
        given = [
            s.path
            for s in self.made.plan.signals
            if any(s.value in self.made.slice(c) or s.value is c for c in cotangents)
        ]
        if given:
            yield Reason(
                text=f"its trace is read with the signal '{given[0]}', not with the loss's derivative", loc=site.loc
            )
        else:
            text = "its trace is read with a learning signal of the rule's own, not with the loss's derivative"
            yield Reason(text=text, loc=site.loc)

    # Contributions that are no exact pattern

    def _touched(self, values: set[Value], associations: list[Association]) -> list[Association]:
        """The associations that some values are of: those that their operations name, or else whose site they name."""
        makers = [self.made.maker[v] for v in values if v in self.made.maker]
        named = {op.association for op in makers if isinstance(op, (Sensitivity, Project, Contract))}
        sites = {op.site for op in makers if isinstance(op, (Product, ContractPushed))}
        return [a for a in associations if a in named] or [a for a in associations if a.site in sites]

    def _notes(self, value: Value, values: set[Value], weight: Weight) -> Iterator[Reason]:
        """What is not exact about a contribution, from the operations that it is made by."""
        makers = list(dict.fromkeys(self.made.maker[v] for v in values if v in self.made.maker))
        op = self.made.source(value)
        if isinstance(op, Product):
            yield Reason(text="its trace is kept as a product of two vectors", loc=op.loc)
        estimates = [m for m in makers if isinstance(m, Apply) and m.estimates]
        for made in estimates[:1]:
            yield Reason(text=f"a random estimate, whose mean is the gradient of {made.estimates}", loc=weight.loc)
        if isinstance(op, Contract):
            yield from self._trace_notes(op)
        known = isinstance(op, (Product, Contract)) or estimates
        if not known:
            yield Reason(text=_made_by(getattr(op, "region", type(op).__name__)), loc=weight.loc)
        at_exit = isinstance(self.made.maker.get(value), Total)
        if at_exit and isinstance(op, (Product, Contract)):
            yield from self._exit_notes(op)

    def _exit_notes(self, op: Contract | Product) -> Iterator[Reason]:
        """What an exit reading is read with, where it does not come of the loss's derivative alone."""
        cotangents = self._cotangents(op)
        if not all(self.positional.is_of_loss(c) for c in cotangents):
            site = op.association.site if isinstance(op, Contract) else op.site
            yield from self._read_with(cotangents, site)

    def _estimated(self, value: Value) -> str:
        """The rule of whose gradient a value is said to be an estimate; nothing where it is none."""
        makers = [self.made.maker[v] for v in self.made.slice(value) if v in self.made.maker]
        return next((m.estimates for m in makers if isinstance(m, Apply) and m.estimates), "")

    def _cotangents(self, op: Contract | Product | ContractPushed) -> tuple[Value, ...]:
        """What a contribution is read with."""
        cotangents = (op.cotangent,) if isinstance(op, Product) else op.cotangents
        made = self.made.maker.get(cotangents[0])
        return made.cotangents if isinstance(made, Project) else cotangents

    def _trace_notes(self, op: Contract) -> Iterator[Reason]:
        """Why the trace of a contraction is not the derivative."""
        site = op.association.site
        traces = [self.made.trace_of[v] for v in op.trace if v in self.made.trace_of]
        if not traces:
            made = self.made.maker.get(op.trace[0]) if op.trace else None
            name = getattr(made, "region", mnemonic(type(made))) if made is not None else ""
            what = f"what '{name}' makes, not a trace of it" if name else "no trace of it"
            yield Reason(text=f"what is read is {what}", loc=site.loc)
            return
        advance = self.made.maker.get(traces[0].after)
        if isinstance(advance, Advance) and type(advance.add) is not Outer:
            yield Reason(text="its trace is filtered once more before it is read", loc=site.loc)
        elif isinstance(advance, Advance):
            yield Reason(text="its trace is carried by something else than the step's own Jacobian", loc=site.loc)
        else:
            yield Reason(text="its trace is advanced by an operation of the rule's own", loc=site.loc)

    # Contributions to parameters

    def _param(self, param: Param, value: Value) -> None:
        op = self.made.source(value)
        if (
            type(op) is ContractFull
            and op.param is param
            and op.cotangents == self.made.entering
            and param not in self.by_param
        ):
            trace = self.made.trace_of.get(op.trace)
            advance = self.made.maker.get(trace.after) if trace is not None else None
            known = isinstance(advance, AdvanceFull) and advance.param is param and advance.trace is op.trace
            if known and trace is not None and trace.start is None and op.trace is trace.before:
                self.by_param[param] = Carried()
                return
        estimates = self._estimated(value)
        if estimates:
            note = Reason(text=f"a random estimate, whose mean is the gradient of {estimates}", loc=param.loc)
        else:
            note = Reason(text="its credit is made by operations of the rule's own", loc=param.loc)
        known = self.by_param.get(param)
        self.by_param[param] = Carried(notes=(*(known.notes if known else ()), note))


def _made_by(name: str) -> str:
    return f"its credit is what the rule's own operation '{name}' makes of its trace"


def plan_rules(transition: Transition) -> tuple[str, ...]:
    """The name of each parameter's rule, in order."""
    plan: Plan | None = transition.plan
    assert plan is not None
    return plan.rules or (plan.rule,) * len(transition.params)
