"""Where in the user's source the frontend was called from."""

from __future__ import annotations

import inspect
import itertools
from types import CodeType

from ..ir.loc import Loc

_FRONTEND = __name__.rpartition(".")[0]
_SKIPPED = (_FRONTEND, "jax", "functools", "contextlib")


def calling_line() -> Loc | None:
    """The innermost place on the call stack that is neither the state-based face nor JAX; None where there is none."""
    frame = inspect.currentframe()
    while frame is not None:
        if not _is_machinery(frame.f_globals.get("__name__", "")):
            return _place(frame.f_code, frame.f_lasti, frame.f_lineno)
        frame = frame.f_back
    return None


def _is_machinery(module: str) -> bool:
    if module.startswith(f"{_FRONTEND}.zoo"):
        return False
    return any(module == name or module.startswith(f"{name}.") for name in _SKIPPED)


def _place(code: CodeType, instruction: int, line: int) -> Loc:
    positions = code.co_positions()
    _, end_line, column, end_column = next(itertools.islice(positions, instruction // 2, None), (None,) * 4)
    return Loc(
        file=code.co_filename,
        line=line,
        column=None if column is None else column + 1,
        end_column=end_column + 1 if end_column is not None and end_line == line else None,
    )
