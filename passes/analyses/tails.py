"""Held values that are read position by position and made of all positions: what of their derivative is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...coupling import Coupling
from ...coupling.primitives import jaxpr_couplings
from ...coupling.primitives.elementwise import ELEMENTWISE, broadcasting
from ...ir import jaxpr as jx
from ...ir.dataflow import Dependences, Prologue
from ...ir.tails import REPEATING, Tail
from .credit import Credit

_ELEMENTWISE = frozenset(ELEMENTWISE)
_WITH_BODIES = frozenset({"cond", "scan"})
"""The operations whose bodies may read an operand position by position."""


class Tails:
    """Where the equations of one step read what is held and the same at many positions, beside what is not.

    There the derivative by a reader's own position adds to what it depends on already, and to nothing else: so nothing
    that the data-flow says of dependences changes.
    """

    def __init__(
        self,
        credit: Credit,
        prologue: Prologue,
        depends: Mapping[Any, Dependences],
        summed: Mapping[Any, frozenset[Any]],
        followed: Collection[Any],
        held: Iterable[Any],
        spread: Collection[Any],
    ) -> None:
        """Read the data-flow of a step; `spread` are those of the `held` values that something repeats in reading."""
        self.credit, self.prologue, self.depends = credit, prologue, depends
        self.summed, self.followed = summed, frozenset(followed)
        self.mixed = {var for var in held if _is_real(var) and (var in spread or self._constant(var))}
        """The held values that are read, or made, the same at many positions."""

    def found(self) -> Iterator[Tail]:
        """Every tail, each where first it is read beside what it is made of."""
        bare = set(self.mixed)
        for place, eqn in enumerate(self.credit.equations if bare else ()):
            read = dict.fromkeys(a for a in eqn.invars if not jx.is_literal(a) and a in bare)
            if not read or place in self.prologue.equations:
                continue
            tails = [tail for tail in (self._tail(place, atom) for atom in read) if tail is not None]
            yield from tails
            if len(tails) < len(read):
                bare.update(var for var in eqn.outvars if self._is_mixed(var))

    def _of(self, atom: Any) -> Dependences:
        return {} if jx.is_literal(atom) else self.depends.get(atom, {})

    def _sources(self, atom: Any) -> list[Any]:
        """The followed sources of a value."""
        return [source for source in self._of(atom) if source in self.followed]

    def _is_mixed(self, atom: Any) -> bool:
        return not self.mixed.isdisjoint(self._of(atom))

    def _tail(self, place: int, read: Any) -> Tail | None:
        """What one equation reads as one of its operands; None where nothing of that is kept."""
        if not _is_real(read):
            return None
        reader = self._reader(place, read)
        if reader is None or {s for _, of in reader.results for s in of} <= {*self._sources(read)}:
            return None
        after = self._after(read, reader.shape)
        return None if after is None else self._before(reader, read, after)

    def _reader(self, place: int, read: Any) -> _Reader | None:
        """The equation at a place, as it reads an operand; None where it is none that takes it position by position."""
        eqn = self.credit.equations[place]
        if eqn.primitive.name in _ELEMENTWISE:
            shape = jx.shape_of(eqn.outvars[0])
            return _Reader(place, shape, [(Coupling.identity(shape), self._followed(eqn.outvars[0]))])
        if eqn.primitive.name not in _WITH_BODIES:
            return None
        rows = zip(eqn.outvars, self.credit.couplings(place), strict=True)
        at = [k for k, atom in enumerate(eqn.invars) if atom is read]
        flowing = [(var, row[k]) for var, row in rows if not jx.is_dropped(var) for k in at]
        found = [(c, self._followed(var)) for var, c in flowing if c is not None and jx.type_of(var).carries_credit]
        return _Reader(place, jx.shape_of(read), found)

    def _followed(self, atom: Any) -> Dependences:
        """What a value depends on of the followed sources."""
        return {source: c for source, c in self._of(atom).items() if source in self.followed}

    def _after(self, read: Any, shape: tuple[int, ...]) -> _Walk | None:
        """Back from what is read to what is held or made of that alone; None where not all is element by element."""

        def stop(atom: Any) -> bool:
            return not self._is_mixed(atom) or not self._sources(atom)

        found = self._back([read], stop)
        eqns = [self.credit.equations[k] for k in found.places]
        held = [atom for atom in found.ends if self._is_mixed(atom)]
        plain = all(_is_plain(eqn) for eqn in eqns) and all(map(_is_real, held))
        aligned = all(_aligned(jx.shape_of(atom), shape) for atom in held)
        return found if plain and aligned and held else None

    def _before(self, reader: _Reader, read: Any, after: _Walk) -> Tail | None:
        """The tail of an equation that reads a value made, after what is held, so."""
        shape, held = reader.shape, [atom for atom in after.ends if self._is_mixed(atom)]
        found = self._back(held, lambda atom: atom not in held and self._stops(atom, reader, held))
        ends = [atom for atom in found.ends if self._is_end(atom, reader, held)]
        constant = {atom: self._constant(atom) for atom in held}

        def tail(ends: Collection[Any]) -> Tail:
            return Tail(
                reader=reader.place,
                read=read,
                shape=shape,
                held=tuple((atom, math.prod(jx.shape_of(atom)[k] for k in constant[atom])) for atom in held),
                ends=tuple(ends),
                beside=tuple(atom for atom in found.ends if atom not in ends),
                before=tuple(self.credit.equations[k] for k in sorted(found.places)),
                after=tuple(self.credit.equations[k] for k in sorted(after.places)),
                also=tuple(atom for atom in after.ends if atom not in held),
                sources=frozenset(source for end in ends for source in self._sources(end)),
            )

        first = tail(ends)
        body, _ = jx.trace(first.made_of, *map(jx.struct_of, (*first.ends, *first.beside)))
        rows = jaxpr_couplings(body, seeds=range(len(ends)))
        kept = [
            end
            for k, end in enumerate(ends)
            if all(_apart(row[k], jx.shape_of(a), constant[a]) for a, row in zip(held, rows, strict=True))
        ]
        return (first if len(kept) == len(ends) else tail(kept)) if kept else None

    def _back(self, targets: Iterable[Any], stop: Callable[[Any], bool]) -> _Walk:
        """Back from some values to where `stop` says, or nothing makes them."""
        found, pending, seen = _Walk(), list(targets), set[Any]()
        while pending:
            atom = pending.pop()
            if jx.is_literal(atom) or atom in seen:
                continue
            seen.add(atom)
            if atom not in self.credit.maker or stop(atom):
                found.ends[atom] = None
            else:
                place, _ = self.credit.maker[atom]
                found.places.add(place)
                pending += self.credit.equations[place].invars
        return found

    def _stops(self, atom: Any, reader: _Reader, held: Collection[Any]) -> bool:
        """Whether nothing before a value matters: it is an end, a source, or nothing followed comes to it."""
        if atom in self.followed or self._is_end(atom, reader, held):
            return True
        return not self._is_mixed(atom) and not self._sources(atom)

    def _is_end(self, atom: Any, reader: _Reader, held: Collection[Any]) -> bool:
        """Whether what one position of a value does to held ones adds to what their reader depends on already.

        And is all that a position of its own sources does to them: none of these comes to several of its positions.
        """
        sources, whole, at = self._sources(atom), reader.shape, jx.shape_of(atom)
        if not sources or self._is_mixed(atom) or not _is_real(atom):
            return False
        rows = all(self._is_row(at, each) for each in held) and not self.summed.get(atom)
        if at != whole and not rows:
            return False
        of, inner = self._of(atom), broadcasting(at, whole)
        if any(of[s].fan_out > 1 for s in sources):
            return False
        outer = [(c.compose(inner), known) for c, known in reader.results]
        return all(
            c is None or (s in known and _within(c.compose(of[s]), known[s])) for c, known in outer for s in sources
        )

    def _is_row(self, shape: tuple[int, ...], held: Any) -> bool:
        """Whether a value of a shape has the positions of a held one, those that are the same counted once."""
        of, constant = jx.shape_of(held), self._constant(held)
        once = tuple(1 if axis in constant else size for axis, size in enumerate(of))
        return shape in (of, once) or (not shape and math.prod(once) == 1)

    def _constant(self, atom: Any) -> frozenset[int]:
        """The axes along which a value is the same, as far as what makes it says; those of size one left out."""
        if jx.is_literal(atom) or atom not in self.credit.maker:
            return frozenset()
        eqn, shape = self.credit.equations[self.credit.maker[atom][0]], jx.shape_of(atom)
        axes = frozenset(axis for axis, size in enumerate(shape) if size > 1)
        if eqn.primitive.name == "broadcast_in_dim":
            sizes = dict(zip(eqn.params["broadcast_dimensions"], jx.shape_of(eqn.invars[0]), strict=True))
            return frozenset(axis for axis in axes if sizes.get(axis, 1) == 1)
        if eqn.primitive.name in _ELEMENTWISE:
            wide = [a for a in eqn.invars if jx.shape_of(a)]
            each = [self._constant(a) | {axis for axis in axes if jx.shape_of(a)[axis] == 1} for a in wide]
            return axes.intersection(*each) if each else frozenset()
        return frozenset()


@dataclass(frozen=True, slots=True)
class _Reader:
    """An equation that reads a value position by position."""

    place: int
    shape: tuple[int, ...]
    """The shape in which it takes the value."""
    results: Sequence[tuple[Coupling, Dependences]]
    """How its results depend on the value in that shape, and on what else they do, each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """Where a walk back from some values ends, and the places of the equations that it passes."""

    ends: dict[Any, None] = field(default_factory=dict[Any, None])
    places: set[int] = field(default_factory=set[int])


