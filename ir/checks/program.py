"""Rules about plans: static single assignment, traces that are advanced, and names that are known here."""

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
                yield sheet.about("ir-undefined", message, operation, sheet.name(value))
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
                yield sheet.about("ir-defined-twice", message, operation, sheet.name(value))
            seen.add(value)


def traces_are_advanced(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A trace keeps its type, starts as a value of its own, and is advanced by some operation."""
    if t.plan is None:
        return
    results = {value for operation in t.plan.operations for value in operation.results}
    seen: set[Value] = set()
    for trace in t.plan.traces:
        for code, message, mark in (*_trace_faults(trace, results, seen, sheet), *_start_faults(t, trace)):
            yield sheet.finding(code, message, line=f"trace {sheet.name(trace.before)}", mark=mark, loc=trace.loc)
        seen.update((trace.before, trace.after))


def _trace_faults(trace: Trace, results: set[Value], seen: set[Value], sheet: Sheet) -> Iterator[tuple[str, str, str]]:
    before, after = trace.before, trace.after
    if before.type != after.type:
        types = f"{before.type} -> {after.type}"
        yield "trace-type", f"trace '{trace.label}' enters as {before.type} but leaves as {after.type}", types
    if after not in results and after is not before:
        message = f"trace '{trace.label}' becomes {sheet.name(after)}, which nothing computes"
        yield "ir-undefined", message, sheet.name(after)
    if before in seen or after in seen:
        both = before if before in seen else after
        yield "ir-defined-twice", f"{sheet.name(both)} belongs to two traces", sheet.name(both)


def _start_faults(t: Transition, trace: Trace) -> Iterator[tuple[str, str, str]]:
    """A trace that does not begin as zeros begins as what a region makes of a key."""
    if trace.start is None:
        return
    mark, regions = f"start @{trace.start}", [region for region in t.regions if region.name == trace.start]
    if not regions:
        yield "ir-undefined", f"trace '{trace.label}' starts as region @{trace.start}, which is not there", mark
    for region in regions:
        found = [str(v.type) for v in region.inputs], [str(v.type) for v in region.outputs]
        if found != (["u32[2]"], [str(trace.before.type)]):
            signature = f"({', '.join(found[0])}) -> ({', '.join(found[1])})"
            message = f"trace '{trace.label}' starts as region @{trace.start}, which is {signature}"
            yield "trace-type", f"{message}; wanted (u32[2]) -> ({trace.before.type})", mark


def operations_stay_in_the_transition(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """Every group, association, parameter, state, site or weight that an operation names is one of the transition."""
    homes = homes_of(t)
    for operation in t.plan.operations if t.plan else ():
        for name, node in foreign_nodes(homes, operation):
            noun = "parameter" if isinstance(node, Param) else type(node).__name__.lower()
            article = "an" if noun[0] in "aeiou" else "a"
            message = f"'{mnemonic(type(operation))}' has {article} {noun} of another transition as its {name}"
            yield sheet.about("ir-foreign", message, operation, _mark(node, name, sheet))


def _mark(node: Any, field: str, sheet: Sheet) -> str:
    """How the text of an operation shows a node: by the value that names it, or else by the field."""
    match node:
        case Association():
            return sheet.name(node.site.output)
        case Site():
            return sheet.name(node.output)
        case State():
            return sheet.name(node.before)
        case Param() | Weight():
            return sheet.name(node.value)
        case _:
            return f"{field}="


def homes_of(t: Transition) -> dict[type, set[Any]]:
    """What of a transition an operation may name, by its class."""
    return {
        Group: set(t.every_group),
        Association: set(t.every_association),
        Param: set(t.params),
        State: set(t.states),
        Site: set(t.sites),
        Weight: set(t.weights),
    }


def foreign_nodes(homes: dict[type, set[Any]], operation: Operation) -> Iterator[tuple[str, Any]]:
    """What an operation names that is not in the transition, with the name of its field."""
    for name, node in _nodes_of(operation):
        if type(node) in homes and node not in homes[type(node)]:
            yield name, node


def _nodes_of(operation: Operation | Part) -> Iterator[tuple[str, Any]]:
    """Each field of an operation, tuples and parts opened."""
    for f in fields(operation):
        item = getattr(operation, f.name)
        for entry in item if isinstance(item, tuple) else (item,):
            yield from _nodes_of(entry) if isinstance(entry, Part) else [(f.name, entry)]


def rules_are_of_the_parameters(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A plan with several rules, or with choices, has one for each parameter; those without a trace are parameters."""
    if t.plan is None:
        return
    for noun, given in (("rules", t.plan.rules), ("choices", t.plan.because)):
        if given and len(given) != len(t.params):
            message = f"the plan has {len(given)} {noun} for {len(t.params)} parameters"
            yield sheet.finding("ir-settings", message, line="plan", loc=t.plan.loc)
    for param in t.plan.left:
        if param not in t.params:
            message = f"the plan has no trace for '{param.path}', which is no parameter of this transition"
            yield sheet.finding("ir-foreign", message, line="no trace for", mark=sheet.name(param.value))


def signals_are_arguments(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A signal has a path and a value of its own."""
    signals = t.plan.signals if t.plan else ()
    taken = model_values(t) if signals else set[Value]()
    for k, signal in enumerate(signals):
        line = f"signal {sheet.name(signal.value)}"
        if signal.path in [other.path for other in signals[:k]]:
            message = f"two signals are called '{signal.path}'; wanted one"
            yield sheet.finding("ir-path", message, line=line, mark=f'"{signal.path}"', loc=signal.loc)
        if signal.value in taken:
            message = f"signal '{signal.path}' is {sheet.name(signal.value)}, which is something else already"
            yield sheet.finding("ir-argument", message, line=line, mark=sheet.name(signal.value), loc=signal.loc)
        taken.add(signal.value)
