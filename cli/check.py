"""irdump check: the certificate against BPTT, in numbers."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import api
from ..backends.learner import Learner
from ..ir import jaxpr as jx
from ..ir.diagnostics import error
from ..ir.step import leaf_paths
from ..ir.transition import Certificate, Label, Transition, Verdict
from . import options
from .arrays import draw, widened
from .bptt import projected_loss, random_directions, summed_gradient
from .console import table, width
from .target import Program

HELP = "compare every weight's gradient with BPTT, and tell whether its label is true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one weight's label claims, how far its gradient is from BPTT's, and what follows."""

    path: str
    label: Verdict
    rule: str
    error: float
    verdict: str
    lie: bool

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        return (self.path, self.label, self.rule, f"{self.error:.1e}", self.verdict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `check`."""
    options.add_target(parser)
    options.add_rule(parser, window=2)
    parser.add_argument(
        "--steps", type=int, metavar="T", help="length of the sequence (default: at least three windows)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random inputs and the random loss")
    parser.add_argument("--backend", default="auto", metavar="NAME", help="auto, reference, xla (default: auto)")


def run(arguments: argparse.Namespace) -> int:
    """Print one line a weight; the exit status is 1 where a label is a lie."""
    chosen = options.read(arguments)
    steps = arguments.steps or max(12, 3 * chosen.window + 1)
    if steps <= chosen.window:
        raise error(
            "check-steps",
            f"{steps} steps are one window of {chosen.window}: no trace is used, so nothing can be checked",
            help="give --steps more than --window",
        )
    given = options.program(arguments, "check gradients")
    jax.config.update("jax_enable_x64", True)  # now, since a library that the model imports may have switched it off
    options.lower(given)
    program = in_float64(given)
    step = options.lower(program)
    transition = options.plan(api.analyse(step, sites=chosen.sites), chosen)
    learner = api.emit(transition, arguments.backend, signature=step)
    findings = compare(program, transition, learner, steps=steps, seed=arguments.seed)
    tolerance = exact_within(transition)
    assert transition.certificate is not None
    print(_headline(transition.certificate, program, steps, tolerance))
    styles = ["bad" if finding.lie else "good" for finding in findings]
    head = ("weight", "label", "rule", "error", "verdict")
    print(table(head, [finding.cells for finding in findings], columns=width(), styles=styles))
    lies = sum(finding.lie for finding in findings)
    print(
        f"{lies} of {len(findings)} labels {'is a lie' if lies == 1 else 'are lies'}" if lies else "every label holds"
    )
    return 1 if lies else 0


def in_float64(program: Program) -> Program:
    """The model with its example values, and so its computation, in double precision, as far as its step lets it."""
    wide = replace(
        program,
        params=widened(program.params),
        states=widened(program.states),
        inputs=widened(program.inputs),
        draw=None if program.draw is None else _wide_draw(program.draw),
    )
    after = jax.eval_shape(wide.step, wide.params, wide.states, *wide.inputs)[0]
    keeps = jax.tree.map(lambda a, b: a.dtype == jnp.asarray(b).dtype, after, wide.states)
    return wide if all(jax.tree.leaves(keeps)) else program


def _wide_draw(function: Callable[[jax.Array, int], Any]) -> Callable[[jax.Array, int], Any]:
    return lambda key, steps: widened(function(key, steps))


def compare(program: Program, transition: Transition, learner: Learner, *, steps: int, seed: int) -> list[Finding]:
    """One finding a weight: the learner's gradient of a random loss, summed over windows, against BPTT's."""
    of_inputs, of_loss = jax.random.split(jax.random.key(seed))
    xs = program.draw(of_inputs, steps) if program.draw else draw(of_inputs, steps, program.inputs)
    directions = random_directions(program, of_loss, steps)
    wanted = dict(leaf_paths(summed_gradient(program, xs, directions), "param"))
    carry = learner.init(program.params, program.states)
    result = learner.grad(projected_loss)(program.params, carry, xs[0] if len(xs) == 1 else xs, directions)
    found = dict(leaf_paths(result.grads, "param"))
    scale = math.hypot(*(_norm(wanted[label.path]) for label in transition.certificate or ()))
    tolerance = exact_within(transition)
    return [
        _finding(label, np.asarray(found[label.path]), np.asarray(wanted[label.path]), scale, tolerance)
        for label in transition.certificate or ()
    ]


def _finding(label: Label, found: Any, wanted: Any, scale: float, tolerance: float) -> Finding:
    reference = _norm(wanted)
    distance = _norm(found - wanted) / (reference or scale or 1.0)
    verdict, lie = _verdict(label.label, found, reference, distance, tolerance)
    return Finding(path=label.path, label=label.label, rule=label.rule, error=distance, verdict=verdict, lie=lie)


def _verdict(label: Verdict, found: Any, reference: float, distance: float, tolerance: float) -> tuple[str, bool]:
    if not math.isfinite(distance):
        return "LIE: not finite", True
    if label is Verdict.EXACT and distance > tolerance:
        return "LIE: not BPTT's gradient", True
    if not found.any() and reference > 0:
        return "LIE: zero, where BPTT's is not", True
    if not reference:
        return "holds: zero, as BPTT's", False
    return ("holds" if label is Verdict.EXACT or distance > tolerance else "holds: equal here"), False


def _norm(array: Any) -> float:
    return float(np.linalg.norm(np.asarray(array).ravel()))


def exact_within(transition: Transition) -> float:
    """The relative error within which gradients count as equal: by the lowest precision that the step computes in."""
    body = transition.region("step").body
    kinds = {jx.dtype_of(var) for eqn in jx.equations(body) for var in eqn.outvars}
    return max((_TOLERANCE[kind] for kind in kinds if kind in _TOLERANCE), default=_TOLERANCE["float64"])


_TOLERANCE = {
    "float64": 1e-9, "complex128": 1e-9, "float32": 1e-4, "complex64": 1e-4, "float16": 5e-2, "bfloat16": 5e-2,
}  # fmt: skip


def _headline(certificate: Certificate, program: Program, steps: int, tolerance: float) -> str:
    windows = f"windows of {certificate.window}, {steps} steps, credit {certificate.credit}"
    precision = (
        "float64" if tolerance == _TOLERANCE["float64"] else "the step's own precision, which is lower than float64"
    )
    return f"{program.name}: {certificate.rule}, {windows}; exact means within {tolerance:g} in {precision}"
