"""Forward and reverse products with one step's whole Jacobian, nothing held: what stochastic estimates are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from ..types import TensorType
from ..values import Value
from .cost import Cost
from .faults import not_as_many, not_differentiable, not_of_hidden, type_list
from .operation import STEP, Operation
from .reverse import run_step, weights_of
from .scene import Arrays, Scene

if TYPE_CHECKING:
    from ..transition import Param, Site, Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Push(Operation):
    """`(dh'/dh) v + (dh'/dy) w` over all hidden states, nothing held, by forward mode (the transpose of reverse mode).

    States that are not hidden are constants. The tangents may have a leading axis of many vectors.
    """

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    tangents: tuple[Value, ...] = ()
    """One for each hidden state, its type or `[vectors, *state]`; nothing for zeros."""
    sites: tuple[Site, ...] = ()
    shifts: tuple[Value, ...] = ()
    """Tangents of the outputs of `sites`, `[*output]` or `[vectors, *output]`."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of the hidden states, with the axis of vectors if there is one."""
        return tuple(replace(s.before.type, shape=(*self._vectors(t), *s.before.type.shape)) for s in t.hidden)

    def _vectors(self, t: Transition) -> tuple[int, ...]:
        """The size of the axis of vectors; nothing where there is none."""
        firsts = [*zip(self.tangents[:1], [s.before.type for s in t.hidden], strict=False)]
        firsts += zip(self.shifts[:1], [s.output.type for s in self.sites], strict=False)
        return next((v.type.shape[:1] for v, kind in firsts if v.type.shape != kind.shape), ())

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The product; custom backward rules count, as they do everywhere."""
        t = scene.transition
        tangents, shifts = typed(scene, self.tangents), typed(scene, self.shifts)
        weights, states, inputs = (scene.read(values) for values in step_parts(t))
        push = push_through(t, weights, states, inputs, sites=self.sites, still=not tangents)
        found = (jax.vmap(push) if self._vectors(t) else push)([*tangents, *shifts])
        return tuple(x.astype(v.type.dtype) for x, v in zip(found, self.results, strict=True))

    def faults(self, t: Transition) -> Iterator[str]:
        """One tangent, or as many vectors, for each hidden state and for each site."""
        if not t.hidden:
            yield "has no hidden state to push forward"
            return
        yield from not_as_many(self.shifts, "shift", self.sites, "site")
        if not self.tangents and not self.shifts:
            yield "has nothing to push forward"
        vectors = self._vectors(t)
        states = [state.before.type for state in t.hidden] if self.tangents else []
        for noun, values, of, kinds in (
            ("tangents", self.tangents, "the hidden states", states),
            ("shifts", self.shifts, "the sites' outputs", [site.output.type for site in self.sites]),
        ):
            found, wanted = [v.type for v in values], [replace(kind, shape=(*vectors, *kind.shape)) for kind in kinds]
            if found != wanted:
                yield f"has {noun} of {type_list(found)}; wanted {type_list(wanted)}, those of {of}"

    def cost(self, window: int) -> Cost:
        """As unknown as the model's step is: counted by its results alone."""
        del window
        return Cost(flops=2.0 * sum(value.type.size for value in self.results))

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """The tangents, and what the step takes."""
        return (*self.operands, *step_operands(t))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pull(Operation):
    """`c (dh'/dp)` of one step, nothing held: the cotangent of some parameters, from one of the new hidden states."""

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    params: tuple[Param, ...]
    cotangents: tuple[Value, ...]
    """One for each hidden state."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of the parameters."""
        del t
        return tuple(param.value.type for param in self.params)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """One pull-back, through the prologue as well."""
        t = scene.transition
        _, states, inputs = (scene.read(values) for values in step_parts(t))
        params, states = jax.lax.stop_gradient((scene.read([p.value for p in t.params]), states))
        places = [t.params.index(p) for p in self.params]

        def after(own: Arrays) -> tuple[Any, ...]:
            every = list(params)
            for k, x in zip(places, own, strict=True):
                every[k] = x
            new, _ = run_step(t, t.region("forward"), weights_of(t, every), states, inputs)
            return tuple(new[k] for k in t.hidden_places)

        _, pull = jax.vjp(after, [params[k] for k in places])
        return tuple(pull(tuple(scene.read(self.cotangents)))[0])

    def faults(self, t: Transition) -> Iterator[str]:
        """Parameters that carry credit, and one cotangent for each hidden state."""
        yield from not_differentiable("differentiates by", [param.value.type for param in self.params])
        yield from not_of_hidden(t, "cotangents", self.cotangents)

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """The cotangents, and what the step takes."""
        return (*self.cotangents, *step_operands(t))


def step_operands(t: Transition) -> tuple[Value, ...]:
    """The values that one whole step takes: weights, entering states and inputs; and the parameters."""
    weights, states, inputs = step_parts(t)
    return tuple(dict.fromkeys([*(p.value for p in t.params), *weights, *states, *inputs]))


def step_parts(t: Transition) -> tuple[list[Value], list[Value], list[Value]]:
    """The values that a step takes after its prologue: weights, entering states and inputs."""
    return [w.value for w in t.weights], [s.before for s in t.states], [i.value for i in t.inputs]


def typed(scene: Scene, values: Sequence[Value]) -> Arrays:
    """Some values in their own element types: a trace may be held in another."""
    return [scene[v] if str(scene[v].dtype) == v.type.dtype else scene[v].astype(v.type.dtype) for v in values]


def push_through(
    t: Transition,
    weights: Arrays,
    states: Arrays,
    inputs: Arrays,
    *,
    sites: Sequence[Site] = (),
    still: bool = False,
    results: Callable[[Arrays, Arrays], Arrays] | None = None,
) -> Callable[[Arrays], Sequence[Any]]:
    """The derivative of one step along tangents: the transpose of the pull-back.

    The tangents are those of the hidden states, unless they are `still`, then those of the outputs of `sites`. What is
    derived are the new hidden states, or what `results` makes of all new states and outputs.
    """
    weights, states = jax.lax.stop_gradient((weights, states))

    def after(hidden: Arrays, shifts: Arrays) -> tuple[Any, ...]:
        now = list(states)
        for k, x in zip(t.hidden_places, hidden, strict=True):
            now[k] = x
        moved = dict(zip(sites, shifts, strict=True))
        new, outputs = run_step(t, t.region("forward"), weights, now, inputs, shifts=moved)
        return tuple(results(new, outputs) if results is not None else [new[k] for k in t.hidden_places])

    zeros = [jnp.zeros(site.output.type.shape, site.output.type.dtype) for site in sites]
    at, pull = jax.vjp(after, [states[k] for k in t.hidden_places], zeros)

    def pulled(*cotangents: Any) -> Arrays:
        hidden, shifts = pull(cotangents)
        return [*([] if still else hidden), *shifts]

    return jax.linear_transpose(pulled, *at)
