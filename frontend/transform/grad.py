"""Differentiate a function with respect to states, arguments, or both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import errors, frame
from ..cell import Cell
from ..frame import Frame
from ..module import Module
from ..state import ParamState, State
from .named import like


def value_and_grad(
    function: Callable[..., Any],
    wrt: Any = None,
    *,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """A function that returns `(value, gradients)`, or `((value, aux), gradients)` where `has_aux`.

    `wrt` is a module (its weights; the gradients are a dict by path), a State, or a dict, list or tuple of States (the
    gradients are in the same container). Without `wrt` the gradients are those of the arguments `argnums`, the first by
    default; with both, they are the pair (of states, of arguments). The gradient is taken at the value that a state has
    when the function starts; what the function writes is written.
    """
    if wrt is None and argnums is None:
        argnums = 0

    @like(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        states, pack = targets(wrt)
        cells, numbers = checked_cells(states), argument_numbers(argnums)
        footprint = frame.inner_footprint()

        def pure(values: list[Any], chosen: tuple[Any, ...]) -> Any:
            with Frame(footprint).over(with_values(cells, values)) as inside:
                inside.differentiated = frozenset(states)
                result = function(*merged(args, numbers, chosen), **kwargs)
                value, aux = result if has_aux else (result, None)
                return value, (aux, inside.leave())

        def attempt() -> Any:
            values = [cells[state].value for state in states]
            return jax.value_and_grad(pure, argnums=(0, 1), has_aux=True)(values, tuple(args[n] for n in numbers))

        (value, (aux, writes)), (of_states, of_args) = frame.settled(footprint, attempt)
        frame.commit(writes)
        result = (value, aux) if has_aux else value
        of_args = of_args[0] if isinstance(argnums, int) else of_args
        if argnums is None:
            return result, pack(of_states)
        return result, of_args if wrt is None else (pack(of_states), of_args)

    return differentiated


def grad(
    function: Callable[..., Any],
    wrt: Any = None,
    *,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """A function that returns the gradients, or `(gradients, aux)` where `has_aux`; see `value_and_grad`."""
    both = value_and_grad(function, wrt, argnums=argnums, has_aux=has_aux)

    @like(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return differentiated


def argument_numbers(argnums: int | Sequence[int] | None) -> tuple[int, ...]:
    """Which arguments are differentiated."""
    return () if argnums is None else (argnums,) if isinstance(argnums, int) else tuple(argnums)


def merged(args: tuple[Any, ...], numbers: tuple[int, ...], chosen: tuple[Any, ...]) -> list[Any]:
    """Arguments, those of some numbers replaced."""
    found = list(args)
    for number, arg in zip(numbers, chosen, strict=True):
        found[number] = arg
    return found


def with_values(cells: Mapping[State, Cell], values: list[Any]) -> dict[State, Cell]:
    """What states hold, with other values."""
    return {s: Cell(value=x, tags=cell.tags) for (s, cell), x in zip(cells.items(), values, strict=True)}


def targets(wrt: Any) -> tuple[list[State], Callable[[list[Any]], Any]]:
    """The states to differentiate, each once, and how their gradients are put together."""
    named = wrt.states(ParamState) if isinstance(wrt, Module) else wrt
    leaves, tree = jax.tree.flatten(dict(named) if isinstance(named, Mapping) else named)
    for leaf in leaves:
        if not isinstance(leaf, State):
            raise errors.not_states("what grad differentiates", leaf)
    states = list(dict.fromkeys(leaves))
    return states, lambda grads: jax.tree.unflatten(tree, [grads[states.index(leaf)] for leaf in leaves])


def checked_cells(states: list[State]) -> dict[State, Cell]:
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
