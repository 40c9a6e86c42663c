"""The layout: packages at the root, reached by symlinks, seen by every tool."""

import os
import tomllib

from tree import PACKAGE, ROOT, package_sources

LINKED = sorted(p.name for p in PACKAGE.iterdir() if p.is_symlink())


def test_links_are_relative_and_lead_to_the_root():
    assert LINKED == [
        "backends", "cli", "coupling", "frontend", "instruments", "ir", "passes", "rules", "training", "view", "zoo"
    ]  # fmt: skip
    assert {name: os.readlink(PACKAGE / name) for name in LINKED} == {name: f"../../{name}" for name in LINKED}


def test_every_folder_with_code_is_a_package():
    folders = {file.parent for _, file in package_sources()}
    assert [str(f.relative_to(ROOT)) for f in sorted(folders) if not (f / "__init__.py").exists()] == []


def test_pyright_is_told_of_every_link():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert sorted(settings["tool"]["pyright"]["include"]) == ["src/etir", *(f"src/etir/{name}" for name in LINKED)]
