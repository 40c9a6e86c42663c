"""One step of the model with what its traces need, shared by every driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...coupling.primitives import nonlinear_rule
from ...ir import jaxpr as jx
from ...ir.diagnostics import error
from ...ir.plan import Advance, AdvanceFactored, AdvanceFull, Jacobian, Plan, Pullback, Sensitivity, Vjp
from ...ir.plan import Contract as ContractOp
from ...ir.transition import Group, Param, StateKind, Transition
from ..calls import Arrays, Bindings, Calls
from .dense import DenseTrace, Traces
from .factored import FactoredTrace, Factors
from .influence import RealCoordinates
from .jacobian import GroupLinearisation, Jacobians
from .positions import Layout


class Record(NamedTuple):
    """What one step leaves for the traces; lists follow the programs' order."""

    jacobians: list[Jacobians]
    sensitivities: list[list[list[jax.Array | None]]]
    data: list[jax.Array | None]
    """One entry a site; None where no trace and no product needs it."""


class TraceState(NamedTuple):
    """The traces of a learner; lists follow the programs' order."""

    dense: list[Traces]
    factored: list[Factors]
    full: Arrays


class GroupProgram(NamedTuple):
    """One group's linearisation, and which traces live on it."""

    group: Group
    linearise: GroupLinearisation
    layouts: list[Layout]
    dense: list[tuple[int, int]]
    """Pairs (place among the layouts, place among the dense traces)."""
    factored: list[tuple[int, int]]
    """Pairs (place among the layouts, place among the factored traces)."""


class Programs:
    """A plan's operations, gathered by what emits them."""

    def __init__(self, transition: Transition, trace_dtype: str | None) -> None:
        """Gather the operations of the transition's plan. Raises EtirError for one without an emit rule."""
        self.calls = Calls(transition)
        self.transition = transition
        plan = self.calls.plan
        _check_known(plan)
        self.window = plan.window
        self.trace_dtype = trace_dtype
        dense = [op for op in plan.step if isinstance(op, Advance)]
        factored = [op for op in plan.step if isinstance(op, AdvanceFactored)]
        self.influenced: list[Param] = [op.param for op in plan.at_window if isinstance(op, AdvanceFull)]
        self.groups = [self._group(op.group, dense, factored) for op in plan.step if isinstance(op, Jacobian)]
        self.pattern_of = {p.group: list(p.linearise.pattern) for p in self.groups}
        self.dense = [DenseTrace(op, self.pattern_of[op.association.group], trace_dtype) for op in dense]
        self.factored = [FactoredTrace(op, trace_dtype) for op in factored]
        self.hidden = RealCoordinates([state.before.type for state in transition.hidden])
        self.influences = [RealCoordinates([param.value.type]) for param in self.influenced]
        self.influence_apart = bool(self.influenced) and self._needs_pull_back_of_its_own()
        self.traced_weights = {self.calls.weight_places[t.layout.association.site.weight] for t in self.all_traces}
        self.positional = next(op.positional for op in plan.at_window if isinstance(op, Pullback))

    def _needs_pull_back_of_its_own(self) -> bool:
        """Whether influence matrices cannot share the pull-back of the window's loss.

        Credit through buffers is dropped in them alone, and a readout's backward rule that is not linear need not send
        back nothing where it gets nothing.
        """
        if any(state.kind is StateKind.BUFFER for state in self.transition.states):
            return True
        return any(nonlinear_rule(eqn) for eqn in jx.equations(self.calls.forward_region.body))

    @property
    def with_dense(self) -> list[GroupProgram]:
        """The groups that a dense trace lives on."""
        return [program for program in self.groups if program.dense]

    @property
    def all_traces(self) -> list[DenseTrace | FactoredTrace]:
        """Every positional trace."""
        return [*self.dense, *self.factored]

    def zeros(self) -> TraceState:
        """The traces at the beginning of a sequence."""
        rows = self.hidden.size
        return TraceState(
            dense=[trace.zeros() for trace in self.dense],
            factored=[trace.zeros() for trace in self.factored],
            full=[
                jnp.zeros((rows, columns.size), self.trace_dtype or self.hidden.dtype) for columns in self.influences
            ],
        )

    def record(self, bindings: Bindings, sites: Sequence[int]) -> Record:
        """What a step's values mean for the traces; the data of these sites is kept."""
        found = [program.linearise(bindings) for program in self.groups]
        data: list[jax.Array | None] = [None] * len(self.transition.sites)
        kept = {
            v: jax.lax.stop_gradient(bindings[v]) for k in sites if (v := self.transition.sites[k].data) is not None
        }
        for k in sites:
            value = self.transition.sites[k].data
            data[k] = None if value is None else kept[value]
        return Record(jacobians=[d for d, _ in found], sensitivities=[f for _, f in found], data=data)

    def step_factored(self, factored: list[Factors], record: Record) -> list[Factors]:
        """The factored traces after a step."""
        new = list(factored)
        for program, jacobians, sensitive in zip(self.groups, record.jacobians, record.sensitivities, strict=True):
            for layout, k in program.factored:
                data = record.data[self.site_of(self.factored[k].layout)]
                assert data is not None
                new[k] = self.factored[k].step(factored[k], jacobians, sensitive[layout], data)
        return new

    def site_of(self, layout: Layout) -> int:
        """The place of a layout's site among the sites."""
        return self.transition.sites.index(layout.association.site)

    def by_group(self, hidden: Sequence[jax.Array]) -> list[dict[int, jax.Array]]:
        """One array for each hidden state, as one dictionary for each group program."""
        place = {state: k for k, state in enumerate(self.transition.hidden)}
        return [{k: hidden[place[s]] for k, s in enumerate(program.group.states)} for program in self.groups]

    def _group(self, group: Group, dense: Sequence[Advance], factored: Sequence[AdvanceFactored]) -> GroupProgram:
        layouts: list[Layout] = []
        places: list[list[tuple[int, int]]] = []
        for operations in (dense, factored):
            own = [(k, op.association) for k, op in enumerate(operations) if op.association.group is group]
            places.append([(len(layouts) + n, k) for n, (k, _) in enumerate(own)])
            layouts += [Layout(association) for _, association in own]
        return GroupProgram(group, GroupLinearisation(self.calls, group, layouts), layouts, *places)


def _check_known(plan: Plan) -> None:
    known = (Advance, AdvanceFactored, AdvanceFull, Jacobian, Sensitivity, Vjp, ContractOp, Pullback)
    for op in plan.operations:
        if type(op) not in known:
            raise error(
                "no-emit-rule",
                f"backend 'xla' does not know the plan operation '{type(op).__name__}'",
                loc=op.loc,
                help="use backend='reference', or emit it from a backend of your own",
            )
