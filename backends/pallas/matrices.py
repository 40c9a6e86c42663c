"""A positional trace as matrices: sensitivities and Jacobians along one axis, data along the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp

from ...ir.plan import Placement
from ..folds.algebra import Jacobians
from .rank_k import RankK


@dataclass(frozen=True, eq=False)
class Matrices:
    """How one trace's axes are those of `RankK`: `[outer, slots, samples, grouped, rows, columns]`."""

    layout: Placement

    def fault(self) -> str | None:
        """Why the trace is none of matrices; None where it is."""
        if self.layout.data is None:
            return "a use without data: its trace has no second axis"
        if self.layout.summed:
            return "its trace is a sum over an axis of the output"
        if not self.sensitive or not self.of_data:
            return "its trace is element-wise, which XLA fuses into one pass"
        if set(self.layout.weight) - set(self.grouped + self.sensitive + self.of_data):
            return "an axis of the weight is in neither data nor output"
        if self.layout.matrix not in {
            self.grouped + self.sensitive + self.of_data,
            self.grouped + self.of_data + self.sensitive,
        }:
            return "the axes of data and output alternate in the weight"
        return None

    @cached_property
    def grouped(self) -> str:
        """The weight's axes that data and output share."""
        return "".join(x for x in self.layout.weight if x in self.layout.output and x in (self.layout.data or ""))

    @cached_property
    def sensitive(self) -> str:
        """The axes that the output alone has: the weight's, and slots that stand among these."""
        return "".join(x for x in self.layout.matrix if x in self.layout.output and x not in self.grouped)

    @cached_property
    def of_data(self) -> str:
        """The weight's axes that the data alone have."""
        return "".join(x for x in self.layout.weight if x in (self.layout.data or "") and x not in self.grouped)

    @property
    def along(self) -> int:
        """The axis of the matrices along which the sensitive ones lie."""
        return 0 if self.layout.matrix.endswith(self.of_data) else 1

    @property
    def before(self) -> str:
        """The slots, where they stand before the samples."""
        return "" if self.layout.slot in self.layout.matrix else self.layout.slot

    def size(self, labels: str) -> int:
        """How many positions some axes have."""
        return math.prod(self.layout.sizes[x] for x in labels)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        own, other = self.size(self.sensitive), self.size(self.of_data)
        return (own, other) if self.along == 0 else (other, own)

    def launch(
        self, held: Mapping[int, Any], pairs: Jacobians, factors: Mapping[int, Any], members: int | None, reads: bool
    ) -> RankK:
        """What is fixed about a launch on such traces."""
        places = list(held)
        rows, columns = self.shape
        samples = self.size(self.layout.batch)
        first = next(iter(factors.values()))
        return RankK(
            outer=members or 1,
            summed=samples * self.size(self.before),
            samples=samples,
            grouped=self.size(self.grouped),
            rows=rows,
            columns=columns,
            along=self.along,
            states=len(places),
            pairs=tuple((places.index(of), places.index(on)) for of, on in pairs),
            fed=tuple(places.index(k) for k in factors),
            steps=first.shape[0],
            reads=reads,
            dtype=str(held[places[0]].dtype),
        )

    def vectors(self, x: Any, lead: int) -> Any:
        """`[*lead, member?, *output]`, slots among them, as `[*lead, n, sensitive]` in float32."""
        onto = self.before + self.layout.batch + self.grouped + self.sensitive
        ordered = self._ordered(x, self.layout.output, onto)
        return ordered.reshape(*ordered.shape[:lead], -1, self.size(self.sensitive)).astype(jnp.float32)

    def contraction(self, read: Any, members: int | None) -> Any:
        """The weight's cotangents of the launch's contractions, `[member?, *weight]`."""
        lead = 0 if members is None else 1
        whole = read.reshape(
            [*([] if members is None else [members]), *(self.layout.sizes[x] for x in self.layout.matrix)]
        )
        return (
            whole if self.before == self.layout.slot else whole.sum(lead + self.layout.matrix.index(self.layout.slot))
        )

    def rows_of_data(self, x: Any) -> Any:
        """`[time, member?, *data]` as `[time, m, data]` in float32."""
        labels = self.layout.data or ""
        onto = self.layout.batch + self.grouped + self.of_data
        lead = x.ndim - len(labels)
        x = x.sum([lead + k for k, label in enumerate(labels) if label not in onto])
        ordered = self._ordered(x, "".join(label for label in labels if label in onto), onto)
        return ordered.reshape(x.shape[0], -1, self.size(self.of_data)).astype(jnp.float32)

    def _ordered(self, x: Any, labels: str, onto: str) -> Any:
        """An array whose last axes are `labels` with those of `onto` there, repeated along what it lacks."""
        lead = x.ndim - len(labels)
        x = x.transpose([*range(lead), *(lead + labels.index(label) for label in onto if label in labels)])
        sizes = [self.layout.sizes[label] for label in onto]
        x = x.reshape(
            *x.shape[:lead], *(size if label in labels else 1 for label, size in zip(onto, sizes, strict=True))
        )
        return jnp.broadcast_to(x, (*x.shape[:lead], *sizes))
