"""pp_prop: the trace of D-RTRL as a product of two vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import jax.numpy as jnp

from ..ir.diagnostics import error
from ..ir.plan import (
    Advance,
    Diagonal,
    Latest,
    LatestProduct,
    PickedProduct,
    Placement,
    Plain,
    Product,
    Project,
    Scalar,
    SendBack,
)
from ..ir.plan.jacobian import trace_dtype
from ..ir.plan.latest import look_ups, looks_up
from ..ir.regions import with_regions
from ..ir.sources import sources
from ..ir.transition import Association, Site, Transition
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Rule, Task
from .shared.positional import (
    along,
    column_type,
    followed_states,
    new_traces,
    positional_trace,
    read_at_entry,
    sample_axis,
)
from .writer import Writer

_Reading: TypeAlias = Callable[[Value], Product]
"""The product that reads filtered data, from a cotangent of the site's output."""


@dataclass(frozen=True)
class PpProp(Rule):
    """A rank-one trace: `X' = a X + x` for the data and `F' = a D F + (1 - a) f` for the output, read as `F (x) X`.

    Wang et al. 2024, pp-prop, also called ES-D-RTRL. Memory: two vectors a weight, linear in neurons. Cost: that of
    reverse mode's own product. Approximate always; a site without contracted axes has a vector for a trace anyhow, and
    keeps that of D-RTRL, exact where that is. Of a large table, whose data are one-hot, `X` is the places of the last
    look-ups: so many that the weights of all before them add up to less than a rounding of the newest one's. Where the
    data are many, and a fixed index picks them of few, as edges do of neurons, `X` is of these.
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
        chained = {site: ends for site in task.sites if (ends := _ends(plan.transition, site))}
        age = _age(plan, factored) if (factored or chained) and self.corrected and a < 1 else None
        credits = _Credits(plan, a, age)
        for association in task.associations:
            if association in factored:
                _read(plan, association.site, a, [association], lambda one=association: [credits.of(one)])
            else:
                read_at_entry(plan, positional_trace(plan, association))
        for site, ends in chained.items():
            _read(plan, site, a, ends, lambda one=site: credits.through(one))


def _read(plan: Writer, site: Site, a: float, ends: Sequence[Association], credits: Callable[[], list[Value]]) -> None:
    """The filtered data of a site, read with what comes to its output from where it leads, the `ends`."""
    read = _latest(plan, site, a, ends) or _picked(plan, site, a, ends) or _filtered(plan, site, a, ends)
    for credit in credits():
        (product,) = plan.window(read(credit), f"g_{site.weight.value.hint}")
        plan.contribute(site.weight, product)


def _filtered(plan: Writer, site: Site, a: float, ends: Sequence[Association]) -> _Reading:
    """How data are read that are filtered as they are."""
    assert site.data is not None
    column = _filter(plan, site, a, site.data, column_type(ends[0], site))
    return lambda credit: Product(site=site, data=column, cotangent=credit, loc=site.loc)


def _picked(plan: Writer, site: Site, a: float, ends: Sequence[Association]) -> _Reading | None:
    """How filtered data are read that are picked of a smaller array, which is filtered in their place; else None."""
    pick = plan.picks(plan.region).get(site)
    if pick is None:
        return None
    kind = TensorType(column_type(ends[0], site).dtype, pick.array.type.shape)
    column = _filter(plan, site, a, pick.array, kind)
    plan.transition = with_regions(plan.transition, pick.region)
    own: dict[str, Any] = {"region": pick.region.name, "labels": pick.labels, "loc": site.loc}
    return lambda credit: PickedProduct(site=site, data=column, cotangent=credit, **own)


def _filter(plan: Writer, site: Site, a: float, data: Value, kind: TensorType) -> Value:
    """The trace that filters some data."""
    column = _column(plan, site, kind)
    advance = Advance(trace=(column,), by=Scalar(factor=a), add=Plain(values=(data,)), loc=site.loc)
    plan.carry(column, *plan.step(advance, f"{column.hint}_next"))
    return column


def _latest(plan: Writer, site: Site, a: float, ends: Sequence[Association]) -> _Reading | None:
    """How filtered data that are one-hot are read, where their places take less room; None where they do not."""
    transition = plan.transition
    source = sources(transition, transition.region(plan.region)).get(site)
    rows = None if source is None else source.operation.rows(source.weight)
    dense = column_type(ends[0], site)
    count = look_ups(a, dense.dtype)
    if source is None or rows is None or count is None or not looks_up(site):
        return None
    kind = TensorType("int32", (*dense.shape[:-1], count))
    if kind.bytes >= dense.bytes:
        return None
    column = _column(plan, site, kind)
    latest = Latest(trace=column, index=source.data, rows=rows.places, fills=rows.fills, loc=site.loc)
    plan.carry(column, *plan.step(latest, f"{column.hint}_next"))
    return lambda credit: LatestProduct(site=site, data=column, cotangent=credit, factor=a, loc=site.loc)


def _column(plan: Writer, site: Site, kind: TensorType) -> Value:
    weight = site.weight
    return plan.trace(kind, f"data of {'+'.join(weight.paths)}", f"X_{weight.value.hint}", loc=site.loc)


def _readers(transition: Transition, site: Site) -> list[Site]:
    """The sites whose data are a site's output as it is, where it feeds no hidden state by itself.

    In `(x @ A) @ B`, what comes to the second product comes to the first one through `B`: both have one factor `F`.
    """
    if site.data is None or any(a.traced for a in transition.associations if a.site is site):
        return []
    return [other for other in transition.sites if other.data is site.output]


def _factored(transition: Transition, site: Site) -> list[Association]:
    return [a for a in transition.associations if a.site is site and a.traced and factors(a)]


def _ends(transition: Transition, site: Site) -> list[Association]:
    """The associations with a factor that a site leads to through other sites."""
    readers = _readers(transition, site)
    return [end for other in readers for end in (*_factored(transition, other), *_ends(transition, other))]


class _Credits:
    """What comes to sites' outputs at a window's end, each written once."""

    def __init__(self, plan: Writer, a: float, age: Value | None) -> None:
        self.plan, self.a, self.age = plan, a, age
        self.known: dict[Association, Value] = {}

    def of(self, association: Association) -> Value:
        """By one association: its factor `F`, read with what comes back to the states that enter."""
        if association not in self.known:
            plan, output = self.plan, association.site.output
            states, rows = self._rows(association)
            entering = plan.entering(association.group)
            cotangents = tuple(entering[k] for k in states)
            project = Project(association=association, factors=rows, cotangents=cotangents, loc=association.site.loc)
            (credit,) = plan.window(project, f"{output.hint}_bar")
            axis = sample_axis(plan, association) if self.age is not None and self.age.type.shape else None
            self.known[association] = credit if self.age is None else _corrected(plan, credit, self.a, self.age, axis)
        return self.known[association]

    def through(self, site: Site) -> list[Value]:
        """By the sites that a site leads to: what comes to each of them, sent back through it."""
        plan, found = self.plan, list[Value]()
        for other in _readers(plan.transition, site):
            for credit in [*map(self.of, _factored(plan.transition, other)), *self.through(other)]:
                back = SendBack(site=other, weight=other.weight.value, cotangent=credit, loc=other.loc)
                found += plan.window(back, f"{site.output.hint}_bar")
        return found

    def _rows(self, association: Association) -> tuple[tuple[int, ...], tuple[Value, ...]]:
        """The factor `F` of each followed state."""
        plan, a = self.plan, self.a
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


def _age(plan: Writer, factored: Sequence[Association]) -> Value:
    """The number of steps that the traces hold: of each sample, where marks are of samples and sites show them."""
    shape = (plan.samples,) if all(sample_axis(plan, a) is not None for a in factored) and plan.samples else ()
    age = plan.trace(TensorType("int32", shape), "steps since the traces began", "age")
    if shape:
        plan.carry_by_sample(age, lambda n: plan.apply(lambda n: n + 1, n, name="older")[0])
    else:
        plan.carry(age, *plan.apply(lambda n: n + 1, age, name="older"))
    return age


def _corrected(plan: Writer, credit: Value, a: float, age: Value, axis: int | None) -> Value:
    """The credit, divided by the weight `1 - a^age` that the decaying mean of so many steps has."""

    def divide(credit: Any, age: Any) -> Any:
        wide = jnp.promote_types(credit.real.dtype, jnp.float32)
        weight = jnp.where(age > 0, 1 - a ** age.astype(wide), 1)
        return (credit / along(weight, axis, credit.ndim)).astype(credit.dtype)

    (found,) = plan.apply(divide, credit, age, name="corrected", at_window=True)
    return found


def factors(association: Association) -> bool:
    """Whether the trace of an association is larger than the product of its two factors' axes."""
    site = association.site
    return site.data is not None and len(site.trace_labels) > len(site.expression.output)
