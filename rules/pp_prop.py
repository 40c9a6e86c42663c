"""pp_prop: the trace of D-RTRL as a product of two vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..ir.plan import AdvanceFactored, Trace
from ..ir.transition import Association, Label, Param, Reason, Verdict
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Materials, Program, real_dtype
from .d_rtrl import DRtrl, contraction

if TYPE_CHECKING:
    from ..passes.evidence import Finding


@dataclass(frozen=True)
class PpProp(DRtrl):
    """A rank-one trace: `X' = a X + x` for the data and `F' = a D F + (1 - a) f` for the output, read as `F (x) X`.

    Memory is linear in neurons (Wang et al. 2024: pp-prop, also called ES-D-RTRL). A site without contracted axes has a
    vector for a trace anyhow, and keeps that of D-RTRL, with its label.
    """

    name: ClassVar[str] = "pp_prop"

    decay: float = 0.9
    """The smoothing factor `a`, from 0 to 1."""

    def label(self, param: Param, finding: Finding) -> Label:
        """Approximate wherever a trace is factored."""
        label = super().label(param, finding)
        factored = [a for a in finding.traced if factors(a)]
        if label.label is Verdict.TRUNCATED or not factored:
            return label
        reason = Reason(text="its trace is kept as a product of two vectors", loc=factored[0].loc)
        kept = label.reasons if label.label is Verdict.APPROXIMATE else ()
        return self.entry(param, Verdict.APPROXIMATE, reason, *kept)

    def for_association(self, association: Association, materials: Materials) -> Program:
        """Two vectors, advanced apart and multiplied when read."""
        if not factors(association):
            return super().for_association(association, materials)
        site = association.site
        data = site.data
        assert data is not None
        sensitivity = materials.sensitivity.type
        column = sensitivity.dtype if data.type.is_complex else real_dtype(sensitivity.dtype)
        kinds = (sensitivity, TensorType(column, data.type.shape))
        names = (f"f_{site.weight.value.hint}", f"x_{site.weight.value.hint}")
        before = tuple(Value(type=kind, hint=name) for kind, name in zip(kinds, names, strict=True))
        after = tuple(Value(type=kind, hint=f"{name}_next") for kind, name in zip(kinds, names, strict=True))
        advance = AdvanceFactored(
            association=association,
            factors=before,
            jacobian=materials.jacobian,
            sensitivity=materials.sensitivity,
            data=data,
            decay=self.decay,
            results=after,
            loc=site.loc,
        )
        read = contraction(association, before, materials)
        label = f"{'+'.join(site.weight.paths)} on group {association.group.index}"
        traces = tuple(Trace(before=b, after=a, label=label, loc=site.loc) for b, a in zip(before, after, strict=True))
        return Program(traces=traces, step=(advance,), at_window=(read,), contributions=(read,))


def factors(association: Association) -> bool:
    """Whether the trace of an association is larger than the product of its two factors' axes."""
    site = association.site
    return site.data is not None and len(site.trace_labels) > len(site.expression.output)
