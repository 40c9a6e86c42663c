"""How credit flows through one step, as passes share it: what each value depends on, and what is held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..coupling import Coupling
from . import jaxpr as jx
from .loc import Loc
from .tails import Tail

HIDDEN = "hidden"
"""The scope in which operations that mix positions are held, and the region of the step that is left of it."""
OPEN = "open"
"""The scope in which none is held, and its region."""

Dependences: TypeAlias = dict[Any, Coupling]
"""The sources that a value depends on, each with how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """An operation that credit would have to cross and that a positional trace cannot follow."""

    operation: str
    """What it is, in the user's words: `matmul`, `reduce_sum`, `sort`, ..."""
    why: str
    """Why it is not followed: `mixes positions`, `is not complex-differentiable`, ..."""
    loc: Loc | None = None

    def __str__(self) -> str:
        return f"{self.operation} ({self.why})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prologue:
    """What of a jaxpr depends on parameters (and constants) alone.

    `params_of` maps each such variable to the positions of the parameters that it depends on, in order; `frontier`
    holds those that the rest of the step, or a result, uses: the weights. Variables that depend on no parameter are in
    neither. `frozen` are those of `params_of` that depend on frozen parameters alone.
    """

    params_of: Mapping[Any, tuple[int, ...]]
    equations: frozenset[int]
    """Places of the equations that make up the prologue."""
    frontier: tuple[Any, ...]
    frozen: frozenset[Any] = frozenset()

    def learns(self, atom: Any) -> bool:
        """Whether a variable depends on parameters alone, one of which is not frozen."""
        return not jx.is_literal(atom) and atom in self.params_of and atom not in self.frozen


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A value that is held: the sources that fed it, and why they are not followed through it."""

    var: Any
    feeds: frozenset[Any]
    crossing: Crossing
    equation: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataflow:
    """How credit flows through one step: its body, whose first arguments are the parameters, then the states.

    Keys are the body's variables.
    """

    body: Any
    params: int
    states: int
    prologue: Prologue
    depends: Mapping[Any, Dependences]
    held: Mapping[Any, Held]
    readers: Mapping[Any, Sequence[Held]]
    """For each source, the held values that it feeds directly."""
    silenced: Mapping[int, tuple[Crossing, ...]]
    """The parameters, by their places, that outputs depend on and none with a derivative; and what sees to it."""
    tails: Mapping[int, Sequence[Tail]]
    """By the place of an equation, the held values of which it reads a part at each position."""
    scope: str = HIDDEN
    """What is held: operations that mix positions (`hidden`), or none of them (`open`)."""

    def is_of(self, body: Any, params: int, states: int) -> bool:
        """Whether this is the data-flow of this very body, with so many parameters and states."""
        return self.body is body and (self.params, self.states) == (params, states)

    def of(self, atom: Any) -> Dependences:
        """The sources that a value depends on, with how."""
        return {} if jx.is_literal(atom) else self.depends.get(atom, {})

    def reaching(self, targets: Iterable[Any]) -> set[Any]:
        """Every source from which a value among `targets` is reached, held values crossed."""
        found: set[Any] = set()
        pending = [source for atom in targets for source in self.of(atom)]
        while pending:
            source = pending.pop()
            if source not in found:
                found.add(source)
                pending += self.held[source].feeds if source in self.held else ()
        return found
