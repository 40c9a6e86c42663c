"""How reverse mode reaches the parameters: by definition, or by one product a weight operation over stacked steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..ir import jaxpr as jx
from ..ir.plan import Vjp
from ..ir.plan.contract import product
from ..ir.plan.latest import Faded
from ..ir.plan.reverse import pull_back
from ..ir.transition import Site, Transition, Weight
from ..ir.values import Value
from .calls import Arrays, Calls
from .picked import AnySource, PickedSource
from .sums import receivers

Totals = list[Any]
"""What reverse mode has added up: cotangents of weights or of parameters, None where there is nothing."""


class Run:
    """One call of a program: the parameters that it is given, and the weights made of them."""

    def __init__(self, calls: Calls, params: Arrays) -> None:
        """Compute the prologue."""
        self.calls, self.params = calls, params
        self.weights = calls.weights(params)
        transition = calls.transition
        self.constants: dict[Value, Any] = dict(zip((w.value for w in transition.weights), self.weights, strict=True))
        self.constants |= dict(zip((p.value for p in transition.params), params, strict=True))


class Reverse(ABC):
    """What of a window is differentiated, and what its cotangents mean for the parameters."""

    def __init__(self, calls: Calls, vjp: Vjp) -> None:
        """Prepare for a plan's reverse mode."""
        self.calls, self.vjp = calls, vjp
        self.transition: Transition = calls.transition
        self.needs: tuple[Value, ...] = ()

    @abstractmethod
    def variables(self, run: Run, steps: int) -> Any:
        """What is differentiated beside the hidden states."""

    @abstractmethod
    def weights(self, run: Run, variables: Any) -> tuple[Arrays, Arrays]:
        """All weights, and each site's own, from what is differentiated."""

    def shifts(self, variables: Any) -> Any:
        """What is added to sites' outputs at every step, with a leading time axis."""
        del variables
        return ()

    def at_step(self, shifts: Any) -> list[Any]:
        """A shift for every site."""
        del shifts
        return self.calls.no_shifts()

    @abstractmethod
    def zeros(self, run: Run) -> Totals:
        """Totals of nothing."""

    @abstractmethod
    def window(self, totals: Totals, bars: Any) -> Totals:
        """Totals with what one window's cotangents add at once."""

    def sites(self, bars: Any) -> Any:
        """The cotangents of sites' outputs, which `products` takes for many steps at once."""
        del bars
        return ()

    def products(self, totals: Totals, record: Mapping[Value, Any], sent: Any, rows: Sequence[Any]) -> Totals:
        """Totals with the products of stacked data and cotangents; `rows` are further (site, data, cotangent)."""
        del record, sent, rows
        return totals

    @abstractmethod
    def gradient(self, run: Run, totals: Totals) -> Arrays:
        """Reverse mode's gradient of each parameter that is not frozen."""

    def takes(self, weight: Weight) -> bool:
        """Whether contributions to a weight may be added to the totals, because every parameter of it takes them."""
        del weight
        return False

    def takes_rows(self, site: Site) -> bool:
        """Whether `products` takes further rows for a site."""
        del site
        return False

    def add(self, totals: Totals, weight: Weight, value: Any) -> Totals:
        """Totals with a contribution to a weight that `takes` allows."""
        raise NotImplementedError


class ByDefinition(Reverse):
    """`jax.vjp` of the window by the parameters."""

    def variables(self, run: Run, steps: int) -> Any:
        """The parameters that carry credit."""
        return [run.params[k] for k in self._chosen]

    @property
    def _chosen(self) -> list[int]:
        return [k for k, p in enumerate(self.transition.params) if p.learns]

    def weights(self, run: Run, variables: Any) -> tuple[Arrays, Arrays]:
        """The prologue of the parameters; the weights of detached sites are constants."""
        params = list(run.params)
        for k, x in zip(self._chosen, variables, strict=True):
            params[k] = x
        weights = self.calls.weights(params)
        own = [weights[k] for k in self.calls.site_weights]
        detached = [site in self.vjp.detached for site in self.transition.sites]
        return weights, [jax.lax.stop_gradient(w) if off else w for w, off in zip(own, detached, strict=True)]

    def zeros(self, run: Run) -> Totals:
        """Zeros for every parameter that is not frozen."""
        return [jnp.zeros_like(run.params[k]) for k in self.calls.learned_places]

    def window(self, totals: Totals, bars: Any) -> Totals:
        """The window's own gradient."""
        found = dict(zip(self._chosen, bars, strict=True))
        return [x + found[k] if k in found else x for k, x in zip(self.calls.learned_places, totals, strict=True)]

    def gradient(self, run: Run, totals: Totals) -> Arrays:
        """The totals."""
        return totals


