"""kf_rtrl: the influence of each weight as a random Kronecker product of data and of what follows a site's output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from ..ir.plan import Bundle, ContractPushed, Product, Push, Units
from ..ir.plan.jacobian import real_dtype
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Rule, Task
from .shared.rank_one import length, mixed, random_signs, scales
from .writer import Writer


@dataclass(frozen=True)
class KfRtrl(Rule):
    """Kronecker-factored RTRL (Mujika, Meier and Steger 2018, equations 6 to 8): `E ~ u (x) A` for each site.

        u' = p1 u + c p2 x          A' = J A / p1 + c f / p2
        p1 = sqrt(|J A| / |u|) ,    p2 = sqrt(|f| / |x|)

    `u` is like the site's data `x`; `A` has a tangent of all hidden states for each position of the site's output;
    `J = dh'/dh` and `f = dh'/dy` are those of the whole step, nothing held. The sign `c` is fresh at every step (the
    paper's two signs count by their product alone), so the mean of `u' (x) A'` is `u (x) J A + x (x) f`: the mean over
    keys is RTRL's influence. Read as `<h_bar, A>`, a cotangent of the site's output, times `u` by the site's product.

    Samples that the step shows never to meet along the first axis have factors, signs and scales of their own, and one
    tangent moves them all. Over other positions of the output that the weight lacks (samples that may meet, patches)
    `x (x) f` is a sum, which is drawn as `sum_p v_p x_p (x) sum_p v_p f_p` with a sign for each. An operation that
    contracts nothing (a bias, a scale) has an influence no larger than `A`: it is carried exactly, `E' = J E + x f`.

    Memory: data and [outputs of the site, hidden states], a sample. Cost: a JVP of the step for each output position of
    the site, twice, all samples at once. Exact for operations that contract nothing; else never, and its mean is RTRL's
    gradient. Uses of a weight by other than ETP operations are not followed.
    """

    name: ClassVar[str] = "kf_rtrl"

    def write(self, plan: Writer, task: Task) -> None:
        """Two factors for each site that contracts, one trace for each other."""
        bundles = [Bundle(site, task.apart(site)) for site in task.sites if site.output.type.carries_credit]
        factored = [Factors(bundle) for bundle in bundles if bundle.contracts]
        for bundle in bundles:
            if not bundle.contracts:
                self._exact(plan, bundle)
        if factored:
            for factors, signs in zip(factored, random_signs(plan, [f.signs for f in factored]), strict=True):
                self._factored(plan, factors, signs)

    def _exact(self, plan: Writer, bundle: Bundle) -> None:
        """`E' = J E + x f`, one tangent for each position of the weight."""
        site = bundle.site
        before = tangents(plan, bundle)
        units = _units(plan, bundle, site.data, site.data_labels or "")
        pushed = plan.step(Push(tangents=before, sites=(site,), shifts=units, loc=site.loc), *_next(before))
        for old, new in zip(before, pushed, strict=True):
            plan.carry(old, new)
        plan.contribute(site.weight, _credit(plan, bundle, before))

    def _factored(self, plan: Writer, factors: Factors, signs: Value) -> None:
        """`u (x) A`."""
        bundle, site, data = factors.bundle, factors.bundle.site, factors.bundle.site.data
        assert data is not None
        column = plan.trace(
            factors.column, f"data of {'+'.join(site.weight.paths)}", f"u_{site.weight.value.hint}", loc=site.loc
        )
        rows = tangents(plan, bundle)
        units = _units(plan, bundle, signs, factors.signed)
        fed = plan.step(Push(sites=(site,), shifts=units, loc=site.loc), *[f"f_{v.hint}" for v in rows])
        pushed = plan.step(Push(tangents=rows, loc=site.loc), *[f"J{v.hint}" for v in rows])
        after = plan.apply(factors.advance, column, data, signs, *pushed, *fed, name="kronecker",
                           hints=_next((column, *rows)), estimates="rtrl")  # fmt: skip
        for old, new in zip((column, *rows), after, strict=True):
            plan.carry(old, new)
        credit = _credit(plan, bundle, rows)
        read = Product(site=site, data=column, cotangent=credit, without=factors.without, loc=site.loc)
        plan.contribute(site.weight, *plan.window(read, f"g_{site.weight.value.hint}"))


def tangents(plan: Writer, bundle: Bundle) -> tuple[Value, ...]:
    """A trace for each hidden state: the tangents of a bundle, `[vectors, *state]`."""
    site = bundle.site
    paths, hint = "+".join(site.weight.paths), site.weight.value.hint
    return tuple(
        plan.trace(
            TensorType(state.before.type.dtype, (bundle.vectors, *state.before.type.shape)),
            f"{paths} on {state.path}",
            f"a_{hint}_{state.before.hint}",
            loc=site.loc,
        )
        for state in plan.transition.hidden
    )


def _units(plan: Writer, bundle: Bundle, scale: Value | None, labels: str) -> tuple[Value, ...]:
    site = bundle.site
    units = Units(site=site, apart=bundle.apart, scale=scale, labels=labels, loc=site.loc)
    return plan.step(units, f"d{site.output.hint}")


def _credit(plan: Writer, bundle: Bundle, rows: tuple[Value, ...]) -> Value:
    site = bundle.site
    hint = f"{site.output.hint}_bar" if bundle.contracts else f"g_{site.weight.value.hint}"
    read = ContractPushed(site=site, apart=bundle.apart, trace=rows, cotangents=tuple(plan.cotangents), loc=site.loc)
    return plan.window(read, hint)[0]


def _next(values: Sequence[Value]) -> list[str]:
    return [f"{value.hint}_next" for value in values]


@dataclass(frozen=True, eq=False)
class Factors:
    """How the two factors of one site are laid out, and how they advance."""

    bundle: Bundle

    @property
    def data(self) -> str:
        """The labels of the data."""
        return self.bundle.site.data_labels or ""

    @property
    def sample(self) -> str:
        """The label of samples that have a column each, or nothing."""
        return self.bundle.sample if self.bundle.sample in self.data else ""

    @property
    def signed(self) -> str:
        """The labels of the positions that have a sign each."""
        return self.sample + self.bundle.summed

    @property
    def labels(self) -> str:
        """The labels of the column: those of the data that the weight or the samples have."""
        kept = self.bundle.site.weight_labels + self.sample
        return "".join(label for label in self.data if label in kept)

    @property
    def without(self) -> str:
        """The labels of data and output that column and cotangent lack."""
        return self.bundle.summed + "".join(k for k in self.data if k not in self.labels + self.bundle.summed)

    @property
    def column(self) -> TensorType:
        """The type of `u`."""
        data = self.bundle.site.data
        assert data is not None
        return TensorType(data.type.dtype, tuple(self.bundle.sizes[k] for k in self.labels))

    @property
    def signs(self) -> TensorType:
        """The type of the signs of one step."""
        dtype = real_dtype(self.bundle.site.output.type.dtype)
        return TensorType(dtype, tuple(self.bundle.sizes[k] for k in self.signed))

    def advance(self, column: Any, data: Any, signs: Any, *rest: Any) -> list[Any]:
        """`(u, x, c, J A, c f) -> (u', A')`, with `J A` and `c f` one array a state."""
        pushed, fed = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        drawn = jnp.einsum(f"{self.signed},{self.data}->{self.labels}", signs.astype(data.real.dtype), data)
        place = self.labels.index(self.sample) if self.sample else None
        size, rows = self._lengths((place, [column], [drawn])), self._lengths((1, pushed, fed))
        old, old_rows = scales(size[0], rows[0])
        new, new_rows = scales(size[1], rows[1])
        along = _along(place, column.ndim)
        found = [mixed(along(old), column, along(new), drawn)]
        for a, f in zip(pushed, fed, strict=True):
            across = _along(1 if self.sample else None, a.ndim)
            found.append(mixed(across(old_rows), a, across(new_rows), f))
        return found

    def _lengths(self, of: tuple[int | None, Sequence[Any], Sequence[Any]]) -> tuple[Any, Any]:
        """The lengths of two lists of arrays, for each sample that has a column of its own."""
        axis, first, second = of
        if not self.sample:
            return length(first), length(second)
        assert axis is not None
        return length(first, [axis] * len(first)), length(second, [axis] * len(second))


def _along(axis: int | None, rank: int) -> Callable[[Any], Any]:
    """The function that lays a vector along an axis of an array of this rank; without one a number stays as it is."""
    shape = [-1 if n == axis else 1 for n in range(rank)]
    return lambda x: x if axis is None else x.reshape(shape)
