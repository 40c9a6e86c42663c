"""The text of a plan: one line for each trace and each operation that fits, whatever its class."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from .attributes import call, place
from .layout import WIDTH, Listing, align, spread, wrap
from .names import Names, nodes
from .text import loc_cell, loc_text, quote, type_text, word

PHASES = {"step": "step", "window": "at_window"}
"""The blocks of a plan's text, and the fields that hold their operations."""

INDENT = "  "
WIDEST_RESULTS = 40
"""Results that take more room than this do not share a line with their operation."""


def plan_lines(plan: Any, params: tuple[Any, ...], names: Names) -> list[str]:
    """The lines of a plan's block; none without a plan."""
    if plan is None:
        return []
    head = f"plan {word(plan.rule)} window={plan.window} credit={word(plan.credit)}{loc_cell(plan)} {{"
    lines = _rules(plan, params, names)
    chosen = getattr(plan, "window_because", "")
    lines += [f"because {quote(str(chosen))} for window"] if chosen else []
    fold = getattr(plan, "fold", 0)
    lines += [f"fold {fold} because {quote(str(getattr(plan, 'fold_because', '')))}"] if fold else []
    lines += align([_signal(node, names) for node in nodes(getattr(plan, "signals", ()))])
    lines += align([_trace(node, names) for node in nodes(plan.traces)])
    for phase, field in PHASES.items():
        operations = nodes(getattr(plan, field, ()))
        if operations:
            lines += [f"{phase} {{", *(INDENT + line for line in _operations(operations, names)), "}"]
    return [head, *(INDENT + line for line in lines), "}"]


def _rules(plan: Any, params: tuple[Any, ...], names: Names) -> list[str]:
    """A line for each rule beside the plan's own, for the parameters that have no trace, and for each choice."""
    rules = nodes(getattr(plan, "rules", ()))
    lines: list[str] = []
    for rule in dict.fromkeys(rules):
        own = [param for param, name in zip(params, rules, strict=False) if name == rule]
        if rule != plan.rule and own:
            lines += wrap(f"rule {word(rule)} for ", _params(own, names), "")
    left = nodes(getattr(plan, "left", ()))
    lines += wrap("no trace for ", _params(left, names), "") if left else []
    reasons = nodes(getattr(plan, "because", ()))
    for text in dict.fromkeys(text for text in reasons if text):
        own = [param for param, other in zip(params, reasons, strict=False) if other == text]
        lines += wrap(f"because {quote(str(text))} for ", _params(own, names), "")
    return lines


def _params(params: Any, names: Names) -> list[str]:
    return [names[getattr(param, "value", None)] for param in params]


def _trace(node: Any, names: Names) -> list[str]:
    before, after = getattr(node, "before", None), getattr(node, "after", None)
    types = dict.fromkeys([type_text(before), type_text(after)])
    label = quote(str(getattr(node, "label", "")))
    start = getattr(node, "start", None)
    cells = [f"trace {names[before]} -> {names[after]}", f" : {' -> '.join(types)}", f"  {label}"]
    return [*cells, "" if start is None else f"  start @{word(start)}", loc_cell(node)]


def _signal(node: Any, names: Names) -> list[str]:
    value = getattr(node, "value", None)
    return [
        f"signal {names[value]}",
        f" : {type_text(value)}",
        f"  {quote(str(getattr(node, 'path', '')))}",
        loc_cell(node),
    ]


def _operations(operations: tuple[Any, ...], names: Names) -> list[str]:
    """The lines of a phase. Operations that fit on the line of their results are aligned."""
    calls = [_Call(operation, names) for operation in operations]
    short = [each for each in calls if each.fits(each.head)]
    heads = align([each.cells for each in short])
    width = max(map(len, heads), default=0)
    padded = {id(each): head.ljust(width) for each, head in zip(short, heads, strict=True)}
    return [line for each in calls for line in each.lines(padded.get(id(each)))]


class _Call:
    """The text of one operation."""

    def __init__(self, operation: Any, names: Names) -> None:
        pairs = [(names[value], type_text(value)) for value in nodes(getattr(operation, "results", ()))]
        self.results = [([name for name, _ in group], kind) for kind, group in groupby(pairs, key=lambda pair: pair[1])]
        """Results of one type that follow each other, and that type."""
        self.text = call(operation, names, {})
        own = loc_cell(operation)
        self.loc = "" if own == loc_text(place(operation)) else own
        """The operation's place; nothing where it is that of what the operation is about."""

    @property
    def cells(self) -> list[str]:
        """The results, where they are of one type."""
        return [", ".join(self.results[0][0]), f" : {self.results[0][1]}"] if len(self.results) == 1 else []

    @property
    def head(self) -> str:
        return "".join(self.cells)

    def fits(self, head: str) -> bool:
        """Whether there is room for it on the line of its results."""
        return 0 < len(head) <= WIDEST_RESULTS and len(f"{head} = {self.text}{self.loc}") <= WIDTH

    def lines(self, head: str | None) -> list[str]:
        """Its lines: one, behind its results as `head` has them, where there is room."""
        if head is not None and self.fits(head):
            return [f"{head} = {self.text}{self.loc}"]
        return [*self.own_lines(), *spread(f"{INDENT if self.results else ''}= ", self.text, self.loc)]

    def own_lines(self) -> list[str]:
        """The results, those of each type on a line, or on several."""
        width = max((w for names, _ in self.results if (w := len(", ".join(names))) <= WIDEST_RESULTS), default=0)
        lines: list[str] = []
        for k, (names, kind) in enumerate(self.results):
            of_kind = f" : {kind}{',' if k + 1 < len(self.results) else ''}"
            *above, last = spread("", Listing(head="", items=tuple(names), tail=""), of_kind)
            lines += [*above, last if above else f"{', '.join(names):<{width}}{of_kind}"]
        return lines
