"""d_rtrl: one trace a weight, advanced by the position-wise part of the Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..ir.plan import Advance, Contract, Trace
from ..ir.transition import Association, Label, Param, Reason, Verdict
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Materials, Program, Rule

if TYPE_CHECKING:
    from ..passes.evidence import Finding


@dataclass(frozen=True)
class DRtrl(Rule):
    """Diagonal real-time recurrent learning: `E' = D E + f (x) x`.

    `D` and `f` are taken while mixing operations are held. The trace of a site is laid out as `[states, slots, *output
    positions, *weight axes not in the output]`. Exact where the recurrence is element-wise (Zucchet et al. 2023,
    "Online learning of long-range dependencies"); else the recurrence through mixing operations is dropped (Wang et al.
    2024, D-RTRL).
    """

    name: ClassVar[str] = "d_rtrl"
    positional: ClassVar[bool] = True

    def label(self, param: Param, finding: Finding) -> Label:
        """Exact where nothing is dropped, truncated where there is no trace at all."""
        if not finding.reaches:
            return self.outside(param)
        reasons = (*finding.dropped, *finding.buffers)
        if not finding.traced:
            fallback = Reason(text="no use of it reaches a hidden state position by position")
            return self.entry(param, Verdict.TRUNCATED, *(reasons or (fallback,)))
        if reasons:
            return self.entry(param, Verdict.APPROXIMATE, *reasons)
        return self.entry(param, Verdict.EXACT, Reason(text="every path from it to a hidden state is traced"))

    def for_association(self, association: Association, materials: Materials) -> Program:
        """One trace, one advance, one contraction."""
        site = association.site
        kind = trace_type(association, materials)
        name = f"e_{site.weight.value.hint}"
        before, after = Value(type=kind, hint=name), Value(type=kind, hint=f"{name}_next")
        advance = Advance(
            association=association,
            trace=before,
            jacobian=materials.jacobian,
            sensitivity=materials.sensitivity,
            data=site.data,
            expression=site.expression,
            results=(after,),
            loc=site.loc,
        )
        read = contraction(association, (before,), materials)
        label = f"{'+'.join(site.weight.paths)} on group {association.group.index}"
        trace = Trace(before=before, after=after, label=label, loc=site.loc)
        return Program(traces=(trace,), step=(advance,), at_window=(read,), contributions=(read,))


def trace_type(association: Association, materials: Materials) -> TensorType:
    """The type of a positional trace: the sensitivity's axes, then the weight's axes that are not in the output."""
    site, sensitivity = association.site, materials.sensitivity.type
    sizes = dict(zip(site.weight_labels, site.weight.value.type.shape, strict=True))
    extra = tuple(sizes[label] for label in site.trace_labels[len(site.expression.output) :])
    return TensorType(sensitivity.dtype, (*sensitivity.shape, *extra))


def contraction(association: Association, trace: tuple[Value, ...], materials: Materials) -> Contract:
    """`<h_bar, E>` for an association: a contribution to its weight."""
    weight = association.site.weight.value
    result = Value(type=weight.type, hint=f"g_{weight.hint}")
    return Contract(
        association=association, trace=trace, cotangents=materials.cotangents, results=(result,), loc=association.loc
    )
