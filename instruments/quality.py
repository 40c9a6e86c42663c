"""quality: what an approximate gradient costs, on a sequence and a loss of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..backends import Learner
from ..ir.diagnostics import error
from ..ir.step import leaf_paths
from ..ir.transition import Verdict
from .reading import Reading, Table, new_axes
from .run import AnyLearner, apart, looked_at, prepared
from .units import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOTAL = "all together"
"""The name under which the gradients of all weights are compared as one vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """How one weight's online gradient lies to that of backpropagation through time."""

    cosine: float
    """Of the angle between the two; NaN where either is zero."""
    ratio: float
    """The norm of the online gradient, relative to the other's; NaN where that is zero."""
    label: str = ""

    @property
    def cell(self) -> str:
        """What the table shows."""
        if np.isnan(self.ratio):
            return "0, as BPTT's" if not self.label else f"{self.label}: zero"
        cosine = "0" if np.isnan(self.cosine) else f"{self.cosine:.3f}"
        return f"{cosine} x {self.ratio:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Quality(Reading):
    """Closeness by learner and by weight: `quality["d_rtrl, window 10"]["cell.W"].cosine`."""

    steps: int
    found: Mapping[str, Mapping[str, Closeness]]

    def __getitem__(self, learner: str) -> Mapping[str, Closeness]:
        """The weights of one learner, and `all together`."""
        return self.found[learner]

    def table(self) -> Table:
        """A line for each weight, a column for each learner: the cosine, and the ratio of norms."""
        paths = list(next(iter(self.found.values())))
        rows = [(path, *(of[path].cell if path in of else "" for of in self.found.values())) for path in paths]
        return Table(
            title=f"Online gradients beside BPTT over {self.steps} steps: cosine x ratio of norms",
            head=("weight", *self.found),
            rows=rows,
            notes=("1.000 x 1.00 is BPTT's own gradient",),
        )

    def plot(self, axes: Axes | None = None) -> Axes:
        """A point for each weight and learner: its direction upwards (the cosine), its size beside it."""
        paths = list(next(iter(self.found.values())))
        drawn = new_axes(axes, max(6.0, 1.1 * len(paths) + 2.5), 3.8)
        width = 0.7 / len(self.found)
        for k, ((name, of), colour) in enumerate(zip(self.found.items(), COLOURS * len(self.found), strict=False)):
            places = np.arange(len(paths)) + width * (k - (len(self.found) - 1) / 2)
            heights = np.array([of[path].cosine if path in of else np.nan for path in paths])
            bars = drawn.bar(places, heights, width=0.9 * width, color=colour, label=name)
            ratios = [f"×{of[p].ratio:.2g}" if p in of and np.isfinite(of[p].ratio) else "" for p in paths]
            drawn.bar_label(bars, labels=ratios, fontsize=7, padding=2, rotation=90)
        drawn.axhline(0, color="#1f2933", linewidth=0.8)
        drawn.set_xticks(range(len(paths)), paths)
        lowest = min(0.0, *(c.cosine for of in self.found.values() for c in of.values() if np.isfinite(c.cosine)))
        bottom = 1.1 * lowest - 0.2 if lowest < 0 else 0.0
        drawn.set(ylabel="cosine with BPTT", ylim=(bottom, 1.3), title="Online gradients beside BPTT (× norm)")
        drawn.set_yticks([y for y in (-1, -0.5, 0, 0.5, 1) if y >= bottom])
        drawn.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
        drawn.spines[["top", "right"]].set_visible(False)
        return drawn


