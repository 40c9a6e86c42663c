"""What can be wrong with the operands of an operation, in half sentences that follow its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..types import TensorType
from ..values import Value

if TYPE_CHECKING:
    from ..transition import Transition

Kinds = Iterable[TensorType | None]


def type_list(items: Sequence[TensorType]) -> str:
    """Some types in words."""
    return ", ".join(map(str, items)) or "nothing"


def kinds_of(values: Iterable[Value | None]) -> list[TensorType | None]:
    """The types of values, None for one that is not there."""
    return [None if value is None else value.type for value in values]


def misshapen(noun: str, kinds: Kinds, shape: Sequence[int]) -> Iterator[str]:
    """A fault for each type that has another shape than is wanted."""
    for kind in dict.fromkeys(kinds):
        if kind is not None and kind.shape != tuple(shape):
            yield f"has a {noun} of {kind}; wanted shape [{','.join(map(str, shape))}]"


def too_narrow(trace: TensorType, kinds: Kinds) -> Iterator[str]:
    """A fault where a real trace is given complex numbers."""
    found = next((kind for kind in kinds if kind is not None and kind.is_complex), None)
    if found is not None and not trace.is_complex:
        yield f"puts {found} into a trace of {trace}, which is real"


def not_differentiable(verb: str, kinds: Kinds) -> Iterator[str]:
    """A fault for each type whose numbers a fraction is no factor of."""
    for kind in dict.fromkeys(kinds):
        if kind is not None and not kind.carries_credit:
            yield f"{verb} {kind}; wanted floating-point numbers"


def not_as_many(found: Sequence[object], noun: str, wanted: Sequence[object], of: str) -> Iterator[str]:
    """A fault where two lists that go together have different lengths."""
    if len(found) != len(wanted):
        yield f"has {_counted(len(found), noun)} for {_counted(len(wanted), of)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def region_missing(t: Transition, name: str, verb: str = "runs") -> Iterator[str]:
    """A fault where there is no region of this name."""
    if all(region.name != name for region in t.regions):
        yield f"{verb} region @{name}, which is not there"


def not_of_hidden(t: Transition, noun: str, values: Sequence[Value]) -> Iterator[str]:
    """A fault where values are not one for each hidden state, of its type."""
    found, wanted = [value.type for value in values], [state.before.type for state in t.hidden]
    if found != wanted:
        yield f"has {noun} of {type_list(found)}; wanted {type_list(wanted)}, those of the hidden states"
