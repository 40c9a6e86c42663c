"""What a learning rule is: a label for each parameter, and the trace operations that earn it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..ir.plan import Contract, Operation, Trace
from ..ir.transition import Association, Label, Param, Reason, Verdict
from ..ir.values import Value

if TYPE_CHECKING:
    from ..passes.evidence import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a rule adds to a plan for one association or parameter."""

    traces: tuple[Trace, ...] = ()
    step: tuple[Operation, ...] = ()
    at_window: tuple[Operation, ...] = ()
    contributions: tuple[Contract, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """The values that a rule's operations read."""

    jacobian: Value
    sensitivity: Value
    cotangents: tuple[Value, ...]


@dataclass(frozen=True)
class Rule(ABC):
    """A learning rule: how traces are laid out, advanced and read. Frozen; its fields are its options."""

    name: ClassVar[str]
    positional: ClassVar[bool]
    """Whether its traces live at the positions of sites' outputs, so that it needs Jacobians of the hidden region."""

    @abstractmethod
    def label(self, param: Param, finding: Finding) -> Label:
        """The certificate's entry for a parameter that this rule learns."""

    def for_association(self, association: Association, materials: Materials) -> Program:
        """The operations for one traced association; none for a rule that is not positional."""
        del association, materials
        return Program()

    def for_param(self, param: Param, states: tuple[Value, ...], cotangents: tuple[Value, ...]) -> Program:
        """The operations for one parameter against every hidden state; none for a positional rule."""
        del param, states, cotangents
        return Program()

    def entry(self, param: Param, verdict: Verdict, *reasons: Reason) -> Label:
        """A label that names this rule."""
        return Label(path=param.path, label=verdict, rule=self.name, reasons=reasons)

    def outside(self, param: Param) -> Label:
        """The label of a parameter that reaches no hidden state."""
        return self.entry(param, Verdict.EXACT, Reason(text="reaches no hidden state: its gradient needs no trace"))


def real_dtype(dtype: str) -> str:
    """The element type of the real part of an element type."""
    return {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
