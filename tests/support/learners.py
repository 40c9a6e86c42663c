"""Learners over zoo problems: compiled, jitted once, and compared with the oracles."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np
import pytest
from oracles import Gradients, by_path, loss, relative_error
from problems import Problem, bptt_gradients, problem, truncated_gradients

import etir
from etir import zoo

REPRESENTATIVE = (
    "rnn_leaky", "leaky_plain_input", "rnn_diagonal", "gru_reset_before_fused", "gru_reset_after", "lstm", "mgu", "lru",
    "lru_pair", "lif_delta_vjp", "lif_current_recurrent", "gif", "two_layer_leaky", "layer_norm_rnn",
    "weight_all_transforms", "tail_pool", "tail_gather", "weight_left", "weight_shared", "grouped_rnn", "noisy_counter",
    "delay_buffer", "min_gru_remat", "substeps_scan",
)  # fmt: skip
"""Cases that between them have every kind of state, site, coupling and wrapping."""

LAYERS = tuple(case.name for family in zoo.LAYERS for case in family.CASES)
"""Cases in plain jax.numpy: `test_modern_layers` is about them, and other matrices take a few of them alone."""

VARIANTS = frozenset({
    "gla_low_rank", "rwkv4_chunk", "rwkv6_shift", "mamba_low_rank", "mamba_block", "mamba2_fused", "slstm",
    "gated_delta_net", "min_gru_plain", "s5_complex", "kv_cache_roll",
})  # fmt: skip
"""Layers that differ from another one in a detail: what takes long is slow for them."""

RULES = ("bptt", "d_rtrl", "pp_prop", "rtrl")
WINDOWS = (1, 2, 5)
EXACT = 1e-10
"""Relative distance, in float64, within which an exact gradient equals BPTT's."""


def compiled(of: Problem, rule: str, window: int, **options: Any) -> Any:
    """The learner of a problem's model. Truncated weights are what the suites look at, so nobody warns of them."""
    if of.case.buffers:
        options["buffers"] = of.case.buffers
    options.setdefault("sites", of.case.sites)
    return etir.compile(
        of.model.step, of.model.params, of.states, *of.model.inputs,
        rule=rule, window=window, on_truncated="ignore", **options,
    )  # fmt: skip


def settled(learner: Any, carry: Any) -> Any:
    """States and traces after the last step: a carry may hold its traces one step behind."""
    return carry.states, learner.traces(carry)


def labels_of(learner: Any) -> dict[str, str]:
    """The certificate's labels by path."""
    return {entry.path: str(entry.label) for entry in learner.certificate}


def driver(learner: Any) -> Any:
    """A jitted function of parameters, states, inputs, targets, weights: gradients, losses and carry, from no trace."""

    @jax.jit
    def drive(params: Any, states: Any, xs: Any, *targets: Any) -> Any:
        result = learner.grad(loss, reduction="sum")(params, learner.init(params, states), xs, *targets)
        return result.grads, result.losses, result.carry

    return drive


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one compiled program gave: gradients over the whole sequence, and of its first window from warm states."""

    labels: dict[str, str]
    whole: Gradients
    alone: Gradients


@cache
def run(name: str, rule: str, window: int, **options: Any) -> Run:
    """Drive a case by a rule and a window."""
    of = problem(name)
    learner = compiled(of, rule, window, **options)
    drive = driver(learner)
    whole, alone = (by_path(drive(*p.arguments)[0]) for p in (of, problem(name, warm=True).first(window)))
    return Run(labels=labels_of(learner), whole=whole, alone=alone)


def differing(found: Gradients, wanted: Gradients, tolerance: float = EXACT) -> dict[str, float]:
    """The paths whose gradients differ by more than the tolerance, and by how much; a missing one is infinitely far."""
    errors = {path: relative_error(found[path], grad) if path in found else np.inf for path, grad in wanted.items()}
    return {path: error for path, error in errors.items() if not error <= tolerance}


def false_labels(labels: dict[str, str], found: Gradients, exact: Gradients, truncated: Gradients) -> list[str]:
    """Where a label lies: `exact` that is not BPTT, `truncated` that is not the sum of the windows' own gradients."""
    lies = [f"parameter {path} has no label" for path in exact if path not in labels]
    for verdict, wanted in (("exact", exact), ("truncated", truncated)):
        for path, error in differing(found, wanted).items():
            if labels.get(path) == verdict:
                lies.append(f"{path} is labelled {verdict} and differs by {error:.2g}")
    return lies


