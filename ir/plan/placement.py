"""How a trace at a site's output is laid out, and how state positions come to the positions of that output."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ...coupling import Coupling, Targets
from ..product import product_of, summed_product
from .links import collapsed, pick, places_in, positions_of, slots_at

if TYPE_CHECKING:
    from ..transition import Association


@dataclass(frozen=True, eq=False)
class Placement:
    """Where one association's trace lives: at slots, each a state position that an output position is followed to.

    Axes of a trace: a slot axis (where there is more than one slot), then the output's axes that the weight does not
    have, then the weight's own axes in the weight's order. Where slots and output lie as the states' own axes do, the
    slot axis stands where it is among these, in a trace beside the axis that it is beside there, so that nothing is
    transposed at a step. Axes of the output that are followed to the same positions throughout (the trips of a loop, a
    time axis that is summed) have none: a trace is the sum over them. `reach` are the positions that are followed; by
    default those that the output feeds directly.
    """

    association: Association
    reach: Coupling | None = None
    alike: str = ""
    """Labels of the weight's axes along which the trace is the same throughout: it has none of these."""

    @cached_property
    def followed(self) -> Coupling:
        """The coupling of the state positions that are followed to the output's positions."""
        found = self.reach or self.association.union
        assert found is not None, "an untraced association has no placement"
        return found

    @cached_property
    def targets(self) -> Targets | None:
        """The followed positions as a structured gather; None where only a table says them."""
        return self.followed.targets(limit=max(16, math.prod(self.followed.out_shape)))

    @cached_property
    def positions(self) -> npt.NDArray[np.int64]:
        """The flat state position in each slot, -1 where there is none: `[*output, slots]`."""
        return positions_of(self.followed)

    @cached_property
    def slots(self) -> int:
        """How many state positions an output position is followed to, at most."""
        return self.targets.slots if self.targets is not None else self.positions.shape[-1]

    @cached_property
    def is_identity(self) -> bool:
        """Whether each output position is followed to the state position of the same index alone."""
        return self.targets is not None and self.targets.is_identity

    @cached_property
    def slot(self) -> str:
        """The slot axis' label, or nothing where each position feeds one."""
        return "" if self.slots == 1 else self.association.site.expression.fresh_label()

    @cached_property
    def samples(self) -> str:
        """The label of the output's axis that is followed to the states' first one, index by index; nothing for none.

        Where states begin with a batch, so that is of the samples.
        """
        labels, group = self.association.site.expression.output, self.association.group
        if not group.shape or self.targets is None:
            return ""
        if self.is_identity:
            return labels[0]
        if group.shape[0] == 1:  # of one sample any axis of one is as good
            sizes = self.association.site.output.type.shape
            return next((label for label, size in zip(labels, sizes, strict=True) if size == 1), "")
        found = [f.in_axes for f in self.targets.factors if f.table is None and f.out_axes == (0,)]
        return labels[found[0][0]] if found and len(found[0]) == 1 else ""

    @cached_property
    def slot_at(self) -> int:
        """The place of the slot axis among the axes of a sensitivity: first, or where the states have it."""
        return slots_at(self.followed) if self.slot else 0

    @cached_property
    def output(self) -> str:
        """The labels of a sensitivity: the output's axes, and the slots among them."""
        labels = self.association.site.expression.output
        return labels[: self.slot_at] + self.slot + labels[self.slot_at :]

    @cached_property
    def weight(self) -> str:
        """The labels of the weight."""
        return self.association.site.weight_labels

    @cached_property
    def data(self) -> str | None:
        """The labels of the data."""
        return self.association.site.data_labels

    @cached_property
    def batch(self) -> str:
        """The labels of the trace's axes that the weight does not have."""
        output = self.association.site.expression.output
        return "".join(label for label in output if label not in self.weight + self.summed)

    @cached_property
    def summed(self) -> str:
        """The labels of the output's axes, none of the weight's, along which the same positions are followed."""
        own = [(k, x) for k, x in enumerate(self.association.site.expression.output) if x not in self.weight]
        if self.is_identity or not own:
            return ""
        shape = collapsed(self.positions).shape
        return "".join(label for k, label in own if shape[k] == 1 < self.positions.shape[k])

    @cached_property
    def trace(self) -> str:
        """The labels of the trace."""
        return self.batch + self.matrix if self.slot_at else self.slot + self.batch + self.matrix

    @cached_property
    def matrix(self) -> str:
        """The labels of an entry of the batch: those of the weight that it has, and the slots' among the output's."""
        return "".join(label for label in self._with_slots if label not in self.alike)

    @cached_property
    def _with_slots(self) -> str:
        if not self.slot_at:
            return self.weight
        before, after = self.output[self.slot_at - 1], self.output[self.slot_at + 1 : self.slot_at + 2]
        if after and after in self.weight:
            return self.weight.replace(after, self.slot + after)
        return self.weight.replace(before, before + self.slot) if before in self.weight else self.weight + self.slot

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The size of each label."""
        site = self.association.site
        sizes = dict(zip(site.expression.output, site.output.type.shape, strict=True))
        sizes |= dict(zip(self.weight, site.weight.value.type.shape, strict=True))
        return sizes | ({self.slot: self.slots} if self.slot else {})

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the trace."""
        return tuple(self.sizes[label] for label in self.trace)

    @property
    def size(self) -> int:
        """The number of entries of the trace."""
        return math.prod(self.shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of a sensitivity, of slots and output."""
        return tuple(self.sizes[label] for label in self.output)

    @property
    def output_size(self) -> int:
        """The number of entries of a sensitivity."""
        return math.prod(self.output_shape)

    @property
    def _from_last(self) -> int:
        """The place of the slot axis, from the last axis of a sensitivity."""
        return self.slot_at - len(self.output)

    def gather(self, values: Any) -> Any:
        """State positions `[..., *group]` at slots and output, as a sensitivity has them; zero where there is none."""
        gathered = self.targets.gather(values) if self.targets is not None else self._take(values)
        return jnp.moveaxis(gathered, -1, self._from_last) if self.slot else gathered[..., 0]

    def slots_first(self, values: Any) -> Any:
        """Values at slots and output, as a sensitivity has them, as `[slots, *output]`."""
        return _axis_moved(values, self.slot_at, 0) if self.slot else values[None]

    def from_slots_first(self, values: Any) -> Any:
        """What `slots_first` gives as a sensitivity has it."""
        return _axis_moved(values, 0, self.slot_at) if self.slot else values[0]

    def _take(self, values: Any) -> Any:
        lead = values.ndim - len(self.followed.out_shape)
        taken = pick(values, collapsed(self.positions), lead)
        return jnp.broadcast_to(taken, (*values.shape[:lead], *self.positions.shape))

    def gather_on_host(self, values: np.ndarray) -> np.ndarray:
        """`gather` of a constant."""
        with jax.ensure_compile_time_eval():
            return np.asarray(self.gather(jnp.asarray(values)))

    def summed_slots(self, x: Any, y: Any) -> Any:
        """The product of values at slots and output positions, as sensitivities have them, summed over the slots."""
        return summed_product(x, y, self._from_last) if self.slot else x * y

    def widened(self, values: Any) -> Any:
        """A sensitivity at the slots that the output feeds directly, at the slots of the reach."""
        if self.reach is None:
            return values
        direct = Placement(self.association)
        values = direct.slots_first(values)
        found = jnp.zeros((self.slots, *values.shape[1:]), values.dtype)
        for value, place in zip(values, places_in(self.followed, direct.followed), strict=True):
            slot = np.arange(self.slots).reshape(-1, *[1] * place.ndim)
            found = jnp.where(slot == place, value, found)
        return self.from_slots_first(found)

    def fed(self, coupling: Coupling) -> np.ndarray | None:
        """Which slots hold a position that the output feeds by `coupling`, as a sensitivity; None where all do.

        `coupling` is one state's: the slots are those of the union over the group's states.
        """
        own = Placement(self.association, coupling).positions
        fed = (self.positions[..., None] == own[..., None, :]).any(-1) & (self.positions >= 0)
        return None if fed.all() else self.from_slots_first(np.moveaxis(fed, -1, 0))

    def outer(self, factor: jax.Array, data: Any, time: bool = False, without: str = "") -> jax.Array:
        """`f (x) x` in the trace's layout, of arrays that lack the axis `without`; with `time`, summed over steps."""
        output, trace = self.output.replace(without, ""), self.trace.replace(without, "")
        for label in self.alike:
            factor, output = jnp.take(factor, 0, axis=time + output.index(label)), output.replace(label, "")
        if data is None:
            axes = [time + k for k, label in enumerate(output) if label in self.summed]
            factor = factor.sum((0, *axes) if time else axes) if time or axes else factor
            return align(factor, "".join(x for x in output if x not in self.summed), trace)
        labels = (self.data or "").replace(without, "")
        summed = "".join(label for label in labels if label not in output + trace)
        if summed:
            data = data.sum([time + labels.index(label) for label in summed])
            labels = "".join(label for label in labels if label not in summed)
        if not time and set(output) <= set(trace):
            return align(factor, output, trace) * align(data, labels, trace)
        every = self.output + self.trace + (self.data or "")
        step = next(label for label in "tuvTUV" if label not in every) if time else ""
        return product_of(f"{step}{output},{step}{labels}->{trace}", factor, data)


def _axis_moved(values: Any, source: int, target: int) -> Any:
    """`moveaxis` of an array of NumPy or of JAX; the result is one of the same."""
    return (np if isinstance(values, np.ndarray) else jnp).moveaxis(values, source, target)


def placement_faults(association: Association, reach: Coupling | None = None, alike: str = "") -> Iterator[str]:
    """What keeps a trace from being laid out for an association: half sentences that follow an operation's name."""
    site = association.site
    if not set(alike) <= set(site.weight_labels).intersection(site.expression.output) - set(site.data_labels or ""):
        yield f"has a trace that is alike along '{alike}', which are no axes of the weight that its output alone has"
    output, group = association.site.output.type.shape, association.group.shape
    if reach is None and (association.union is None or not association.traced):
        yield "is about an association that no positional trace follows"
    elif reach is not None and (reach.in_shape, reach.out_shape) != (output, group):
        shapes = [f"[{','.join(map(str, s))}]" for s in (reach.in_shape, reach.out_shape, output, group)]
        yield "has a reach from {} to {}; wanted {} to {}".format(*shapes)


def align(array: jax.Array, labels: str, onto: str) -> jax.Array:
    """`array`, whose axes are `labels`, with its axes in the order of `onto` and size one where it has none.

    Axes that `onto` lacks are those along which it does not change.
    """
    array = array[tuple(slice(None) if label in onto else 0 for label in labels)]
    labels = "".join(label for label in labels if label in onto)
    present = [label for label in onto if label in labels]
    array = array.transpose([labels.index(label) for label in present])
    sizes = dict(zip(present, array.shape, strict=True))
    return array.reshape([sizes.get(label, 1) for label in onto])


def as_type_of(array: jax.Array, dtype: str) -> jax.Array:
    """`array` as an element type; the real part where it is complex and the type is not."""
    if jnp.iscomplexobj(array) and not jnp.issubdtype(jnp.dtype(dtype), jnp.complexfloating):
        array = array.real
    return array.astype(dtype)
