"""The text form of a coupling, and its parser.

    [=]            each position depends on itself          [*]        on all positions
    [=, -1..1]     one item an axis: the second is a band   [=, b4]    dense blocks of four on the diagonal
    [-7,1]         a set of shifts                          [map:7..0] a table, by runs where it has few
    [(0,1>0) =]    input axes 0 and 1, flattened, are output axis 0; a final `*` stands for all axes not named

A product is written with its factors' sizes, `=@4 x -1..1@6` or `b4>1` for the frequent `=@n x *@4>1`.
"""

from __future__ import annotations

import base64
import math
import re
import zlib
from typing import TYPE_CHECKING

import numpy as np

from .blocks import Block, Shape, sizes
from .relation import All, IntArray, Leaf, Relation, Same, Shifts, Table

if TYPE_CHECKING:
    from .coupling import Coupling

MAX_SEGMENTS = 8
"""A table of one column is written by arithmetic runs up to this many, and packed beyond."""

_SEGMENT = re.compile(r"(-?\d+)(?:\.\.(-?\d+)(?:/(\d+))?|\^(\d+))?")
_SHIFTS = re.compile(r"-?\d+(\.\.-?\d+)?(,-?\d+(\.\.-?\d+)?)*")
_BLOCK = re.compile(r"b(\d+)(?:>(\d+))?")


_PACKED = re.compile(r"map\d+:[^\s,@\]]*")


def render(coupling: Coupling, *, brief: bool = False) -> str:
    """The text of a coupling, which `parse` reads back for the same shapes unless packed tables are left out."""
    whole = _render(coupling)
    return _PACKED.sub("map", whole) if brief else whole


def _render(coupling: Coupling) -> str:
    if coupling.is_identity:
        return "[=]"
    named = [block for block in coupling.blocks if not block.is_all]
    if not named:
        return "[*]"
    if len(coupling.in_shape) == len(coupling.out_shape) and all(
        block.in_axes == block.out_axes and len(block.in_axes) == 1 for block in named
    ):
        return f"[{', '.join(_axis_items(coupling, named))}]"
    items = [f"({_axes(block.in_axes)}>{_axes(block.out_axes)}) {_relation(block.relation)}" for block in named]
    return f"[{', '.join(items + ['*'] * (len(named) < len(coupling.blocks)))}]"


def _axis_items(coupling: Coupling, named: list[Block]) -> list[str]:
    """One item an axis."""
    relations = {block.in_axes[0]: _relation(block.relation) for block in named}
    pairs = zip(coupling.in_shape, coupling.out_shape, strict=True)
    return [relations.get(axis, "=" if n_in == n_out == 1 else "*") for axis, (n_in, n_out) in enumerate(pairs)]


def _axes(axes: tuple[int, ...]) -> str:
    return ",".join(map(str, axes))


def _relation(relation: Relation) -> str:
    match relation:
        case (leaf,):
            return _leaf(leaf)
        case (Same(), All(n_in, n_out)):
            return f"b{n_in}" if n_in == n_out else f"b{n_in}>{n_out}"
        case _:
            return " x ".join(f"{_leaf(leaf)}@{_sizes(leaf)}" for leaf in relation)


def _sizes(leaf: Leaf) -> str:
    return str(leaf.n_in) if leaf.n_in == leaf.n_out else f"{leaf.n_in}>{leaf.n_out}"


def _leaf(leaf: Leaf) -> str:
    match leaf:
        case Same():
            return "="
        case All():
            return "*"
        case Shifts(_, _, runs):
            return ",".join(str(low) if low == high else f"{low}..{high}" for low, high in runs)
        case Table():
            return _table(leaf.array)


def _table(rows: IntArray) -> str:
    """`map:` with arithmetic runs, or `map` with the number of columns and the packed array."""
    if rows.shape[1] == 1:
        segments = _segments(rows[:, 0])
        if len(segments) <= MAX_SEGMENTS:
            return "map:" + ";".join(segments)
    packed = base64.urlsafe_b64encode(zlib.compress(rows.astype("<i4").tobytes(), 9)).decode()
    return f"map{rows.shape[1]}:{packed}"


def _segments(values: IntArray) -> list[str]:
    """The values as arithmetic runs that do not cross into padding; more than `MAX_SEGMENTS` are not finished."""
    steps = np.diff(values)
    crossing = (values[1:] < 0) != (values[:-1] < 0)
    segments: list[str] = []
    start = 0
    while start < len(values) and len(segments) <= MAX_SEGMENTS:
        step = int(steps[start]) if start < len(steps) else 0
        ends = np.flatnonzero((steps[start:] != step) | crossing[start:])
        count = 1 + (int(ends[0]) if ends.size else len(steps) - start)
        if count == 2 and abs(step) > 1:
            count = 1
        segments.append(_segment(int(values[start]), step, count))
        start += count
    return segments


