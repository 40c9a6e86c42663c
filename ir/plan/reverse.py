"""Reverse mode through a window, and the way back from weights to parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from .. import jaxpr as jx
from ..types import TensorType
from ..values import Value
from .cost import Cost
from .faults import not_as_many, not_of_hidden, region_missing, type_list
from .operation import WINDOW, Operation
from .scene import Arrays, Scene

if TYPE_CHECKING:
    from ..transition import Param, Region, Site, Transition, Weight


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Vjp(Operation):
    """Reverse mode through the window. Results: cotangents of entering hidden states, then of parameters not frozen.

    `region` names the step that is differentiated: `forward`, or `restricted` where credit inside windows follows the
    rule's own Jacobian.
    """

    phases: ClassVar[tuple[str, ...]] = (WINDOW,)

    region: str
    detached: tuple[Site, ...] = ()
    """Sites whose weights take no gradient here, because a rule reads their traces at each step's exit instead."""
    exit: tuple[Value, ...] = ()
    """Further cotangents of the hidden states that leave, as a predictor of later credit gives; none by default."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of the hidden states and of the parameters."""
        return (*(s.before.type for s in t.hidden), *(p.value.type for p in t.learned))

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """What the engine has bound: it pulls back once the loss is known."""
        return tuple(scene.read(self.results))

    def cost(self, window: int) -> Cost:
        """Nothing beside what the model's own reverse mode takes."""
        del window
        return Cost()

    def faults(self, t: Transition) -> Iterator[str]:
        """The region is there; an exit names every hidden state."""
        if t.regions:
            yield from region_missing(t, self.region, "differentiates")
        if self.exit:
            yield from not_of_hidden(t, "exit cotangents", self.exit)


def weights_of(t: Transition, params: Sequence[Any]) -> Arrays:
    """The prologue: parameters to weights."""
    return jx.evaluate(t.region("weights").body, params)


def run_step(
    t: Transition,
    region: Region,
    weights: Arrays,
    states: Arrays,
    inputs: Arrays,
    detached: Sequence[Site] = (),
    shifts: Mapping[Site, Any] | None = None,
) -> tuple[Arrays, Arrays]:
    """New states and outputs of one step, by a region with the signature of `forward`; `shifts` move sites' outputs."""
    of = dict(zip(t.weights, weights, strict=True))
    own = [jax.lax.stop_gradient(of[s.weight]) if s in detached else of[s.weight] for s in t.sites]
    moved = dict(shifts or {})
    every = [moved.get(s, jnp.zeros(s.output.type.shape, s.output.type.dtype)) for s in t.sites]
    results = jx.evaluate(region.body, [*weights, *states, *inputs, *own, *every])
    return results[: len(t.states)], results[len(t.states) : len(t.states) + len(t.outputs)]


def run_window(
    t: Transition,
    region: Region,
    params: Arrays,
    states: Arrays,
    inputs: Arrays,
    steps: int,
    detached: Sequence[Site] = (),
) -> tuple[Arrays, Arrays]:
    """A window's new states and its outputs, `[time, ...]`, by a region with the signature of `forward`."""
    weights = weights_of(t, params)
    body = lambda now, x: run_step(t, region, weights, now, x, detached)  # noqa: E731
    return jax.lax.scan(body, states, inputs, length=steps)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pullback(Operation):
    """The gradient of the parameters: reverse mode's, and the contributions to weights and to parameters.

    Linear in its operands, so a backend may add these up over windows. It ends every plan.
    """

    phases: ClassVar[tuple[str, ...]] = (WINDOW,)

    reverse: tuple[Value, ...]
    """Reverse mode's gradients, one a parameter that is not frozen."""
    weights: tuple[Weight, ...] = ()
    on_weights: tuple[Value, ...] = ()
    """Contributions to weights, pulled back through the prologue."""
    takers: tuple[Param, ...] = ()
    """The parameters that take what is pulled back; the others have a rule of their own."""
    params: tuple[Param, ...] = ()
    on_params: tuple[Value, ...] = ()
    """Contributions to parameters."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of the parameters."""
        return tuple(param.value.type for param in t.learned)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The sum of all, one array a parameter that is not frozen."""
        t = scene.transition
        assert scene.window is not None
        bars: dict[Weight, Any] = {}
        for weight, value in zip(self.weights, self.on_weights, strict=True):
            if scene[value] is not None:  # an engine has it among reverse mode's
                bars[weight] = bars[weight] + scene[value] if weight in bars else scene[value]
        more = pull_back(t, scene.window.params, bars)
        learned = [(k, param) for k, param in enumerate(t.params) if not param.frozen]
        found = [
            x + more[k] if param in self.takers and k in more else x
            for (k, param), x in zip(learned, scene.read(self.reverse), strict=True)
        ]
        for param, value in zip(self.params, self.on_params, strict=True):
            k = t.learned.index(param)
            found[k] = found[k] + scene[value]
        return tuple(found)

    def cost(self, window: int) -> Cost:
        """Nothing beside what the model's own reverse mode takes."""
        del window
        return Cost()

    def faults(self, t: Transition) -> Iterator[str]:
        """Each operand is of the type of what it is added to."""
        found, params = [v.type for v in self.reverse], [param.value.type for param in t.learned]
        if found != params:
            yield f"has reverse-mode gradients {type_list(found)}; wanted {type_list(params)}, those of the parameters"
        for noun, nodes, values in (
            ("weight", self.weights, self.on_weights),
            ("parameter", self.params, self.on_params),
        ):
            yield from not_as_many(values, "contribution", nodes, noun)
            for node, value in zip(nodes, values, strict=False):
                if node.value.type != value.type:
                    yield f"adds {value.type} to a {noun} of {node.value.type}"


def pull_back(t: Transition, params: Arrays, bars: dict[Weight, Any]) -> dict[int, Any]:
    """Cotangents of weights pulled back to the parameters that have a gradient, by place."""
    chosen = [k for k, param in enumerate(t.params) if param.learns]
    places = [k for k, weight in enumerate(t.weights) if weight in bars]

    def weights(selected: Arrays) -> Arrays:
        full = list(params)
        for k, x in zip(chosen, selected, strict=True):
            full[k] = x
        found = weights_of(t, full)
        return [found[k] for k in places]

    if not places:
        return {k: jnp.zeros_like(params[k]) for k in chosen}
    values, pull = jax.vjp(weights, [params[k] for k in chosen])
    (grads,) = pull([jnp.asarray(bars[t.weights[k]], w.dtype) for k, w in zip(places, values, strict=True)])
    return dict(zip(chosen, grads, strict=True))
