"""The text of a plan: one line for each trace and each operation, whatever its class."""

from __future__ import annotations

from typing import Any

from .attributes import arguments, mnemonic
from .layout import WIDTH, align, fold, wrap
from .names import Names, nodes
from .text import loc_cell, quote, type_text, word

PHASES = {"step": "step", "window": "at_window"}
"""The blocks of a plan's text, and the fields that hold their operations."""

INDENT = "  "


def plan_lines(plan: Any, names: Names) -> list[str]:
    """The lines of a plan's block; none without a plan."""
    if plan is None:
        return []
    head = f"plan {word(plan.rule)} window={plan.window} credit={word(plan.credit)}{loc_cell(plan)} {{"
    lines = [f"rules [{', '.join(map(word, plan.rules))}]"] if getattr(plan, "rules", ()) else []
    lines += align([_signal(node, names) for node in nodes(getattr(plan, "signals", ()))])
    lines += align([_trace(node, names) for node in nodes(plan.traces)])
    for phase, field in PHASES.items():
        operations = nodes(getattr(plan, field, ()))
        if operations:
            lines += [f"{phase} {{", *(INDENT + line for line in _operations(operations, names)), "}"]
    return [head, *(INDENT + line for line in lines), "}"]


def _trace(node: Any, names: Names) -> list[str]:
    before, after = getattr(node, "before", None), getattr(node, "after", None)
    types = dict.fromkeys([type_text(before), type_text(after)])
    label = quote(str(getattr(node, "label", "")))
    start = f"  start @{node.start}" if getattr(node, "start", None) else ""
    cells = [f"trace {names[before]} -> {names[after]}", f" : {' -> '.join(types)}", f"  {label}"]
    return [*cells, start, loc_cell(node)]


def _signal(node: Any, names: Names) -> list[str]:
    value = getattr(node, "value", None)
    return [
        f"signal {names[value]}",
        f" : {type_text(value)}",
        f"  {quote(str(getattr(node, 'path', '')))}",
        loc_cell(node),
    ]


def _operations(operations: tuple[Any, ...], names: Names) -> list[str]:
    """The lines of a phase; operations with one result are aligned, one with several gets a line for each of them."""
    results = [[[names[v], f" : {type_text(v)}"] for v in nodes(getattr(o, "results", ()))] for o in operations]
    single = iter(align([cells[0] for cells in results if len(cells) == 1]))
    width = max((len(line) for line in align([cells[0] for cells in results if len(cells) == 1])), default=0)
    lines: list[str] = []
    for operation, cells in zip(operations, results, strict=True):
        if len(cells) == 1:
            head = f"{next(single):<{width}} = "
        else:
            stacked = align(cells)  # no line where there is no result
            lines += [line + ("," if k + 1 < len(stacked) else "") for k, line in enumerate(stacked)]
            head = INDENT + "= "
        lines += _call(head, operation, names, loc_cell(operation))
    return lines


def _call(head: str, operation: Any, names: Names, loc: str) -> list[str]:
    given = arguments(operation, names)
    head += f"{mnemonic(type(operation))}("
    short = f"{head}{', '.join(given)}){loc}"
    if len(short) <= WIDTH:
        return [short]
    return [line for wrapped in wrap(head, given, f"){loc}") for line in fold(wrapped)]
