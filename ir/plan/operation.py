"""What a plan operation is: typed results, a value, a cost. One class says everything about one operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..diagnostics import error
from ..loc import Loc
from ..types import TensorType
from ..values import Value
from .cost import Cost

if TYPE_CHECKING:
    from ..transition import Transition
    from .scene import Scene

STEP, WINDOW = "step", "window"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Part:
    """A part of an operation that holds values of its own, as the `by` and the `add` of an advance do."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Operation:
    """One trace operation: the values that it computes, and, in its other fields, what it computes them from.

    A subclass is a frozen dataclass whose fields are values, nodes of the transition, numbers, strings, parts, or
    tuples of these; printer and parser follow from them. It has `types` and `evaluate`, and may have `cost`, `faults`
    and `needs`. A backend may override how it is run, never what it means.
    """

    phases: ClassVar[tuple[str, ...]] = (STEP, WINDOW)
    """Where a plan may have it: at every step, at a window's end, or both."""

    results: tuple[Value, ...] = ()
    loc: Loc | None = None

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """The types of the results, by the operands: the verifier compares them."""
        raise error(
            "operation-types",
            f"plan operation '{type(self).__name__}' does not say what types it gives",
            loc=self.loc,
            help="define types(self, transition), a tuple of one TensorType a result",
        )

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The results, in `jax.numpy`: the operation's definition."""
        raise error(
            "operation-value",
            f"plan operation '{type(self).__name__}' does not say what it computes",
            loc=self.loc,
            help="define evaluate(self, scene), a tuple of one array a result",
        )

    def cost(self, window: int) -> Cost:
        """What it takes each time it runs, its operands' own cost left out; `window` is the plan's."""
        del window
        return Cost(flops=float(sum(value.type.size for value in self.results)))

    def faults(self, t: Transition) -> Iterator[str]:
        """What is wrong with it, beyond the types of its results: half sentences that follow its name."""
        del t
        yield from ()

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """The values that `evaluate` reads: its operands, unless it evaluates a region as well."""
        del t
        return self.operands

    @property
    def operands(self) -> tuple[Value, ...]:
        """Every value among the fields, in order, those of parts and tuples included."""
        return tuple(_values(self))


def _values(node: Any) -> Iterator[Value]:
    for f in fields(node):
        if f.name not in ("results", "loc"):
            yield from _values_in(getattr(node, f.name))


def _values_in(item: Any) -> Iterator[Value]:
    if isinstance(item, Value):
        yield item
    elif isinstance(item, tuple):
        for entry in item:  # pyright: ignore[reportUnknownVariableType]
            yield from _values_in(entry)
    elif isinstance(item, Part):
        yield from _values(item)


def with_values(node: T, new: Mapping[Value, Value]) -> T:
    """An operation, or a part of one, that reads other values in the place of some."""
    if isinstance(node, Value):
        return new.get(node, node)  # pyright: ignore[reportReturnType]
    if isinstance(node, tuple):
        found = tuple(with_values(entry, new) for entry in node)  # pyright: ignore[reportUnknownVariableType]
        same = all(a is b for a, b in zip(found, node, strict=True))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return node if same else found  # pyright: ignore[reportReturnType]
    if not isinstance(node, (Operation, Part)):
        return node
    given = {f.name: getattr(node, f.name) for f in fields(node) if f.init and f.name not in ("results", "loc")}
    changed = {name: found for name, item in given.items() if (found := with_values(item, new)) is not item}
    return replace(node, **changed) if changed else node
