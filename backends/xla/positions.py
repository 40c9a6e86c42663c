"""Aligning arrays by axis labels, and bringing state positions to the positions of a site's output."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from ...coupling import Coupling, Targets
from ...ir.transition import Association
from ...ir.types import TensorType


def align(array: jax.Array, labels: str, onto: str) -> jax.Array:
    """`array`, whose axes are `labels`, with its axes in the order of `onto` and size one where it has none."""
    present = [label for label in onto if label in labels]
    array = array.transpose([labels.index(label) for label in present])
    sizes = dict(zip(present, array.shape, strict=True))
    return array.reshape([sizes.get(label, 1) for label in onto])


@dataclass(frozen=True, eq=False)
class Layout:
    """How one association's trace is laid out, and where its positions lie among the group's.

    Axes of a trace: a slot axis (where an output position feeds several state positions), then the output's axes that
    the weight does not have, then the weight's own axes in the weight's order.
    """

    association: Association

    @cached_property
    def slot(self) -> str:
        """The slot axis' label, or nothing where each position feeds one."""
        return "" if self.targets.slots == 1 else self.association.site.expression.fresh_label()

    @cached_property
    def union(self) -> Coupling:
        """The output's coupling to the group, over all states."""
        union = self.association.union
        assert union is not None
        return union

    @cached_property
    def targets(self) -> Targets:
        """For each output position the state positions that it feeds."""
        targets = self.union.targets()
        assert targets is not None
        return targets

    @property
    def output(self) -> str:
        """The labels of a sensitivity: slots, then the output's axes."""
        return self.slot + self.association.site.expression.output

    @cached_property
    def weight(self) -> str:
        """The labels of the weight."""
        return self.association.site.weight_labels

    @cached_property
    def data(self) -> str | None:
        """The labels of the data."""
        return self.association.site.data_labels

    @cached_property
    def trace(self) -> str:
        """The labels of the trace."""
        return self.slot + self.batch + self.weight

    @cached_property
    def batch(self) -> str:
        """The labels of the output's axes that the weight does not have."""
        return "".join(label for label in self.association.site.expression.output if label not in self.weight)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The size of each label."""
        site = self.association.site
        sizes = dict(zip(site.expression.output, site.output.type.shape, strict=True))
        sizes |= dict(zip(self.weight, site.weight.value.type.shape, strict=True))
        return sizes | ({self.slot: self.targets.slots} if self.slot else {})

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the trace."""
        return tuple(self.sizes[label] for label in self.trace)

    def gather(self, values: jax.Array) -> jax.Array:
        """State positions `[..., *group]` at the output's: `[..., slots?, *output]`; zero where there is none."""
        gathered = self.targets.gather(values)
        if not self.slot:
            return gathered[..., 0]
        rank = len(self.association.site.expression.output)
        return jnp.moveaxis(gathered, -1, -1 - rank)

    def gather_on_host(self, values: np.ndarray) -> np.ndarray:
        """`gather` of a constant."""
        with jax.ensure_compile_time_eval():
            return np.asarray(self.gather(jnp.asarray(values)))

    def sum_slots(self, values: jax.Array) -> jax.Array:
        """Values at slots and output positions, summed over the slots: `[..., slots?, *output] -> [..., *output]`."""
        if not self.slot:
            return values
        return values.sum(axis=-1 - len(self.association.site.expression.output))

    def fed(self, coupling: Coupling) -> np.ndarray | None:
        """Which slots hold a position that the output feeds by `coupling`, `[slots?, *output]`; None where all do.

        `coupling` is one state's: the slots are those of the union over the group's states.
        """
        own = coupling.targets()
        assert own is not None
        positions = self.targets.positions()
        fed = (positions[..., None] == own.positions()[..., None, :]).any(-1) & (positions >= 0)
        if fed.all():
            return None
        return np.moveaxis(fed, -1, 0) if self.slot else fed[..., 0]


def held_as(dtype: str | None, kind: TensorType) -> str:
    """The element type to hold a trace of this type in, where `dtype` (real; None for the trace's own) is asked for."""
    if dtype is None:
        return kind.dtype
    return str(jnp.promote_types(dtype, jnp.complex64)) if kind.is_complex else dtype


def as_type_of(array: jax.Array, dtype: str) -> jax.Array:
    """`array` as an element type; the real part where it is complex and the type is not."""
    if jnp.iscomplexobj(array) and not jnp.issubdtype(jnp.dtype(dtype), jnp.complexfloating):
        array = array.real
    return array.astype(dtype)
