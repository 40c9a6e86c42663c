"""Finding the object that `pkg.mod:attr` or `file.py:attr` names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ..ir.diagnostics import EtirError, did_you_mean, error, nearest

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


def call(function: Callable[[], Any], what: str) -> Any:
    """What a function of the user's returns; its exceptions become diagnostics."""
    with _their_mistakes(f"{what} raised"):
        return function()


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = nearest(path.name, [other.name for other in path.parent.glob("*.py")]) if path.parent.is_dir() else None
        hint = f"did you mean '{path.parent / near}'?" if near else None
        raise error("target-file", f"there is no file '{path}'", help=hint)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules.setdefault(path.stem, module)
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
def _their_mistakes(what: str) -> Iterator[None]:
    """Turn an exception of the user's code into a diagnostic with the frames of that code; EtirError passes."""
    try:
        yield
    except (EtirError, KeyboardInterrupt):
        raise
    except ModuleNotFoundError as exception:
        if not _their_frames(exception):
            raise
        raise _with_traceback(what, exception) from exception
    except (Exception, SystemExit) as exception:
        raise _with_traceback(what, exception) from exception


def _with_traceback(what: str, exception: BaseException) -> EtirError:
    text = "".join(traceback.format_exception_only(exception)).strip().splitlines()
    frames = [
        f"{frame.filename}:{frame.lineno}: in {frame.name}: {frame.line}"
        for frame in _their_frames(exception)[-_FRAMES:]
    ]
    return error("target-import", f"{what} {text[-1]}", notes=frames)


def _their_frames(exception: BaseException) -> list[traceback.FrameSummary]:
    """The frames outside this package and the import machinery."""
    frames = traceback.extract_tb(exception.__traceback__)
    here = str(Path(__file__).resolve().parent)
    return [
        frame
        for frame in frames
        if not frame.filename.startswith("<") and not str(Path(frame.filename).resolve()).startswith(here)
        and Path(frame.filename).name != "importlib" and "importlib" not in Path(frame.filename).parts
    ]  # fmt: skip
