"""Values of Python among a module's attributes: they are part of the program, so a step must leave them as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PLAIN = (bool, int, float, complex, str, type(None))
"""What is no array and no part of a module."""


def plain_values(attributes: Iterable[tuple[Iterable[object], Any]]) -> dict[str, Any]:
    """The numbers, strings and such among attributes that are given with their paths, by dotted path."""
    return {".".join(map(str, path)): value for path, value in attributes if isinstance(value, PLAIN)}


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The paths of what a step changed, added or took away; a NaN that stayed is the same."""
    pairs = {path: (before.get(path, ...), after.get(path, ...)) for path in {**before, **after}}
    return [path for path, (old, new) in pairs.items() if old is not new and old != new]
