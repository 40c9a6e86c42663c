"""irdump check: the certificate against BPTT, in numbers."""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import jax
import jax.numpy as jnp

from ... import api
from ...ir import jaxpr as jx
from ...ir.diagnostics import error
from ...ir.plan import Vjp
from ...ir.transition import Certificate, Label, Transition, Verdict
from .. import options
from ..arrays import widened
from ..comparison import Comparison, compare
from ..console import printing_aside, table, width
from ..target import Program

HELP = "compare every weight's gradient with BPTT, and tell whether its label is true"


class Outcome(StrEnum):
    """What the numbers say about a label."""

    HOLDS = "holds"
    LIE = "LIE"
    UNTESTED = "not tested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one weight's label claims, how far its gradient is from BPTT's, and what follows."""

    label: Label
    error: float
    outcome: Outcome
    why: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        verdict = f"{self.outcome}: {self.why}" if self.why else str(self.outcome)
        return (self.label.path, self.label.label, self.label.rule, f"{self.error:.1e}", verdict)


_STYLES = {Outcome.HOLDS: "good", Outcome.LIE: "bad", Outcome.UNTESTED: None}


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
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((given.params, given.states))):
        raise error(
            "check-values",
            f"'{given.name}' has only shapes where parameters and states should be, so it cannot be run",
            help="give arrays in their place",
        )
    jax.config.update("jax_enable_x64", True)  # now, since a library that the model imports may have switched it off
    options.lower(given)
    program = in_float64(given)
    step = options.lower(program)
    transition = options.plan(api.analyse(step, sites=chosen.sites), chosen)
    learner = api.emit(transition, arguments.backend, signature=step)
    tolerance = exact_within(transition)
    comparison = compare(program, learner, steps=steps, seed=arguments.seed, tolerance=tolerance)
    certificate = learner.certificate
    apart = read_at_exit(learner.transition)
    findings = [finding(label, certificate.credit, comparison, label.path in apart) for label in certificate]
    print(_headline(certificate, program, steps, tolerance))
    if comparison.note:
        print(textwrap.fill(comparison.note, width(), break_on_hyphens=False))
    head, rows = ("weight", "label", "rule", "error", "verdict"), [finding.cells for finding in findings]
    print(table(head, rows, columns=width(), styles=[_STYLES[finding.outcome] for finding in findings]))
    print(_conclusion([finding.outcome for finding in findings]))
    return 1 if any(finding.outcome is Outcome.LIE for finding in findings) else 0


@printing_aside()
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


def read_at_exit(transition: Transition) -> set[str]:
    """The parameters of which one window alone promises nothing: their credit is read at steps' exits, or predicted."""
    assert transition.plan is not None
    vjp = next(op for op in transition.plan.at_window if isinstance(op, Vjp))
    if vjp.exit:
        return {param.path for param in transition.params}
    return {path for site in vjp.detached for path in site.weight.paths}


def finding(label: Label, credit: str, comparison: Comparison, apart: bool = False) -> Finding:
    """What the numbers say about one label; `apart` where one window alone promises nothing of it."""
    outcome, why = _judged(label.path, label.label, credit, comparison, apart)
    return Finding(label=label, error=comparison.whole.distance(label.path), outcome=outcome, why=why)


def _judged(path: str, label: Verdict, credit: str, comparison: Comparison, apart: bool) -> tuple[Outcome, str]:
    whole, windows, alone = comparison.whole, comparison.windows, comparison.alone
    zero, full = whole.is_zero(path), credit == "full"
    unseen = full and label is Verdict.TRUNCATED and windows.wants_zero(path)
    if not math.isfinite(whole.distance(path)):
        return Outcome.LIE, "not finite"
    if zero and not whole.wants_zero(path) and not unseen:
        return Outcome.LIE, "zero, where BPTT's is not"
    if label is Verdict.EXACT and not whole.equal(path):
        return Outcome.LIE, "not BPTT's gradient"
    if full and label is Verdict.TRUNCATED and not windows.equal(path):
        return Outcome.LIE, "not the sum of BPTT's in each window"
    if (full or label is Verdict.EXACT) and not apart and not alone.equal(path):
        return Outcome.LIE, "not BPTT's in one window alone"
    if zero and whole.wants_zero(path):
        return Outcome.UNTESTED, "zero, as BPTT's"
    if zero:
        return Outcome.HOLDS, "zero, since no window sees it"
    return Outcome.HOLDS, "equal here" if label is not Verdict.EXACT and whole.equal(path) else ""


def _conclusion(outcomes: list[Outcome]) -> str:
    """The last line: how many labels are lies, how many hold, how many nothing is known of."""
    lies, holding, untested = (outcomes.count(o) for o in (Outcome.LIE, Outcome.HOLDS, Outcome.UNTESTED))
    if not lies and not untested:
        return "every label holds"
    parts = [f"{lies} of {len(outcomes)} labels {'is a lie' if lies == 1 else 'are lies'}"] if lies else []
    if not lies and holding:
        parts.append(f"{holding} label{' holds' if holding == 1 else 's hold'}")
    if untested:
        reason = "its gradient is zero here" if untested == 1 else "their gradients are zero here"
        parts.append(f"{untested} of {len(outcomes)} not tested: {reason}")
    return "; ".join(parts)


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
