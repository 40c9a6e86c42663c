"""What is made of every position and read at every position, as a norm is, and what of its derivative stays at one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from . import jaxpr as jx

REPEATING = frozenset({"broadcast_in_dim", "reshape"})
"""The operations that give a value of one position, or of few, more axes of size one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tail:
    """What an equation reads of held values that are made of many positions and are the same at many.

    So `x / rms(x)` reads `rms(x)`. Held, it leaves `1 / rms(x)` for the derivative at each position, which is not the
    diagonal of the Jacobian. What is missing there is the derivative of the held value by each position of `ends`, one
    reverse sweep for all: position `j` of what reads it takes that by position `j`. The rest, by other positions, is of
    rank one.
    """

    reader: int
    """The place in the step of the equation that reads it."""
    read: Any
    shape: tuple[int, ...]
    """The shape of the reader's result; where it is a branch or a loop, of what it reads."""
    held: tuple[tuple[Any, int], ...]
    """What is held, or made of that alone, and along how many positions of its own shape each is the same."""
    ends: tuple[Any, ...]
    """What that is made of, position by position of the reader's result, or of its own where it has fewer."""
    beside: tuple[Any, ...]
    """What else it is computed from."""
    before: tuple[Any, ...]
    """The equations that make what is held of `ends`."""
    after: tuple[Any, ...]
    """The equations that make `read` of what is held, and of `also`: element by element, or adding axes."""
    also: tuple[Any, ...]
    sources: frozenset[Any]
    """The sources of credit that come to it by way of `ends`."""

    @property
    def operands(self) -> tuple[Any, ...]:
        """The variables that it is told by."""
        return (*(var for var, _ in self.held), *self.also, *self.ends, *self.beside)

    def taken(self, env: Mapping[Any, Any], still: Callable[[Any], Any]) -> list[Any]:
        """What `spread` takes from an environment; `still` has an end without the credit that is to be kept."""
        return [env[atom] for atom in self.operands] + [still(end) for end in self.ends]

    def spread(self, *operands: Any) -> Any:
        """`read` at each position of the reader, with the derivative by what that position makes of `ends`.

        Operands are `operands`, then `ends` once more, without credit, or with what credit the held values have.
        """
        env = dict(zip(self.operands, operands, strict=False))
        still = operands[len(operands) - len(self.ends) :]
        moved = [jnp.where(jnp.isfinite(env[a]), env[a] - x, 0) for a, x in zip(self.ends, still, strict=True)]
        slopes = self._slopes(still, [env[atom] for atom in self.beside])
        of_held = {var: env[var] for var, _ in self.held}
        env = {atom: env[atom] for atom in self.also}
        for (var, value), own in zip(of_held.items(), slopes, strict=True):
            parts = (
                jnp.where(jnp.isfinite(s), s * by, 0).astype(value.dtype) for s, by in zip(own, moved, strict=True)
            )
            env[var] = sum(parts, jnp.broadcast_to(value, self.shape))
        jx.run_equations(self.after, env, self._at_positions)
        return env[self.read]

    def _at_positions(self, eqn: Any, operands: list[Any]) -> list[Any] | None:
        """What repeats a value changes nothing of one that is given at each position: a hook."""
        return operands if eqn.primitive.name in REPEATING and operands[0].shape == self.shape else None

    def _slopes(self, ends: Sequence[Any], beside: Sequence[Any]) -> list[Sequence[Any]]:
        """For what is held its derivative by each position of `ends`: its rows do not mix."""
        ends, beside = jax.lax.stop_gradient((tuple(ends), tuple(beside)))
        values, pull = jax.vjp(lambda *ends: self.made_of(*ends, *beside), *ends)
        found: list[Sequence[Any]] = []
        for k, (_, repeated) in enumerate(self.held):
            ones = [jnp.full(x.shape, (1 / repeated) * (place == k), x.dtype) for place, x in enumerate(values)]
            found.append(pull(ones))
        return found

    def made_of(self, *operands: Any) -> list[Any]:
        """What is held, of `ends` and `beside`."""
        env = dict(zip((*self.ends, *self.beside), operands, strict=True))
        jx.run_equations(self.before, env)
        return [env[var] for var, _ in self.held]


def operands_with(tails: Iterable[Tail], eqn: Any, operands: Sequence[Any], value: Callable[[Tail], Any]) -> list[Any]:
    """The operands of an equation that reads some tails, with what these are at its positions in their places."""
    read = {tail.read: value(tail) for tail in tails}
    pairs = zip(eqn.invars, operands, strict=True)
    return [operand if jx.is_literal(atom) else read.get(atom, operand) for atom, operand in pairs]
