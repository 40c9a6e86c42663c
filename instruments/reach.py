"""How far back a model remembers: by gradients to past inputs and states, and by the decay of the traces themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import draw
from ..backends import Learner
from ..ir.diagnostics import error
from ..ir.plan import Advance, AdvanceFull, Operation
from ..ir.transition import StateKind, Transition
from ..ir.values import Value
from .reading import Reading, Table, new_axes, number
from .run import AnyLearner, Arrays, Run, flat_step, looked_at, prepared
from .units import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INPUTS, STATES = "gradient to inputs", "gradient to states"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Memory(Reading):
    """How much of what was so many steps ago still counts. Each curve begins with now."""

    threshold: float
    curves: Mapping[str, np.ndarray]
    """`gradient to inputs`, `gradient to states`, and `trace of W on h` for each trace; by steps ago."""
    notes: tuple[str, ...] = ()

    def length(self, name: str) -> int:
        """For how many steps a curve is above the threshold, a share of its maximum."""
        curve = self.curves[name]
        return int((curve > self.threshold * curve.max()).sum())

    def cut(self, name: str) -> bool:
        """Whether a curve is still above the threshold where it ends, so that its length is a lower bound."""
        curve = self.curves[name]
        return bool(curve[-1] > self.threshold * curve.max())

    def table(self) -> Table:
        """A line for each curve."""
        rows = [
            (name, f"{'over ' if self.cut(name) else ''}{self.length(name)} steps", *_at(curve))
            for name, curve in self.curves.items()
        ]
        head = f"above {self.threshold:.0%}"
        return Table(title="Effective memory", head=("of", head, "after 1", "10", "100"), rows=rows, notes=self.notes)

    def plot(self, axes: Axes | None = None) -> Axes:
        """Each curve as a share of its maximum, on a logarithmic scale."""
        drawn = new_axes(axes, 9.2, 3.8)
        thickness = iter(np.linspace(4.5, 1.5, max(2, len(self.curves))))  # one curve upon another shows both
        for (name, curve), colour in zip(self.curves.items(), COLOURS * len(self.curves), strict=False):
            style: dict[str, Any] = {"linewidth": 2} if name.startswith("gradient") else {"linestyle": "--"}
            style = {"linewidth": next(thickness), "color": colour, "label": name} | style
            with np.errstate(invalid="ignore", divide="ignore"):
                drawn.plot(np.arange(len(curve)), curve / curve.max(), **style)
        label = f"threshold, {self.threshold:.0%}"
        drawn.axhline(self.threshold, color="#6b7280", linestyle=":", linewidth=1, label=label)
        drawn.set(xlabel="steps ago", ylabel="share of the maximum", yscale="log", title="Effective memory")
        drawn.set_ylim(bottom=max(drawn.get_ylim()[0], 1e-8))
        drawn.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
        drawn.spines[["top", "right"]].set_visible(False)
        return drawn


def _at(curve: np.ndarray) -> list[str]:
    top = curve.max() or 1.0
    return [number(curve[k] / top) if k < len(curve) else "" for k in (1, 10, 100)]


def effective_memory(
    learner: AnyLearner,
    xs: Any = None,
    *,
    steps: int = 100,
    trials: int = 8,
    threshold: float = 0.01,
    traces: bool = True,
    params: Any = None,
    states: Any = None,
    seed: int = 0,
    **marks: Any,
) -> Memory:
    """How far back a model remembers, and how far back its learning rule does.

    By gradients: the norm of the derivative of the last output, along a random direction, by the inputs and by the
    hidden states of each step before; the mean of `trials` trials, by backpropagation through `steps` steps. That is
    what there is to learn from.

    By traces: how much of each trace is still there so many steps later, when nothing is added to it. That is what the
    learning rule carries. It is found by running on from a trace and, beside it, from none: the difference is what the
    trace's own recurrence leaves. A rule whose traces are no linear recurrence (uoro, kf_rtrl) has no such curve, and a
    note says so.

    `xs` is a sequence of your own, of which the last half is what traces are followed along; by default each trial
    draws random ones. Raises EtirError for arguments that `learner.predict` refuses.
    """
    own, params = looked_at(learner, params)
    key = jax.random.key(seed)
    if steps < 2 or trials < 1:
        raise error("memory-length", f"steps={steps}, trials={trials}; wanted at least two steps and one trial")

    def sequence(k: int) -> Any:
        if xs is not None or not own.transition.inputs:
            return xs
        kinds = [i.value.type for i in own.transition.inputs if i.path not in own.signature.marks]
        example = [jax.ShapeDtypeStruct(kind.shape, kind.dtype) for kind in kinds]
        drawn = jax.tree.unflatten(own.signature.inputs, draw(jax.random.fold_in(key, k), steps, example))
        return drawn[0] if len(drawn) == 1 else drawn

    def run(k: int) -> Run:
        length = steps if not own.transition.inputs else None
        return prepared(own, sequence(k), params=params, states=states, steps=length, marks=marks)

    first = run(0)
    backwards = partial(_to_the_past, first.transition, first.steps)
    found = [backwards(jax.random.fold_in(key, trials + k), *_flat(run(k) if k else first)) for k in range(trials)]
    curves = {name: np.mean([np.asarray(each[name])[::-1] for each in found], axis=0) for name in found[0]}
    notes = () if INPUTS in curves or not first.flat_inputs else ("no input is of floating type: none has a gradient",)
    if traces:
        decays, more = _decays(first, key)
        curves, notes = curves | decays, (*notes, *more)
    return Memory(threshold=threshold, curves=curves, notes=notes)


def _flat(run: Run) -> tuple[Arrays, Arrays, Arrays]:
    return run.flat_params, run.flat_states, run.flat_inputs


@partial(jax.jit, static_argnums=(0, 1))
def _to_the_past(
    transition: Transition, steps: int, key: jax.Array, params: Arrays, states: Arrays, inputs: Arrays
) -> dict[str, jax.Array]:
    """The norms, by step, of the derivative of the last outputs by what each step was given."""
    step = flat_step(transition)
    hidden = [k for k, state in enumerate(transition.states) if state.kind is StateKind.HIDDEN]
    smooth = [k for k, i in enumerate(transition.inputs) if i.value.type.carries_credit]
    kinds = [o.value.type for o in transition.outputs if o.value.type.carries_credit]
    directions = draw(key, 1, [jax.ShapeDtypeStruct(kind.shape, kind.dtype) for kind in kinds])

    def along(moved: Any) -> jax.Array:
        def body(states: Arrays, at: Any) -> tuple[Arrays, Arrays]:
            xs, (to_inputs, to_states) = at
            return step(params, _added(states, hidden, to_states), _added(xs, smooth, to_inputs))

        _, outputs = jax.lax.scan(body, states, (inputs, moved), length=steps)
        last = [y[-1] for y in outputs if jnp.issubdtype(y.dtype, jnp.inexact)]
        return sum((jnp.real(jnp.vdot(d[0], y)) for d, y in zip(directions, last, strict=True)), start=jnp.zeros(()))

    zeros = (
        [jnp.zeros_like(inputs[k]) for k in smooth],
        [jnp.zeros((steps, *states[k].shape), states[k].dtype) for k in hidden],
    )
    to_inputs, to_states = jax.grad(along)(zeros)
    return ({INPUTS: _norms(to_inputs)} if smooth else {}) | ({STATES: _norms(to_states)} if hidden else {})


def _added(arrays: Arrays, places: list[int], moves: Arrays) -> Arrays:
    found = list(arrays)
    for k, move in zip(places, moves, strict=True):
        found[k] = found[k] + move
    return found


def _norms(arrays: Arrays) -> jax.Array:
    """The norm of all arrays `[time, ...]` together, by time."""
    return jnp.sqrt(sum(jnp.sum(jnp.abs(x.reshape(len(x), -1)) ** 2, axis=1) for x in arrays))


def _decays(run: Run, key: jax.Array) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """How much of each trace is left after so many steps, and what is to be said."""
    learner, plan = run.learner, run.transition.plan
    if plan is None or not plan.traces:
        return {}, (f"rule '{learner.certificate.rule}' carries no trace: its memory ends with the window",)
    if not _linear(plan.operations, [trace.after for trace in plan.traces]):
        return {}, (f"the traces of rule '{plan.rule}' are no linear recurrence: what they forget has no curve",)
    if plan.signals or not jax.tree.leaves(run.xs):
        return {}, ("traces are followed where a step takes inputs, and no signal of the rule's own",)
    half = run.steps // 2

    before = jax.tree.map(lambda x: x[:half], (run.xs, dict(run.marks)))
    after = jax.tree.map(lambda x: x[half:], (run.xs, dict(run.marks)))
    begun = learner.init(run.params, run.states, key=key)
    carry, _ = learner.window(run.params, begun, before[0], **before[1])
    bare = _without_traces(learner, begun, carry)
    sizes = _followed(learner, run.params, carry, bare, *after)
    curves: dict[str, np.ndarray] = {}
    for trace, size in zip(plan.traces, sizes, strict=True):
        curve = np.asarray(size, np.float64)
        if curve[0] > 0:
            curves[f"trace of {trace.label}"] = curve / curve[0]
    return curves, ()


@partial(jax.jit, static_argnums=0)
def _followed(learner: Learner, params: Any, carry: Any, bare: Any, xs: Any, marks: Any) -> list[jax.Array]:
    """How far the traces of two carries with the same states are apart, before each step."""

    def advanced(carry: Any, at: Any) -> Any:
        x, given = jax.tree.map(lambda a: a[None], at)
        return learner.window(params, carry, x, **given)[0]

    def body(now: tuple[Any, Any], at: Any) -> tuple[tuple[Any, Any], list[jax.Array]]:
        sizes = [_difference(a, b) for a, b in zip(*map(learner.traces, now), strict=True)]
        return (advanced(now[0], at), advanced(now[1], at)), sizes

    return jax.lax.scan(body, (carry, bare), (xs, marks))[1]


def _without_traces(learner: Learner, begun: Any, carry: Any) -> Any:
    """The carry with the states that it has, and traces as at the beginning of a sequence."""
    return carry._replace(traces=begun.traces)


def _difference(a: jax.Array, b: jax.Array) -> jax.Array:
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.linalg.norm((a.astype(wide) - b.astype(wide)).ravel())


def _linear(operations: tuple[Operation, ...], traces: list[Value]) -> bool:
    """Whether every trace is advanced by a linear recurrence, and begins as zero."""
    makers = {value: op for op in operations for value in op.results}
    return all(isinstance(makers.get(after), (Advance, AdvanceFull)) or after not in makers for after in traces)
