"""A jaxpr in the making: equations of another one, under new variables, none of which is traced again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import jaxpr as jx

Hook = Callable[[Any, list[Any]], list[Any] | None]
"""From an equation and its operands, atoms of the draft, to its results; None where it is to be copied."""


class Draft:
    """What is put together from equations of one jaxpr, and of small functions that are traced once.

    Environments map variables of that jaxpr to atoms of the draft.
    """

    def __init__(self, body: Any, like: Sequence[Any]) -> None:
        """Begin a jaxpr from equations of `body`, with an argument of the type of each variable in `like`."""
        self.body = body
        self.arguments = [jx.fresh(var) for var in like]
        self.constants: dict[Any, Any] = {}
        """The variables that stand for constants, and these."""
        self.equations: list[Any] = []
        self._traced: dict[Any, Any] = {}

    def environment(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """The constants of the body, and the first arguments under these keys."""
        return {**self._constants_of(self.body), **dict(zip(keys, self.arguments, strict=False))}

    def run(self, eqns: Iterable[Any], env: dict[Any, Any], hook: Hook | None = None) -> None:
        """Add equations in order, reading their operands from `env` and leaving their results in it."""
        for eqn in eqns:
            operands = [_read(env, atom) for atom in eqn.invars]
            results = hook(eqn, operands) if hook else None
            env.update(zip(eqn.outvars, self.copy(eqn, operands) if results is None else results, strict=True))

    def copy(self, eqn: Any, operands: Sequence[Any]) -> list[Any]:
        """The results of an equation on these operands."""
        results = [jx.fresh(var) for var in eqn.outvars]
        self.equations.append(jx.rewired(eqn, operands, results))
        return results

    def inline(self, eqn: Any, operands: Sequence[Any]) -> list[Any] | None:
        """The results of an equation that is a call, its body and those of calls in it inlined: a hook."""
        body = jx.callee(eqn)
        return None if body is None else self._insert(body, operands, lambda inner: jx.moved(inner, eqn))

    def call(self, function: Callable[..., Any], *operands: Any, of: Any = None) -> Any:
        """The result of a function of arrays that has but one, located where the equation `of` is, if given.

        The function is traced once for operands of the same types, so it must be the same object each time.
        """
        key = (function, *map(jx.type_of, operands))
        if key not in self._traced:
            self._traced[key] = jx.trace(function, *map(jx.struct_of, operands))[0]
        (result,) = self._insert(self._traced[key], operands, lambda eqn: eqn if of is None else jx.placed(eqn, of))
        return result

    def close(self, env: dict[Any, Any], results: Sequence[Any]) -> Any:
        """The closed jaxpr of what was added; its results are what `env` holds for these."""
        results = [_read(env, atom) for atom in results]
        atoms = [*results, *(atom for eqn in self.equations for atom in eqn.invars)]
        used = {atom for atom in atoms if not jx.is_literal(atom)}
        constants = {var: value for var, value in self.constants.items() if var in used}
        return jx.assembled(constants, self.arguments, results, self.equations, self.body)

    def _constants_of(self, body: Any) -> dict[Any, Any]:
        values = jx.consts_of(body)
        own = {var: jx.fresh(var) for var in jx.all_invars(body)[: len(values)]}
        self.constants.update(zip(own.values(), values, strict=True))
        return own

    def _insert(self, body: Any, operands: Sequence[Any], placed: Callable[[Any], Any]) -> list[Any]:
        env = self._constants_of(body) | dict(zip(jx.argument_vars(body), operands, strict=True))
        self.run(map(placed, jx.equations(body)), env, self.inline)
        return [_read(env, atom) for atom in jx.outvars(body)]


def _read(env: dict[Any, Any], atom: Any) -> Any:
    return atom if jx.is_literal(atom) else env[atom]
