"""Spiking neurons, and the leaky readout: layers without input weights of their own, to stand behind any layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...ir.weight_operations import bias, matmul, scale
from .constrained import Constrained
from .recurrent import Recurrent, Step, drawn, filled
from .surrogate import triangular_spike

Spike = Callable[[jax.Array], jax.Array]
Number = float | Constrained
"""A constant, or one that learns: one for all neurons, or one for each."""


def _times(factor: Number, x: jax.Array) -> jax.Array:
    return scale(x, factor.constrained) if isinstance(factor, Constrained) else factor * x


def _less(x: jax.Array, by: Number) -> jax.Array:
    return bias(x, -by.constrained) if isinstance(by, Constrained) else x - by


class _Spiking(Recurrent):
    """Neurons that add what they are given to a voltage; where `recurrent`, what their last spikes give by `U` too.

    Every constant may be a `Constrained`, which then learns. `spike` is the step function, with a surrogate derivative.
    """

    def __init__(self, size: int, threshold: Number, recurrent: bool, spike: Spike, dim: int) -> None:
        super().__init__(size, dim)
        self.threshold, self.spike = threshold, spike
        self.U = drawn(size, size) if recurrent else None

    def spikes(self, v: jax.Array) -> jax.Array:
        """What voltages send out."""
        return self.spike(_less(v, self.threshold))

    def driven(self, x: jax.Array, spikes: jax.Array) -> jax.Array:
        """The input, and what comes back from the last spikes."""
        return x if self.U is None else x + matmul(spikes, self.U.value)


class LIF(_Spiking):
    """Leaky integrate-and-fire: `V' = decay * V - threshold * s + x`, `s` the last spikes (Neftci et al. 2019, eq. 5).

    Returns the new spikes, `spike(V' - threshold)`. Under `d_rtrl` the weights that feed it, and its constants where
    they learn, are exact; with `recurrent=True` they and `U` are approximate.
    """

    def __init__(
        self,
        size: int,
        *,
        decay: Number = 0.9,
        threshold: Number = 1.0,
        recurrent: bool = False,
        spike: Spike = triangular_spike,
        dim: int = -1,
    ) -> None:
        super().__init__(size, threshold, recurrent, spike, dim)
        self.decay = decay
        self.hidden("V", size)

    def step(self, x: jax.Array, v: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        s = self.spikes(v)
        v = _times(self.decay, v) - _times(self.threshold, s) + self.driven(x, s)
        return (v,), self.spikes(v)


class CurrentLIF(_Spiking):
    """LIF with exponential synapses: `I' = synapse * I + x`, `V' = decay * V - threshold * s + I'`.

    (Neftci et al. 2019, eq. 4 and 5.) Returns the new spikes. Labels are those of `LIF`.
    """

    def __init__(
        self,
        size: int,
        *,
        decay: Number = 0.9,
        synapse: Number = 0.8,
        threshold: Number = 1.0,
        recurrent: bool = False,
        spike: Spike = triangular_spike,
        dim: int = -1,
    ) -> None:
        super().__init__(size, threshold, recurrent, spike, dim)
        self.decay, self.synapse = decay, synapse
        self.hidden("I", size)
        self.hidden("V", size)

    def step(self, x: jax.Array, i: jax.Array, v: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        s = self.spikes(v)
        i = _times(self.synapse, i) + self.driven(x, s)
        v = _times(self.decay, v) - _times(self.threshold, s) + i
        return (i, v), self.spikes(v)


class ALIF(_Spiking):
    """LIF whose threshold every spike raises: `a' = slow * a + s`, `s = spike(V - threshold - adaptation * a)`.

    (Bellec et al. 2018, eq. 1 to 3.) Returns the new spikes. Labels are those of `LIF`.
    """

    def __init__(
        self,
        size: int,
        *,
        decay: Number = 0.9,
        slow: Number = 0.95,
        adaptation: Number = 0.4,
        threshold: Number = 1.0,
        recurrent: bool = False,
        spike: Spike = triangular_spike,
        dim: int = -1,
    ) -> None:
        super().__init__(size, threshold, recurrent, spike, dim)
        self.decay, self.slow, self.adaptation = decay, slow, adaptation
        self.hidden("V", size)
        self.hidden("a", size)

    def step(self, x: jax.Array, v: jax.Array, a: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        s = self.spikes(v - _times(self.adaptation, a))
        v = _times(self.decay, v) - _times(self.threshold, s) + self.driven(x, s)
        a = _times(self.slow, a) + s
        return (v, a), self.spikes(v - _times(self.adaptation, a))


class LIB(_Spiking):
    """Leaky integrator with a binary output: `v = decay * V + x`, `s = spike(v - threshold)`, `V' = v - threshold * s`.

    `decay`, in (0, 1), and `threshold`, positive, learn, one for each neuron (the layer of traceTorch). Returns `s`.
    Under `d_rtrl` its weights, and those that feed it, are exact.
    """

    def __init__(
        self,
        size: int,
        *,
        decay: Any = 0.9,
        threshold: Any = 1.0,
        spike: Spike = triangular_spike,
        dim: int = -1,
    ) -> None:
        learns = Constrained(jnp.broadcast_to(threshold, size).astype(float), to="positive")
        super().__init__(size, learns, False, spike, dim)
        self.decay = Constrained(jnp.broadcast_to(decay, size).astype(float), to="unit_interval")
        self.hidden("V", size)

    def step(self, x: jax.Array, v: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        v = _times(self.decay, v) + x
        s = self.spikes(v)
        return (v - _times(self.threshold, s),), s


class LeakyReadout(Recurrent):
    """`y' = leak * y + x W + b`, what spikes are read with (Bellec et al. 2020, eq. 12). Returns `y'`.

    Under `d_rtrl` every weight is exact. `leak` may be a `Constrained`, which then learns.
    """

    def __init__(self, in_size: int, out_size: int, *, leak: Number = 0.9, dim: int = -1) -> None:
        super().__init__(in_size, dim)
        self.leak = leak
        self.W, self.b = drawn(in_size, out_size), filled(out_size)
        self.hidden("y", out_size)

    def step(self, x: jax.Array, y: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        y = _times(self.leak, y) + matmul(x, self.W.value, self.b.value)
        return (y,), y
