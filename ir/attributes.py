"""The text of the fields of plan operations: values, nodes of the transition, numbers, strings, and tuples of these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..coupling import Coupling
from .expression import Expression
from .names import Names, nodes
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
        case _:
            return f"<{type(item).__name__}>"


def _shape(shape: Iterable[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"
