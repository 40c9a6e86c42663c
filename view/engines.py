"""Programs that lay out DOT, each run in a process of its own with a time limit."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

FORMATS = ("svg", "pdf", "png")
TIME_LIMIT = 20.0
"""Seconds that one engine may take."""

_PYGRAPHVIZ = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode())
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog="dot"))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A way to run Graphviz: its name, and the command that turns DOT on its input into a picture on its output."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A picture in a file format, or None where no engine made one; `failures` says what went wrong before."""

    data: bytes | None
    failures: tuple[str, ...]


def engines(format: str) -> Iterator[Engine]:
    """The engines of this machine, best first."""
    dot = shutil.which("dot")
    if dot is not None:
        yield Engine(name="dot", command=(dot, f"-T{format}"))
    if importlib.util.find_spec("pygraphviz") is not None:
        yield Engine(name="pygraphviz", command=(sys.executable, "-c", _PYGRAPHVIZ, format))


def draw(source: str, format: str, *, time_limit: float = TIME_LIMIT) -> Drawn:
    """What the first engine that succeeds makes of the DOT text `source`, in one of `FORMATS`."""
    failures: list[str] = []
    for engine in engines(format):
        try:
            return Drawn(data=_run(engine, source, time_limit), failures=tuple(failures))
        except (OSError, subprocess.SubprocessError) as exception:
            failures.append(f"{engine.name} {_what_happened(exception, time_limit)}")
    return Drawn(data=None, failures=tuple(failures))


def _run(engine: Engine, source: str, time_limit: float) -> bytes:
    done = subprocess.run(engine.command, input=source.encode(), capture_output=True, timeout=time_limit, check=True)
    if not done.stdout:
        raise subprocess.CalledProcessError(0, engine.command, stderr=b"it wrote nothing")
    return done.stdout


def _what_happened(exception: Exception, time_limit: float) -> str:
    if isinstance(exception, subprocess.TimeoutExpired):
        return f"took longer than {time_limit:g} s"
    if isinstance(exception, subprocess.CalledProcessError):
        words = (exception.stderr or b"").decode(errors="replace").strip().splitlines()
        return f"failed: {words[-1]}" if words else f"failed with status {exception.returncode}"
    return f"could not be started: {exception}"
