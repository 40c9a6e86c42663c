"""The picture of the rooms is what the imports say; no two rooms and no two files import each other."""

import networkx as nx
import pytest
from architecture import PURPOSE, files, picture, rooms
from golden_files import compare_with_golden
from tree import ROOT

pytestmark = pytest.mark.first_leg


def test_the_picture_is_what_the_imports_say(request: pytest.FixtureRequest):
    update = request.config.getoption("--update-goldens")
    compare_with_golden(ROOT / "docs" / "images" / "architecture.svg", picture(), update=update)


def test_every_room_is_in_the_picture_and_on_the_page():
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert set(rooms().nodes) == set(PURPOSE)
    assert [room for room in PURPOSE if f"`{room.replace('.', '/')}/`" not in page and room != "etir"] == []


def test_no_rooms_import_each_other():
    assert list(nx.simple_cycles(rooms())) == []


def test_no_files_import_each_other():
    assert list(nx.simple_cycles(files())) == []


def test_a_circle_would_be_found():
    graph = files().copy()
    graph.add_edge("etir.ir.loc", "etir.ir.transition")
    assert list(nx.simple_cycles(graph)) != []
