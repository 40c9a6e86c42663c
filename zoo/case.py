"""One zoo entry: a model as a plain step function, with what is known about it beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from ..frontend.module import Module
from .draw import Shape, draw_parameters
from .module import StepModule

PyTree = Any
Step = Callable[..., tuple[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large to build a model: features in, positions of the hidden state, features out."""

    inputs: int = 3
    hidden: int = 4
    outputs: int = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A built model: its step, example parameters and states, and a source of inputs that drive it well."""

    step: Step
    params: PyTree
    states: PyTree
    inputs: tuple[jax.Array, ...]
    """Example inputs of one step, in the order in which `step` takes them."""

    gain: float = 1.0
    """Standard deviation of the inputs that `make_inputs` draws."""

    offset: float = 0.0
    """Mean of the inputs that `make_inputs` draws; spiking models need a positive drive."""

    def make_inputs(self, key: jax.Array, steps: int) -> tuple[jax.Array, ...]:
        """Return inputs with a leading time axis, one array an input, large enough that spiking models spike."""
        keys = jax.random.split(key, len(self.inputs))
        return tuple(
            self.offset + self.gain * jax.random.normal(k, (steps, *x.shape), x.dtype)
            for k, x in zip(keys, self.inputs, strict=True)
        )

    def make_targets(self, key: jax.Array, steps: int) -> PyTree:
        """Return random targets of the outputs' shapes, with a leading time axis."""
        outputs = jax.eval_shape(self.step, self.params, self.states, *self.inputs)[1]
        leaves, treedef = jax.tree.flatten(outputs)
        keys = jax.random.split(key, len(leaves))
        return treedef.unflatten(
            [jax.random.normal(k, (steps, *y.shape), y.dtype) for k, y in zip(keys, leaves, strict=True)]
        )


def _one_input(sizes: Sizes) -> tuple[Shape, ...]:
    return ((sizes.inputs,),)


def _unchanged(params: PyTree) -> PyTree:
    return params


def _no_labels() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ZooCase:
    """A model of the zoo, and what reasoning alone says about the gradients that D-RTRL gives it."""

    name: str
    about: str
    step: Step
    shapes: Callable[[Sizes], PyTree]
    """Parameter shapes, as a pytree whose leaves are tuples of integers."""

    initial: Callable[[Sizes, tuple[int, ...], Any], PyTree]
    """The states at rest, from sizes, the batch axes (`()` or `(batch,)`) and the real dtype."""

    labels: Mapping[str, str] = field(default_factory=_no_labels)
    """Label that `d_rtrl` must give, by parameter path; `"a|b"` where either is honest. Absent: no claim."""

    input_shapes: Callable[[Sizes], tuple[Shape, ...]] = _one_input
    adjust: Callable[[PyTree], PyTree] = _unchanged
    """Moves freshly drawn parameters to where the model behaves (eigenvalues inside the unit circle, say)."""

    spikes: Callable[[PyTree], jax.Array] | None = None
    """Which positions spike, from the states that a step left; None where the model has no spikes."""

    module: Callable[..., Module] | None = None
    """A native module of the same model, made from parameters and states; None wraps the plain step in one."""

    buffers: tuple[str, ...] = ()
    """Globs of floating states that are declared not hidden: the credit that they carry between windows is dropped."""

    sites: str = "explicit"
    """Which uses of parameters are sites: `"auto"` for a model that is written in plain jax.numpy."""

    sizes: Sizes = Sizes()
    """How large it is built unless something else is asked for."""

    smooth: bool = True
    """Whether finite differences give the gradient: false with surrogate gradients and `stop_gradient`."""

    unused: frozenset[str] = frozenset()
    """Paths of parameters whose gradient is zero by construction."""

    gain: float = 1.0
    offset: float = 0.0

    def build(
        self, key: jax.Array, *, batch: int | None = None, dtype: Any = jnp.float32, sizes: Sizes | None = None
    ) -> Model:
        """Return the model with parameters drawn from `key`; `batch` adds a leading axis to states and inputs.

        Sizes are the case's own, tiny ones, by default; `sizes=Sizes(inputs=128, hidden=512)` builds one for a
        benchmark.
        """
        sizes = sizes or self.sizes
        axes = () if batch is None else (batch,)
        return Model(
            step=self.step,
            params=self.adjust(draw_parameters(key, self.shapes(sizes), dtype)),
            states=self.initial(sizes, axes, dtype),
            inputs=tuple(jnp.zeros((*axes, *shape), dtype) for shape in self.input_shapes(sizes)),
            gain=self.gain,
            offset=self.offset,
        )

    def build_module(
        self, key: jax.Array, *, batch: int | None = None, dtype: Any = jnp.float32, sizes: Sizes | None = None
    ) -> Module:
        """Return the same model as a native module, its parameters the ones that `build` draws from `key`."""
        model = self.build(key, batch=batch, dtype=dtype, sizes=sizes)
        if self.module is None:
            return StepModule(model.step, model.params, model.states, self.buffers)
        return self.module(model.params, model.states, self.buffers)


def layer(**fields: Any) -> ZooCase:
    """Return a case that is written in plain jax.numpy: its sites are found, and hardly two of its axes are as long."""
    return ZooCase(**fields, sites="auto", sizes=Sizes(inputs=5, hidden=6))
