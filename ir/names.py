"""Names for values, which have none of their own: made from hints when a transition is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from .values import Value

MISSING = "<missing>"


class Names:
    """Unique names of values: `%h`, then `%h1` for the next value with the hint `h`, and `%0` for one without a hint.

    A value gets its name when it is first asked for. With `numbered`, hints are not used: two transitions whose texts
    then agree differ at most in their hints.
    """

    def __init__(self, values: Iterable[Value] = (), *, numbered: bool = False) -> None:
        self._names: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}
        self._numbered = numbered
        for value in values:
            self[value]

    @classmethod
    def of(cls, transition: Any) -> Names:
        """The names of every value of a transition, as `render` prints them."""
        return cls(values_of(transition))

    def __getitem__(self, value: Value | None) -> str:
        if not isinstance(value, Value):
            return MISSING
        if value not in self._names:
            self._names[value] = self._fresh("" if self._numbered else re.sub(r"[^\w.]+", "_", str(value.hint or "")))
        return f"%{self._names[value]}"

    def _fresh(self, hint: str) -> str:
        name = hint or "0"
        joint = "_" if hint[-1:].isdigit() else ""
        while name in self._taken:
            self._last[hint] = self._last.get(hint, 0) + 1
            name = f"{hint}{joint}{self._last[hint]}"
        self._taken.add(name)
        return name


def values_of(transition: Any) -> Iterator[Value]:
    """Every value of a transition, in the order of its text; a value may come more than once, missing ones do not."""
    yield from present(declared_values(transition))
    yield from present(undeclared_values(transition))


def declared_values(transition: Any) -> Iterator[Value | None]:
    """The values that a line of their own gives a type."""
    for group in (transition.params, transition.inputs, transition.outputs, transition.weights):
        yield from (getattr(node, "value", None) for node in nodes(group))
    for state in nodes(transition.states):
        yield from (getattr(state, "before", None), getattr(state, "after", None))
    yield from (getattr(site, "output", None) for site in nodes(transition.sites))
    yield from (getattr(signal, "value", None) for signal in nodes(getattr(transition.plan, "signals", ())))
    for trace in nodes(getattr(transition.plan, "traces", ())):
        yield from (getattr(trace, "before", None), getattr(trace, "after", None))
    for operation in plan_operations(transition):
        yield from nodes(getattr(operation, "results", ()))


def undeclared_values(transition: Any) -> Iterator[Value | None]:
    """The values that are only referred to: what regions compute, what sites and operations read."""
    for site in nodes(transition.sites):
        yield from (getattr(site, "data", None), getattr(getattr(site, "weight", None), "value", None))
    for region in nodes(transition.regions):
        yield from (*nodes(getattr(region, "inputs", ())), *nodes(getattr(region, "outputs", ())))
    for operation in plan_operations(transition):
        yield from nodes(getattr(operation, "operands", ()))


def plan_operations(transition: Any) -> tuple[Any, ...]:
    """Every operation of a transition's plan; none where it has no plan, or a broken one."""
    plan = transition.plan
    return (*nodes(getattr(plan, "step", ())), *nodes(getattr(plan, "at_window", ())))


def present(values: Iterable[Value | None]) -> Iterator[Value]:
    """The values that are there."""
    return (value for value in values if isinstance(value, Value))


def nodes(items: Any) -> tuple[Any, ...]:
    """A field's items, none where the field is broken: text must come out of a broken transition too."""
    return tuple(items) if isinstance(items, (tuple, list)) else ()
