"""`D = dh'/dh` and `f = dh'/dy` of a hidden group, in its scope: their definition by dense Jacobians."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ...coupling import Coupling
from .. import jaxpr as jx
from ..types import TensorType
from ..values import Value
from .links import entries_shape, positions_of, slots_at
from .operation import STEP, Operation
from .placement import Placement, placement_faults
from .scene import Arrays, Scene

if TYPE_CHECKING:
    from ..transition import Association, Group, Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Jacobian(Operation):
    """`D = dh'/dh` of a group, what its scope holds held: mixing operations, or nothing.

    One result for each pair (new state, old state): the diagonal over positions, `[*group]`, or, if `whole`, at each
    old position the derivatives of the new positions that it feeds, as `links.entries_shape` has them. With `on`, the
    old states are those of another group, the positions too, and every entry is given.
    """

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    group: Group
    pairs: tuple[tuple[int, int], ...]
    whole: bool = False
    on: Group | None = None

    @property
    def source(self) -> Group:
        """The group of the old states."""
        return self.on or self.group

    @property
    def entire(self) -> bool:
        """Whether the results have every entry."""
        return self.whole or self.on is not None

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """The types of the results, in the precision that holds every state of the group."""
        del t
        return tuple(self._type(*pair) for pair in self.pairs)

    def _type(self, of: int, on: int) -> TensorType:
        pair = [self.group.states[of].before.type, self.source.states[on].before.type]
        real = widest(*(real_dtype(s.before.type.dtype) for s in (*self.group.states, *self.source.states)))
        dtype = widest(real, "complex64") if any(kind.is_complex for kind in pair) else real
        return TensorType(dtype, entries_shape(self.coupling(of, on)) if self.entire else self.source.shape)

    def faults(self, t: Transition) -> Iterator[str]:
        """Each pair is of states of the group, of which the first depends on the second."""
        del t
        count, sources = len(self.group.states), len(self.source.states)
        for of, on in self.pairs:
            if not (0 <= of < count and 0 <= on < sources):
                of_another = f", by those of a group of {sources}" if self.on is not None else ""
                yield f"is of state {of} by state {on}, of a group of {count}{of_another}"
            elif self.group.dependence(self.group.states[of], self.source.states[on]) is None:
                yield f"is of state {of} by state {on}, on which it does not depend"

    def coupling(self, of: int, on: int) -> Coupling:
        """How the new values of one state depend on the old ones of another."""
        found = self.group.dependence(self.group.states[of], self.source.states[on])
        assert found is not None, "a pair of states that do not depend"
        return found

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """Entries of the dense Jacobian."""
        found: list[Any] = []
        for (of, on), value in zip(self.pairs, self.results, strict=True):
            dense = _dense(scene, self.group, of, self.source.states[on].before)
            dense = dense.reshape(math.prod(self.group.shape), math.prod(self.source.shape))
            if self.entire:
                coupling = self.coupling(of, on)
                entries = _entries(dense, positions_of(coupling), slots_at(coupling), self.source.shape)
            else:
                entries = jnp.diagonal(dense).reshape(self.group.shape)
            found.append(entries.astype(value.type.dtype))
        return tuple(found)

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """What the group's region takes."""
        return hidden_operands(t, self.group.region)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sensitivity(Operation):
    """`f = dh'/dy` of a group to a site's output, at the output's positions, what its scope holds held.

    One result for each state that the site feeds, as the association's placement has its output: at the slots, which
    are the state positions that the output feeds.
    """

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    association: Association

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """The group's widest element type, complex where the output is."""
        del t
        dtype = trace_dtype(self.association)
        return (TensorType(dtype, self.placement.output_shape),) * len(self.states)

    @property
    def placement(self) -> Placement:
        """Where the results lie."""
        return Placement(self.association)

    @property
    def states(self) -> tuple[int, ...]:
        """The places in the group of the states that the site feeds."""
        return tuple(k for k, coupling in enumerate(self.association.couplings) if coupling is not None)

    def faults(self, t: Transition) -> Iterator[str]:
        """The association has a placement."""
        del t
        yield from placement_faults(self.association)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """Entries of the dense Jacobian by a shift of the site's output."""
        place, found = self.placement, list[Any]()
        for k, value in zip(self.states, self.results, strict=True):
            coupling = self.association.couplings[k]
            assert coupling is not None
            group = self.association.group
            dense = _dense(scene, group, k, self.association.site.output)
            dense = dense.reshape(math.prod(group.shape), math.prod(self.association.site.output.type.shape))
            entries = _entries(dense, place.positions, place.slot_at, self.association.site.output.type.shape)
            fed = place.fed(coupling)
            found.append((entries if fed is None else jnp.where(fed, entries, 0)).astype(value.type.dtype))
        return tuple(found)

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """What the group's region takes."""
        return hidden_operands(t, self.association.group.region)


def hidden_operands(t: Transition, region: str) -> tuple[Value, ...]:
    """The values that a region of hidden states takes, its shifts left out."""
    inputs = t.region(region).inputs
    return inputs[: len(inputs) - len(t.sites)]


def _dense(scene: Scene, group: Group, of: int, by: Value) -> Any:
    """The derivative of a state's new value by an old state or a site's output: `[*state, *by]`, by reverse mode."""
    t, state = scene.transition, group.states[of]
    region = t.region(group.region)
    shifts = [jnp.zeros(site.output.type.shape, site.output.type.dtype) for site in t.sites]
    arguments: Arrays = [*map(jax.lax.stop_gradient, scene.read(hidden_operands(t, group.region))), *shifts]
    outputs = [site.output for site in t.sites]
    place = region.inputs.index(by) if by not in outputs else len(arguments) - len(shifts) + outputs.index(by)
    result = t.hidden.index(state)

    def after(x: Any) -> Any:
        return jx.evaluate(region.body, [*arguments[:place], x, *arguments[place + 1 :]])[result]

    at = arguments[place]
    if jnp.iscomplexobj(at):
        return jax.jacrev(after, holomorphic=True)(at)
    if state.after.type.is_complex:
        return jax.jacrev(lambda x: after(x).real)(at) + 1j * jax.jacrev(lambda x: after(x).imag)(at)
    return jax.jacrev(after)(at)


def _entries(dense: Any, positions: np.ndarray, at: int, shape: tuple[int, ...]) -> Any:
    """Entries at arguments of a `shape`, with the slots at an axis, of `[state positions, argument positions]`.

    Zero where a slot is empty; of one slot there is no axis.
    """
    table = positions.reshape(dense.shape[1], positions.shape[-1])
    found = jnp.where(table >= 0, dense[np.maximum(table, 0), np.arange(dense.shape[1])[:, None]], 0)
    return found[:, 0].reshape(shape) if table.shape[1] == 1 else jnp.moveaxis(found.reshape(*shape, -1), -1, at)


def widest(*dtypes: str) -> str:
    """The element type that holds all of these."""
    found = dtypes[0]
    for dtype in dtypes[1:]:
        found = str(jnp.promote_types(found, dtype))
    return found


def real_dtype(dtype: str) -> str:
    """The element type of the real part of an element type."""
    return {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)


def trace_dtype(association: Association) -> str:
    """The element type of an association's trace: the widest of its group's states, complex where the output is."""
    states = widest(*(state.before.type.dtype for state in association.group.states))
    output = association.site.output.type.dtype
    return widest(states, output) if association.site.output.type.is_complex else states
