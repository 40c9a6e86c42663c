"""What each plan operation wants of its operands and results, as the operation itself says."""

from __future__ import annotations

from collections.abc import Iterator

from ..attributes import mnemonic
from ..diagnostics import Diagnostic, EtirError
from ..plan import Operation
from ..plan.faults import type_list
from ..transition import Transition
from .program import foreign_nodes, homes_of
from .sheet import Sheet


def operations_fit_their_operands(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """Each operation says that its operands fit, and has the results that they call for.

    An operation that names something of another transition is left to the rule about that.
    """
    homes = homes_of(t)
    for operation in t.plan.operations if t.plan else ():
        if next(foreign_nodes(homes, operation), None) is not None:
            continue
        try:
            faults = list(operation.faults(t)) or list(_misfit_results(t, operation))
        except EtirError as refusal:  # an operation without types: its own diagnostic is the finding
            yield from refusal.diagnostics
            continue
        for fault in faults:
            yield sheet.about("operation-type", f"'{mnemonic(type(operation))}' {fault}", operation)


def _misfit_results(t: Transition, operation: Operation) -> Iterator[str]:
    found, wanted = [value.type for value in operation.results], list(operation.types(t))
    if found != wanted:
        yield f"gives {type_list(found)}; wanted {type_list(wanted)}"


def operations_run_in_their_phase(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """An operation that reads one step runs at steps, one that reads a window at its end."""
    for phase, operations in (("step", t.plan.step), ("window", t.plan.at_window)) if t.plan else ():
        for operation in operations:
            if phase not in operation.phases:
                where = "at every step" if phase == "step" else "at a window's end"
                message = f"'{mnemonic(type(operation))}' runs {where}; it has no meaning there"
                yield sheet.about("operation-phase", message, operation)
