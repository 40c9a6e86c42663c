"""What every model of another library must keep: its outputs, the paths of its user, and I1 to I3."""

from functools import cache
from typing import Any

import jax
import numpy as np
from framework_models import Guest
from learners import differing, driver, false_labels, labels_of, zeros
from oracles import bptt

import etir
from etir.ir.step import leaf_paths

STEPS = 7
OUTPUTS = 1e-12
"""Distance within which outputs equal the library's own."""


@cache
def compiled(of: Guest, rule: str = "d_rtrl", window: int = 1) -> Any:
    """The learner of a model."""
    return etir.compile(*of.given, *of.inputs, rule=rule, window=window, on_truncated="ignore")


def sequence(of: Guest) -> Any:
    """Inputs with a leading time axis."""
    leaves, structure = jax.tree.flatten(of.inputs)
    drawn = [_drawn(key, x) for key, x in zip(jax.random.split(jax.random.key(1), len(leaves)), leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def _drawn(key: Any, x: Any) -> Any:
    if x.dtype == bool:
        return jax.random.bernoulli(key, 0.3, (STEPS, *x.shape))
    return jax.random.normal(key, (STEPS, *x.shape), x.dtype)


def _given(xs: Any) -> Any:
    return xs[0] if len(xs) == 1 else xs


def interface_faults(of: Guest) -> list[str]:
    """Where outputs are not the library's own, or paths not those that its user would write."""
    learner, xs = compiled(of), sequence(of)
    after, ys = learner.predict(xs=_given(xs))
    found = []
    if not np.allclose(ys, of.own(*xs), rtol=OUTPUTS, atol=OUTPUTS):
        found.append("outputs differ from the library's own")
    for what, tree, wanted in (("parameters", learner.params, of.paths), ("states", after, of.states)):
        if (paths := sorted(path for path, _ in leaf_paths(tree, ""))) != sorted(wanted):
            found.append(f"{what} are called {paths}, and not {sorted(wanted)}")
    return found


def contract_faults(of: Guest, rule: str, window: int) -> list[str]:
    """Every breach of I1 to I3, in words."""
    learner, xs = compiled(of, rule, window), sequence(of)
    model = etir.functionalise(*of.given, *of.inputs)
    ys = jax.eval_shape(lambda: model.step(model.params, model.states, *jax.tree.map(lambda x: x[0], xs))[1])
    ts = jax.random.normal(jax.random.key(2), (STEPS, *ys.shape), ys.dtype)
    drive, labels = driver(learner), labels_of(learner)
    outcome = bptt(model.step, model.params, model.states, xs, ts)
    first = 1.0 * (np.arange(STEPS) < window)
    whole, alone = (
        _named(drive(model.params, states, _given(xs), ts, weights)[0])
        for states, weights in ((model.states, np.ones(STEPS)), (outcome.states, first))
    )
    own = _as_named(model, bptt(model.step, model.params, outcome.states, xs, ts, first))
    exact = _as_named(model, outcome)
    truncated = _as_named(model, bptt(model.step, model.params, model.states, xs, ts, window=window))
    inexact = [path for path, label in labels.items() if rule == "rtrl" and label != "exact"]
    return [
        *(f"I1: {path} differs by {e:.2g} from BPTT in one window" for path, e in differing(alone, own).items()),
        *(f"I2: {lie}" for lie in false_labels(labels, whole, exact, truncated)),
        *(f"I2: {path} is not exact under rtrl" for path in inexact),
        *(f"I3: {path} is zero" for path in zeros(labels, whole, exact, truncated)),
        *(f"{path} has no gradient to speak of" for path, grad in exact.items() if not np.any(grad)),
    ]


def _named(tree: Any) -> dict[str, Any]:
    return dict(leaf_paths(tree, "param"))


def _as_named(model: Any, outcome: Any) -> dict[str, Any]:
    """The oracle's gradients under the paths that a certificate uses, leaf by leaf."""
    return dict(zip(_named(model.params), outcome.grads.values(), strict=True))
