"""Exact RTRL: every hidden state against every element of a parameter, over real coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from ..types import TensorType
from ..values import Value
from .coordinates import RealCoordinates
from .cost import Cost
from .faults import misshapen, not_differentiable, not_of_hidden
from .jacobian import real_dtype
from .operation import WINDOW, Operation
from .reverse import run_step, weights_of
from .scene import Arrays, Scene

if TYPE_CHECKING:
    from ..transition import Param, Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AdvanceFull(Operation):
    """`E' = (dh'/dh) E + dh'/dp` at every step of the window, nothing held: one parameter against every hidden state.

    The trace is `[coordinates of hidden states, coordinates of the parameter]`. States that are not hidden are
    constants at every step. A window's part may be taken at once, as `w_bar + h_bar E` over unit cotangents at its end.
    """

    phases: ClassVar[tuple[str, ...]] = (WINDOW,)

    param: Param
    trace: Value

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of the trace."""
        del t
        return (self.trace.type,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """One full Jacobian a step."""
        t, window = scene.transition, scene.window
        assert window is not None
        hidden, param = hidden_coordinates(t), RealCoordinates([self.param.value.type])
        place, region = t.params.index(self.param), t.region("forward")

        def after(vector: jax.Array, own: jax.Array, states: Arrays, inputs: Arrays) -> tuple[jax.Array, Arrays]:
            params, before = list(window.params), list(states)
            (params[place],) = param.unflatten(own)
            for k, x in zip(t.hidden_places, hidden.unflatten(vector), strict=True):
                before[k] = x
            new, _ = run_step(t, region, weights_of(t, params), before, inputs)
            return hidden.flatten([new[k] for k in t.hidden_places]), new

        def body(carry: Any, inputs: Arrays) -> tuple[Any, None]:
            states, trace = carry
            at = hidden.flatten([states[k] for k in t.hidden_places]), param.flatten([window.params[place]])
            (by_state, by_param), new = jax.jacrev(after, argnums=(0, 1), has_aux=True)(*at, states, inputs)
            return (new, (by_state @ trace + by_param).astype(trace.dtype)), None

        start = list(window.states), scene[self.trace]
        (_, trace), _ = jax.lax.scan(body, start, window.inputs, length=window.steps)
        return (trace,)

    def faults(self, t: Transition) -> Iterator[str]:
        """The trace is the influence of a parameter that carries credit."""
        yield from _influence_faults(t, self.param, self.trace)

    def cost(self, window: int) -> Cost:
        """The product with the old trace."""
        del window
        rows, columns = self.trace.type.shape
        moved = self.trace.type.bytes
        return Cost(flops=2.0 * rows * rows * columns, read=moved, written=moved)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ContractFull(Operation):
    """`<h_bar, E>` of an influence matrix: a contribution to its parameter."""

    phases: ClassVar[tuple[str, ...]] = (WINDOW,)

    param: Param
    trace: Value
    cotangents: tuple[Value, ...]
    """One for each hidden state."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of the parameter."""
        del t
        return (self.param.value.type,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """In real coordinates; JAX's cotangent `c` of a complex `z` stands for `dl = Re(c dz)`, hence conjugates."""
        hidden, param = hidden_coordinates(scene.transition), RealCoordinates([self.param.value.type])
        row = hidden.flatten([jnp.conj(c) for c in scene.read(self.cotangents)]) @ scene[self.trace]
        return tuple(jnp.conj(x) for x in param.unflatten(row))

    def faults(self, t: Transition) -> Iterator[str]:
        """The trace is the influence of a parameter that carries credit; the cotangents are of the hidden states."""
        yield from _influence_faults(t, self.param, self.trace)
        yield from not_of_hidden(t, "cotangents", self.cotangents)

    def cost(self, window: int) -> Cost:
        """Two operations an entry."""
        del window
        return Cost(flops=2.0 * self.trace.type.size)


def _influence_faults(t: Transition, param: Param, trace: Value) -> Iterator[str]:
    unfit = list(not_differentiable("differentiates by", [param.value.type]))
    if not t.hidden:
        unfit.append("has no hidden state to follow")
    yield from unfit or misshapen("trace", [trace.type], influence_type(t, param).shape)


def hidden_coordinates(t: Transition) -> RealCoordinates:
    """The real coordinates of every hidden state."""
    return RealCoordinates([state.before.type for state in t.hidden])


def influence_type(t: Transition, param: Param) -> TensorType:
    """The type of a parameter's influence matrix, in the real type of the first hidden state."""
    rows, columns = hidden_coordinates(t), RealCoordinates([param.value.type])
    return TensorType(real_dtype(t.hidden[0].before.type.dtype), (rows.size, columns.size))
