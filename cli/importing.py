"""Finding the object that `pkg.mod:attr` or `file.py:attr` names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from ..ir.diagnostics import EtirError, did_you_mean, error, nearest

_T = TypeVar("_T")
_PACKAGE = Path(__file__).absolute().parents[1]
_STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
_FRAMES = 4
"""Frames of the user's traceback that are shown, innermost last."""


def find(place: str, attribute: str) -> Any:
    """The attribute, dotted perhaps, of a module or of a Python file; EtirError where there is none."""
    found: Any = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
    walked = place
    for name in attribute.split("."):
        if not hasattr(found, name):
            names = [other for other in dir(found) if not other.startswith("_")]
            raise error("target-attribute", f"'{walked}' has no attribute '{name}'", help=did_you_mean(name, names))
        found, walked = getattr(found, name), f"{walked}:{name}" if walked == place else f"{walked}.{name}"
    return found


def call(function: Callable[[], _T], what: str) -> _T:
    """What a function returns that runs the user's code; an exception of that code becomes a diagnostic."""
    with _their_mistakes(f"{what} raised", ours_too=True):
        return function()


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = nearest(path.name, [other.name for other in path.parent.glob("*.py")]) if path.parent.is_dir() else None
        hint = f"did you mean '{path.parent / near}'?" if near else None
        raise error("target-file", f"there is no file '{path}'", help=hint)
    name = path.stem if path.stem not in sys.modules else f"irdump_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[name] = module
    with _their_mistakes(f"'{path}' cannot be imported:"):
        spec.loader.exec_module(module)
    return module


def _from_module(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        with _their_mistakes(f"module '{name}' cannot be imported:"):
            return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        hint = f"write the path of a file with its suffix: '{name}.py:...'" if Path(f"{name}.py").is_file() else None
        raise error("target-module", f"there is no module '{missing.name}'", help=hint) from None


@contextmanager
def _their_mistakes(what: str, *, ours_too: bool = False) -> Generator[None]:
    """Turn an exception of the user's code into a diagnostic with the lines that led to it; EtirError passes.

    `ours_too`: this package's code runs as well, and an exception is the user's only where it comes from their lines.
    """
    try:
        yield
    except (EtirError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as exception:
        frames = [frame for frame in traceback.extract_tb(exception.__traceback__) if not _is_library(frame.filename)]
        theirs = [frame for frame in frames if not _is_ours(frame.filename)]
        by_us = not frames or _is_ours(frames[-1].filename)
        if by_us and (ours_too or isinstance(exception, ModuleNotFoundError)):
            raise
        raise _finding(what, exception, theirs[-_FRAMES:]) from exception


def _finding(what: str, exception: BaseException, frames: list[traceback.FrameSummary]) -> EtirError:
    text = "".join(traceback.format_exception_only(exception)).strip()
    notes = [f"{_from_here(frame.filename)}:{frame.lineno}: in {frame.name}: {frame.line}" for frame in frames]
    if isinstance(exception, SyntaxError):
        notes.append(f"{_from_here(exception.filename or '')}:{exception.lineno}: {(exception.text or '').strip()}")
    summary = text.splitlines()[-1 if isinstance(exception, SyntaxError) else 0]
    return error("target-raised", f"{what} {summary}", notes=notes)


def _from_here(file: str) -> str:
    """A file's name as seen from the working folder, if it is in it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _is_ours(file: str) -> bool:
    return Path(file).absolute().is_relative_to(_PACKAGE)


def _is_library(file: str) -> bool:
    path = Path(file)
    return file.startswith("<") or "site-packages" in path.parts or path.is_relative_to(_STANDARD_LIBRARY)
