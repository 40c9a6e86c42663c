"""Coordinates for a picture, without Graphviz: columns from left to right, frames kept whole, arrows as curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from .layers import Item, Neighbour, layer_of_boxes, order_layers, spread
from .picture import Arrow, Box, Frame, Line, Look, Picture

LINE_HEIGHT = {Look.TITLE: 16, Look.DETAIL: 14, Look.LABEL: 14}
PAD_X, PAD_Y, GAP, PORT = 12.0, 7.0, 16.0, 13.0
FRAME_PAD, FRAME_TITLE, COLUMN_GAP = 14.0, 22.0, 80.0
_LOOP, _BULGE = 30.0, 14.0


@dataclass(slots=True, kw_only=True)
class Place:
    """A rectangle: a box's, or a frame's."""

    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0


@dataclass(slots=True, kw_only=True)
class Route:
    """An arrow's way: points in pairs, each pair joined by a curve that is level at both ends, pairs joined by lines.

    `around` is for an arrow inside one frame: how far it bulges to the right. `text_at` is where its text stands.
    """

    arrow: Arrow
    points: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    around: float | None = None
    text_at: tuple[float, float] = (0.0, 0.0)
    text_anchor: str = "end"


@dataclass(slots=True, kw_only=True)
class Layout:
    """Where everything stands."""

    boxes: dict[str, Place]
    frames: dict[str, Place]
    routes: list[Route]
    width: float
    height: float


@dataclass(slots=True, kw_only=True, eq=False)
class _Block:
    """A frame with its boxes, or one box."""

    key: str
    boxes: tuple[Box, ...]
    frame: Frame | None = None
    loops: float = 0.0
    place: Place = field(default_factory=Place)


def lay_out(picture: Picture) -> Layout:
    """The layout of a picture."""
    return _Layouter(picture).run()


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """About how wide a text is, in pixels, in a common sans-serif face."""
    narrow = sum(character in "iljtfrI.,:;[]()|'! " for character in text)
    return size * ((0.61 if bold else 0.57) * (len(text) - narrow) + 0.34 * narrow)


class _Layouter:
    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        frames = [_Block(key=frame.key, boxes=frame.boxes, frame=frame) for frame in picture.frames]
        self.blocks = {b.key: b for b in (*(_Block(key=box.key, boxes=(box,)) for box in picture.boxes), *frames)}
        self.owner = {box.key: block for block in self.blocks.values() for box in block.boxes}
        self.inside = [a for a in picture.arrows if self.owner[a.source] is self.owner[a.target]]
        self.between = [a for a in picture.arrows if self.owner[a.source] is not self.owner[a.target]]
        self.places: dict[str, Place] = {}
        self.neighbours = defaultdict[Item, list[Neighbour]](list)
        self.chains: dict[int, list[Item]] = {}

    def run(self) -> Layout:
        layer = layer_of_boxes(self.picture)
        self.layer = {key: layer[block.boxes[0].key] for key, block in self.blocks.items()}
        layers = self._items()
        order_layers(layers, self.neighbours)
        self._measure()
        centres = self._heights(layers)
        columns = self._columns(layers)
        self._put(centres, columns)
        routes = [*self._routes_between(centres, columns), *self._routes_inside()]
        right = max((x + w for x, w in columns), default=0.0)
        bottom = max((b.place.y + b.place.height for b in self.blocks.values()), default=0.0)
        frames = {key: block.place for key, block in self.blocks.items() if block.frame is not None}
        return Layout(boxes=self.places, frames=frames, routes=routes, width=right, height=bottom)

    def _items(self) -> list[list[Item]]:
        """The blocks of each layer, and the points where longer arrows pass: arrows from one box share them."""
        layers: list[list[Item]] = [[] for _ in range(max(self.layer.values(), default=-1) + 1)]
        for key, k in self.layer.items():
            layers[k].append((key, k))
        seen: set[Item] = set()
        for n, arrow in enumerate(self.between):
            left, right = self._ends(arrow)
            first, last = self.layer[self.owner[left].key], self.layer[self.owner[right].key]
            name = f"{left}>{'past' if arrow.past else 'now'}"
            passed: list[Item] = [(name, k) for k in range(first + 1, last)]
            self.chains[n] = passed
            for item in passed:
                if item not in seen:
                    seen.add(item)
                    layers[item[1]].append(item)
            ends = (
                ((self.owner[left].key, first), self._share(left)),
                ((self.owner[right].key, last), self._share(right)),
            )
            way: list[Neighbour] = [ends[0], *((item, 0.5) for item in passed), ends[1]]
            for a, b in pairwise(way):
                self.neighbours[a[0]].append(b)
                self.neighbours[b[0]].append(a)
        return layers

    def _share(self, key: str) -> float:
        """How far down in its block a box stands, from 0 to 1."""
        keys = [box.key for box in self.owner[key].boxes]
        return (keys.index(key) + 0.5) / len(keys)

    def _ends(self, arrow: Arrow) -> tuple[str, str]:
        """The arrow's boxes, left one first."""
        a, b = (self.layer[self.owner[key].key] for key in (arrow.source, arrow.target))
        return (arrow.source, arrow.target) if a <= b else (arrow.target, arrow.source)

    def _measure(self) -> None:
        """Sizes of boxes and blocks; boxes are as tall as their arrows need, and equally wide in a column."""
        arriving = defaultdict[tuple[str, str], int](int)
        for arrow in self.between:
            left, _ = self._ends(arrow)
            arriving[arrow.target, "right" if arrow.target == left else "left"] += 1
        widest = defaultdict[int, float](float)
        for block in self.blocks.values():
            for box in block.boxes:
                ports = max(arriving[box.key, "left"], arriving[box.key, "right"]) + 1
                text = sum(LINE_HEIGHT[line.look] for line in box.lines) + 2 * PAD_Y
                self.places[box.key] = Place(width=_box_width(box.lines), height=max(text, PORT * ports))
            width = max(self.places[box.key].width for box in block.boxes)
            if block.frame is None:
                widest[self.layer[block.key]] = max(widest[self.layer[block.key]], width)
            else:
                self._measure_frame(block, block.frame, width)
        for block in self.blocks.values():
            if block.frame is None:
                place = self.places[block.boxes[0].key]
                place.width = widest[self.layer[block.key]]
                block.place = place

    def _measure_frame(self, block: _Block, frame: Frame, width: float) -> None:
        mine = [a for a in self.inside if self.owner[a.source] is block]
        block.loops = max((self._bulge(a) + text_width(a.text, 10) + 4 for a in mine), default=0.0)
        for box in block.boxes:
            self.places[box.key].width = width
        inner = sum(self.places[box.key].height for box in block.boxes) + GAP * (len(block.boxes) - 1)
        wide = max(width + block.loops, text_width(frame.title, 11))
        block.place = Place(width=wide + 2 * FRAME_PAD, height=inner + FRAME_TITLE + 2 * FRAME_PAD)

    def _bulge(self, arrow: Arrow) -> float:
        keys = [box.key for box in self.owner[arrow.source].boxes]
        return _LOOP + _BULGE * abs(keys.index(arrow.source) - keys.index(arrow.target))

    def _heights(self, layers: list[list[Item]]) -> dict[Item, float]:
        """Vertical centres: near the neighbours', without overlap."""
        size = {
            item: self.blocks[item[0]].place.height if item[0] in self.blocks else 2.0 for k in layers for item in k
        }
        centre: dict[Item, float] = {}
        for items in layers:
            for item, y in zip(items, spread([0.0] * len(items), [size[i] for i in items], GAP), strict=True):
                centre[item] = y
        for sweep in range(8):
            for items in layers if sweep % 2 == 0 else reversed(layers):
                near = [[centre[other] for other, _ in self.neighbours[item]] or [centre[item]] for item in items]
                wanted = [sum(ys) / len(ys) for ys in near]
                centre.update(zip(items, spread(wanted, [size[i] for i in items], GAP), strict=True))
        top = min((centre[item] - size[item] / 2 for item in centre), default=0.0)
        return {item: y - top for item, y in centre.items()}

    def _columns(self, layers: list[list[Item]]) -> list[tuple[float, float]]:
        """Left edge and width of each column; the gap before one has room for the texts of the arrows that enter it."""
        columns: list[tuple[float, float]] = []
        x = 0.0
        for k, items in enumerate(layers):
            texts = [text_width(a.text, 10) for a in self.between if self.layer[self.owner[a.target].key] == k]
            gap = COLUMN_GAP + max(texts, default=0.0) if k else 0.0
            width = max((self.blocks[item[0]].place.width for item in items if item[0] in self.blocks), default=0.0)
            columns.append((x + gap, width))
            x += gap + width
        return columns

    def _put(self, centres: dict[Item, float], columns: list[tuple[float, float]]) -> None:
        for block in self.blocks.values():
            k = self.layer[block.key]
            block.place.x = columns[k][0] + (columns[k][1] - block.place.width) / 2
            block.place.y = centres[block.key, k] - block.place.height / 2
            if block.frame is not None:
                y = block.place.y + FRAME_TITLE + FRAME_PAD
                for box in block.boxes:
                    place = self.places[box.key]
                    place.x, place.y = block.place.x + FRAME_PAD, y
                    y += place.height + GAP

    def _routes_between(self, centres: dict[Item, float], columns: list[tuple[float, float]]) -> Iterable[Route]:
        ports = self._ports()
        for n, arrow in enumerate(self.between):
            left, right = self._ends(arrow)
            start = (self._side(left, "right"), ports[n, left])
            same = self.layer[self.owner[left].key] == self.layer[self.owner[right].key]
            end = (self._side(right, "right" if same else "left"), ports[n, right])
            route = Route(arrow=arrow, points=[start], around=40.0 if same else None)
            for item in self.chains[n]:
                x, width = columns[item[1]]
                route.points += [(x, centres[item]), (x + width, centres[item])]
            route.points.append(end)
            if arrow.source == right:
                route.points.reverse()
            x, y = route.points[-1]
            to_right = not same and arrow.source == left
            route.text_anchor = "end" if to_right else "start"
            route.text_at = (x - 10, y - 3) if to_right else (x + 10, y - 3)
            yield route

    def _side(self, key: str, side: str) -> float:
        return self.places[key].x + (self.places[key].width if side == "right" else 0.0)

    def _ports(self) -> dict[tuple[int, str], float]:
        """Where each arrow meets its boxes: arrows that leave a side share a port, those that arrive have one each."""
        wishes = defaultdict[tuple[str, str, str], list[float]](list)
        port_of: dict[tuple[int, str], tuple[str, str, str]] = {}
        for n, arrow in enumerate(self.between):
            left, right = self._ends(arrow)
            same = self.layer[self.owner[left].key] == self.layer[self.owner[right].key]
            for key, side, other in ((left, "right", right), (right, "right" if same else "left", left)):
                port = (key, side, "out" if key == arrow.source else str(n))
                port_of[n, key] = port
                wishes[port].append(self.places[other].y + self.places[other].height / 2)
        sides = defaultdict[tuple[str, str], list[tuple[str, str, str]]](list)
        for port in sorted(wishes, key=lambda p: sum(wishes[p]) / len(wishes[p])):
            sides[port[:2]].append(port)
        height: dict[tuple[str, str, str], float] = {}
        for (key, _), ports in sides.items():
            place = self.places[key]
            step = min(PORT, place.height / (len(ports) + 1))
            for k, port in enumerate(ports):
                height[port] = place.y + place.height / 2 + step * (k - (len(ports) - 1) / 2)
        return {where: height[port] for where, port in port_of.items()}

    def _routes_inside(self) -> Iterable[Route]:
        """Arrows between the boxes of one frame, and from a box to itself: bulging on the right-hand side."""
        for arrow in self.inside:
            a, b = self.places[arrow.source], self.places[arrow.target]
            x = a.x + a.width
            if arrow.source == arrow.target:
                start, end = (x, a.y + 0.15 * a.height), (x, a.y + 0.45 * a.height)
            else:
                down = a.y < b.y
                start = (x, a.y + (0.8 if down else 0.3) * a.height)
                end = (x, b.y + (0.3 if down else 0.8) * b.height)
            bulge = self._bulge(arrow)
            middle = (x + 0.75 * bulge + 3, (start[1] + end[1]) / 2 + 3)
            yield Route(arrow=arrow, points=[start, end], around=bulge, text_at=middle, text_anchor="start")


def _box_width(lines: Iterable[Line]) -> float:
    return max(text_width(line.text, line.look.size, bold=line.look.bold) for line in lines) + 2 * PAD_X
