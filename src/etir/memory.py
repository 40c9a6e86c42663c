"""A budget for what traces hold: how it is written, what it is where nobody says, and its refusal."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import jax

from .ir.diagnostics import EtirError, error
from .ir.plan.cost import human_bytes
from .ir.transition import Transition

_DECIMAL = {f"{prefix}B": 1000**k for k, prefix in enumerate(("", "k", "M", "G", "T", "P"))}
_BINARY = {f"{prefix}iB": 1024**k for k, prefix in enumerate(("K", "M", "G", "T", "P"), 1)}
_UNITS = {"": 1, "KB": 1000} | _DECIMAL | _BINARY
_TEXT = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)\s*")
_SHOWN = 3
"""Traces that a refusal lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many bytes the traces may hold, and whose number that is."""

    bytes: float
    source: str

    @property
    def limit(self) -> int | None:
        """The bound; None for none."""
        return None if math.isinf(self.bytes) else int(self.bytes)


def budget(memory: int | float | str | None) -> Budget:
    """The budget that `memory=` asks for: a number of bytes, or a text such as `"2GiB"`; None for what is there.

    `math.inf` is no bound. Raises EtirError for anything else.
    """
    if memory is None:
        return _of_device()
    given = _parsed(memory)
    if given is None:
        raise error(
            "memory-size",
            f"memory={memory!r}; wanted a number of bytes",
            help="write an int, or a text with a unit: '2GiB', '500 MB'",
        )
    return Budget(bytes=given, source="given by memory=")


def _parsed(memory: int | float | str) -> float | None:
    if isinstance(memory, str):
        match = _TEXT.fullmatch(memory)
        unit = _UNITS.get(match["unit"]) if match else None
        return float(match["number"]) * unit if match and unit else None
    number = isinstance(memory, (int, float)) and not isinstance(memory, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    return float(memory) if number and memory >= 0 else None


def _of_device() -> Budget:
    """The device's memory where it says how much that is, else the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return Budget(bytes=float(stats["bytes_limit"]), source="the memory of the device")
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return Budget(bytes=math.inf, source="no bound")
    return Budget(bytes=float(size), source="the memory of this machine")


def refuse_excess(
    planned: Transition, within: Budget, trace_dtype: str | None, fitting: Callable[[], Transition]
) -> None:
    """Raise EtirError where a plan's traces hold more than a budget; `fitting` plans what would fit, if anything."""
    plan = planned.plan
    assert plan is not None
    sizes = [(trace.held_as(trace_dtype), trace.label) for trace in plan.traces]
    held = sum(kind.bytes for kind, _ in sizes)
    if held <= within.bytes:
        return
    largest = sorted(sizes, key=lambda pair: -pair[0].bytes)
    notes = [f"'{label}', {kind}, holds {human_bytes(kind.bytes)}" for kind, label in largest[:_SHOWN]]
    if len(largest) > _SHOWN:
        rest = sum(kind.bytes for kind, _ in largest[_SHOWN:])
        notes.append(f"{len(largest) - _SHOWN} more hold {human_bytes(rest)}")
    raise error(
        "memory-exceeded",
        f"the traces of rule '{plan.rule}' would hold {human_bytes(held)}; "
        f"the budget is {human_bytes(within.bytes)}, {within.source}",
        notes=notes,
        help=_help(fitting, trace_dtype),
    )


def _help(fitting: Callable[[], Transition], trace_dtype: str | None) -> str:
    try:
        planned = fitting()
    except EtirError:
        return "take a rule with smaller traces, or freeze weights out of it in rules="
    assert planned.plan is not None
    held = sum(trace.held_as(trace_dtype).bytes for trace in planned.plan.traces)
    by_rule: dict[str, int] = {}
    for label in planned.certificate or ():
        by_rule[label.rule] = by_rule.get(label.rule, 0) + 1
    count = sum(by_rule.values())
    parts = ", ".join(f"{n} of {count} weights by {rule}" for rule, n in by_rule.items())
    return f"rule='auto' fits, in {human_bytes(held)}: {parts}; memory= moves the budget"
