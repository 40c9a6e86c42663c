"""Broken versions of a transition: a field of one node, anywhere in it, replaced, dropped or doubled."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from itertools import islice
from typing import Any

from etir.coupling import Coupling
from etir.ir.expression import Expression
from etir.ir.loc import Loc
from etir.ir.types import TensorType

WRONG = (None, 3, "x", (), (None,), 2.5, object())
LEAVES = (Loc, TensorType, Coupling, Expression)


def broken_versions(node: Any, every: int = 1) -> Iterator[Any]:
    """Each `every`-th version of `node` that differs in one field of one node."""
    return islice(_versions(node), 0, None, every)


def _versions(node: Any) -> Iterator[Any]:
    for name in (f.name for f in fields(node) if f.init):
        item = getattr(node, name)
        yield from (replace(node, **{name: wrong}) for wrong in WRONG)
        yield from (replace(node, **{name: version}) for version in _versions_of_item(item))


def _versions_of_item(item: Any) -> Iterator[Any]:
    if isinstance(item, tuple):
        for k, entry in enumerate(item):
            yield (*item[:k], *item[k + 1 :])
            yield (*item, entry)
            yield from ((*item[:k], version, *item[k + 1 :]) for version in _versions_of_item(entry))
    elif is_dataclass(item) and not isinstance(item, LEAVES):
        yield from _versions(item)