def _segment(first: int, step: int, count: int) -> str:
    if count == 1:
        return str(first)
    if step == 0:
        return f"{first}^{count}"
    return f"{first}..{first + step * (count - 1)}" + (f"/{abs(step)}" if abs(step) > 1 else "")


def parse(source: str, in_shape: Shape, out_shape: Shape) -> list[Block]:
    """The blocks that a text stands for; `ValueError` where it is none for these shapes."""
    if not (source.startswith("[") and source.endswith("]")):
        raise ValueError(f"a coupling is written in brackets, not {source!r}")
    items = source[1:-1].split(", ")
    if items == ["*"]:
        return []
    if items == ["="]:
        if in_shape != out_shape:
            raise ValueError(f"[=] is for equal shapes, not {in_shape} and {out_shape}")
        return [Block((axis,), (axis,), (Same(size),)) for axis, size in enumerate(in_shape)]
    if any(item.startswith("(") for item in items):
        return [_parse_named(item, in_shape, out_shape) for item in items if item != "*"]
    if not len(items) == len(in_shape) == len(out_shape):
        raise ValueError(f"{source} has {len(items)} items, for axes {in_shape} and {out_shape}")
    pairs = zip(items, in_shape, out_shape, strict=True)
    return [
        Block((axis,), (axis,), _parse_relation(item, n_in, n_out))
        for axis, (item, n_in, n_out) in enumerate(pairs)
        if item != "*"
    ]


def _parse_named(item: str, in_shape: Shape, out_shape: Shape) -> Block:
    match = re.fullmatch(r"\(([\d,]*)>([\d,]*)\) (.+)", item)
    if match is None:
        raise ValueError(f"expected '(input axes>output axes) relation', not {item!r}")
    in_axes, out_axes = (tuple(int(axis) for axis in part.split(",") if axis) for part in match.groups()[:2])
    for axes, shape in ((in_axes, in_shape), (out_axes, out_shape)):
        if any(axis >= len(shape) for axis in axes):
            raise ValueError(f"{item!r} names an axis that {shape} does not have")
    n_in, n_out = math.prod(sizes(in_shape, in_axes)), math.prod(sizes(out_shape, out_axes))
    return Block(in_axes, out_axes, _parse_relation(match[3], n_in, n_out))


def _parse_relation(item: str, n_in: int, n_out: int) -> Relation:
    """The relation between two flat spaces that an item stands for."""
    block = _BLOCK.fullmatch(item)
    if block is not None:
        rows, columns = int(block[1]), int(block[2] or block[1])
        relation: Relation = (Same(n_in // rows), All(rows, columns))
    elif "@" in item:
        relation = tuple(_parse_factor(part) for part in item.split(" x "))
    else:
        relation = (_parse_leaf(item, n_in, n_out),)
    found = math.prod(leaf.n_in for leaf in relation), math.prod(leaf.n_out for leaf in relation)
    if found != (n_in, n_out):
        raise ValueError(f"{item!r} relates {found[0]} to {found[1]} positions, not {n_in} to {n_out}")
    return relation


def _parse_factor(part: str) -> Leaf:
    item, _, size = part.rpartition("@")
    n_in, _, n_out = size.partition(">")
    return _parse_leaf(item, int(n_in), int(n_out or n_in))


def _parse_leaf(item: str, n_in: int, n_out: int) -> Leaf:
    if item == "=":
        return Same(n_in)
    if item == "*":
        return All(n_in, n_out)
    if item.startswith("map"):
        return _parse_table(item, n_in, n_out)
    if not _SHIFTS.fullmatch(item):
        raise ValueError(f"{item!r} is not a relation: expected =, *, shifts, b, or map")
    ends = [run.partition("..") for run in item.split(",")]
    return Shifts(n_in, n_out, tuple((int(low), int(high or low)) for low, _, high in ends))


def _parse_table(item: str, n_in: int, n_out: int) -> Table:
    columns, _, data = item.removeprefix("map").partition(":")
    if columns:
        rows = np.frombuffer(zlib.decompress(base64.urlsafe_b64decode(data)), "<i4").astype(np.int32)
    else:
        rows = np.concatenate([_parse_segment(segment) for segment in data.split(";")])
    if rows.size != n_out * int(columns or 1) or rows.max(initial=-1) >= n_in:
        raise ValueError(f"a map of {rows.size} entries does not fit {n_in} to {n_out} positions")
    return Table(n_in, n_out, rows.tobytes())


def _parse_segment(segment: str) -> IntArray:
    match = _SEGMENT.fullmatch(segment)
    if match is None:
        raise ValueError(f"expected a run such as 0..6/2 or -1^4, not {segment!r}")
    first, last, step, count = match.groups()
    if count is not None:
        return np.full(int(count), int(first), np.int32)
    if last is None:
        return np.array([int(first)], np.int32)
    sign = 1 if int(last) >= int(first) else -1
    return np.arange(int(first), int(last) + sign, sign * int(step or 1), dtype=np.int32)
