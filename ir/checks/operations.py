"""What each plan operation wants of its operands and results, as the operation itself says."""

from __future__ import annotations

from collections.abc import Iterator

from ..attributes import mnemonic
from ..diagnostics import Diagnostic, EtirError
from ..plan.reverse import type_list
from ..transition import Transition
from .program import about
from .sheet import Sheet


def operations_fit_their_operands(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """Each operation has the results that its operands call for."""
    for operation in t.plan.operations if t.plan else ():
        for fault in operation.faults(t):
            yield about("operation-type", f"'{mnemonic(type(operation))}' {fault}", operation, sheet)
        try:
            wanted = operation.types(t)
        except EtirError as refusal:  # an operation without types: its own diagnostic is the finding
            yield from refusal.diagnostics
            continue
        found = [value.type for value in operation.results]
        if found != list(wanted):
            message = f"'{mnemonic(type(operation))}' gives {type_list(found)}; wanted {type_list(wanted)}"
            yield about("operation-type", message, operation, sheet)


def operations_run_in_their_phase(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """An operation that reads one step runs at steps, one that reads a window at its end."""
    for phase, operations in (("step", t.plan.step), ("window", t.plan.at_window)) if t.plan else ():
        for operation in operations:
            if phase not in operation.phases:
                where = "at every step" if phase == "step" else "at a window's end"
                message = f"'{mnemonic(type(operation))}' runs {where}; it has no meaning there"
                yield about("operation-phase", message, operation, sheet)
