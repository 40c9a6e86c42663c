"""rtrl: everything, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..ir.plan import AdvanceFull, Contract, Trace
from ..ir.transition import Label, Param, Reason, Verdict
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Program, Rule, real_dtype

if TYPE_CHECKING:
    from ..passes.evidence import Finding


@dataclass(frozen=True)
class Rtrl(Rule):
    """Real-time recurrent learning (Williams and Zipser 1989): every hidden state against every element of a parameter.

    The influence matrix `[hidden sizes, parameter]` is advanced once a window by the window's reverse mode under unit
    cotangents, `E' = w_bar + h_bar E`, so its cost an step falls as one over the window.
    """

    name: ClassVar[str] = "rtrl"
    positional: ClassVar[bool] = False

    def label(self, param: Param, finding: Finding) -> Label:
        """Exact, except for credit through states that were declared not hidden."""
        if not finding.reaches:
            return self.outside(param)
        if finding.buffers:
            return self.entry(param, Verdict.APPROXIMATE, *finding.buffers)
        return self.entry(param, Verdict.EXACT, Reason(text="its influence on every hidden state is carried"))

    def for_param(self, param: Param, states: tuple[Value, ...], cotangents: tuple[Value, ...]) -> Program:
        """One influence matrix."""
        rows = sum(state.type.size * (2 if state.type.is_complex else 1) for state in states)
        parameter = param.value.type
        columns = parameter.size * (2 if parameter.is_complex else 1)
        kind = TensorType(real_dtype(states[0].type.dtype), (rows, columns))
        name = f"e_{param.value.hint}"
        before, after = Value(type=kind, hint=name), Value(type=kind, hint=f"{name}_next")
        advance = AdvanceFull(param=param, trace=before, results=(after,), loc=param.loc)
        gradient = Value(type=parameter, hint=f"g_{param.value.hint}")
        read = Contract(association=None, trace=(before,), cotangents=cotangents, results=(gradient,), loc=param.loc)
        trace = Trace(before=before, after=after, label=f"{param.path} on every hidden state", loc=param.loc)
        return Program(traces=(trace,), at_window=(advance, read), contributions=(read,))
