"""Whether two transitions are the same thing, node by node: an oracle that owes nothing to the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from etir.coupling import Coupling
from etir.ir.attributes import place
from etir.ir.expression import Expression
from etir.ir.loc import Loc
from etir.ir.plan import Operation, Part
from etir.ir.transition import Association, Region
from etir.ir.types import TensorType

LEAVES = (Loc, TensorType, Coupling, Expression)
UNSEEN = ("body", "example", "flow", "hint", "recorded")
"""The fields that a text leaves out."""


def differences(left: Any, right: Any) -> list[str]:
    """Where two transitions differ; nodes and values correspond one to one, parts of operations by what they hold."""
    return list(_differences(left, right, "transition", {}, {}))


def _differences(left: Any, right: Any, where: str, there: dict[int, Any], back: dict[int, Any]) -> Iterator[str]:
    if isinstance(left, tuple) and isinstance(right, tuple):
        if len(left) != len(right):
            yield f"{where}: {len(left)} and {len(right)}"
        for k, (one, other) in enumerate(zip(left, right, strict=False)):
            yield from _differences(one, other, f"{where}[{k}]", there, back)
    elif type(left) is not type(right):
        yield f"{where}: {left!r} and {right!r}"
    elif isinstance(left, Loc):
        if str(left) != str(right):
            yield f"{where}: {left} and {right}"
    elif not is_dataclass(left) or isinstance(left, LEAVES):
        if left != right:
            yield f"{where}: {left!r} and {right!r}"
    elif not isinstance(left, Part) and type(left).__eq__ is object.__eq__ and (id(left) in there or id(right) in back):
        if there.get(id(left)) is not right or back.get(id(right)) is not left:
            yield f"{where}: another {type(left).__name__}"
    else:
        there[id(left)], back[id(right)] = right, left
        if isinstance(left, Region) and left.digest != right.digest:
            yield f"{where}: {left.digest} and {right.digest}"
        for f in fields(left):
            if f.name not in UNSEEN:
                pair = (_loc(left), _loc(right)) if f.name == "loc" else (getattr(left, f.name), getattr(right, f.name))
                yield from _differences(*pair, f"{where}.{f.name}", there, back)


def _loc(node: Any) -> Loc | None:
    """A node's location, or that of what it is about."""
    if node.loc is not None:
        return node.loc
    return node.site.loc if isinstance(node, Association) else place(node) if isinstance(node, Operation) else None
