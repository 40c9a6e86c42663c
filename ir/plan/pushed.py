"""Traces that are pushed through the whole step: one tangent of all hidden states for each position of a weight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp

from ..types import TensorType
from ..values import Value
from .cost import Cost
from .faults import misshapen, not_differentiable, type_list
from .operation import STEP, WINDOW, Operation
from .placement import as_type_of
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Site, Transition


@dataclass(frozen=True, eq=False)
class Bundle:
    """Which tangents follow a site's output: one for each position that the weight shares with it.

    Where `apart` is set, the first axis of the output and of every hidden state counts samples that never meet, so one
    tangent moves all of them at once. Of what the output is at the positions that the weight lacks (`summed`) a tangent
    holds a sum. A complex number takes two tangents, along its real and its imaginary part.
    """

    site: Site
    apart: bool = False

    @cached_property
    def sample(self) -> str:
        """The label of the samples' axis, or nothing."""
        return self.site.expression.output[:1] if self.apart else ""

    @cached_property
    def kept(self) -> str:
        """The labels of the positions that have a tangent each."""
        return "".join(k for k in self.site.expression.output if k in self.site.weight_labels and k != self.sample)

    @cached_property
    def summed(self) -> str:
        """The labels of the output's positions that have none."""
        return "".join(k for k in self.site.expression.output if k not in self.kept + self.sample)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The size of each label."""
        site = self.site
        sizes = dict(zip(site.expression.output, site.output.type.shape, strict=True))
        sizes |= dict(zip(site.weight_labels, site.weight.value.type.shape, strict=True))
        return (
            sizes if site.data is None else sizes | dict(zip(site.data_labels or "", site.data.type.shape, strict=True))
        )

    @property
    def contracts(self) -> bool:
        """Whether the weight has axes that the output lacks, so that data multiply what a tangent says of it."""
        return any(label not in self.site.expression.output for label in self.site.weight_labels)

    @property
    def of(self) -> TensorType:
        """The type of what a tangent moves: the weight, or the output where data come between."""
        return self.site.output.type if self.contracts else self.site.weight.value.type

    @property
    def vectors(self) -> int:
        """How many tangents there are."""
        return math.prod(self.sizes[k] for k in self.kept) * (2 if self.of.is_complex else 1)

    @property
    def credit(self) -> str:
        """The labels of the cotangent that is read: the weight's, or the output's that are not summed."""
        output = self.site.expression.output
        return "".join(k for k in output if k not in self.summed) if self.contracts else self.site.weight_labels


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Units(Operation):
    """Tangents `[vectors, *output]` of a site's output: unit vectors times `scale`, at the positions of its `labels`.

    With the site's data as the scale of an operation that contracts nothing, they are its derivative by the weight.
    """

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    site: Site
    apart: bool = False
    scale: Value | None = None
    labels: str = ""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """The output's, with the axis of vectors."""
        del t
        kind = self.site.output.type
        return (TensorType(kind.dtype, (Bundle(self.site, self.apart).vectors, *kind.shape)),)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The products, broadcast."""
        bundle, kind = Bundle(self.site, self.apart), self.site.output.type
        output, kept = self.site.expression.output, bundle.kept
        sizes = [bundle.sizes[k] for k in kept]
        unit = jnp.eye(math.prod(sizes), dtype=kind.dtype).reshape(-1, *sizes)
        fresh = self.site.expression.fresh_label()
        spread = jnp.ones([bundle.sizes[k] for k in output if k not in kept], kind.dtype)
        others = "".join(k for k in output if k not in kept)
        scale = jnp.ones((), kind.dtype) if self.scale is None else scene[self.scale]
        found = jnp.einsum(f"{fresh}{kept},{others},{self.labels}->{fresh}{output}", unit, spread, scale)
        if bundle.of.is_complex:
            found = jnp.concatenate([found, 1j * found])
        return (as_type_of(found, kind.dtype),)

    def faults(self, t: Transition) -> Iterator[str]:
        """The scale lies at positions of the output."""
        del t
        bundle = Bundle(self.site, self.apart)
        if self.scale is None:
            return
        if any(label not in self.site.expression.output for label in self.labels):
            yield f"has a scale at positions '{self.labels}', some of which the output lacks"
        else:
            yield from misshapen("scale", [self.scale.type], [bundle.sizes[k] for k in self.labels])
            yield from not_differentiable("scales by", [self.scale.type])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ContractPushed(Operation):
    """`<h_bar, A>` of tangents that follow a site's output: a cotangent of the weight, or of the output.

    Of the output where the site contracts data with its weight, the positions left out that the weight lacks.
    """

    phases: ClassVar[tuple[str, ...]] = (WINDOW,)

    site: Site
    apart: bool = False
    trace: tuple[Value, ...]
    """`[vectors, *state]`, one for each hidden state."""
    cotangents: tuple[Value, ...]
    """One for each hidden state."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of what is read."""
        del t
        bundle = Bundle(self.site, self.apart)
        return (TensorType(bundle.of.dtype, tuple(bundle.sizes[k] for k in bundle.credit)),)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The sum over states; JAX's cotangent `c` stands for `dl = Re(c dy)`, so `c` is one sum minus `i` another."""
        bundle = Bundle(self.site, self.apart)
        kind = self.results[0].type
        pairs = zip(scene.read(self.cotangents), scene.read(self.trace), strict=True)
        terms = [_summed((c * a).real, 1 + self.apart) for c, a in pairs]
        found: Any = sum(terms[1:], terms[0])
        if bundle.of.is_complex:
            real, imaginary = jnp.split(found, 2)
            found = real - 1j * imaginary
        sample = [bundle.sizes[k] for k in bundle.sample]
        found = found.reshape(*(bundle.sizes[k] for k in bundle.kept), *sample)
        return (jnp.einsum(f"{bundle.kept}{bundle.sample}->{bundle.credit}", found).astype(kind.dtype),)

    def cost(self, window: int) -> Cost:
        """Two operations an entry."""
        del window
        return Cost(flops=2.0 * sum(value.type.size for value in self.trace))

    def faults(self, t: Transition) -> Iterator[str]:
        """There are tangents and a cotangent of every hidden state."""
        vectors, states = Bundle(self.site, self.apart).vectors, [s.before.type.shape for s in t.hidden]
        for noun, values, lead in (("traces", self.trace, (vectors,)), ("cotangents", self.cotangents, ())):
            if [value.type.shape for value in values] != [(*lead, *shape) for shape in states]:
                yield f"has {noun} of {type_list([value.type for value in values])}, which are not the hidden states'"


def _summed(array: Any, kept: int) -> Any:
    """The sum over all axes but the first ones."""
    return array.sum(tuple(range(kept, array.ndim)))