class BySites(Reverse):
    """Plain uses of weights by reverse mode, sites by the cotangents of shifts of their outputs.

    A site's weight cotangent is one product over all stacked steps, `[K*B, i]^T [K*B, j]`. Sites whose outputs are only
    added up share one shift.
    """

    def __init__(self, calls: Calls, vjp: Vjp, takers: Sequence[Any], sources: Mapping[Site, AnySource]) -> None:
        """Find the sites to shift. Where a site has a source, its product takes the data of that."""
        super().__init__(calls, vjp)
        self.sources = sources
        sites = self.transition.sites
        self.product_sites = [k for k, s in enumerate(sites) if calls.is_credited(s.weight) and s not in vjp.detached]
        self.shifted, self.shift_of = self._shifts()
        self.credited = [k for k, w in enumerate(self.transition.weights) if calls.is_credited(w)]
        frozen = {param for param in self.transition.params if param.frozen}
        self.merged = {w for w in self.transition.weights if frozen.union(takers).issuperset(w.params)}
        data = (self._data_of(sites[k]) for k in self.product_sites)
        self.needs = tuple(dict.fromkeys(v for v in data if v is not None))

    def _data_of(self, site: Site) -> Value | None:
        """What a site's product takes: its data, or what they were unfolded from."""
        source = self.sources.get(site)
        return site.data if source is None else source.data

    def _shifts(self) -> tuple[list[int], dict[int, int]]:
        """The sites to shift, and for each site with a product the one of them that has its cotangent."""
        region = self.calls.forward_region
        count = len(self.transition.sites)
        results = len(self.transition.states) + len(self.transition.outputs)
        found = receivers(region.body, jx.argument_vars(region.body)[-count:] if count else [], results)
        first: dict[Any, int] = {}
        shift_of = {k: first.setdefault(found[k], k) for k in self.product_sites}
        return list(first.values()), shift_of

    def variables(self, run: Run, steps: int) -> Any:
        """Zero shifts, and the weights that are used outside sites."""
        kinds = [self.transition.sites[k].output.type for k in self.shifted]
        shifts = [jnp.zeros((steps, *kind.shape), kind.dtype) for kind in kinds]
        return shifts, [run.weights[k] for k in self.calls.plain_weights]

    def weights(self, run: Run, variables: Any) -> tuple[Arrays, Arrays]:
        """Differentiated weights for plain uses; constants for sites."""
        weights = list(run.weights)
        for k, x in zip(self.calls.plain_weights, variables[1], strict=True):
            weights[k] = x
        return weights, [jax.lax.stop_gradient(run.weights[k]) for k in self.calls.site_weights]

    def shifts(self, variables: Any) -> Any:
        """The shifts."""
        return variables[0]

    def at_step(self, shifts: Any) -> list[Any]:
        """A shift for every site: zero for one whose cotangent is another's."""
        every: list[Any] = self.calls.no_shifts()
        for k, s in zip(self.shifted, shifts, strict=True):
            every[k] = s
        return every

    def zeros(self, run: Run) -> Totals:
        """Zeros for every weight that carries credit."""
        return [jnp.zeros_like(w) if k in self.credited else None for k, w in enumerate(run.weights)]

    def window(self, totals: Totals, bars: Any) -> Totals:
        """The plain uses."""
        for k, x in zip(self.calls.plain_weights, bars[1], strict=True):
            totals = plus(totals, k, x)
        return totals

    def sites(self, bars: Any) -> Any:
        """The cotangent of each shift, `[time, *output]`."""
        return list(bars[0])

    def products(self, totals: Totals, record: Mapping[Value, Any], sent: Any, rows: Sequence[Any]) -> Totals:
        """One product a site."""
        by_shift = dict(zip(self.shifted, sent, strict=True))
        return self.stacked(totals, record, {k: by_shift[self.shift_of[k]] for k in self.product_sites}, rows)

    def stacked(
        self, totals: Totals, record: Mapping[Value, Any], sent: Mapping[int, Any], rows: Sequence[Any]
    ) -> Totals:
        """One product a site. Rows of the same data are added to its cotangents, others are stacked behind."""
        for k, cotangent in sent.items():
            site = self.transition.sites[k]
            value = self._data_of(site)
            data: Any = None if value is None else record[value]
            own = [(x, y) for of, x, y in rows if of is site]
            for _, y in [pair for pair in own if pair[0] is data]:
                cotangent = cotangent + y
            more = [pair for pair in own if pair[0] is not data]
            source = self.sources.get(site)
            if source is not None:
                totals = plus(totals, self.calls.site_weights[k], source.cotangent(data, cotangent))
                for x, y in more:
                    totals = self._plus_row(totals, site, source, x, y)
                continue
            if more:
                data = jnp.concatenate([data, *(x for x, _ in more)])
                cotangent = jnp.concatenate([cotangent, *(y for _, y in more)])
            totals = plus(totals, self.calls.site_weights[k], stacked_product(site, data, cotangent))
        return totals

    def _plus_row(self, totals: Totals, site: Site, source: AnySource, data: Any, cotangent: Any) -> Totals:
        """Totals with a further product of a site: of its data, or of what they are picked of."""
        place = self.calls.weight_places[site.weight]
        if isinstance(source, PickedSource) and data.shape[1:] == source.data.type.shape:
            # One after the other: else what is picked for both lies in memory at once.
            data, total = jax.lax.optimization_barrier((data, totals[place]))
            return plus([*totals[:place], total, *totals[place + 1 :]], place, source.cotangent(data, cotangent))
        return plus_product(totals, place, site, data, cotangent)

    def plus_products(self, totals: Totals, products: Sequence[tuple[int, Any]]) -> Totals:
        """Totals with the products of some sites, by place, that are done already."""
        for k, value in products:
            totals = plus(totals, self.calls.site_weights[k], value)
        return totals

    def gradient(self, run: Run, totals: Totals) -> Arrays:
        """The totals pulled back through the prologue."""
        bars = {w: x for w, x in zip(self.transition.weights, totals, strict=True) if x is not None}
        found = pull_back(self.transition, run.params, bars)
        return [found[k] if k in found else jnp.zeros_like(run.params[k]) for k in self.calls.learned_places]

    def takes(self, weight: Weight) -> bool:
        """Whether all of the weight's parameters take contributions."""
        return weight in self.merged

    def takes_rows(self, site: Site) -> bool:
        """Where the site has a product, and its weight's contributions are added to it."""
        return self.takes(site.weight) and self.transition.sites.index(site) in self.product_sites

    def add(self, totals: Totals, weight: Weight, value: Any) -> Totals:
        """The contribution, added to the weight's cotangent."""
        return plus(totals, self.calls.weight_places[weight], value)


