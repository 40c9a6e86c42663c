"""A picture before it has a layout: boxes, frames around some of them, and arrows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Tone(Enum):
    """What a box is, as far as its colours go: `(fill, line, text)`."""

    PLAIN = ("#F4F5F7", "#9AA1AC", "#4B5563")
    INPUT = ("#EAF2FE", "#5B8DEF", "#1F4FA8")
    OUTPUT = ("#F1ECFD", "#8B6FE0", "#4C32A0")
    STATE = ("#FFFFFF", "#6B7A90", "#1F2937")
    FRAME = ("#F2F6FA", "#B4C2D3", "#3D4F66")
    EXACT = ("#E4F6EB", "#2F9E5B", "#17693A")
    APPROXIMATE = ("#FFF4DA", "#D79A13", "#855A00")
    TRUNCATED = ("#FDE8E6", "#D5483F", "#96241D")

    @property
    def fill(self) -> str:
        """The colour of the inside."""
        return self.value[0]

    @property
    def line(self) -> str:
        """The colour of the outline."""
        return self.value[1]

    @property
    def text(self) -> str:
        """A colour for words that can be read on the inside."""
        return self.value[2]


ARROW = "#56637A"
FAINT = "#6B7280"
FONT = "Helvetica,Arial,sans-serif"


class Look(Enum):
    """How large and heavy a line of text is: `(points, bold)`."""

    TITLE = (12, True)
    DETAIL = (10, False)
    LABEL = (10, True)

    @property
    def size(self) -> int:
        """The size, in points."""
        return self.value[0]

    @property
    def bold(self) -> bool:
        """Whether the text is bold."""
        return self.value[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of text in a box."""

    text: str
    look: Look = Look.DETAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A node: lines of text on a coloured ground. `key` names it, and is unique in its picture."""

    key: str
    lines: tuple[Line, ...]
    tone: Tone
    tooltip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A titled frame around some boxes."""

    key: str
    title: str
    boxes: tuple[Box, ...]
    tooltip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """An edge between boxes, by their keys. `past`: what flows is the value that the step before left; `both` ways."""

    source: str
    target: str
    text: str = ""
    past: bool = False
    both: bool = False
    tone: Tone | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything to be drawn; `boxes` are those outside every frame."""

    title: str
    boxes: tuple[Box, ...]
    frames: tuple[Frame, ...]
    arrows: tuple[Arrow, ...]
    legend: tuple[Tone, ...] = ()
    """The certificate's tones that occur, each to be explained by its name."""

    @property
    def every_box(self) -> tuple[Box, ...]:
        """All boxes, framed or not."""
        return (*self.boxes, *(box for frame in self.frames for box in frame.boxes))

    @property
    def has_past(self) -> bool:
        """Whether some arrow comes from the step before."""
        return any(arrow.past for arrow in self.arrows)