def zeros(labels: dict[str, str], found: Gradients, exact: Gradients, truncated: Gradients) -> list[str]:
    """The paths whose gradient is zero where BPTT's is not, unless labelled truncated and seen by no window at all."""
    blind = {path for path, label in labels.items() if label == "truncated" and not np.any(truncated[path])}
    return [path for path, grad in exact.items() if np.any(grad) and not np.any(found[path]) and path not in blind]


def contract_faults(name: str, rule: str, window: int, **options: Any) -> list[str]:
    """Every breach of I1, I2 and I3 by one learner of one case, in words."""
    found = run(name, rule, window, **options)
    exact, truncated = bptt_gradients(name), truncated_gradients(name, window)
    own = problem(name, warm=True).first(window).bptt().grads
    return [
        *(f"I1: {path} differs by {e:.2g} from BPTT in one window" for path, e in differing(found.alone, own).items()),
        *(f"I2: {lie}" for lie in false_labels(found.labels, found.whole, exact, truncated)),
        *(f"I3: {path} is zero" for path in zeros(found.labels, found.whole, exact, truncated)),
    ]


def matrix(rules: tuple[str, ...] = RULES, windows: tuple[int, ...] = WINDOWS) -> Any:
    """Case x rule x window. By default every case meets every learning rule, windows taking turns; the rest is slow.

    The rule `bptt` has no trace, and `rtrl` is tried on everything by a test of its own, so by default only the
    representative cases meet them. Every third layer meets one other rule than `d_rtrl`.
    """

    def by_default(c: int, r: int, w: int) -> bool:
        if zoo.ALL[c].name in LAYERS:
            turn = c % 3 == 0 and zoo.ALL[c].name not in VARIANTS
            return turn and rules[r] == ("pp_prop", "rtrl")[c // 3 % 2] and w == c % len(windows)
        return (c + r) % len(windows) == w and (rules[r] not in ("bptt", "rtrl") or zoo.ALL[c].name in REPRESENTATIVE)

    return _crossed(rules, windows, by_default)


def thin_matrix(rules: tuple[str, ...] = RULES, windows: tuple[int, ...] = WINDOWS) -> Any:
    """Case x rule x window. By default each representative case meets one rule and one window; the rest is slow."""

    def by_default(c: int, r: int, w: int) -> bool:
        name = zoo.ALL[c].name
        turn = REPRESENTATIVE.index(name) if name in REPRESENTATIVE else -1
        return turn >= 0 and turn % len(rules) == r and (turn // len(rules)) % len(windows) == w

    return _crossed(rules, windows, by_default)


def marks(by_default: bool) -> list[Any]:
    """What is run when."""
    return [] if by_default else [pytest.mark.slow]


def cells_first(names: Sequence[str], but_for: Container[str] = LAYERS) -> list[Any]:
    """These cases, of which layers are slow, or some of them."""
    return [pytest.param(name, marks=marks(name not in but_for)) for name in names]


def _crossed(rules: tuple[str, ...], windows: tuple[int, ...], by_default: Callable[[int, int, int], bool]) -> Any:
    return pytest.mark.parametrize(
        ("name", "rule", "window"),
        [
            pytest.param(case.name, rule, window, marks=marks(by_default(c, r, w)))
            for c, case in enumerate(zoo.ALL)
            for r, rule in enumerate(rules)
            for w, window in enumerate(windows)
        ],
    )
