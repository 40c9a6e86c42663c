"""Transitions as pictures and as short summaries: `Drawing`, `render_graph`, `write_graph`, `summary`."""

from .build import picture
from .summary import summary
from .write import Drawing, render_graph, write_graph

__all__ = ["Drawing", "picture", "render_graph", "summary", "write_graph"]
