"""Options that count something."""

from __future__ import annotations

from ..ir.diagnostics import error


def check_count(name: str, given: object) -> None:
    """Raise EtirError for what is no positive whole number."""
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise error("fit-option", f"{name}={given!r}; wanted a positive number")
