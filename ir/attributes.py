"""The text of the fields of plan operations: values, nodes of the transition, numbers, strings, and tuples of these."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from ..coupling import Coupling
from .expression import Expression
from .layout import Listing, Piece, prefixed
from .loc import Loc
from .names import Names, nodes
from .plan import Operation, Part
from .text import quote
from .transition import Association, Group, Param, Site, State, Weight
from .types import TensorType
from .values import Value

Node = Association | Group | Param | Site | State | Weight
"""What a field may point at in the transition, beside values."""


def attribute(item: Any, names: Names, said: dict[str, Node]) -> Piece:
    """The text of what a field holds. What has none prints in angle brackets, which the parser refuses."""
    match item:
        case Value():
            return names[item]
        case tuple() | list():
            return _list(nodes(item), names, said)
        case None | bool():
            return str(item).lower()
        case str():
            return quote(str(item))
        case int():
            return repr(int(item))
        case float():
            return repr(float(item))
        case Group():
            return f"#{item.index}"
        case Association():
            return f"{names[getattr(item.site, 'output', None)]} -> #{getattr(item.group, 'index', None)}"
        case Param() | Weight() | Site() | State():
            return f"{_kind(item)} {_named(item, names)}"
        case Expression():
            return f"expression {quote(str(item))}"
        case Coupling():
            return f"coupling from {_shape(item.in_shape)} to {_shape(item.out_shape)} {item}"
        case TensorType():
            return str(item)
        case Part():
            return call(item, names, said)
        case _:
            return f"<{type(item).__name__}>"


def _list(items: tuple[Any, ...], names: Names, said: dict[str, Node]) -> Piece:
    """Items in brackets. Of a list of parameters, weights, sites or states the kind is said once, in front."""
    kinds = {_kind(item) for item in items}
    if len(kinds) == 1 and None not in kinds:
        return Listing(head=f"{kinds.pop()} [", items=tuple(_named(item, names) for item in items), tail="]")
    if len(items) > 1 and all(isinstance(item, int) and not isinstance(item, bool) for item in items):
        return _shape(items)
    return Listing(head="[", items=tuple(attribute(item, names, said) for item in items), tail="]")


def _kind(item: Any) -> str | None:
    return type(item).__name__.lower() if isinstance(item, (Param, Weight, Site, State)) else None


def _named(item: Param | Weight | Site | State, names: Names) -> str:
    match item:
        case Site():
            return names[item.output]
        case State():
            return names[item.before]
        case _:
            return names[item.value]


def _shape(shape: Iterable[int]) -> str:
    return f"[{','.join(repr(int(size)) for size in shape)}]"


def mnemonic(node: type) -> str:
    """The name of a kind of operation, or of a part of one, in text: `AdvanceFull` is `advance_full`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.__name__).lower()


def attribute_fields(node: Any) -> list[Field[Any]]:
    """The fields of an operation or a part, or of its class, that its text gives in parentheses."""
    return [f for f in fields(node) if f.init and f.name not in ("results", "loc")] if is_dataclass(node) else []


def call(node: Operation | Part, names: Names, said: dict[str, Node]) -> Listing:
    """The text of an operation or a part: its name, and in parentheses each field that is not its default.

    `said` has what the operation has named so far, by the name of the field: a part that has the same association,
    group, site, state, parameter or weight in a field of that name does not say so again.
    """
    given: list[Piece] = []
    for f in attribute_fields(node):
        item = getattr(node, f.name)
        again = isinstance(node, Part) and is_required(f) and isinstance(item, Node) and said.get(f.name) is item
        if isinstance(item, Node):
            said[f.name] = item
        if not again and not _is_default(f, item):
            given.append(prefixed(f"{f.name}=", attribute(item, names, said)))
    return Listing(head=f"{mnemonic(type(node))}(", items=tuple(given), tail=")", stacked=True)


def is_required(field: Field[Any]) -> bool:
    """Whether a field has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def _is_default(field: Field[Any], item: Any) -> bool:
    """Whether a field holds its own default."""
    if field.default is not MISSING:
        return item is field.default or (type(item) is type(field.default) and bool(item == field.default))
    return field.default_factory is not MISSING and bool(item == field.default_factory())


def place(node: Operation | Part) -> Loc | None:
    """The place of the first thing of the transition that a field of an operation is: where one without a place is."""
    return next((loc for loc in _places(node)), None)


def _places(node: Any) -> Iterator[Loc | None]:
    for f in attribute_fields(node):
        item = getattr(node, f.name)
        if isinstance(item, Node):
            of = getattr(item, "site", None) if isinstance(item, Association) and item.loc is None else item
            yield getattr(of, "loc", None)
        for part in item if isinstance(item, tuple) else (item,):
            if isinstance(part, Part):
                yield from _places(part)
