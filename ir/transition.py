"""The transition IR: one step of a model as states, sites, groups and associations. Immutable, and only data.

Nodes compare by identity and hold values without names (the printer names them); types and labels compare by value. A
pass builds a new `Transition` with `dataclasses.replace` and shares every node that it did not change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Any

from ..coupling import Coupling
from . import certificate_views
from .dataflow import HIDDEN, Crossing, Dataflow
from .diagnostics import did_you_mean
from .expression import Expression
from .loc import Loc
from .names import nodes
from .plan import Plan
from .values import Value


class StateKind(Enum):
    """What a state is to learning."""

    UNKNOWN = "unknown"
    HIDDEN = "hidden"
    """Floating or complex, read and written: carries credit through time."""
    BUFFER = "buffer"
    """Floating, but declared not hidden: the credit that passes through it between windows is dropped, and labelled."""
    DISCRETE = "discrete"
    """Integers, booleans, PRNG keys: carried along, without a derivative."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Param:
    """A parameter of the step: a leaf that the step reads and that learning changes."""

    path: str
    value: Value
    example: Any = field(default=None, repr=False)
    """An array that the step was lowered with; None for a shape alone, and in a transition that was read from text."""
    frozen: bool = False
    """Whether it is taken for a constant: nothing is differentiated by it."""
    loc: Loc | None = None

    @property
    def learns(self) -> bool:
        """Whether it has a gradient."""
        return self.value.type.carries_credit and not self.frozen


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class State:
    """A value carried between steps: read as `before`, left as `after`."""

    path: str
    before: Value
    after: Value
    kind: StateKind = StateKind.UNKNOWN
    loc: Loc | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Input:
    """An array that each step is given."""

    path: str
    value: Value
    mark: bool = False
    """Whether it says if the step counts (`mask`), or if a sequence begins with it (`reset`): its path is which."""
    loc: Loc | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Output:
    """An array that each step gives back."""

    path: str
    value: Value
    loc: Loc | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Region:
    """A slice of the step: a closed jaxpr (`body`) behind a signature of IR values.

    `body` is absent in a transition that was read from text; `digest` identifies it all the same: it is that of the
    body's text, or what the text said of it, `recorded`.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    equations: int
    recorded: str | None = None
    body: Any = field(default=None, repr=False)
    loc: Loc | None = None

    @property
    def digest(self) -> str:
        """What is the same for equal bodies, worked out each time: printing a large body is dear."""
        return hashlib.sha256(str(self.body).encode()).hexdigest()[:8] if self.recorded is None else self.recorded


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Weight:
    """A function of parameters alone that the rest of the step uses: an output of the prologue, or a parameter."""

    value: Value
    params: tuple[Param, ...]
    loc: Loc | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the parameters that the weight is computed from."""
        return tuple(param.path for param in self.params)

    @property
    def learns(self) -> bool:
        """Whether it has a gradient: it carries credit, and is not made of frozen parameters alone."""
        return self.value.type.carries_credit and not all(param.frozen for param in self.params)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Site:
    """One use of a weight through an ETP operation: `output = operation(data, weight)`.

    `expression` has the data's labels first, then the weight's; only the weight's where there is no data. `held` says
    that the operation mixes positions, so that its output is held when Jacobians are taken. `equation` is the use's
    place among the equations of the `step` region.
    """

    operation: str
    expression: Expression
    data: Value | None
    weight: Weight
    output: Value
    equation: int
    held: bool
    loc: Loc | None = None

    @property
    def weight_labels(self) -> str:
        """The labels of the weight's axes."""
        return self.expression.operands[-1]

    @property
    def data_labels(self) -> str | None:
        """The labels of the data's axes; None where the operation has no data."""
        return self.expression.operands[0] if self.data is not None else None

    @property
    def trace_labels(self) -> str:
        """The labels of the axes of this site's trace: the output's positions, then what the weight adds."""
        output = self.expression.output
        return output + "".join(label for label in self.weight_labels if label not in output)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dependence:
    """How one state's new value depends on one state's old value, what its group's scope holds held."""

    of: State
    on: State
    coupling: Coupling


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Group:
    """Hidden states of one position shape that depend on each other, position by position in the scope `hidden`.

    `region` names the region whose derivatives its couplings describe, and so what is held.
    """

    index: int
    states: tuple[State, ...]
    shape: tuple[int, ...]
    jacobian: tuple[Dependence, ...] = ()
    inflow: tuple[Dependence, ...] = ()
    """How its states' new values depend on old values of states of other groups."""
    region: str = HIDDEN
    loc: Loc | None = None

    def dependence(self, of: State, on: State) -> Coupling | None:
        """The coupling of `of`'s new value to `on`'s old one; None where there is none."""
        both = (*self.jacobian, *self.inflow)
        return next((d.coupling for d in both if d.of is of and d.on is on), None)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Association:
    """A weight that reaches a group's new states through a site.

    `couplings` has one entry for each state of the group: how the new state depends on the site's output with mixing
    operations held, or None. `through` are the mixing operations that the weight reaches the group by as well, or only
    by. `traced` says that a positional trace exists. One without any coupling and without `through` is indirect: the
    output reaches the group in later steps, by way of the states of other groups.
    """

    site: Site
    group: Group
    couplings: tuple[Coupling | None, ...]
    traced: bool
    through: tuple[Crossing, ...] = ()
    loc: Loc | None = None

    @property
    def indirect(self) -> bool:
        """Whether the output reaches the group by way of other groups' states alone."""
        return not self.through and all(coupling is None for coupling in self.couplings)

    @property
    def union(self) -> Coupling | None:
        """The union of the couplings, along which a trace is laid out; None where there is none."""
        present = [coupling for coupling in self.couplings if coupling is not None]
        if not present:
            return None
        union = present[0]
        for coupling in present[1:]:
            union = union if coupling == union else union.join(coupling)
        return union


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OpenScope:
    """The hidden states seen with no operation held: what rules that follow every path are planned on.

    Its groups are numbered after the transition's own, and described by the region `open`.
    """

    groups: tuple[Group, ...]
    associations: tuple[Association, ...]
    flow: Dataflow | None = field(default=None, repr=False)
    """The data-flow of the step with nothing held, on the terms of the transition's own."""


