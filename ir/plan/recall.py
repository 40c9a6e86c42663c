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
from .cost import Cost
from .exponentials import coefficients, convolved
from .faults import kinds_of, misshapen, not_as_many, not_of_hidden, region_missing, type_list
from .operation import WINDOW, Operation, Part
from .placement import as_type_of
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Group, State, Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shows(Part):
    """What a memory shows of its old states: `dz/dh`, position by position."""

    place: int
    """Which of the values that are shown `z` is."""
    factors: tuple[Value, ...]
    """One for each state of the group."""
    weight: Value | None = None
    """What the factors are to be divided by, as sums over steps are."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Memory(Part):
    """A group of states whose new values are a fixed multiple of the old, position by position: `h' = D h + ...`."""

    group: Group
    pairs: tuple[tuple[int, int], ...]
    """For each factor the new state and the old one, as places in the group."""
    factors: tuple[Value, ...]
    weight: Value | None = None
    """What the factors are to be divided by, as sums over steps are."""
    shows: tuple[Shows, ...] = ()
    """What of it comes on to the memories that are listed before it."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Recall(Operation):
    """Cotangents of what a step shows, filtered with constants, from those of the states that enter a window.

    What was shown `n` steps before the window, `z`, has come into the memories as `(dh'/dz)`, and stays there as `D^n`
    of it. With `D^n ~ sum_r C_r(D) mu_r^n` the credit of all steps before is `sum_r <c_r, F_r>`, for the filtered
    `F_r' = mu_r F_r + dz/dw` and `c_r = h_bar C_r(D) (dh'/dz)`. A memory that shows something to others before it in
    the list is asked for what they are asked for as well: there `C_r` is of powers of theirs after powers of its own.

    Results: for each value that is shown, the `c_r` of its constants: all of them where it is complex; where it is
    real, those that are not the conjugate of another, which count double.
    """

    phases: ClassVar[tuple[str, ...]] = (WINDOW,)

    region: str
    """Takes slopes, weights and cotangents of the new hidden states, to cotangents of what is shown."""
    constants: tuple[tuple[float, float], ...]
    """`mu_r`, real and imaginary part; complex ones in pairs with their conjugates, the upper one first."""
    horizon: float
    """The weight of one step more where powers are fitted."""
    memories: tuple[Memory, ...]
    cotangents: tuple[Value, ...]
    """Reverse mode's, one for each hidden state."""
    slopes: tuple[Value, ...] = ()
    """What the region takes before the weights."""
    weight: Value | None = None
    """What slopes are to be divided by, as sums over steps are; what is no number is as it is."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of what is shown, complex for a complex constant."""
        shown = [v.type for region in t.regions if region.name == self.region for v in region.outputs]
        return tuple(self._type(kind, r) for kind in shown for r in carried(self.constants, kind))

    def _type(self, kind: TensorType, r: int) -> TensorType:
        wide = str(jnp.promote_types(kind.dtype, jnp.complex64)) if self.constants[r][1] else kind.dtype
        return TensorType(wide, kind.shape)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """One reverse sweep of the region for each constant, two for a complex one."""
        region = scene.transition.region(self.region)
        rows: dict[State, list[Any]] = {}
        for memory in self.memories:
            row, matrix = self._held(scene, memory)
            constants = [complex(*m) for m in self.constants]
            found = [row @ c for c in coefficients(matrix, constants, self.horizon, jnp)]
            if memory.shows:
                asked = self._asked(scene, memory, self._swept(scene, rows))
                after = convolved(matrix, constants, self.horizon, jnp)
                found = [
                    x + sum(a @ k for a, k in zip(asked, ks, strict=True)) for x, ks in zip(found, after, strict=True)
                ]
            rows.update((state, [x[..., 0, k] for x in found]) for k, state in enumerate(memory.group.states))
        kinds = [v.type for v in region.outputs]
        return tuple(
            self._known(scene, of[r] * (2 if self.constants[r][1] and not kind.is_complex else 1), self._type(kind, r))
            for of, kind in zip(self._swept(scene, rows), kinds, strict=True)
            for r in carried(self.constants, kind)
        )

    def _known(self, scene: Scene, cotangent: Any, kind: TensorType) -> Any:
        """A cotangent; zero before any step, when nothing is remembered and slopes, some of them divisors, are zero."""
        found = cotangent.astype(kind.dtype)
        return found if self.weight is None else jnp.where(scene[self.weight] > 0, found, jnp.zeros_like(found))

    def _held(self, scene: Scene, memory: Memory) -> tuple[Any, Any]:
        """`[*group, 1, states]` and `[*group, states, states]`: `h_bar` and `D` of a memory; none grows alone."""
        states, hidden = memory.group.states, scene.transition.hidden
        factors = [_divided(scene, f, memory.weight) for f in memory.factors]
        kind = jnp.result_type(*factors) if factors else states[0].before.type.dtype
        matrix = jnp.zeros((*memory.group.shape, len(states), len(states)), kind)
        for (of, on), factor in zip(memory.pairs, factors, strict=True):
            bounded = factor / jnp.maximum(1, jnp.abs(factor)) if of == on else factor
            matrix = matrix.at[..., of, on].set(bounded)
        bars = [scene[self.cotangents[hidden.index(state)]] for state in states]
        return jnp.stack(bars, -1)[..., None, :], matrix

    def _asked(self, scene: Scene, memory: Memory, swept: list[list[Any]]) -> list[Any]:
        """For each constant what memories before ask of the old states of one, `[*group, 1, states]`."""
        found: list[Any] = [0] * len(self.constants)
        for shows in memory.shows:
            factors = jnp.stack([_divided(scene, f, shows.weight) for f in shows.factors], -1)[..., None, :]
            found = [x + c[..., None, None] * factors for x, c in zip(found, swept[shows.place], strict=True)]
        return found

    def _swept(self, scene: Scene, rows: dict[State, list[Any]]) -> list[list[Any]]:
        """For each value that is shown, and each constant, what is asked of it by cotangents of new states."""
        t, region = scene.transition, scene.transition.region(self.region)
        sent = [
            [self._bar(state, rows, r, turn) for state in t.hidden]
            for r, (_, imaginary) in enumerate(self.constants)
            for turn in ((1, 1j) if imaginary else (1,))
        ]
        slopes = [_divided(scene, v, self.weight).astype(v.type.dtype) for v in self.slopes]
        known = [*slopes, *scene.read([w.value for w in t.weights])]
        pull = jax.vmap(lambda bars: jx.evaluate(region.body, [*known, *bars]))
        return [self._by_constant(of) for of in pull([jnp.stack(of) for of in zip(*sent, strict=True)])]

    def _bar(self, state: State, rows: dict[Any, list[Any]], r: int, turn: complex) -> Any:
        """The cotangent of a new state for a constant; zero for one of no memory."""
        kind = state.before.type
        return as_type_of(turn * rows[state][r], kind.dtype) if state in rows else jnp.zeros(kind.shape, kind.dtype)

    def _by_constant(self, pulled: Any) -> list[Any]:
        """The cotangent of each constant, from those that were pulled back for it.

        The way from `dz/dw` to the memories is linear over the real numbers alone. A part `v mu^n` of a memory's credit
        asks for `a` of the real part of `mu^n` and for `b` of its imaginary part: `(a - i b) / 2` of the filter with
        `mu`, and `(a + i b) / 2` of that with its conjugate.
        """
        rows = iter(pulled)
        found: list[Any] = [0] * len(self.constants)
        for r, (_, imaginary) in enumerate(self.constants):
            a = next(rows)
            if not imaginary:
                found[r] = found[r] + a
                continue
            b, other = next(rows), r + 1 if imaginary > 0 else r - 1
            found[r] = found[r] + (a - 1j * b) / 2
            found[other] = found[other] + (a + 1j * b) / 2
        return found

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """Its operands, and the weights."""
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
            for shows in memory.shows:
                yield from not_as_many(shows.factors, "factor", memory.group.states, "state")
                yield from misshapen("showing factor", kinds_of(shows.factors), memory.group.shape)
        for region in (region for region in t.regions if region.name == self.region):
            wanted = [v.type for v in region.inputs[: len(region.inputs) - len(t.weights) - len(t.hidden)]]
            if [v.type for v in self.slopes] != wanted:
                yield f"has slopes of {type_list([v.type for v in self.slopes])}; wanted {type_list(wanted)}"


def carried(constants: tuple[tuple[float, float], ...], kind: TensorType) -> list[int]:
    """The places of the constants that a value of this type is filtered with: no conjugates for a real one."""
    return [r for r, (_, imaginary) in enumerate(constants) if kind.is_complex or imaginary >= 0]


def _divided(scene: Scene, value: Value, by: Value | None) -> Any:
    """A value, or a sum of it over some steps divided by their number."""
    if by is None or not value.type.carries_credit:
        return scene[value]
    weight = scene[by]
    return scene[value] / jnp.where(weight > 0, weight, 1).astype(scene[value].real.dtype)
