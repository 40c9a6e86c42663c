"""Rules about plans: static single assignment, traces that are advanced, and what each operation wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from ..attributes import mnemonic
from ..diagnostics import Diagnostic
from ..names import values_of
from ..plan import Operation, Part, Total, Trace
from ..transition import Association, Group, Param, Site, State, Transition, Weight
from ..values import Value
from .sheet import Sheet


def operations_read_what_is_computed(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """An operand is a value of the model, a trace before the window, or the result of an earlier operation."""
    if t.plan is None:
        return
    known = model_values(t) | {trace.before for trace in t.plan.traces} | {signal.value for signal in t.plan.signals}
    everywhere = {value for operation in t.plan.operations for value in operation.results}
    of_steps = {value for operation in t.plan.step for value in operation.results}
    for operation in t.plan.operations:
        at_end = operation in t.plan.at_window and not isinstance(operation, Total)
        for value in dict.fromkeys(operation.operands):
            if value not in known or (at_end and value in of_steps):
                why = "which is computed only later" if value in everywhere else "which nothing computes"
                why = "which each step has of its own; take its total" if value in known else why
                message = f"'{mnemonic(type(operation))}' reads {sheet.name(value)}, {why}"
                yield about("ir-undefined", message, operation, sheet, sheet.name(value))
        known.update(operation.results)


def model_values(t: Transition) -> set[Value]:
    """The values that a step has computed when a plan's operations run: those of arguments, regions and sites."""
    return set(values_of(replace(t, plan=None)))


def values_are_computed_once(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A value is the result of at most one operation, and an operation computes no value of the model."""
    if t.plan is None:
        return
    model = model_values(t) | {trace.before for trace in t.plan.traces} | {signal.value for signal in t.plan.signals}
    seen: set[Value] = set()
    for operation in t.plan.operations:
        for value in operation.results:
            if value in seen or value in model:
                what = "twice" if value in seen else "again; the model or a trace has it already"
                message = f"'{mnemonic(type(operation))}' computes {sheet.name(value)} {what}"
                yield about("ir-defined-twice", message, operation, sheet, sheet.name(value))
            seen.add(value)


def traces_are_advanced(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A trace keeps its type, starts as a value of its own, and is advanced by some operation."""
    if t.plan is None:
        return
    results = {value for operation in t.plan.operations for value in operation.results}
    seen: set[Value] = set()
    for trace in t.plan.traces:
        for code, message, mark in _trace_faults(trace, results, seen, sheet):
            yield sheet.finding(code, message, line=f"trace {sheet.name(trace.before)}", mark=mark, loc=trace.loc)
        seen.update((trace.before, trace.after))


def _trace_faults(trace: Trace, results: set[Value], seen: set[Value], sheet: Sheet) -> Iterator[tuple[str, str, str]]:
    before, after = trace.before, trace.after
    if before.type != after.type:
        types = f"{before.type} -> {after.type}"
        yield "trace-type", f"trace '{trace.label}' enters as {before.type} but leaves as {after.type}", types
    if after not in results and after is not before:
        yield (
            "ir-undefined",
            f"trace '{trace.label}' becomes {sheet.name(after)}, which nothing computes",
            sheet.name(after),
        )
    if before in seen or after in seen:
        both = before if before in seen else after
        yield "ir-defined-twice", f"{sheet.name(both)} belongs to two traces", sheet.name(both)


def operations_stay_in_the_transition(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """Every group, association, parameter, state, site or weight that an operation names is one of the transition."""
    homes: dict[type, set[Any]] = {
        Group: set(t.every_group),
        Association: set(t.every_association),
        Param: set(t.params),
        State: set(t.states),
        Site: set(t.sites),
        Weight: set(t.weights),
    }
    for operation in t.plan.operations if t.plan else ():
        for name, node in _nodes_of(operation):
            if type(node) in homes and node not in homes[type(node)]:
                noun = type(node).__name__.lower()
                message = f"'{mnemonic(type(operation))}' has a {noun} as its {name} that is not in this transition"
                yield about("ir-foreign", message, operation, sheet, f"{name}=")


def _nodes_of(operation: Operation | Part) -> Iterator[tuple[str, Any]]:
    """Each field of an operation, tuples and parts opened."""
    for f in fields(operation):
        item = getattr(operation, f.name)
        for entry in item if isinstance(item, tuple) else (item,):
            yield from _nodes_of(entry) if isinstance(entry, Part) else [(f.name, entry)]


def about(code: str, message: str, operation: Operation, sheet: Sheet, mark: str = "") -> Diagnostic:
    """A finding about an operation's line."""
    results = operation.results
    if len(results) == 1:
        line = f"{sheet.name(results[0])} :"
    else:
        line = f"= {mnemonic(type(operation))}("
    return sheet.finding(code, message, line=line, mark=mark, loc=operation.loc)
