"""The first rule: every field holds what its annotation says. The other rules rely on it."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import Field, fields
from functools import lru_cache
from inspect import get_annotations
from typing import Any, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

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


Check: TypeAlias = Callable[[Any], bool]
"""Whether a value is of some annotation."""


def fields_hold_their_types(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """Every field of every node holds a value of the annotated type."""
    for where, found, wanted, loc in _misfits(t, "", set()):
        message = f"{where} holds {_describe(found)}; wanted {hint_text(wanted)}"
        yield sheet.finding("ir-field", message, loc=loc)


def _misfits(node: Any, where: str, seen: set[int]) -> Iterator[tuple[str, Any, Any, Loc | None]]:
    """Each misfit in `node` and below: its place, what is there, what was wanted, and the node's location."""
    seen.add(id(node))
    for name, (hint, fitting) in _checks(type(node)).items():
        item = getattr(node, name)
        if not fitting(item):
            loc = getattr(node, "loc", None)
            yield f"{where}{name}", item, hint, loc if isinstance(loc, Loc) else None
        if isinstance(item, tuple):
            for k, entry in enumerate(cast("tuple[Any, ...]", item)):
                if _is_node(type(entry)) and id(entry) not in seen:
                    yield from _misfits(entry, f"{where}{name}[{k}].", seen)
        elif _is_node(type(item)) and id(item) not in seen:
            yield from _misfits(item, f"{where}{name}.", seen)


@lru_cache(maxsize=256)
def _is_node(cls: type) -> bool:
    return issubclass(cls, _NODES)


@lru_cache(maxsize=256)
def _checks(cls: type) -> dict[str, tuple[Any, Check]]:
    """Of each field of a dataclass the annotation, and whether a value is of it."""
    return {name: (hint, check_of(hint)) for name, hint in annotations_of(cls).items()}


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
    return check_of(hint)(item)


def check_of(hint: Any) -> Check:
    """`fits`, of one annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        options = tuple(map(check_of, arguments))
        return lambda item: any(option(item) for option in options)
    if origin is tuple:
        return _check_of_tuple(arguments)
    kind = origin or hint
    if hint is Any or not isinstance(kind, type):
        return lambda item: True
    if kind in (int, float):
        kinds = (int, float) if kind is float else kind
        return lambda item: isinstance(item, kinds) and not isinstance(item, bool)
    return lambda item: isinstance(item, kind)


def _check_of_tuple(arguments: tuple[Any, ...]) -> Check:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        of_entry = check_of(arguments[0])
        return lambda item: isinstance(item, tuple) and all(map(of_entry, item))
    each = tuple(map(check_of, arguments))
    return lambda item: (
        isinstance(item, tuple) and len(item) == len(each) and all(c(x) for c, x in zip(each, item, strict=True))
    )


def _describe(item: Any) -> str:
    if isinstance(item, tuple):
        return f"({', '.join(map(_describe, item))})"
    return repr(item) if isinstance(item, (str, int, float, type(None))) else f"a {type(item).__name__}"


def hint_text(hint: Any) -> str:
    """An annotation without its modules."""
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else _without_modules(str(hint))


def _without_modules(text: str) -> str:
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)
