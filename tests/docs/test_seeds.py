"""`docs/seeds.md`: every call that it names resolves, and every test that it names is there."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "seeds.md"


def rows(text: str) -> list[list[str]]:
    """The cells of the tables' rows: what a text says, calls, tests."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[1:] != ["call", "test"]]


def spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def defined_in(file: Path) -> frozenset[str]:
    """The tests that a file defines."""
    return frozenset(n.name for n in ast.parse(file.read_text()).body if isinstance(n, ast.FunctionDef))


def is_a_test(name: str) -> bool:
    """Whether `tests/file.py`, or `tests/file.py::test`, is there."""
    path, _, function = name.partition("::")
    file = ROOT / path
    return file.is_file() and (not function or function in defined_in(file))


def resolves(call: str) -> bool:
    """Whether a dotted name leads somewhere."""
    head, *parts = call.split(".")
    value = importlib.import_module(head) if head == "etir" else None
    for part in parts:
        value = getattr(value, part, None)
    return value is not None


def wrong(text: str) -> list[str]:
    """What the page names, and is not there; and rows that name nothing."""
    found: list[str] = []
    for says, calls, tests in rows(text):
        found += [f"{says}: no call"] * (not spans(calls)) + [f"{says}: no test"] * (not spans(tests))
        found += [call for call in spans(calls) if not resolves(call)]
        found += [test for test in spans(tests) if not is_a_test(test)]
    return found


def test_what_the_page_names_is_there():
    assert len(rows(PAGE.read_text())) > 40
    assert wrong(PAGE.read_text()) == []


def test_what_is_not_there_is_found():
    row = "| a state | `etir.State` | `tests/docs/test_seeds.py::test_what_is_not_there_is_found` |\n"
    assert wrong(row) == []
    assert wrong(row.replace("etir.State", "etir.Stat")) == ["etir.Stat"]
    assert wrong(row.replace("is_found", "is_lost")) == ["tests/docs/test_seeds.py::test_what_is_not_there_is_lost"]
    assert wrong(row.replace("docs/test_seeds.py", "docs/none.py")) == [
        "tests/docs/none.py::test_what_is_not_there_is_found"
    ]
    assert wrong("| a state | none | missing |\n") == ["a state: no call", "a state: no test"]
