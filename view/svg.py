"""The picture as SVG by our own hand, for machines without Graphviz."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from .dot import arrows_explained, legend
from .layout import LINE_HEIGHT, Place, Route, lay_out, text_width
from .picture import ARROW, FAINT, FONT, Box, Frame, Look, Picture, Tone

_MARGIN, _HEAD = 20.0, 58.0


def to_svg(picture: Picture) -> str:
    """The picture as the text of an SVG file."""
    layout = lay_out(picture)
    head = _head(picture)
    width = max(layout.width, head[1]) + 2 * _MARGIN
    height = layout.height + _HEAD + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family={quoteattr(FONT)}>',
        f"<title>{escape(picture.title)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        f'<g transform="translate({_MARGIN:.0f},{_MARGIN:.0f})">{head[0]}</g>',
        f'<g transform="translate({_MARGIN:.0f},{_MARGIN + _HEAD:.0f})">',
        *(_frame(frame, layout.frames[frame.key]) for frame in picture.frames),
        *(_curve(route) for route in layout.routes),
        *(_box(box, layout.boxes[box.key]) for box in picture.every_box),
        *(_route_text(route) for route in layout.routes if route.arrow.text),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(x: float, y: float, text: str, size: float, colour: str, *, bold: bool = False, anchor: str = "start") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )


def _rect(place: Place, tone: Tone, radius: float) -> str:
    return (
        f'<rect x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" height="{place.height:.1f}" '
        f'rx="{radius:g}" fill="{tone.fill}" stroke="{tone.line}" stroke-width="1.3"/>'
    )


def _box(box: Box, place: Place) -> str:
    parts = [f"<title>{escape(box.tooltip)}</title>" if box.tooltip else "", _rect(place, box.tone, 8)]
    text = sum(LINE_HEIGHT[line.look] for line in box.lines)
    y = place.y + (place.height - text) / 2
    for line in box.lines:
        y += LINE_HEIGHT[line.look]
        colour = FAINT if line.look is Look.DETAIL else box.tone.text
        middle = place.x + place.width / 2
        parts.append(_text(middle, y - 4, line.text, line.look.size, colour, bold=line.look.bold, anchor="middle"))
    return f"<g>{''.join(parts)}</g>"


def _frame(frame: Frame, place: Place) -> str:
    title = _text(place.x + 14, place.y + 20, frame.title, 11, Tone.FRAME.text)
    tooltip = f"<title>{escape(frame.tooltip)}</title>" if frame.tooltip else ""
    return f"<g>{tooltip}{_rect(place, Tone.FRAME, 10)}{title}</g>"


def _colour(route: Route) -> str:
    return route.arrow.tone.line if route.arrow.tone else ARROW


def _curve(route: Route) -> str:
    (x0, y0), *rest = route.points
    path = [f"M{x0:.1f},{y0:.1f}"]
    for k, (x, y) in enumerate(rest):
        if route.around is not None:
            bulge = max(x0, x) + route.around
            path.append(f"C{bulge:.1f},{y0:.1f} {bulge:.1f},{y:.1f} {x:.1f},{y:.1f}")
        elif k % 2:
            path.append(f"L{x:.1f},{y:.1f}")
        else:
            middle = (x0 + x) / 2
            path.append(f"C{middle:.1f},{y0:.1f} {middle:.1f},{y:.1f} {x:.1f},{y:.1f}")
        x0, y0 = x, y
    dashes = ' stroke-dasharray="5 3"' if route.arrow.past else ""
    colour = _colour(route)
    line = f'<path d="{" ".join(path)}" fill="none" stroke="{colour}" stroke-width="1.2"{dashes}/>'
    ends = (-1, 0) if route.arrow.both else (-1,)
    return line + "".join(_arrow_head(route, end, colour) for end in ends)


def _arrow_head(route: Route, end: int, colour: str) -> str:
    (x, y), (near, _) = route.points[end], route.points[-2 if end else 1]
    back = 7 if route.around is not None or near > x else -7
    return (
        f'<polygon points="{x:.1f},{y:.1f} {x + back:.1f},{y - 3.5:.1f} {x + back:.1f},{y + 3.5:.1f}" fill="{colour}"/>'
    )


def _route_text(route: Route) -> str:
    colour = route.arrow.tone.text if route.arrow.tone else ARROW
    text = _text(*route.text_at, route.arrow.text, 10, colour, anchor=route.text_anchor)
    return text.replace(
        "<text ", '<text stroke="white" stroke-width="3" stroke-opacity="0.85" paint-order="stroke" ', 1
    )


def _head(picture: Picture) -> tuple[str, float]:
    """The title and the legend, and how wide they are."""
    parts = [_text(0, 14, picture.title, 15, "#1F2937", bold=True)]
    x = 0.0
    for name, tone in legend(picture):
        wide = text_width(name, 10) + 16
        parts.append(_rect(Place(x=x, y=24, width=wide, height=18), tone, 5))
        parts.append(_text(x + wide / 2, 37, name, 10, tone.text, anchor="middle"))
        x += wide + 8
    for words in arrows_explained(picture):
        parts.append(_text(x, 37, words, 10, FAINT))
        x += text_width(words, 10) + 16
    return "".join(parts), max(x, text_width(picture.title, 15, bold=True))