def stacked_product(site: Any, data: Any, cotangent: Any) -> Any:
    """A site's weight cotangent from stacked data and cotangents of its output, both `[time, ...]`."""
    time = next(label for label in "tuvTUV" if label not in site.expression.labels)
    return product(site, data, cotangent, lead=time)


BLOCK = 256
"""Rows of a weight's cotangent that are added at once, where it is long."""


def plus_product(totals: Totals, place: int, site: Site, data: Any, cotangent: Any) -> Totals:
    """Totals with a stacked product added in one place, a few rows at a time where it has many.

    Where the data are `Faded` look-ups, the cotangent is one for all of them.
    """
    total = totals[place]
    if isinstance(data, Faded):
        return [data.added(x, site, cotangent) if k == place else x for k, x in enumerate(totals)]
    label, size = max(zip(site.weight_labels, total.shape, strict=True), key=lambda pair: pair[1])
    if size < 2 * BLOCK or label not in (site.data_labels or "") or label in site.expression.output:
        return plus(totals, place, stacked_product(site, data, cotangent))
    of_data, of_weight = (site.data_labels or "").index(label) + 1, site.weight_labels.index(label)

    def add(total: Any, start: Any, rows: int) -> Any:
        some = jax.lax.dynamic_slice_in_dim(data, start, rows, of_data)
        old = jax.lax.dynamic_slice_in_dim(total, start, rows, of_weight)
        return jax.lax.dynamic_update_slice_in_dim(
            total, old + stacked_product(site, some, cotangent), start, of_weight
        )

    whole = size // BLOCK
    total = jax.lax.fori_loop(0, whole, lambda k, total: add(total, k * BLOCK, BLOCK), total)
    new = list(totals)
    new[place] = add(total, whole * BLOCK, size % BLOCK) if size % BLOCK else total
    return new


def plus(totals: Totals, place: int, value: Any) -> Totals:
    """Totals with something added in one place."""
    new = list(totals)
    assert new[place] is not None
    new[place] = new[place] + value
    return new
