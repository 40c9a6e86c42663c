"""Whether a certificate is true: every weight's gradient beside that of BPTT, and what follows for its label."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import jax

from .arrays import draw
from .backends import Learner
from .comparison import Comparison, compare
from .ir import jaxpr as jx
from .ir.diagnostics import Diagnostic, EtirError, error
from .ir.plan import Vjp
from .ir.transition import Certificate, Label, Transition, Verdict
from .program import Draw, Program


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
    """The distance from BPTT's gradient over the whole sequence, relative to it."""
    outcome: Outcome
    why: str = ""

    @property
    def verdict(self) -> str:
        """The outcome, and why."""
        return f"{self.outcome}: {self.why}" if self.why else str(self.outcome)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        return (self.label.path, self.label.label, self.label.rule, f"{self.error:.1e}", self.verdict)


HEAD = ("weight", "label", "rule", "error", "verdict")
"""What stands over the cells."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Check:
    """What a check has found: one finding a weight. True of itself where no label is a lie."""

    title: str
    note: str
    """What was done to the parameters; empty where nothing was."""
    findings: tuple[Finding, ...] = field(default=())

    @property
    def holds(self) -> bool:
        """Whether no label is a lie."""
        return not self.lies

    @property
    def lies(self) -> tuple[Finding, ...]:
        """The labels that are not true."""
        return tuple(f for f in self.findings if f.outcome is Outcome.LIE)

    def __bool__(self) -> bool:
        return self.holds

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, path: str) -> Finding:
        return next(f for f in self.findings if f.label.path == path)

    def require(self) -> Check:
        """The check itself. Raises EtirError, with all findings, where a label is a lie."""
        if self.lies:
            raise EtirError([
                Diagnostic(
                    code="check-lie",
                    message=f"the label of '{f.label.path}', {f.label.label}, is not true: its gradient is {f.why}",
                    notes=(f"its relative error is {f.error:.1e}",),
                )
                for f in self.lies
            ])  # fmt: skip
        return self

    @property
    def conclusion(self) -> str:
        """How many labels are lies, how many hold, how many nothing is known of."""
        outcomes = [f.outcome for f in self.findings]
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

    def __repr__(self) -> str:
        rows = [HEAD, *(f.cells for f in self.findings)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(HEAD))]
        table = ["  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self.title, *([self.note] if self.note else []), *table, self.conclusion])

    def _repr_html_(self) -> str:
        colours = {Outcome.HOLDS: "#2a7d3f", Outcome.LIE: "#b3261e", Outcome.UNTESTED: "#777"}
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in HEAD)
        rows = "".join(
            "<tr>"
            + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in f.cells[:-1])
            + f"<td style='text-align:left;color:{colours[f.outcome]}'>{html.escape(f.verdict)}</td></tr>"
            for f in self.findings
        )
        lines = [self.title, *([self.note] if self.note else [])]
        above = "".join(f"<div>{html.escape(line)}</div>" for line in lines)
        return f"{above}<table><tr>{head}</tr>{rows}</table><div>{html.escape(self.conclusion)}</div>"


def check_learner(program: Program, learner: Learner, *, steps: int | None = None, seed: int = 0) -> Check:
    """The labels of a learner of a program beside BPTT of that program, over random inputs and a random loss.

    Raises EtirError where there is nothing to compare with: too few steps, no values, numbers that are not finite.
    """
    window, certificate = learner.window_size, learner.certificate
    length = steps or max(12, 3 * window + 1)
    if length <= window:
        raise error(
            "check-steps",
            f"{length} steps are one window of {window}: no trace is used, so nothing can be checked",
            help="give more steps than a window has",
        )
    check_values(program)
    tolerance = exact_within(learner.transition)
    comparison = compare(program, learner, steps=length, seed=seed, tolerance=tolerance)
    apart = read_at_exit(learner.transition)
    return Check(
        title=_title(certificate, program, length, tolerance),
        note=comparison.note,
        findings=tuple(
            _finding(label, certificate.credit, comparison, label.path in apart)
            for label in certificate
            if label.label is not Verdict.FROZEN
        ),
    )


def check_values(program: Program) -> None:
    """Raise EtirError where a program has shapes in the place of values."""
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((program.params, program.states))):
        raise error(
            "check-values",
            f"'{program.name}' has only shapes where parameters and states should be, so it cannot be run",
            help="give arrays in their place",
        )


def program_of(learner: Learner, drawn: Draw | None = None) -> tuple[Program, Learner]:
    """The program that a learner was compiled from, as far as it is known, and the learner in that program's trees.

    `drawn` draws the inputs that the learner was compiled with, which are without its marks.
    """
    whole = learner.whole
    transition, trees = whole.transition, whole.signature
    body = transition.region("step").body
    if body is None:
        raise error("no-bodies", "the learner's transition was read from text: it has no step to run BPTT of")
    count = len(transition.states)

    def step(params: Any, states: Any, *inputs: Any) -> tuple[Any, Any]:
        found = jx.evaluate(body, jax.tree.leaves((params, states, inputs)))
        return jax.tree.unflatten(trees.states, found[:count]), jax.tree.unflatten(trees.outputs, found[count:])

    kinds = [jax.ShapeDtypeStruct(i.value.type.shape, i.value.type.dtype) for i in transition.inputs]
    inputs = jax.tree.unflatten(trees.inputs, kinds)

    def with_marks(key: jax.Array, steps: int) -> Any:
        assert drawn is not None
        return *drawn(key, steps), *draw(key, steps, inputs[-1:])

    given: dict[str, Any] = {"params": whole.params, "states": whole.states, "inputs": inputs}
    draws = None if drawn is None else with_marks if learner.signature.marks else drawn
    return Program(name=transition.name, step=step, draw=draws, **given), whole


def read_at_exit(transition: Transition) -> set[str]:
    """The parameters of which one window alone promises nothing: their credit is read at steps' exits, or predicted."""
    assert transition.plan is not None
    vjp = next(op for op in transition.plan.at_window if isinstance(op, Vjp))
    if vjp.exit:
        return {param.path for param in transition.params}
    return {path for site in vjp.detached for path in site.weight.paths}


def exact_within(transition: Transition) -> float:
    """The relative error within which gradients count as equal: by the lowest precision that the step computes in."""
    body = transition.region("step").body
    kinds = {jx.dtype_of(var) for eqn in jx.equations(body) for var in eqn.outvars}
    return max((_TOLERANCE[kind] for kind in kinds if kind in _TOLERANCE), default=_TOLERANCE["float64"])


_TOLERANCE = {
    "float64": 1e-9, "complex128": 1e-9, "float32": 1e-4, "complex64": 1e-4, "float16": 5e-2, "bfloat16": 5e-2,
}  # fmt: skip


def _finding(label: Label, credit: str, comparison: Comparison, apart: bool) -> Finding:
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


def _title(certificate: Certificate, program: Program, steps: int, tolerance: float) -> str:
    windows = f"windows of {certificate.window}, {steps} steps, credit {certificate.credit}"
    precision = (
        "float64" if tolerance == _TOLERANCE["float64"] else "the step's own precision, which is lower than float64"
    )
    return f"{program.name}: {certificate.rule}, {windows}; exact means within {tolerance:g} in {precision}"
