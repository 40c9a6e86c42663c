"""A function as one of what states hold and of arguments, which JAX differentiates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .. import errors, frame
from ..cell import Cell
from ..frame import Frame
from ..module import Module
from ..state import ParamState, State


class Derived(NamedTuple):
    """What a function has returned, and derivatives of it."""

    value: Any
    aux: Any
    found: Any
    """What `derive` made: for each leaf of the result a pair, by states and by arguments."""
    pack: Callable[[tuple[list[Any], tuple[Any, ...]]], Any]
    """Such a pair as the user asked for it: of states, of arguments, or both."""


def derived(
    derive: Callable[..., Any],
    function: Callable[..., Any],
    wrt: Any,
    argnums: int | Sequence[int] | None,
    has_aux: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Derived:
    """Call a function and differentiate it, by `derive` as `jax.grad` is; what it writes is written.

    The derivatives are taken at the values that states have when it starts. Raises EtirError for what has none.
    """
    argnums = 0 if wrt is None and argnums is None else argnums
    states, pack = _targets(wrt)
    cells, numbers = _checked_cells(states), _numbers(argnums)
    footprint = frame.inner_footprint()

    def pure(values: list[Any], chosen: tuple[Any, ...]) -> Any:
        with Frame(footprint).over(_with_values(cells, values)) as inside:
            inside.differentiated = frozenset(states)
            result = function(*_merged(args, numbers, chosen), **kwargs)
            value, aux = result if has_aux else (result, None)
            return value, (value, aux, inside.leave())

    def attempt() -> Any:
        given = [cells[state].value for state in states], tuple(args[n] for n in numbers)
        return derive(pure, argnums=(0, 1), has_aux=True)(*given)

    def packed(pair: tuple[list[Any], tuple[Any, ...]]) -> Any:
        of_states, of_args = pair
        by_argument = of_args[0] if isinstance(argnums, int) else of_args
        if argnums is None:
            return pack(of_states)
        return by_argument if wrt is None else (pack(of_states), by_argument)

    found, (value, aux, writes) = frame.settled(footprint, attempt)
    frame.commit(writes)
    return Derived(value, aux, found, packed)


def _numbers(argnums: int | Sequence[int] | None) -> tuple[int, ...]:
    """Which arguments are differentiated."""
    return () if argnums is None else (argnums,) if isinstance(argnums, int) else tuple(argnums)


def _merged(args: tuple[Any, ...], numbers: tuple[int, ...], chosen: tuple[Any, ...]) -> list[Any]:
    """Arguments, those of some numbers replaced."""
    found = list(args)
    for number, arg in zip(numbers, chosen, strict=True):
        found[number] = arg
    return found


def _with_values(cells: Mapping[State, Cell], values: list[Any]) -> dict[State, Cell]:
    """What states hold, with other values."""
    return {s: Cell(value=x, tags=cell.tags) for (s, cell), x in zip(cells.items(), values, strict=True)}


def _targets(wrt: Any) -> tuple[list[State], Callable[[list[Any]], Any]]:
    """The states to differentiate, each once, and how their gradients are put together."""
    named = wrt.states(ParamState) if isinstance(wrt, Module) else wrt
    leaves, tree = jax.tree.flatten(dict(named) if isinstance(named, Mapping) else named)
    for leaf in leaves:
        if not isinstance(leaf, State):
            raise errors.not_states("what grad differentiates", leaf)
    states = list(dict.fromkeys(leaves))
    return states, lambda grads: jax.tree.unflatten(tree, [grads[states.index(leaf)] for leaf in leaves])


def _checked_cells(states: list[State]) -> dict[State, Cell]:
    """What states hold that are to be differentiated; EtirError for one that has no gradient."""
    cells = {state: frame.read(state) for state in states}
    for state, cell in cells.items():
        if not cell.is_set:
            raise errors.unset(state)
        if state.only_read:
            raise errors.compiled_weight(state)
        if not all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(cell.value)):
            raise errors.no_gradient(state, cell.value)
    return cells
