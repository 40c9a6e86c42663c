"""The text of options: words, strings, numbers, true, false, none, lists, and objects with options of their own."""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Any, TypeAlias

OptionValue: TypeAlias = "str | int | float | bool | tuple[OptionValue, ...] | None"

WORD = re.compile(r"[A-Za-z_][\w.*?/-]*")
RESERVED = {"true": True, "false": False, "none": None, "inf": float("inf"), "nan": float("nan")}


def format_option(value: object) -> str:
    """The text of an option's value: strings are bare where they are one word, tuples are written `[a, b]`.

    An object that is a frozen dataclass with a `name`, as a learning rule is, is written like a pass, braces always
    included. Raises TypeError for a value that has no text.
    """
    if isinstance(value, Enum):
        return format_option(value.value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        bare = WORD.fullmatch(value) is not None and value not in RESERVED
        return value if bare else json.dumps(value, ensure_ascii=False)
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(format_option, value))}]"
    name = getattr(value, "name", None)
    if is_dataclass(value) and isinstance(name, str):
        return f"{name}{{{options_text(value)}}}"
    raise TypeError(f"a {type(value).__name__} cannot be written as a pass option")


def options_text(item: Any) -> str:
    """The options of a pass, or of an object like one, that differ from their defaults."""
    changed = [f for f in option_fields(item) if not _is_default(getattr(item, f.name), default_of(f))]
    return ", ".join(f"{f.name}={format_option(getattr(item, f.name))}" for f in changed)


def option_fields(item: Any) -> list[Field[Any]]:
    """The fields of a pass, or of its class, that a textual pipeline can set."""
    return [f for f in fields(item) if f.init and f.compare]


def default_of(field: Field[Any]) -> Any:
    """The default of a field; `dataclasses.MISSING` where it has none."""
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _is_default(value: Any, default: Any) -> bool:
    """Whether a value is its default, type included: `true` is not `1`."""
    return type(value) is type(default) and bool(value == default)
