"""Graphs in files: the format is the file's suffix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..ir.diagnostics import Diagnostic, did_you_mean, error, warn
from ..ir.transition import Transition
from .build import picture
from .engines import FORMATS, TIME_LIMIT, draw
from .summary import summary

if TYPE_CHECKING:
    import graphviz

SUFFIXES = (".dot", ".gv", *(f".{format}" for format in FORMATS))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Drawing:
    """A transition to be looked at: `print` gives its summary, a notebook its picture, `save` writes that to a file."""

    transition: Transition

    def __str__(self) -> str:
        return summary(self.transition)

    def _repr_svg_(self) -> str:
        return _content(self.transition, "svg", TIME_LIMIT).decode()

    def save(self, path: str | Path) -> Path:
        """Write the picture; the suffix of `path` is its format, as in `write_graph`."""
        return write_graph(self.transition, path)


def render_graph(transition: Transition) -> graphviz.Digraph:
    """The transition as a graph in DOT, whose text is its `source`.

    Weights stand with the operation that uses them, once a use, in the colour of their label; solid arrows are data
    flow within the step, dashed ones come from the step before.
    """
    from .dot import to_dot  # Graphviz and XML are imported where something is drawn

    return to_dot(picture(transition))


def write_graph(transition: Transition, path: str | Path, *, time_limit: float = TIME_LIMIT) -> Path:
    """Write the transition's graph to `path`, as `.svg`, `.png`, `.pdf`, `.dot` or `.gv`; returns the path.

    Layout is Graphviz's, by the program `dot` or else by pygraphviz (the extra `render`), each for at most `time_limit`
    seconds; where neither works an SVG has our own plain layout, and an EtirWarning says why. Raises EtirError for
    another suffix, for a PNG or PDF that no engine could draw, and for a file that cannot be written.
    """
    path = Path(path)
    data = _content(transition, check_suffix(path), time_limit)
    try:
        path.write_bytes(data)
    except OSError as exception:
        raise error("graph-file", f"cannot write {path}: {exception.strerror or exception}") from None
    return path


def check_suffix(path: Path) -> str:
    """The format that the suffix of `path` names; EtirError where it names none."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        found = f"'{suffix}'" if suffix else "no suffix"
        raise error(
            "graph-format",
            f"cannot tell the format of '{path}' from {found}; wanted one of {', '.join(SUFFIXES)}",
            help=did_you_mean(suffix, SUFFIXES) if suffix else f"write it to {path}.svg",
        )
    return suffix[1:]


def _content(transition: Transition, format: str, time_limit: float) -> bytes:
    source = render_graph(transition).source
    if format not in FORMATS:
        return source.encode()
    drawn = draw(source, format, time_limit=time_limit)
    if drawn.data is not None:
        return drawn.data
    if format != "svg":
        raise error(
            "graph-engine",
            f"no engine could draw a {format.upper()}",
            help=f"{INSTALL}; or write an .svg, which needs no engine",
            notes=drawn.failures or (NO_ENGINE,),
        )
    from .svg import to_svg

    warn(_plain_layout(drawn.failures))
    return to_svg(picture(transition)).encode()


NO_ENGINE = "neither the program `dot` nor the package pygraphviz is installed"
INSTALL = "install Graphviz, or `pip install 'etir[render]'`"


def _plain_layout(failures: tuple[str, ...]) -> Diagnostic:
    return Diagnostic(
        code="graph-plain",
        severity="warning",
        message="the graph has a plain layout, because Graphviz did not draw it",
        notes=failures or (NO_ENGINE,),
        help=None if failures else INSTALL,
    )
