"""What later losses ask of what a step has shown, by way of memories that it fed: in a few constants a memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from .. import jaxpr as jx
from ..types import TensorType
from ..values import Value
from .contract import projection
from .cost import Cost
from .credit import given
from .exponentials import coefficients
from .faults import kinds_of, misshapen, not_as_many, not_of_hidden, region_missing
from .operation import WINDOW, Operation, Part
from .placement import Placement, as_type_of, placement_faults
from .scene import Arrays, Scene

if TYPE_CHECKING:
    from ..transition import Association, Group, Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Feed(Part):
    """How a site's output enters the states of a memory: `dh'/dy`, as it is at any step."""

    association: Association
    factors: tuple[Value, ...]
    """`[slots?, *output]`, one for each state that the site feeds."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Memory(Part):
    """A group of states whose new values are a fixed multiple of the old, position by position: `h' = D h + f y`."""

    group: Group
    pairs: tuple[tuple[int, int], ...]
    """For each factor the new state and the old one, as places in the group."""
    factors: tuple[Value, ...]
    feeds: tuple[Feed, ...]
    weight: Value | None = None
    """What factors, here and in the feeds, are to be divided by, as sums over steps are."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Recall(Operation):
    """Cotangents of what a step shows, filtered with constants, from those of the states that enter a window.

    What was shown `n` steps before the window, `z`, has come into the memories by way of sites' outputs, and stays there
    as `D^n f (dy/dz)`. With `D^n ~ sum_r C_r(D) mu_r^n` the credit of all steps before is `sum_r <c_r, F_r>`, for the
    filtered `F_r' = mu_r F_r + dz/dw` and `c_r = h_bar C_r(D) f (dy/dz)`. `dy/dz` is taken at the window's first step.

    Results: for each value that the region shows, the `c_r` of its constants: all of them where it is complex; where it
    is real, those that are not the conjugate of another, which count double.
    """

    phases: ClassVar[tuple[str, ...]] = (WINDOW,)

    region: str
    """Takes weights, states, inputs and shifts of what is shown, to the outputs of the transition's sites."""
    constants: tuple[tuple[float, float], ...]
    """`mu_r`, real and imaginary part; complex ones in pairs with their conjugates, the upper one first."""
    horizon: float
    memories: tuple[Memory, ...]
    cotangents: tuple[Value, ...]
    """Reverse mode's, one for each hidden state."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of what is shown, complex for a complex constant."""
        shown = [v.type for region in t.regions if region.name == self.region for v in region.inputs[given(t) :]]
        return tuple(self._type(kind, r) for kind in shown for r in carried(self.constants, kind))

    def _type(self, kind: TensorType, r: int) -> TensorType:
        wide = str(jnp.promote_types(kind.dtype, jnp.complex64)) if self.constants[r][1] else kind.dtype
        return TensorType(wide, kind.shape)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """One reverse sweep of the region for each constant, two for a complex one."""
        region = scene.transition.region(self.region)
        memories = [self._remembered(scene, memory) for memory in self.memories]
        feeds = [
            (k, feed.association, [_divided(scene, f, memory.weight) for f in feed.factors])
            for k, memory in enumerate(self.memories)
            for feed in memory.feeds
        ]
        sent = [
            self._to_sites(scene.transition, feeds, [rows[r] for rows in memories], turn)
            for r, (_, imaginary) in enumerate(self.constants)
            for turn in ((1, 1j) if imaginary else (1,))
        ]
        pulled = jax.vmap(self._pull(scene))([jnp.stack(of) for of in zip(*sent, strict=True)])
        kinds = [v.type for v in region.inputs[given(scene.transition) :]]
        return tuple(x for of, kind in zip(pulled, kinds, strict=True) for x in self._by_constant(of, kind))

    def _remembered(self, scene: Scene, memory: Memory) -> list[list[Any]]:
        """`h_bar C_r(D)` for each constant and each state of a memory. No state is let grow by itself."""
        states, hidden = memory.group.states, scene.transition.hidden
        factors = [_divided(scene, f, memory.weight) for f in memory.factors]
        kind = jnp.result_type(*factors) if factors else states[0].before.type.dtype
        matrix = jnp.zeros((*memory.group.shape, len(states), len(states)), kind)
        for (of, on), factor in zip(memory.pairs, factors, strict=True):
            bounded = factor / jnp.maximum(1, jnp.abs(factor)) if of == on else factor
            matrix = matrix.at[..., of, on].set(bounded)
        row = jnp.stack([scene[self.cotangents[hidden.index(state)]] for state in states], -1)[..., None, :]
        found = coefficients(matrix, [complex(*m) for m in self.constants], self.horizon, jnp)
        return [[(row @ c)[..., 0, k] for k in range(len(states))] for c in found]

    def _to_sites(self, t: Transition, feeds: list[tuple[int, Association, Arrays]], rows: Any, turn: complex) -> Arrays:
        """Cotangents of the outputs of all sites, from those of each memory's states times `turn`."""
        found = [jnp.zeros(site.output.type.shape, site.output.type.dtype) for site in t.sites]
        for k, association, factors in feeds:
            kinds = [state.before.type for state in association.group.states]
            bars = [as_type_of(turn * x, kind.dtype) for x, kind in zip(rows[k], kinds, strict=True)]
            pairs = [(f, bars[n]) for n, f in zip(fed_by(association), factors, strict=True)]
            place = t.sites.index(association.site)
            found[place] = found[place] + projection(association, pairs)
        return found

    def _pull(self, scene: Scene) -> Any:
        """From cotangents of the outputs of sites to those of what is shown, at the window's first step."""
        t, window = scene.transition, scene.window
        assert window is not None
        region = t.region(self.region)
        weights = scene.read([w.value for w in t.weights])
        known = [*weights, *window.states, *(x[0] for x in window.inputs)]
        zeros = [jnp.zeros(v.type.shape, v.type.dtype) for v in region.inputs[given(t) :]]
        run = lambda shifts: jx.evaluate(region.body, [*map(jax.lax.stop_gradient, known), *shifts])  # noqa: E731
        _, pull = jax.vjp(run, zeros)
        return lambda bars: pull(bars)[0]

    def _by_constant(self, pulled: Any, kind: TensorType) -> Iterator[Any]:
        """The cotangent of each constant that is carried, from those that were pulled back.

        The way from `dz/dw` to the memories is linear over the real numbers alone. A part `v mu^n` of a memory's credit
        asks for `a` of the real part of `mu^n` and for `b` of its imaginary part: `(a - i b) / 2` of the filter with
        `mu`, and `(a + i b) / 2` of that with its conjugate.
        """
        rows = iter(pulled)
        wide = [kind.dtype if not m[1] else self._type(kind, r).dtype for r, m in enumerate(self.constants)]
        found: list[Any] = [0] * len(self.constants)
        for r, (_, imaginary) in enumerate(self.constants):
            a = next(rows)
            if not imaginary:
                found[r] = found[r] + a
                continue
            b, other = next(rows), r + 1 if imaginary > 0 else r - 1
            found[r] = found[r] + (a - 1j * b) / 2
            found[other] = found[other] + (a + 1j * b) / 2
        for r in carried(self.constants, kind):
            double = self.constants[r][1] and not kind.is_complex
            yield (2 * found[r] if double else found[r]).astype(wide[r])

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """Its operands, and the weights: states and inputs are the window's."""
        return (*self.operands, *(w.value for w in t.weights))

    def cost(self, window: int) -> Cost:
        """The coefficients, cubic in the states of a group; the sweeps of the model are not counted."""
        del window
        sizes = [(len(m.group.states), m.group.states[0].before.type.size) for m in self.memories]
        return Cost(flops=float(sum(3 * len(self.constants) * n * states**3 for states, n in sizes)))

    def faults(self, t: Transition) -> Iterator[str]:
        """A region to the outputs of sites; conjugates in pairs; factors at the positions of states and outputs."""
        yield from region_missing(t, self.region)
        yield from not_of_hidden(t, "cotangents", self.cotangents)
        upper = [complex(*m) for m in self.constants if m[1] > 0]
        lower = [complex(*m) for m in self.constants if m[1] < 0]
        if [m.conjugate() for m in upper] != lower:
            yield "has complex constants that are not in pairs with their conjugates"
        for memory in self.memories:
            yield from not_as_many(memory.factors, "factor", memory.pairs, "pair")
            yield from misshapen("carrying factor", kinds_of(memory.factors), memory.group.shape)
            for feed in memory.feeds:
                unplaced = list(placement_faults(feed.association))
                yield from unplaced
                if not unplaced:
                    yield from not_as_many(feed.factors, "factor", fed_by(feed.association), "state that is fed")
                    yield from misshapen(
                        "feeding factor", kinds_of(feed.factors), Placement(feed.association).output_shape
                    )
                if feed.association.group is not memory.group:
                    yield "has a memory that is fed by another group's association"


def carried(constants: tuple[tuple[float, float], ...], kind: TensorType) -> list[int]:
    """The places of the constants that a value of this type is filtered with: of a real one the conjugate says no more."""
    return [r for r, (_, imaginary) in enumerate(constants) if kind.is_complex or imaginary >= 0]


def fed_by(association: Association) -> list[int]:
    """The places in the group of the states that an association's site feeds."""
    return [k for k, coupling in enumerate(association.couplings) if coupling is not None]


def _divided(scene: Scene, value: Value, by: Value | None) -> Any:
    """A value, or a sum of it over some steps divided by their number."""
    if by is None:
        return scene[value]
    weight = scene[by]
    return scene[value] / jnp.where(weight > 0, weight, 1).astype(scene[value].real.dtype)
