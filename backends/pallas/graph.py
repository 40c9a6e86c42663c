"""A site over the edges of a graph: how its axes, and those of its trace, are those of `Edges`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Layout, with_layout_constraint

from ...coupling.primitives.picked import Picked
from ...ir.plan import Placement
from ...ir.transition import Site


@dataclass(frozen=True, eq=False)
class Graph:
    """Edges are the entries of the site's weight: each picks a source, and leads to a target of the output."""

    site: Site
    picked: Picked

    def fault(self) -> str | None:
        """Why the site is none of edges; None where it is."""
        weight, output = self.site.weight_labels, self.site.expression.output
        if set(self.edges) != set(weight) or len(set(weight)) != len(weight) or len(self.edges) != len(weight):
            return "what its data are picked by has not the axes of its weight"
        if set(self.lanes) != set(output) - set(weight) or len(set(output)) != len(output):
            return "an axis of its data is in neither output nor weight"
        if not set(weight) - set(output):
            return "its output has an entry for each edge"
        if 0 in (*self.site.output.type.shape, *self.site.weight.value.type.shape):
            return "it is empty"
        return None

    @property
    def labels(self) -> str:
        """The data's."""
        return self.site.data_labels or ""

    @cached_property
    def lanes(self) -> str:
        """The labels of the axes that are not picked along, in the order of the output."""
        return "".join(sorted(self.picked.kept_of(self.labels), key=self.site.expression.output.find))

    @cached_property
    def edges(self) -> str:
        """The labels of the places, in their order."""
        return self.picked.placed_of(self.labels)

    @cached_property
    def targets(self) -> str:
        """The labels of the output's axes that the weight has."""
        return "".join(label for label in self.site.expression.output if label in self.site.weight_labels)

    def size(self, labels: str) -> int:
        """How many positions some axes have."""
        sizes = dict(zip(self.site.expression.output, self.site.output.type.shape, strict=True))
        return math.prod((sizes | dict(zip(self.site.weight_labels, self.shape, strict=True)))[x] for x in labels)

    def lanes_of(self, trace: Placement) -> int:
        """How many lanes a trace has: slots, then samples."""
        return trace.slots * self.size(self.lanes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's."""
        return self.site.weight.value.type.shape

    @cached_property
    def source(self) -> np.ndarray:
        """Of each edge its source, edges in the order of the weight's entries."""
        order = [self.edges.index(label) for label in self.site.weight_labels]
        return self.picked.places.transpose(order).reshape(-1).astype(np.int32)

    @cached_property
    def target(self) -> np.ndarray:
        """Of each edge its target, these in the order of the output's entries."""
        at = dict(zip(self.site.weight_labels, np.indices(self.shape, np.int32), strict=True))
        found = np.zeros(self.shape, np.int32)
        for label in self.targets:
            found = found * self.size(label) + at[label]
        return found.reshape(-1)

    def at_sources(self, x: Any, slots: int = 1) -> Any:
        """The array that is picked of at many steps, as `[time, lanes, sources]`, the same for each slot."""
        x = _pinned(x)
        own = [self.labels[k] for k in self.picked.kept]
        order = [k + (k >= self.picked.axis) for k in (own.index(label) for label in self.lanes)]
        x = x.transpose([0, *(1 + k for k in order), 1 + self.picked.axis]).astype(jnp.float32)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        return x if slots == 1 else jnp.tile(x, (1, slots, 1))

    def at_targets(self, x: Any, labels: str) -> Any:
        """`[*lead, *labels]`, the output's and a slot's, as `[*lead, lanes, targets]`."""
        x = _pinned(x)
        lead, output = x.ndim - len(labels), self.lanes + self.targets
        order = sorted(range(len(labels)), key=lambda k: output.find(labels[k]))
        x = x.transpose([*range(lead), *(lead + k for k in order)]).astype(jnp.float32)
        return x.reshape(*x.shape[:lead], -1, self.size(self.targets))


def _pinned(x: Any) -> Any:
    """An array that lies in memory as its axes say."""
    return with_layout_constraint(x, Layout(major_to_minor=tuple(range(x.ndim))))
