"""The text of pass options: words, quoted strings, numbers, true, false, none, and lists of them."""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import TypeAlias

OptionValue: TypeAlias = "str | int | float | bool | tuple[OptionValue, ...] | None"

WORD = re.compile(r"[A-Za-z_][\w.*?/-]*")
RESERVED = {"true": True, "false": False, "none": None, "inf": float("inf"), "nan": float("nan")}


def format_option(value: object) -> str:
    """The text of an option's value: strings are bare where they are one word, tuples are written `[a, b]`.

    Raises TypeError for a value that has no text.
    """
    if isinstance(value, Enum):
        return format_option(value.value)
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        bare = WORD.fullmatch(value) is not None and value not in RESERVED
        return value if bare else json.dumps(value, ensure_ascii=False)
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(format_option, value))}]"
    raise TypeError(f"a {type(value).__name__} cannot be written as a pass option")
