"""What the wheel and the source distribution hold, and that a wheel works where the repository is not."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest
from tree import PACKAGE, ROOT, package_sources

pytestmark = pytest.mark.first_leg

BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
MODULES = {str(file.relative_to(PACKAGE.parent)) for _, file in package_sources()}


def run(*command: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(what: str, source: Path, into: Path) -> Path:
    return into / run(sys.executable, "-c", BUILD, what, str(into), cwd=source).splitlines()[-1]


def python_files(names: list[str]) -> set[str]:
    return {name for name in names if name.endswith(".py")}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the build reads, so that building leaves nothing in the tree."""
    copied = tmp_path_factory.mktemp("source")
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / file, copied)
    for folder in ("src", *(link.name for link in PACKAGE.iterdir() if link.is_symlink())):
        copytree(ROOT / folder, copied / folder, symlinks=True, ignore=ignore_patterns("__pycache__", "*.egg-info"))
    return copied


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build_wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("build_sdist", source, tmp_path_factory.mktemp("sdist"))


def test_wheel_holds_the_package_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert python_files(names) == MODULES
    assert "etir/py.typed" in names
    assert {name.split("/")[0] for name in names} == {"etir", "etir-0.1.0.dist-info"}
    assert "etir-0.1.0.dist-info/licenses/LICENSE" in names


def test_sdist_builds_the_same_wheel(sdist: Path, tmp_path: Path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    rebuilt = build("build_wheel", tmp_path / "etir-0.1.0", tmp_path)
    assert python_files(zipfile.ZipFile(rebuilt).namelist()) == MODULES


def test_installed_wheel_imports_elsewhere(wheel: Path, tmp_path: Path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    rooms = ", ".join(f"etir.{link.name}" for link in sorted(PACKAGE.iterdir()) if link.is_symlink())
    script = f"import etir, {rooms}; print(etir.__file__)"
    where = run(sys.executable, "-c", script, cwd=tmp_path, PYTHONPATH=str(site))
    assert Path(where.strip()) == site / "etir" / "__init__.py"
