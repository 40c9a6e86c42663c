import linecache
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from etir.cli.main import main


class Ran(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with `model.py` in it; other programs of that name, and what is imported, are forgotten."""
    monkeypatch.delitem(sys.modules, "model", raising=False)
    monkeypatch.delitem(linecache.cache, "model.py", raising=False)
    (tmp_path / "model.py").write_text((Path(__file__).parent / "model.py").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def irdump(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs the command in the working folder: its status and what it wrote."""

    def run(*arguments: str) -> Ran:
        status = main(list(arguments))
        return Ran(status, *capsys.readouterr())

    return run
