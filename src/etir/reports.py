"""What compiling a model warns of, beside weights without a trace, and what it refuses when all is planned."""

from __future__ import annotations

from .ir.dataflow import Crossing
from .ir.diagnostics import Diagnostic, error, warn
from .ir.transition import Transition, Verdict
from .passes.analyses.held import Marked
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


def refuse_unmarked(transition: Transition) -> None:
    """Raise EtirError where steps are marked, and some trace of the plan is not bound to what states do.

    A step that does not count, or that begins a sequence, is one whose states stay or start; a trace that moves by the
    derivative of the step alone stays or starts with them.
    """
    plan, marks = transition.plan, [given.path for given in transition.inputs if given.mark]
    if plan is None or not marks:
        return
    marked = Marked(transition)
    if (path := marked.open_signal()) is not None:
        raise error(
            "mark-rule",
            f"mask= cannot keep rule '{plan.rule}' from learning: its signal '{path}' is an input that says at every "
            "step what is to be learned",
            loc=next(signal.loc for signal in plan.signals if signal.path == path),
            help="let the rule read plan.counted(...) of it; or leave mask= out and give a signal of zero where a step "
            "is not to count",
        )
    if free := marked.free():
        trace, names = free[0], " and ".join(f"{name}=" for name in marks)
        late = marked.is_late(trace)
        raise error(
            "mark-rule",
            f"{names} cannot hold rule '{plan.rule}' still: its trace '{trace.label}' "
            + (
                "moves at the end of a window, whether steps of it count or not"
                if late
                else "moves by more than the derivative of the step, and no axis of it is shown to be of samples"
            ),
            loc=trace.loc,
            help="let the rule choose by plan.counted_steps() what the trace becomes; or leave mask= out"
            if late
            else "compile for one sample with 'step' in the place of 'sample' and jax.vmap the learner; or choose "
            "d_rtrl, snap, rtrl or bptt",
        )


def check_on_truncated(given: str) -> None:
    """Raise EtirError for something that `on_truncated` may not be."""
    if given not in ("warn", "error", "ignore"):
        raise error("unknown-option", f"on_truncated='{given}'; wanted 'warn', 'error' or 'ignore'")
