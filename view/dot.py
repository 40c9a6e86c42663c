"""The picture as DOT, the language of Graphviz."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape as to_html

import graphviz

from .layers import layer_of_boxes
from .picture import ARROW, FAINT, FONT, Arrow, Box, Frame, Line, Look, Picture, Tone


def to_dot(picture: Picture) -> graphviz.Digraph:
    """The picture as a `graphviz.Digraph`; its `source` is the text."""
    graph = graphviz.Digraph(name=picture.title)
    graph.attr(
        "graph", rankdir="LR", fontname=FONT, bgcolor="white", pad="0.3", nodesep="0.18", ranksep="0.7",
        label=_caption(picture), labelloc="t", labeljust="l",
    )  # fmt: skip
    graph.attr(
        "node", shape="box", style="rounded,filled", fontname=FONT, margin="0.14,0.07", penwidth="1.3", height="0"
    )
    graph.attr("edge", color=ARROW, fontname=FONT, fontsize="10", fontcolor=ARROW, arrowsize="0.6", penwidth="1.2")
    for box in picture.boxes:
        _add_box(graph, box)
    for frame in picture.frames:
        _add_frame(graph, frame)
    layer = layer_of_boxes(picture)
    for arrow in picture.arrows:
        _add_arrow(graph, arrow, layer[arrow.target] - layer[arrow.source])
    return graph


def _add_box(graph: graphviz.Digraph, box: Box) -> None:
    graph.node(
        box.key,
        label=f"<{'<BR/>'.join(_line(line, box.tone) for line in box.lines)}>",
        fillcolor=box.tone.fill,
        color=box.tone.line,
        tooltip=graphviz.escape(box.tooltip or " "),
    )


def _line(line: Line, tone: Tone) -> str:
    colour = FAINT if line.look is Look.DETAIL else tone.text
    text = to_html(line.text)
    bold = f"<B>{text}</B>" if line.look.bold else text
    return f'<FONT POINT-SIZE="{line.look.size}" COLOR="{colour}">{bold}</FONT>'


def _add_frame(graph: graphviz.Digraph, frame: Frame) -> None:
    inner = graphviz.Digraph(name=f"cluster_{frame.key}")
    inner.attr(
        "graph", label=graphviz.escape(frame.title), tooltip=graphviz.escape(frame.tooltip or " "), margin="14",
        style="rounded,filled", fillcolor=Tone.FRAME.fill, color=Tone.FRAME.line, fontcolor=Tone.FRAME.text,
        fontsize="11", labeljust="l",
    )  # fmt: skip
    for box in frame.boxes:
        _add_box(inner, box)
    graph.subgraph(inner)


def _add_arrow(graph: graphviz.Digraph, arrow: Arrow, ahead: int) -> None:
    """An edge; `ahead` is how many columns to the right its head should lie, as one that leads back must not pull."""
    settings = {"color": arrow.tone.line if arrow.tone else ARROW, "tooltip": arrow.text or " "}
    if arrow.text:
        settings |= {"label": graphviz.escape(f" {arrow.text} "), "fontcolor": arrow.tone.text if arrow.tone else ARROW}
    if arrow.past:
        settings["style"] = "dashed"
    if arrow.both:
        settings["dir"] = "both"
    if arrow.past and ahead < 0:
        graph.edge(arrow.target, arrow.source, **({"dir": "back"} | settings))
    else:
        aside = arrow.past and ahead == 0 and arrow.source != arrow.target
        pull = {"constraint": "false", "tailport": "e", "headport": "e"} if aside else {}
        graph.edge(arrow.source, arrow.target, **settings, **pull)


def _caption(picture: Picture) -> str:
    """The title and the legend, as a table."""
    cells = [
        f'<TD BGCOLOR="{tone.fill}" COLOR="{tone.line}" BORDER="1">{_small(name, tone.text)}</TD>'
        for name, tone in legend(picture)
    ]
    cells += [f"<TD>{_small(text, FAINT)}</TD>" for text in arrows_explained(picture)]
    title = f'<FONT POINT-SIZE="15" COLOR="#1F2937"><B>{to_html(picture.title)}</B></FONT>'
    rows = [f'<TR><TD ALIGN="LEFT" COLSPAN="{max(1, len(cells))}">{title}</TD></TR>', _row(cells)]
    return f'<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="4" CELLPADDING="4">{"".join(rows)}</TABLE>>'


def _row(cells: Iterable[str]) -> str:
    inside = "".join(cells)
    return f"<TR>{inside}</TR>" if inside else ""


def _small(text: str, colour: str) -> str:
    return f'<FONT POINT-SIZE="10" COLOR="{colour}">{to_html(text)}</FONT>'


def legend(picture: Picture) -> list[tuple[str, Tone]]:
    """The tones of the certificate that occur, with their words."""
    return [(tone.name.lower(), tone) for tone in picture.legend]


def arrows_explained(picture: Picture) -> list[str]:
    """What the two kinds of arrow mean, if both occur."""
    return ["solid: within the step", "dashed: from the step before"] if picture.has_past else []
