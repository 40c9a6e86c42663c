"""The first rule: every field holds what its annotation says. The other rules rely on it."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from dataclasses import Field, fields
from functools import lru_cache
from inspect import get_annotations
from typing import Any, Union, get_args, get_origin, get_type_hints

from .. import plan, transition
from ..dataflow import Crossing
from ..diagnostics import Diagnostic
from ..loc import Loc
from ..plan import Operation, Part, Plan, Signal, Trace
from ..transition import (
    Association,
    Certificate,
    Dependence,
    Group,
    Input,
    Label,
    OpenScope,
    Output,
    Param,
    Reason,
    Region,
    Site,
    State,
    Transition,
    Weight,
)  # fmt: skip
from ..values import Value
from .sheet import Sheet

_NODES = (
    Association, Certificate, Crossing, Dependence, Group, Input, Label, OpenScope, Operation, Output, Param, Part,
    Plan, Reason, Region, Signal, Site, State, Trace, Transition, Value, Weight,
)  # fmt: skip


def fields_hold_their_types(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """Every field of every node holds a value of the annotated type."""
    for where, found, wanted, loc in _misfits(t, "", set()):
        message = f"{where} holds {_describe(found)}; wanted {hint_text(wanted)}"
        yield sheet.finding("ir-field", message, loc=loc)


def _misfits(node: Any, where: str, seen: set[int]) -> Iterator[tuple[str, Any, Any, Loc | None]]:
    """Each misfit in `node` and below: its place, what is there, what was wanted, and the node's location."""
    if id(node) in seen:
        return
    seen.add(id(node))
    hints = annotations_of(type(node))
    for f in fields(node):
        item, hint = getattr(node, f.name), hints[f.name]
        place = f"{where}.{f.name}" if where else f.name
        if not fits(item, hint):
            loc = getattr(node, "loc", None)
            yield place, item, hint, loc if isinstance(loc, Loc) else None
        for below, entry in [(place, item)] if not isinstance(item, tuple) else _numbered(place, item):
            if isinstance(entry, _NODES):
                yield from _misfits(entry, below, seen)


def _numbered(place: str, items: tuple[Any, ...]) -> list[tuple[str, Any]]:
    return [(f"{place}[{k}]", item) for k, item in enumerate(items)]


@lru_cache(maxsize=256)
def annotations_of(cls: type) -> dict[str, Any]:
    """The annotation of each field of a dataclass; `Any` where it names something that is not there at run time.

    Names that a module imports for type checkers alone are those of the transition and of plans, as they are for the
    operations of this package.
    """
    return {f.name: _annotation(cls, f) for f in fields(cls)}


def _annotation(cls: type, field: Field[Any]) -> Any:
    owner = next(base for base in cls.__mro__ if field.name in get_annotations(base))
    own = vars(sys.modules[owner.__module__]) if owner.__module__ in sys.modules else {}
    names = {**vars(plan), **vars(transition), **own}
    holder = type(owner.__name__, (), {"__annotations__": {field.name: field.type}})
    try:
        return get_type_hints(holder, globalns=names)[field.name]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any


def fits(item: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; tuples are opened, and a whole number will do for a `float`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, Union):
        return any(fits(item, option) for option in arguments)
    if origin is tuple:
        return isinstance(item, tuple) and _fit_tuple(item, arguments)
    kind = origin or hint
    if not isinstance(kind, type):
        return True
    if isinstance(item, bool) and kind in (int, float):
        return False
    return isinstance(item, (int, float) if kind is float else kind)


def _fit_tuple(item: tuple[Any, ...], arguments: tuple[Any, ...]) -> bool:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return all(fits(entry, arguments[0]) for entry in item)
    return len(item) == len(arguments) and all(map(fits, item, arguments))


def _describe(item: Any) -> str:
    if isinstance(item, tuple):
        return f"({', '.join(map(_describe, item))})"
    return repr(item) if isinstance(item, (str, int, float, type(None))) else f"a {type(item).__name__}"


def hint_text(hint: Any) -> str:
    """An annotation without its modules."""
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else _without_modules(str(hint))


def _without_modules(text: str) -> str:
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)
