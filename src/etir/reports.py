"""What compiling a model warns of, beside weights without a trace."""

from __future__ import annotations

from .ir.dataflow import Crossing
from .ir.diagnostics import Diagnostic, warn
from .ir.transition import Transition, Verdict
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
