"""Comparing a whole text with a file, and rewriting the file on demand."""

from pathlib import Path

import pytest


def compare_with_golden(path: Path, text: str, *, update: bool) -> None:
    """Fails unless the file at `path` holds `text`; with `update`, writes it first."""
    __tracebackhide__ = True
    text = text.rstrip("\n") + "\n"
    before = path.read_text() if path.exists() else None
    if before == text:
        return
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        pytest.fail(f"golden {path.name} was rewritten: read the difference, then run again without --update-goldens")
    assert before is not None, f"golden {path.name} does not exist: write it with --update-goldens"
    assert text == before, f"golden {path.name} differs; rewrite it with --update-goldens if this is meant"