def quality(
    learners: AnyLearner | Iterable[AnyLearner] | Mapping[str, AnyLearner],
    loss: Callable[..., Any],
    xs: Any,
    *targets: Any,
    params: Any = None,
    states: Any = None,
    key: jax.Array | None = None,
    **given: Any,
) -> Quality:
    """How close the gradients of learners of one model are to BPTT's, over a sequence of your own.

    A learner is named by its rule and window, unless a mapping names it. `loss(outputs, *target)` is that of
    `learner.grad`, summed over steps. BPTT is `jax.grad` through the plain model, and holds the whole sequence in
    memory. `given` are the marks and signals that the learners' own `grad` takes; `key` is for rules that draw random
    numbers. The gradients of integers and of frozen parameters are left out. Raises EtirError for learners of
    different models.
    """
    named = _named(learners)
    first, params = looked_at(next(iter(named.values())), params)
    marks = {name: x for name, x in given.items() if name in first.signature.marks}
    run = prepared(first, xs, params=params, states=states, marks=marks)
    wanted = _back_propagated(first, loss, run.params, run.states, xs, targets, marks)
    found: dict[str, dict[str, Closeness]] = {}
    for name, given_learner in named.items():
        learner, _ = looked_at(given_learner)
        keywords = marks | apart(learner, given)[1]
        begun = learner.init(run.params, run.states, key=key)
        grads = learner.grad(loss)(run.params, begun, xs, *targets, **keywords).grads
        labels = {label.path: label.label for label in learner.certificate}
        found[name] = _closeness(_by_path(grads), _by_path(wanted), labels)
    return Quality(steps=run.steps, found=found)


def _named(learners: Any) -> dict[str, AnyLearner]:
    """The learners by name. Raises EtirError where they are not of one model."""
    if isinstance(learners, Mapping):
        named = {str(name): learner for name, learner in learners.items()}
    else:
        each = list(learners) if isinstance(learners, Iterable) else [learners]
        named = {}
        for learner in each:
            own, _ = looked_at(learner)
            name = f"{own.certificate.rule}, window {own.window_size}"
            named[name if name not in named else f"{name} #{len(named) + 1}"] = learner
    paths = [[(p.path, p.value.type) for p in looked_at(x)[0].transition.params] for x in named.values()]
    if not named or any(other != paths[0] for other in paths[1:]):
        raise error(
            "quality-learners",
            "the learners have different parameters" if named else "no learner was given",
            help="give learners of one model: [etir.compile(*model, rule=rule) for rule in ('d_rtrl', 'pp_prop')]",
        )
    return named


@partial(jax.jit, static_argnums=(0, 1))
def _back_propagated(
    learner: Learner, loss: Callable[..., Any], params: Any, states: Any, xs: Any, targets: Any, marks: Any
) -> Any:
    """The gradient of the summed loss by reverse mode through the plain model."""
    counts = marks.get("mask")

    def total(params: Any) -> jax.Array:
        _, outputs = learner.predict(params, states, xs, **marks)

        def of_step(at: Any) -> jax.Array:
            y, target, count = at
            value = loss(y, *target)
            value = jnp.asarray(value[0] if isinstance(value, tuple) else value)
            return jnp.where(count, value, jnp.zeros_like(value))

        steps = len(jax.tree.leaves(outputs)[0])
        counted = counts if counts is not None and jnp.ndim(counts) == 1 else jnp.ones(steps, bool)
        return jnp.sum(jax.lax.map(of_step, (outputs, targets, counted)))

    return jax.grad(total, allow_int=True)(params)


def _by_path(grads: Any) -> dict[str, np.ndarray]:
    found = {path: np.asarray(x) for path, x in leaf_paths(grads, "param") if jnp.issubdtype(x.dtype, jnp.inexact)}
    return {path: np.ravel(x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)) for path, x in found.items()}


def _closeness(
    found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], labels: Mapping[str, Verdict]
) -> dict[str, Closeness]:
    each = {path: _of(x, wanted[path], str(labels.get(path, ""))) for path, x in found.items()}
    parts = [np.concatenate([of[path].astype(np.complex128) for path in found]) for of in (found, wanted)]
    return each | {TOTAL: _of(*parts, label="")}


def _of(found: np.ndarray, wanted: np.ndarray, label: str) -> Closeness:
    size, reference = np.linalg.norm(found), np.linalg.norm(wanted)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.vdot(wanted, found).real / (size * reference)
        ratio = size / reference if reference else np.float64(np.nan)
    return Closeness(cosine=float(np.clip(cosine, -1, 1)), ratio=float(ratio), label=label)
