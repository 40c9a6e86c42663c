"""What each trace of a plan is run by, as text."""

from __future__ import annotations

from ..ir.transition import Transition
from .backend import Backend
from .calls import Calls
from .names import AUTO, backend_of
from .program import Program


def kernels(transition: Transition, backend: str | Backend = "auto") -> str:
    """For each trace of the plan, and each pattern that a kernel took: which kernel it got, why, and what it does.

    Raises EtirError for an unknown backend, and for a transition that has no plan or was read from text.
    """
    plan = Calls(transition).plan
    chosen = AUTO if backend == "auto" else backend_of(backend)
    program = Program(transition, plan, chosen)
    rows = [("trace", "kernel", "why")]
    for sweep in (*program.sweeps.sweeps, *program.exits.sweeps):
        labels = ", ".join(trace.label for trace in sweep.traces)
        choice = sweep.choice
        assert choice is not None, "every sweep of a program has been chosen for"
        rows.append((labels, choice.kernel, choice.reason))
        if choice.emitted:
            rows.append(("", "", choice.emitted))
    for unit in (*program.sweeps.units, *program.exits.units):
        if unit.choice is not None:
            labels = ", ".join(state.path for state in unit.group.states)
            rows.append((f"history of {labels}", unit.choice.kernel, unit.choice.reason))
            if unit.choice.emitted:
                rows.append(("", "", unit.choice.emitted))
    for site, source in program.picked.items():
        labels = ", ".join(site.weight.paths)
        rows.append((f"product of {labels}", source.choice.kernel, source.choice.reason))
        if source.choice.emitted:
            rows.append(("", "", source.choice.emitted))
    for trace in plan.traces:
        if not program.sweeps.carries(trace) and trace not in program.exits.traces:
            rows.append((trace.label, "xla", "the plan's operations advance it, one by one"))
    for action in [*program.early, *program.late, *program.at_window]:
        if action.fused is not None:
            rows.append(
                (", ".join(type(op).__name__ for op in action.fused.operations), action.fused.name, "it matched")
            )
    widths = [max(len(row[k]) for row in rows) for k in (0, 1)]
    lines = [f"kernels of {plan.rule} window={plan.window} by backend '{'auto' if chosen is AUTO else chosen.name}'"]
    lines += [f"{what:<{widths[0]}}  {kernel:<{widths[1]}}  {why}".rstrip() for what, kernel, why in rows]
    return "\n".join(lines)