class Verdict(StrEnum):
    """Which gradient a weight gets."""

    EXACT = "exact"
    APPROXIMATE = "approximate"
    TRUNCATED = "truncated"
    FROZEN = "frozen"
    """None: it was asked not to learn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a weight's gradient is what its label says: one sentence and a place in the source."""

    text: str
    loc: Loc | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The certificate's entry for one parameter."""

    path: str
    label: Verdict
    rule: str
    """The learning rule that this parameter's gradient comes from."""
    because: str = ""
    """Why it has that rule, where a rule has chosen it."""
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One label for every parameter, for a rule and a window."""

    rule: str
    window: int
    credit: str = "full"
    labels: tuple[Label, ...] = ()

    def __getitem__(self, path: str) -> Label:
        for label in self.labels:
            if label.path == path:
                return label
        raise KeyError(f"no label for '{path}'; {did_you_mean(path, [label.path for label in self.labels])}")

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __str__(self) -> str:
        return certificate_views.as_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Rule, window, credit and labels as strings, numbers, lists and dictionaries, which JSON can hold."""
        return certificate_views.as_dict(self)

    def _repr_html_(self) -> str:
        return certificate_views.as_html(self)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True, weakref_slot=True)
class Transition:
    """One step of a model, analysed: what it carries, which weights reach what, and which gradient each gets."""

    name: str
    params: tuple[Param, ...] = ()
    states: tuple[State, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    regions: tuple[Region, ...] = ()
    weights: tuple[Weight, ...] = ()
    sites: tuple[Site, ...] = ()
    groups: tuple[Group, ...] = ()
    associations: tuple[Association, ...] = ()
    open: OpenScope | None = None
    """The hidden states seen with nothing held, where some rule has asked for it."""
    certificate: Certificate | None = None
    plan: Plan | None = None
    flow: Dataflow | None = field(default=None, repr=False)
    """The data-flow of the `step` region, where a pass has found it and the region is still the same; never another's.

    The text does not show it, and a transition that was read from text has none.
    """
    loc: Loc | None = None

    def __post_init__(self) -> None:
        """Drop the data-flow of another step: a pass that changes the step need not know that there is one.

        This reads a broken transition too, which is the verifier's to describe.
        """
        bodies = (getattr(r, "body", None) for r in nodes(self.regions) if getattr(r, "name", None) == "step")
        step = next(bodies, None), len(nodes(self.params)), len(nodes(self.states))
        if isinstance(self.flow, Dataflow) and not self.flow.is_of(*step):
            object.__setattr__(self, "flow", None)
        if isinstance(self.open, OpenScope) and self.open.flow is not None and not self.open.flow.is_of(*step):
            object.__setattr__(self, "open", replace(self.open, flow=None))

    def region(self, name: str) -> Region:
        """The region of this name; KeyError where no pass has made it yet."""
        for region in self.regions:
            if region.name == name:
                return region
        raise KeyError(name)

    @property
    def learned(self) -> tuple[Param, ...]:
        """The parameters that reverse mode has a gradient for: those that are not frozen."""
        return tuple(param for param in self.params if not param.frozen)

    @property
    def frozen_places(self) -> frozenset[int]:
        """The places of the frozen ones among the parameters."""
        return frozenset(k for k, param in enumerate(self.params) if param.frozen)

    @property
    def every_group(self) -> tuple[Group, ...]:
        """The groups of every scope."""
        return (*self.groups, *(self.open.groups if self.open is not None else ()))

    @property
    def every_association(self) -> tuple[Association, ...]:
        """The associations of every scope."""
        return (*self.associations, *(self.open.associations if self.open is not None else ()))

    @property
    def hidden(self) -> tuple[State, ...]:
        """The hidden states, in order."""
        return tuple(state for state in self.states if state.kind is StateKind.HIDDEN)

    @property
    def hidden_places(self) -> tuple[int, ...]:
        """The places of the hidden states among the states."""
        return tuple(k for k, state in enumerate(self.states) if state.kind is StateKind.HIDDEN)
