"""Transitions as pictures and as short summaries: `render_graph`, `write_graph`, `summary`."""

from .build import picture
from .summary import summary
from .write import render_graph, write_graph

__all__ = ["picture", "render_graph", "summary", "write_graph"]
