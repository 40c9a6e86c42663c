"""What compiling a model warns of, beside weights without a trace, and what it refuses when all is planned."""

from __future__ import annotations

from .ir.dataflow import Crossing
from .ir.diagnostics import Diagnostic, error, warn
from .ir.plan import (
    Advance,
    AdvanceFull,
    Diagonal,
    Inflow,
    Jacobian,
    Neighbourhood,
    Operation,
    Outer,
    Sensitivity,
    Trace,
)
from .ir.step import Signature
from .ir.transition import Transition, Verdict
from .ir.values import Value
from .passes.analyses.silence import STOPPED

_NAMED = 3
"""Paths that a message lists before it only counts."""


def report_silenced(transition: Transition) -> None:
    """Warn of parameters that learn nothing because some operation's derivative is zero, all that it silences at once.

    Not of those that `stop_gradient` alone silences, which is meant, nor of those that learn by a signal of their own.
    """
    certificate, flow = transition.certificate, transition.flow
    if certificate is None or flow is None:
        return
    silenced: dict[tuple[Crossing, ...], list[str]] = {}
    for place, crossings in flow.silenced.items():
        path = transition.params[place].path
        unmeant = tuple(crossing for crossing in crossings if crossing.operation != STOPPED)
        if unmeant and certificate[path].label is Verdict.EXACT:
            silenced.setdefault(unmeant, []).append(path)
    for crossings, paths in silenced.items():
        warn(_finding(crossings, paths))


def _finding(crossings: tuple[Crossing, ...], paths: list[str]) -> Diagnostic:
    first, *others = crossings
    named = " and ".join(f"'{path}'" for path in paths[:_NAMED])
    names = named if len(paths) <= _NAMED else f"'{paths[0]}' and {len(paths) - 1} more"
    learns, them = ("learns", "it") if len(paths) == 1 else ("learn", "them")
    through = f"{first.operation} or one like it" if others else first.operation
    return Diagnostic(
        code="zero-derivative",
        severity="warning",
        message=f"{names} {learns} nothing: every path from {them} to an output passes through {through}, {first.why}",
        loc=first.loc,
        notes=tuple(f"{each.loc}: {each.operation}, {each.why}" for each in others),
        help="give the operation a surrogate derivative, with jax.custom_jvp or jax.custom_vjp; "
        "jax.lax.stop_gradient says that no learning is meant",
    )


def refuse_unmarked(transition: Transition, signature: Signature) -> None:
    """Raise EtirError where steps are marked, and some trace of the plan is not bound to what states do.

    A step that does not count, or that begins a sequence, is one whose states stay or start; a trace that moves by the
    derivative of the step alone stays or starts with them.
    """
    plan = transition.plan
    if plan is None or not signature.marks:
        return
    if plan.signals and "mask" in signature.marks:
        raise error(
            "mark-rule",
            f"mask= cannot keep rule '{plan.rule}' from learning: its signal '{plan.signals[0].path}' is an input that "
            "says at every step what is to be learned",
            loc=plan.signals[0].loc,
            help="leave mask= out and give a signal of zero where a step is not to count; the states then move on",
        )
    makers = {value: op for op in plan.operations for value in op.results}
    free = [trace for trace in plan.traces if not _follows_states(trace, makers)]
    if free:
        names = " and ".join(f"{name}=" for name in signature.marks)
        raise error(
            "mark-rule",
            f"{names} cannot hold rule '{plan.rule}' still: its trace '{free[0].label}' does not move by the "
            "derivative of the step alone",
            loc=free[0].loc,
            help="choose d_rtrl, snap, rtrl or bptt; or leave padding out, and begin each sequence with learner.init",
        )


def _follows_states(trace: Trace, makers: dict[Value, Operation]) -> bool:
    if trace.before is trace.after:
        return True
    advance = makers[trace.after]
    if not isinstance(advance, Advance):
        return isinstance(advance, AdvanceFull)
    by, drives = advance.by, (advance.add, *advance.inflow)
    if not isinstance(by, (Diagonal, Neighbourhood)):
        return False
    factors: list[Value | None] = list(by.factors)
    for drive in drives:
        if not isinstance(drive, (Outer, Inflow)):
            return False
        factors += drive.factors
    return all(value is None or isinstance(makers.get(value), (Jacobian, Sensitivity)) for value in factors)


def check_on_truncated(given: str) -> None:
    """Raise EtirError for something that `on_truncated` may not be."""
    if given not in ("warn", "error", "ignore"):
        raise error("unknown-option", f"on_truncated='{given}'; wanted 'warn', 'error' or 'ignore'")
