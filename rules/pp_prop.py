"""pp_prop: the trace of D-RTRL as a product of two vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from ..ir.diagnostics import error
from ..ir.plan import Advance, Diagonal, Placement, Plain, Product, Project, Scalar
from ..ir.plan.jacobian import trace_dtype
from ..ir.transition import Association
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Rule, Task
from .shared.positional import column_type, followed_states, new_traces, positional_trace, read_at_entry
from .writer import Writer


@dataclass(frozen=True)
class PpProp(Rule):
    """A rank-one trace: `X' = a X + x` for the data and `F' = a D F + (1 - a) f` for the output, read as `F (x) X`.

    Wang et al. 2024, pp-prop, also called ES-D-RTRL. Memory: two vectors a weight, linear in neurons. Cost: that of
    reverse mode's own product. Approximate always; a site without contracted axes has a vector for a trace anyhow, and
    keeps that of D-RTRL, exact where that is.
    """

    name: ClassVar[str] = "pp_prop"
    per_step: ClassVar[bool] = True

    decay: float = 0.9
    """The smoothing factor `a`, from 0 to 1."""
    rank: int | None = None
    """In the place of `decay`: the number of steps that a trace is to span, `a = (rank - 1) / (rank + 1)`."""
    corrected: bool = False
    """Divide what is read by `1 - a^age`: a trace that began a few steps ago is a mean over those alone."""

    @property
    def factor(self) -> float:
        """`a`. Raises EtirError where it is not from 0 to 1."""
        chosen, least, most = (self.decay, 0, 1) if self.rank is None else (self.rank, 1, math.inf)
        if not isinstance(chosen, (int, float)) or not (least <= chosen <= most and math.isfinite(chosen)):
            given = f"{'decay' if self.rank is None else 'rank'}={chosen!r}"
            raise error("rule-option", f"pp_prop has {given}; wanted a decay from 0 to 1, or a rank of at least 1")
        return float(chosen if self.rank is None else (self.rank - 1) / (self.rank + 1))

    def write(self, plan: Writer, task: Task) -> None:
        """Two vectors for each association, advanced apart and multiplied when read."""
        a = self.factor
        factored = [association for association in task.associations if factors(association)]
        age = _age(plan) if factored and self.corrected and a < 1 else None
        for association in task.associations:
            if association in factored:
                self._factored(plan, association, a, age)
            else:
                read_at_entry(plan, positional_trace(plan, association))

    def _factored(self, plan: Writer, association: Association, a: float, age: Value | None) -> None:
        site = association.site
        data = site.data
        assert data is not None
        label = f"data of {'+'.join(site.weight.paths)}"
        column = plan.trace(column_type(association), label, f"X_{site.weight.value.hint}", loc=site.loc)
        advance = Advance(trace=(column,), by=Scalar(factor=a), add=Plain(values=(data,)), loc=site.loc)
        plan.carry(column, *plan.step(advance, f"{column.hint}_next"))
        states, rows = self._rows(plan, association, a)
        entering = plan.entering(association.group)
        cotangents = tuple(entering[k] for k in states)
        (credit,) = plan.window(
            Project(association=association, factors=rows, cotangents=cotangents, loc=site.loc),
            f"{site.output.hint}_bar",
        )
        if age is not None:
            credit = _corrected(plan, credit, a, age)
        (read,) = plan.window(
            Product(site=site, data=column, cotangent=credit, loc=site.loc), f"g_{site.weight.value.hint}"
        )
        plan.contribute(site.weight, read)

    def _rows(self, plan: Writer, association: Association, a: float) -> tuple[tuple[int, ...], tuple[Value, ...]]:
        """The factor `F` of each followed state."""
        jacobian, sensitivity = plan.jacobian(association.group), plan.sensitivity(association)
        states = followed_states(tuple(sensitivity), tuple(jacobian))
        kind = TensorType(trace_dtype(association), Placement(association).output_shape)
        rows = new_traces(plan, association, states, kind, f"F_{association.site.weight.value.hint}")
        pairs = {(states.index(i), states.index(j)): v for (i, j), v in jacobian.items() if i in states and j in states}
        slower = tuple(plan.scaled(value, a) for value in pairs.values())
        added = {k: plan.scaled(value, 1 - a) for k, value in sensitivity.items()}
        after = plan.step(
            Advance(
                trace=rows,
                by=Diagonal(association=association, pairs=tuple(pairs), factors=slower, at_output=True),
                add=Plain(values=tuple(added.get(k) for k in states)),
                loc=association.loc,
            ),
            *[f"{v.hint}_next" for v in rows],
        )
        for old, new in zip(rows, after, strict=True):
            plan.carry(old, new)
        return states, rows


def _age(plan: Writer) -> Value:
    """The number of steps that the traces hold."""
    age = plan.trace(TensorType("int32"), "steps since the traces began", "age")
    plan.carry(age, *plan.apply(lambda n: n + 1, age, name="older"))
    return age


def _corrected(plan: Writer, credit: Value, a: float, age: Value) -> Value:
    """The credit, divided by the weight `1 - a^age` that the decaying mean of so many steps has."""

    def divide(credit: Any, age: Any) -> Any:
        wide = jnp.promote_types(credit.real.dtype, jnp.float32)
        weight = jnp.where(age > 0, 1 - a ** age.astype(wide), 1)
        return (credit / weight).astype(credit.dtype)

    (found,) = plan.apply(divide, credit, age, name="corrected", at_window=True)
    return found


def factors(association: Association) -> bool:
    """Whether the trace of an association is larger than the product of its two factors' axes."""
    site = association.site
    return site.data is not None and len(site.trace_labels) > len(site.expression.output)
