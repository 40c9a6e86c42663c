"""The text of the fields of plan operations: values, nodes of the transition, numbers, strings, and tuples of these."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from ..coupling import Coupling
from .expression import Expression
from .names import Names, nodes
from .plan import Part
from .text import quote
from .transition import Association, Group, Param, Site, State, Weight
from .types import TensorType
from .values import Value


def attribute_text(item: Any, names: Names) -> str:
    """The text of one field. What has none prints in angle brackets, which the parser refuses."""
    match item:
        case Value():
            return names[item]
        case tuple() | list():
            return f"[{', '.join(attribute_text(entry, names) for entry in nodes(item))}]"
        case None | bool():
            return str(item).lower()
        case str():
            return quote(str(item))
        case int() | float():
            return repr(item)
        case Group():
            return f"#{item.index}"
        case Association():
            return f"{names[getattr(item.site, 'output', None)]} -> #{getattr(item.group, 'index', None)}"
        case Param() | Weight():
            return f"{type(item).__name__.lower()} {names[item.value]}"
        case Site():
            return f"site {names[item.output]}"
        case State():
            return f"state {names[item.before]}"
        case Expression():
            return f"expression {quote(str(item))}"
        case Coupling():
            return f"coupling from {_shape(item.in_shape)} to {_shape(item.out_shape)} {item}"
        case TensorType():
            return str(item)
        case Part():
            return f"{mnemonic(type(item))}({', '.join(arguments(item, names))})"
        case _:
            return f"<{type(item).__name__}>"


def _shape(shape: Iterable[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def mnemonic(node: type) -> str:
    """The name of a kind of operation, or of a part of one, in text: `AdvanceFull` is `advance_full`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.__name__).lower()


def attribute_fields(node: Any) -> list[Field[Any]]:
    """The fields of an operation or a part, or of its class, that its text gives in parentheses."""
    return [f for f in fields(node) if f.init and f.name not in ("results", "loc")] if is_dataclass(node) else []


def arguments(node: Any, names: Names) -> list[str]:
    """The text of each field of an operation or a part that is not its default."""
    return [
        f"{f.name}={attribute_text(item, names)}"
        for f in attribute_fields(node)
        if not is_default(f, item := getattr(node, f.name))
    ]


def is_default(field: Field[Any], item: Any) -> bool:
    """Whether a field holds its own default."""
    if field.default is not MISSING:
        return item is field.default or (type(item) is type(field.default) and bool(item == field.default))
    return field.default_factory is not MISSING and bool(item == field.default_factory())
