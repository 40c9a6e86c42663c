"""The writer that rules add their operations to: values are made, typed and named here, and shared between rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..coupling import Coupling
from ..ir import jaxpr as jx
from ..ir.attributes import mnemonic, place
from ..ir.diagnostics import Diagnostic, EtirError, error
from ..ir.loc import Loc
from ..ir.observable import Observable
from ..ir.picks import Pick
from ..ir.plan import (
    Apply,
    Credit,
    Jacobian,
    LossSignal,
    Ones,
    Operation,
    Plan,
    Pullback,
    Scale,
    Select,
    Sensitivity,
    Signal,
    Total,
    Trace,
    Vjp,
)
from ..ir.plan.faults import type_list
from ..ir.regions import make_region, with_regions
from ..ir.transition import Association, Group, Param, Region, Site, Transition, Weight
from ..ir.types import TensorType
from ..ir.values import Value
from .shared.exit_regions import Exits, Returned
from .shared.remembered import Memories

Pair = tuple[int, int]


class Followed(NamedTuple):
    """Where a trace of an association would be followed to."""

    states: tuple[int, ...]
    """The places of the states in their group."""
    reach: Coupling
    """The positions."""


@dataclass
class Writer:
    """A plan in the making. Every method that makes values returns them."""

    transition: Transition
    region: str
    """The region that reverse mode differentiates."""
    exits: Exits
    """What is read at each step's exit."""
    memories: Memories
    """How long hidden groups remember."""
    with_open_scope: Callable[[Transition], Transition]
    """Adds the open scope to a transition that has none."""
    follows_all: Callable[[Transition, Param, Mapping[Association, Followed]], bool]
    """Whether traces in the open scope leave out no path from a parameter to a hidden state."""
    picks: Callable[[str], Mapping[Site, Pick]]
    """Of a region by name the sites whose data are picked of what takes less room."""
    rule: Any = None
    """The rule that writes now."""
    params: tuple[Param, ...] = ()
    """The parameters that it writes for."""
    _step: list[Operation] = field(default_factory=list[Operation])
    _before: list[Operation] = field(default_factory=list[Operation])
    _window: list[Operation] = field(default_factory=list[Operation])
    _traces: list[Trace] = field(default_factory=list[Trace])
    _signals: dict[str, Signal] = field(default_factory=dict[str, Signal])
    _regions: list[Region] = field(default_factory=list[Region])
    _shared: dict[Any, Any] = field(default_factory=dict[Any, Any])
    _on_weights: list[tuple[Weight, Value]] = field(default_factory=list[tuple[Weight, Value]])
    _on_params: list[tuple[Param, Value]] = field(default_factory=list[tuple[Param, Value]])
    _owners: dict[Weight, Any] = field(default_factory=dict[Weight, Any])
    _takers: dict[Param, None] = field(default_factory=dict[Param, None])
    _detached: dict[Site, None] = field(default_factory=dict[Site, None])
    _exit: tuple[Value, ...] = ()
    _leaver: Any = None

    def __post_init__(self) -> None:
        t = self.transition
        self.cotangents = [Value(type=s.before.type, hint=f"{s.before.hint}_bar") for s in t.hidden]
        self.reverse = [Value(type=p.value.type, hint=f"{p.value.hint}_bar") for p in t.learned]

    # Operations

    def step(self, operation: Operation, *hints: str) -> tuple[Value, ...]:
        """The results of an operation that runs at every step."""
        return self._add(self._step, operation, hints)

    def window(self, operation: Operation, *hints: str, before_reverse: bool = False) -> tuple[Value, ...]:
        """The results of an operation at a window's end: after reverse mode, whose results it may read, or before."""
        return self._add(self._before if before_reverse else self._window, operation, hints)

    def _add(self, phase: list[Operation], operation: Operation, hints: Sequence[str]) -> tuple[Value, ...]:
        if not isinstance(operation, Operation):
            raise error(
                "plan-operation",
                f"rule '{self.rule.name}' adds something of type {type(operation).__name__} "
                "to a plan; wanted an Operation",
                help="subclass etir.ir.Operation",
            )
        self._check(operation)
        kinds = operation.types(self.transition)
        names = [*hints, *[type(operation).__name__.lower()] * (len(kinds) - len(hints))]
        made = replace(operation, results=tuple(Value(type=k, hint=n) for k, n in zip(kinds, names, strict=False)))
        phase.append(made)
        return made.results

    def _check(self, operation: Operation) -> None:
        """Refuse an operation that does not fit its operands: to run it would fail, or mean something else."""
        faults = [f"'{mnemonic(type(operation))}' {fault}" for fault in operation.faults(self.transition)]
        if faults:
            raise EtirError([
                Diagnostic(code="operation-type", message=f"rule '{self.rule.name}' adds what does not fit: {fault}",
                           loc=operation.loc or place(operation))
                for fault in faults
            ])  # fmt: skip

    def apply(
        self,
        function: Callable[..., Any],
        *values: Value,
        name: str,
        hints: Sequence[str] = (),
        at_window: bool = False,
        before_reverse: bool = False,
        estimates: str = "",
    ) -> tuple[Value, ...]:
        """The results of a function of your own on some values: what is no linear recurrence.

        The function is traced once, for arrays of the values' types, and gives one array or a tuple of them. It must
        be pure. It runs at every step, or `at_window`. `estimates` names the rule whose gradient the result is an
        unbiased estimate of, of marked steps as of others, for the label. `hints` are what to call the results in text,
        all `name` by default.
        """
        structs = [jax.ShapeDtypeStruct(v.type.shape, jnp.dtype(v.type.dtype)) for v in values]

        def flat(*arrays: Any) -> list[Any]:
            found = function(*arrays)
            return [jnp.asarray(x) for x in (found if isinstance(found, (tuple, list)) else (found,))]

        region = self._trace(name, flat, structs)
        operation = Apply(region=region.name, values=tuple(values), estimates=estimates)
        self.transition = with_regions(self.transition, region)
        named = hints or [v.hint for v in region.outputs]
        if at_window or before_reverse:
            return self.window(operation, *named, before_reverse=before_reverse)
        return self.step(operation, *named)

    def _trace(self, name: str, function: Callable[..., Any], structs: Sequence[Any]) -> Region:
        body, _ = jx.trace(function, *structs)
        taken = {region.name for region in self.transition.regions}
        unique = next(n for n in (f"{name}{k or ''}" for k in range(len(taken) + 1)) if n not in taken)
        inputs = [Value(type=TensorType.of(s), hint="a") for s in structs]
        outputs = [Value(type=jx.type_of(atom), hint=name) for atom in jx.outvars(body)]
        return make_region(unique, body, inputs, outputs)

    # Traces

    def trace(
        self,
        kind: TensorType,
        label: str,
        hint: str,
        *,
        start: Callable[[Any], Any] | None = None,
        loc: Loc | None = None,
    ) -> Value:
        """A trace's value before a step (or a window). Say with `carry` what it becomes.

        It begins as zeros, or as `start(key)`, where `key` is a PRNG key of its own made from learner.init's; a start
        that does not use its key needs none there.
        """
        before, after = Value(type=kind, hint=hint), Value(type=kind, hint=f"{hint}_next")
        region = None
        if start is not None:
            made = self._trace(
                f"start_{hint}", lambda raw: [_drawn(start, raw, kind)], [jax.ShapeDtypeStruct((2,), "uint32")]
            )
            self.transition = with_regions(self.transition, made)
            region = made.name
        self._traces.append(Trace(before=before, after=after, label=label, start=region, loc=loc))
        return before

    @property
    def traces(self) -> tuple[Trace, ...]:
        """What is carried so far."""
        return tuple(self._traces)

    def carry(self, before: Value, after: Value) -> None:
        """Say what a trace becomes."""
        place = next((k for k, trace in enumerate(self._traces) if trace.before is before), None)
        if place is None:
            raise error(
                "plan-trace",
                f"rule '{self.rule.name}' carries a value that is no trace's",
                help="make it with plan.trace(...)",
            )
        self._traces[place] = replace(self._traces[place], after=after)

    # What rules share

    def jacobian(self, group: Group, *, whole: bool = False, on: Group | None = None) -> dict[Pair, Value]:
        """`D = dh'/dh` of a group at this step, in the group's scope, by (new state, old state) as places in it.

        The diagonal over positions, `[*group]`, of the pairs that have one; with `whole` every entry: at each old
        position the derivatives of the new positions that it feeds. `on`, with `whole`, is another group of old states.
        """
        key = ("jacobian", group, whole, on)
        if key not in self._shared:
            pairs = tuple(
                (i, j)
                for i, of in enumerate(group.states)
                for j, old in enumerate((on or group).states)
                if (c := group.dependence(of, old)) is not None and (whole or c.has_diagonal)
            )
            names = [f"D_{group.states[i].before.hint}_{(on or group).states[j].before.hint}" for i, j in pairs]
            operation = Jacobian(group=group, pairs=pairs, whole=whole, on=on, loc=group.loc)
            self._shared[key] = dict(zip(pairs, self.step(operation, *names), strict=True)) if pairs else {}
        return self._shared[key]

    def sensitivity(self, association: Association) -> dict[int, Value]:
        """`f = dh'/dy` at this step, by the place of the state in its group: at slots and output."""
        key = ("sensitivity", association)
        if key not in self._shared:
            operation = Sensitivity(association=association, loc=association.loc)
            hint, group = f"f_{association.site.output.hint}", association.group
            found = self.step(operation, *[state_hint(hint, group, k) for k in operation.states])
            self._shared[key] = dict(zip(operation.states, found, strict=True))
        return self._shared[key]

    def shared(self, key: Any, make: Callable[[], Any]) -> Any:
        """What is made once for a plan, whichever rule or trace asks for it first."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def scaled(self, value: Value, factor: float) -> Value:
        """A value of each step times a number."""
        key = ("scaled", value, factor)
        if key not in self._shared:
            (self._shared[key],) = self.step(Scale(value=value, factor=factor), f"{value.hint}_scaled")
        return self._shared[key]

    def open_associations(self, *, indirect: bool = False) -> tuple[Association, ...]:
        """The uses of this rule's weights that reach hidden states, in the scope in which no operation is held.

        There a group's Jacobian is whole: a dense recurrence couples every position with every other one. Groups are
        of the open scope, too. With `indirect`, also those that come to a group by way of other groups' states alone.
        """
        self.transition = self.with_open_scope(self.transition)
        assert self.transition.open is not None
        own = set(self.params)
        found = self.transition.open.associations
        wanted = (a for a in found if a.traced or (indirect and a.indirect))
        return tuple(a for a in wanted if own.intersection(a.site.weight.params))

    def is_followed(self, param: Param, traces: Mapping[Association, Followed]) -> bool:
        """Whether traces of open associations, followed so far, leave out no path from a parameter to a hidden state.

        Credit through states that were declared not hidden does not count: no trace follows it.
        """
        return self.follows_all(self.transition, param, traces)

    def entering(self, group: Group) -> tuple[Value, ...]:
        """What reverse mode sends back to a group's states as they entered the window."""
        bars = dict(zip(self.transition.hidden, self.cotangents, strict=True))
        return tuple(bars[state] for state in group.states)

    def ones(self, kind: TensorType, *, turned: bool = False) -> Value:
        """Ones of a type, whose pull-back is a derivative position by position; `turned`, minus `i`."""
        key = ("ones", kind, turned)
        if key not in self._shared:
            (self._shared[key],) = self.step(Ones(kind=kind, turned=turned), "one")
        return self._shared[key]

    def loss_signal(self) -> tuple[Value, ...]:
        """The derivative of this step's loss by each of the outputs that carry credit."""
        if "loss" not in self._shared:
            names = [f"{o.value.hint}_bar" for o in self.transition.outputs if o.value.type.carries_credit]
            self._shared["loss"] = self.step(LossSignal(), *names)
        return self._shared["loss"]

    def exit_credit(self) -> Returned:
        """What this step's loss sends back, within the step, to old hidden states and to sites' outputs.

        What a mixing operation makes of a group's old state is left out where it leads back to the group's new state,
        as `D` leaves it out: `<credit of the old state, E> + <credit of the output, dy/dw>` is the classical reading
        `<L, E'>` at the step's exit, and counts as well what outputs read of old states, or past the new ones.
        """
        return self._returned(self.exits.whole(), self.loss_signal())

    def shown_credit(self, signals: Mapping[Observable, Value]) -> Returned:
        """What cotangents of observables send back; those that are not named have none."""
        return self._returned(self.exits.shown(), [signals.get(o) for o in self.exits.observables()])

    def _returned(self, region: Region, cotangents: Sequence[Value | None]) -> Returned:
        key = (region, tuple(cotangents))
        if key not in self._shared:
            t = self.transition = with_regions(self.transition, region)
            names = [f"{s.before.hint}_bar" for s in t.hidden] + [f"{s.output.hint}_bar" for s in t.sites]
            found = self.step(Credit(region=region.name, cotangents=tuple(cotangents)), *names)
            count = len(t.hidden)
            self._shared[key] = Returned(
                dict(zip(t.hidden, found, strict=False)), dict(zip(t.sites, found[count:], strict=True))
            )
        return self._shared[key]

    def seen(self) -> dict[Observable, Value]:
        """The derivative of this step's loss by each observable, as whatever reads it otherwise than by position."""
        if "seen" not in self._shared:
            region = self.exits.seen()
            self.transition = with_regions(self.transition, region)
            operation = Credit(region=region.name, cotangents=self.loss_signal())
            count, shown = len(self.transition.hidden), self.exits.observables()
            found = self.step(operation, *["unused"] * count, *["z_bar"] * len(shown))
            self._shared["seen"] = dict(zip(shown, found[count:], strict=True))
        return self._shared["seen"]

    def counted(self, value: Value) -> Value:
        """A value of each step, zero where the step, or the sample of the first axis, does not count.

        For what comes from outside a step, which a mask does not make zero by itself: signals, the loss's derivative.
        """
        mark = self._mark("mask")
        return value if mark is None else self.step(Select(mark=mark, on=value), value.hint)[0]

    def counted_steps(self) -> Value | None:
        """How many steps of a window count, `f32[]` or one number a sample, known at its end; None for all."""
        mark = self._mark("mask")
        if mark is None:
            return None
        if "counted steps" not in self._shared:
            one = self.counted(self.ones(TensorType("float32", mark.type.shape)))
            (self._shared["counted steps"],) = self.window(Total(value=one), "counted")
        return self._shared["counted steps"]

    @property
    def samples(self) -> int | None:
        """How many samples marks are of; None where there are none, or of whole steps alone."""
        return next((i.value.type.shape[0] for i in self.transition.inputs if i.mark and i.value.type.shape), None)

    def carry_by_sample(self, before: Value, advance: Callable[[Value], Value]) -> Value:
        """What a trace of one entry for each of `samples` becomes by `advance`, and is carried as: bound to the marks.

        The pass `hold-traces` binds others, where it finds the axis of their samples.
        """
        mask, reset = map(self._mark, ("mask", "reset"))
        begun = before
        if reset is not None:
            (begun,) = self.step(Select(mark=reset, off=before), f"{before.hint}_begun")
        after = advance(begun)
        if mask is not None:
            (after,) = self.step(Select(mark=mask, on=after, off=begun), f"{before.hint}_next")
        self.carry(before, after)
        return after

    def _mark(self, name: str) -> Value | None:
        return next((i.value for i in self.transition.inputs if i.mark and i.path == name), None)

    def signal(self, path: str, kind: TensorType) -> Value:
        """An array that every step of the learner is given beside the model's inputs, as `path=...`."""
        known = self._signals.setdefault(path, Signal(path=path, value=Value(type=kind, hint=path)))
        if known.value.type != kind:
            raise error(
                "signal-type",
                f"signal '{path}' is asked for as {kind}, and as {known.value.type} elsewhere",
                help="give rules that share a signal the same shape",
            )
        return known.value

    # Gradients

    def contribute(self, to: Weight | Param, value: Value, *, takers: Sequence[Param] | None = None) -> None:
        """Add a value, made at a window's end, to the gradient of a weight or of a parameter.

        What is added to a weight is pulled back to the parameters of the rule, or to the `takers` among them.
        """
        if isinstance(to, Param):
            self._on_params.append((to, value))
            return
        owner = self._owners.setdefault(to, self.rule)
        if owner != self.rule:
            paths = " and ".join(f"'{path}'" for path in to.paths)
            raise error(
                "rule-conflict",
                f"{paths} make one weight, but learn by different rules: '{owner.name}', '{self.rule.name}'",
                loc=to.loc or next((site.loc for site in self.transition.sites if site.weight is to), None),
                help="give them the same rule in rules=",
            )
        self._on_weights.append((to, value))
        self._takers.update(dict.fromkeys(self.params if takers is None else takers))

    def detach(self, site: Site) -> None:
        """Leave a site's weight out of reverse mode: its gradient is what the rule reads at each step's exit."""
        self._detached[site] = None

    def leave_with(self, cotangents: Sequence[Value]) -> None:
        """Begin reverse mode with cotangents of the hidden states that leave the window, one for each hidden state.

        They concern reverse mode as a whole: the gradient of every parameter that reaches a hidden state by it.
        """
        if self._leaver is not None:
            raise error("plan-exit", f"rule '{self.rule.name}' gives what reverse mode begins with at a window's end, "
                        f"and so does another rule of the same plan, '{self._leaver.name}'",
                        help="give all parameters that reach a hidden state one and the same of them")  # fmt: skip
        found, wanted = [v.type for v in cotangents], [s.after.type for s in self.transition.hidden]
        if found != wanted:
            raise error("plan-exit", f"rule '{self.rule.name}' begins reverse mode with {type_list(found)}; wanted "
                        f"{type_list(wanted)}, the types of the hidden states")  # fmt: skip
        self._exit, self._leaver = tuple(cotangents), self.rule

    def finish(
        self, rule: str, rules: tuple[str, ...], window: int, credit: str, left: tuple[Param, ...] = ()
    ) -> Transition:
        """The transition with the plan, and with the regions that it runs; `rules` has the name of each parameter's."""
        vjp = Vjp(
            region=self.region,
            detached=tuple(self._detached),
            exit=self._exit,
            results=(*self.cotangents, *self.reverse),
        )
        weights, on_weights = zip(*self._on_weights, strict=True) if self._on_weights else ((), ())
        params, on_params = zip(*self._on_params, strict=True) if self._on_params else ((), ())
        pullback = Pullback(
            reverse=tuple(self.reverse),
            weights=weights,
            on_weights=on_weights,
            takers=tuple(self._takers),
            params=params,
            on_params=on_params,
            results=tuple(Value(type=p.value.type, hint=f"grad_{p.value.hint}") for p in self.transition.learned),
        )
        plan = Plan(
            rule=rule,
            window=window,
            credit=credit,
            rules=rules if set(rules) != {rule} else (),
            left=left,
            signals=tuple(self._signals.values()),
            traces=tuple(self._traces),
            step=tuple(self._step),
            at_window=(*self._before, vjp, *self._window, pullback),
        )
        return replace(self.transition, plan=plan)


def state_hint(hint: str, group: Group, place: int) -> str:
    """What to call the one of several arrays that is for the state at this place of a group: `e_W_V`."""
    return f"{hint}_{group.states[place].before.hint}" if len(group.states) > 1 else hint


def _drawn(start: Callable[[Any], Any], raw: Any, kind: TensorType) -> Any:
    """A trace's beginning from the raw words of a key."""
    found = jnp.asarray(start(jax.random.wrap_key_data(raw, impl="threefry2x32")))
    return jnp.broadcast_to(found.astype(kind.dtype), kind.shape)
