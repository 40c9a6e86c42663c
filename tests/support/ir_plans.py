"""Plans drawn at random: every field holds something of its type, and no more sense than that.

What is drawn follows from the fields that the classes of `etir.ir.plan` declare, so a new operation is drawn too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from hypothesis import strategies as st
from ir_examples import val

from etir.coupling import Coupling
from etir.ir.attributes import attribute_fields, place
from etir.ir.checks.fields import annotations_of
from etir.ir.loc import Loc
from etir.ir.plan import Operation, Part, Plan, Signal, Trace
from etir.ir.transition import Association, Group, Param, Site, State, Transition, Weight
from etir.ir.types import TensorType
from etir.ir.values import Value
from etir.ir.vocabulary import vocabulary

TYPES = ("f32[]", "f32[4]", "f32[8]", "f32[11,8]", "f32[3,4]", "c64[4]", "i32[]", "u32[2]", "bf16[2,4]")
COUPLINGS = (
    Coupling.identity((4,)),
    Coupling.identity((8,)),
    Coupling.parse("[-1..1]", (8,), (8,)),
    Coupling.parse("[map:2;0;7;1]", (8,), (4,)),
    Coupling.all((4,), (4,)),
)
LOC = Loc(file="rule.py", line=7, column=3)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.builds(val, st.sampled_from(TYPES), st.sampled_from(["", "e", "e_next", "D_h_h", "7"]))


@cache
def drawn_plans(t: Transition, name: str) -> st.SearchStrategy[Transition]:
    """`t` with a plan that has an operation, or a part, of the class of this name."""
    kind = vocabulary()[name]
    part = kind if issubclass(kind, Part) else None
    step = st.sampled_from([kind] if part is None else _owners(part)).flatmap(lambda o: _drawn(t, o, part))
    at_window = st.sampled_from(_operations()).flatmap(lambda o: _drawn(t, o, None))
    return st.builds(
        lambda **fields: replace(t, plan=Plan(**fields)),
        step=st.lists(step, min_size=1, max_size=2).map(tuple),
        at_window=st.lists(at_window, max_size=1).map(tuple),
        rule=st.sampled_from(["d_rtrl", "snap(2)"]),
        window=st.integers(1, 99),
        credit=st.sampled_from(["full", "rule"]),
        rules=st.just(()) | st.tuples(*[st.sampled_from(["rtrl", "my rule", "for"]) for _ in t.params]),
        left=st.lists(st.sampled_from(t.params), unique=True).map(tuple),
        signals=st.lists(st.builds(Signal, path=texts, value=values, loc=st.none() | st.just(LOC)), max_size=2).map(
            tuple
        ),
        traces=st.lists(_traces(), max_size=2).map(tuple),
    )


def _traces() -> st.SearchStrategy[Trace]:
    start = st.none() | st.sampled_from(["start_e", "odd name"])
    return st.builds(Trace, before=values, after=values, label=texts, start=start, loc=st.none() | st.just(LOC))


def _operations() -> list[type[Operation]]:
    return [kind for kind in vocabulary().values() if issubclass(kind, Operation)]


def _owners(part: type[Part]) -> list[type[Operation]]:
    """The operations that have a field for a part."""
    found = [o for o in _operations() if any(_takes(hint, part) for hint in annotations_of(o).values())]
    assert found, f"no operation has a field that a {part.__name__} could be in"
    return found


def _takes(hint: Any, part: type[Part]) -> bool:
    if isinstance(hint, type) and issubclass(hint, Part):
        inside = (kind for kind in vocabulary().values() if issubclass(kind, hint))
        return issubclass(part, hint) or any(_takes(h, part) for k in inside for h in annotations_of(k).values())
    return any(_takes(each, part) for each in get_args(hint))


@cache
def _drawn(t: Transition, kind: type[Any], part: type[Part] | None) -> st.SearchStrategy[Any]:
    """An operation or a part of this class; where it has a field for `part`, that is in it."""
    hints = annotations_of(kind)
    fields = {f.name: _field(t, hints[f.name], part) for f in attribute_fields(kind)}
    if issubclass(kind, Part):
        return st.builds(kind, **fields)
    results = st.lists(values, max_size=3).map(tuple)
    drawn = st.builds(kind, **fields, results=results, loc=st.none() | st.just(LOC))
    return drawn.map(lambda made: made if made.loc is not None else replace(made, loc=place(made)))


def _field(t: Transition, hint: Any, part: type[Part] | None) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        return st.one_of(*[_field(t, each, part) for each in arguments])
    if origin is tuple and arguments[1:] == (...,):
        return st.lists(_field(t, arguments[0], part), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*[_field(t, each, part) for each in arguments])
    if isinstance(hint, type) and issubclass(hint, Part):
        fitting = [kind for kind in vocabulary().values() if issubclass(kind, hint)]
        kinds = [part] if part in fitting else fitting
        return st.sampled_from(kinds).flatmap(lambda kind: _drawn(t, kind, part))
    assert hint in _LEAVES, f"what does a field of type {hint} hold? say so in _LEAVES"
    return _LEAVES[hint](t)


_LEAVES: dict[Any, Callable[[Transition], st.SearchStrategy[Any]]] = {
    Value: lambda t: st.sampled_from([*(p.value for p in t.params), *(s.output for s in t.sites)]) | values,
    Association: lambda t: st.sampled_from(t.associations),
    Group: lambda t: st.sampled_from(t.groups),
    Param: lambda t: st.sampled_from(t.params),
    Site: lambda t: st.sampled_from(t.sites),
    State: lambda t: st.sampled_from(t.states),
    Weight: lambda t: st.sampled_from(t.weights),
    Coupling: lambda t: st.sampled_from(COUPLINGS),
    TensorType: lambda t: st.sampled_from(TYPES).map(TensorType.parse),
    str: lambda t: st.sampled_from([region.name for region in t.regions]) | texts,
    int: lambda t: st.integers(-2, 3),
    float: lambda t: st.floats(allow_nan=False) | st.integers(-2, 3),
    bool: lambda t: st.booleans(),
    NoneType: lambda t: st.none(),
}
