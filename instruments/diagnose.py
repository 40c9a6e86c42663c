"""diagnose: whether the hidden states of a model, and the gradients through them, look as they should."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.step import leaf_paths
from ..ir.transition import Verdict
from .reach import STATES, effective_memory
from .reading import Reading, Table, new_axes, number
from .record import record
from .recording import magnitude_or_real, moments, real_series
from .run import AnyLearner, Run, apart, looked_at, prepared
from .symptoms import CHECKS, NEAR_ONE, NEAR_ZERO, Evidence, Symptom

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Diagnosis(Reading):
    """The numbers of every hidden state, the norm of every gradient, and what is wrong. True where nothing is."""

    states: Mapping[str, np.ndarray]
    """As recorded, `[times, ...]`."""
    norms: Mapping[str, float]
    """Of each weight's gradient; empty where no loss was given."""
    symptoms: tuple[Symptom, ...]

    def __bool__(self) -> bool:
        return not self.symptoms

    @property
    def names(self) -> set[str]:
        """The symptoms by name."""
        return {symptom.name for symptom in self.symptoms}

    def table(self) -> Table:
        """A line for each state, then the gradients' norms and the symptoms."""
        grads = ", ".join(f"{path} {number(norm)}" for path, norm in self.norms.items())
        notes = [f"norms of gradients: {grads}"] if grads else []
        notes += [f"{len(self.symptoms)} found:" if self.symptoms else "nothing is wrong"]
        notes += [f"  {symptom}" for symptom in self.symptoms]
        head = ("state", "shape", "mean", "std", "min", "max", "near 0", f"above {NEAR_ONE}", "NaN", "inf")
        rows = [_row(path, x) for path, x in self.states.items()]
        return Table(title="Hidden states", head=head, rows=rows, notes=notes)

    def plot(self, axes: Axes | None = None) -> Axes:
        """How the activations of each state are distributed."""
        drawn = new_axes(axes, 6.4, 3.4)
        for path, x in self.states.items():
            values = x[np.isfinite(x)]
            if values.size:
                drawn.hist(values, bins=60, histtype="step", linewidth=2, density=True, label=path)
        title = "; ".join(sorted(self.names)) or "nothing is wrong"
        drawn.set(xlabel="activation", ylabel="density", title=title)
        drawn.legend(frameon=False)
        drawn.spines[["top", "right"]].set_visible(False)
        return drawn


def _row(path: str, x: np.ndarray) -> tuple[str, ...]:
    """Statistics of the finite entries; NaN and infinity are counted beside them."""
    values = x[np.isfinite(x)]
    near, high = ((np.abs(values) < NEAR_ZERO).sum(), (np.abs(values) > NEAR_ONE).sum())
    shares = f"{near / max(x.size, 1):.0%}", f"{high / max(x.size, 1):.0%}"
    return path, str(list(x.shape[1:])), *moments(values), *shares, str(np.isnan(x).sum()), str(np.isinf(x).sum())


def diagnose(
    learner: AnyLearner,
    loss: Callable[..., Any] | None,
    xs: Any,
    *targets: Any,
    params: Any = None,
    states: Any = None,
    key: jax.Array | None = None,
    **given: Any,
) -> Diagnosis:
    """Run a model over a sequence of your own, and look for what is known to go wrong with hidden states.

    Looked for are states that are not finite (and at which step that began), all zero, saturated, or the same for every
    sample of a batch; units that never vary; weights without gradient; credit that explodes or vanishes on its way into
    the past. Each finding says where, how much, a likely cause, and what to do. `loss` is that of `learner.grad`; with
    None the gradients of weights are not looked at. `given` are the marks of the steps, and signals of the rule. Raises
    EtirError for arguments that `learner.predict` refuses.
    """
    own, params = looked_at(learner, params)
    marks, _ = apart(own, given)
    run = prepared(own, xs, params=params, states=states, marks=marks)
    found = real_series(record(run.learner, xs, params=run.params, states=run.states, **marks))
    hidden = {state.path for state in run.transition.hidden}
    seen = {path: x for path, x in found.items() if path in hidden}
    grads = {} if loss is None else _grads(run, loss, xs, targets, key, given)
    labels = {label.path: label.label for label in own.certificate}
    options: dict[str, Any] = {"steps": run.steps, "trials": 1, "traces": False}
    finite = all(np.isfinite(x).all() for x in seen.values())
    reach = finite and run.steps > 1 and seen
    past = (
        effective_memory(run.learner, xs, params=run.params, states=run.states, **options, **marks) if reach else None
    )
    evidence = Evidence(
        states=seen,
        batched=_batched(run, seen),
        grads=grads,
        past=past.curves.get(STATES, np.zeros(0)) if past is not None else np.zeros(0),
        learns=frozenset(path for path, label in labels.items() if label is not Verdict.TRUNCATED),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        norms = {path: float(np.linalg.norm(x.ravel())) for path, x in grads.items()}
    return Diagnosis(states=seen, norms=norms, symptoms=tuple(s for check in CHECKS for s in check(evidence)))


def _grads(run: Run, loss: Callable[..., Any], xs: Any, targets: Any, key: Any, given: Any) -> dict[str, np.ndarray]:
    begun = run.learner.init(None, run.states, key=key)
    grads = run.learner.grad(loss)(run.params, begun, xs, *targets, **given).grads
    found = {path: x for path, x in leaf_paths(grads, "param") if jnp.issubdtype(x.dtype, jnp.inexact)}
    return {path: magnitude_or_real(np.asarray(x)) for path, x in found.items()}


def _batched(run: Run, states: Mapping[str, np.ndarray]) -> frozenset[str]:
    """The states whose first axis is as long as one of the inputs', whose entries along it differ."""
    sizes = {x.shape[1] for x in run.flat_inputs if x.ndim > 1 and x.shape[1] > 1 and bool((x != x[:, :1]).any())}
    return frozenset(path for path, x in states.items() if x.ndim > 2 and x.shape[1] in sizes)