def kept_sources(
    credit: Credit, var: Any, held: Collection[Any], tails: Mapping[int, Collection[Tail]], targets: Collection[Any]
) -> frozenset[Any]:
    """The sources that every tail keeps the diagonal of by which a held value comes to any of `targets`.

    None where it also comes there otherwise.
    """
    reached, found = {var}, list[frozenset[Any]]()
    for place, eqn in enumerate(credit.equations):
        own = {tail.read: tail for tail in tails.get(place, ()) if tail.read in reached}
        found += [tail.sources for tail in own.values()]
        if any(not jx.is_literal(a) and a in reached and a not in own for a in eqn.invars):
            reached.update(v for v in eqn.outvars if v not in held)
    return frozenset.intersection(*found) if found and reached.isdisjoint(targets) else frozenset()


def _is_real(atom: Any) -> bool:
    kind = jx.type_of(atom)
    return kind.carries_credit and not kind.is_complex


def _is_plain(eqn: Any) -> bool:
    """Whether an equation is element by element, or gives what has no axes, or one position along them, others."""
    if eqn.primitive.name not in REPEATING:
        return eqn.primitive.name in _ELEMENTWISE
    of, result = jx.shape_of(eqn.invars[0]), jx.shape_of(eqn.outvars[0])
    return _aligned(of, result) and len(eqn.invars) == 1


def _aligned(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a value is repeated along axes of `whole` where it has a size of one, or has none at all."""
    same = len(shape) == len(whole) and all(a in (1, b) for a, b in zip(shape, whole, strict=True))
    return not shape or same


def _within(part: Coupling | None, whole: Coupling) -> bool:
    return part is None or whole.join(part) == whole


def _apart(coupling: Coupling | None, own: tuple[int, ...], constant: frozenset[int]) -> bool:
    """Whether rows stay apart: where a value of shape `own` differs along an axis, it is of an end's same position."""
    if coupling is None:
        return True
    tied = [(axis, axis) for axis in range(min(len(own), len(coupling.in_shape))) if axis not in constant]
    return _within(coupling, Coupling.matched(coupling.in_shape, own, tied))
