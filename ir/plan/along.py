"""The derivative of a window's loss along one direction of the states that enter it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp

from ..types import TensorType
from ..values import Value
from .cost import Cost
from .faults import not_of_hidden
from .operation import WINDOW, Operation
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Along(Operation):
    """`<h_bar, v>`: a number, from the cotangents of the entering hidden states and a tangent of each.

    A backend may take it forwards, without the cotangents: as the derivative of the window's loss along `v`.
    """

    phases: ClassVar[tuple[str, ...]] = (WINDOW,)

    cotangents: tuple[Value, ...]
    """Reverse mode's, one for each hidden state."""
    tangents: tuple[Value, ...]

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """A real scalar."""
        del t
        return (TensorType(real_dtype(self.tangents)),)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The real part of the sum of products: JAX's cotangent `c` stands for `dl = Re(c dh)`."""
        return (paired(scene.read(self.cotangents), scene.read(self.tangents), self.results[0].type.dtype),)

    def cost(self, window: int) -> Cost:
        """Two operations an entry."""
        del window
        return Cost(flops=2.0 * sum(value.type.size for value in self.tangents))

    def faults(self, t: Transition) -> Iterator[str]:
        """There is one of each for every hidden state, and of its type."""
        yield from not_of_hidden(t, "cotangents", self.cotangents)
        yield from not_of_hidden(t, "tangents", self.tangents)


def real_dtype(values: Sequence[Value]) -> str:
    """The real element type, float32 at least, that holds the parts of all of these."""
    found = jnp.result_type(jnp.float32, *(jnp.finfo(value.type.dtype).dtype for value in values))
    return str(found)


def paired(cotangents: Sequence[Any], tangents: Sequence[Any], dtype: str) -> Any:
    """The sum of `Re(c v)` over pairs of arrays."""
    pairs = zip(cotangents, tangents, strict=True)
    return sum((jnp.sum((c * v).real.astype(dtype)) for c, v in pairs), jnp.zeros((), dtype))
