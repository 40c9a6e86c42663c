"""docs/from_braintrace.md says of each public name of braintrace what takes its place here."""

import re
from pathlib import Path

import pytest

import etir

PAGE = (Path(__file__).parents[2] / "docs" / "from_braintrace.md").read_text()
ROWS = [line.split("|")[1:3] for line in PAGE.splitlines() if line.startswith("| `")]
NAMED = {name for left, _ in ROWS for name in re.findall(r"`(\w+)`", left)}


@pytest.mark.second_leg
def test_every_public_name_is_there():
    braintrace = pytest.importorskip("braintrace", reason="braintrace is not installed on this leg")
    assert sorted(set(dir(braintrace)) - NAMED) == []
    assert sorted(NAMED - set(dir(braintrace))) == []


@pytest.mark.second_leg
def test_every_cell_is_there():
    nn = pytest.importorskip("braintrace.nn", reason="braintrace is not installed on this leg")
    cells = [name for name in nn.__all__ if name.endswith("Cell") or name.startswith("Mini")]
    assert len(cells) == 10
    assert [name for name in cells if f"`{name}`" not in PAGE] == []


@pytest.mark.parametrize("path", sorted({path for _, right in ROWS for path in re.findall(r"`etir\.([\w.]+)", right)}))
def test_what_takes_its_place_exists(path: str):
    found = etir
    for name in path.split("."):
        found = getattr(found, name)
