"""The transition IR: data structures, text form, verifier, and the diagnostics that every layer raises."""

from __future__ import annotations

from ..coupling import Coupling
from .dataflow import Crossing
from .diagnostics import Diagnostic, EtirError, EtirWarning
from .expression import Expression
from .loc import Loc
from .names import Names
from .parser import parse
from .plan import Operation, Plan, Trace
from .printer import isomorphic, render
from .transition import (
    Association,
    Certificate,
    Dependence,
    Group,
    Input,
    Label,
    Output,
    Param,
    Reason,
    Region,
    Site,
    State,
    StateKind,
    Transition,
    Verdict,
    Weight,
)
from .types import TensorType
from .values import Value
from .verify import check, verify

# The printer reads transitions, so they cannot import it: their text is given to them here.
Transition.__str__ = lambda self: render(self)

__all__ = [
    "Association",
    "Certificate",
    "Coupling",
    "Crossing",
    "Dependence",
    "Diagnostic",
    "EtirError",
    "EtirWarning",
    "Expression",
    "Group",
    "Input",
    "Label",
    "Loc",
    "Names",
    "Operation",
    "Output",
    "Param",
    "Plan",
    "Reason",
    "Region",
    "Site",
    "State",
    "StateKind",
    "TensorType",
    "Trace",
    "Transition",
    "Value",
    "Verdict",
    "Weight",
    "check",
    "isomorphic",
    "parse",
    "render",
    "verify",
]
