"""The smallest pieces of the text form: words, strings, locations, types."""

from __future__ import annotations

import json
import re
from typing import Any

from .names import MISSING

_WORD = re.compile(r"[A-Za-z_][\w.]*")
_BARE_LOC = re.compile(r'[^\s()"]+')


def quote(text: str) -> str:
    """A string in double quotes, escaped as in JSON."""
    return json.dumps(text, ensure_ascii=False)


def word(text: Any) -> str:
    """A name as it stands where it is one word, else quoted."""
    if text is None:
        return MISSING
    return str(text) if _WORD.fullmatch(str(text)) else quote(str(text))


def loc_cell(node: Any) -> str:
    """A node's location as the last cell of its line; empty where it has none."""
    return loc_text(getattr(node, "loc", None))


def loc_text(loc: Any) -> str:
    """A location as the last cell of a line; empty for none."""
    if loc is None:
        return ""
    text = str(loc)
    return f"  loc({text if _BARE_LOC.fullmatch(text) else quote(text)})"


def type_text(value: Any) -> str:
    """The type of a value, as text."""
    return str(getattr(value, "type", MISSING))
