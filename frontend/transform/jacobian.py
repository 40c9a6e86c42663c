"""The Jacobian of a function with respect to states, arguments, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from .. import frame
from ..frame import Frame
from .grad import argument_numbers, checked_cells, merged, targets, with_values
from .named import like


def jacobian(
    function: Callable[..., Any],
    wrt: Any = None,
    *,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    forward: bool = False,
) -> Callable[..., Any]:
    """A function that returns the Jacobian, in the tree of the result: for each leaf, what `grad` would return.

    The axes of an entry are those of the result's leaf, then those of the state or the argument. `wrt`, `argnums` and
    `has_aux` are as in `value_and_grad`; the result is `(jacobian, aux)` where `has_aux`. It is found in reverse mode,
    or in `forward` mode, which is cheaper where there are fewer inputs than outputs. What `function` writes is written.
    """
    if wrt is None and argnums is None:
        argnums = 0
    derive = jax.jacfwd if forward else jax.jacrev

    @like(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        states, pack = targets(wrt)
        cells = checked_cells(states)
        numbers = argument_numbers(argnums)
        footprint = frame.inner_footprint()

        def pure(values: list[Any], chosen: tuple[Any, ...]) -> Any:
            with Frame(footprint).over(with_values(cells, values)) as inside:
                inside.differentiated = frozenset(states)
                result = function(*merged(args, numbers, chosen), **kwargs)
                value, aux = result if has_aux else (result, None)
                return value, (value, aux, inside.leave())

        def attempt() -> Any:
            given = [cells[state].value for state in states], tuple(args[n] for n in numbers)
            return derive(pure, argnums=(0, 1), has_aux=True)(*given)

        found, (value, aux, writes) = frame.settled(footprint, attempt)
        frame.commit(writes)

        def packed(of_leaf: tuple[list[Any], tuple[Any, ...]]) -> Any:
            of_states, of_args = of_leaf
            by_argument = of_args[0] if isinstance(argnums, int) else of_args
            if argnums is None:
                return pack(of_states)
            return by_argument if wrt is None else (pack(of_states), by_argument)

        result = jax.tree.map(lambda _, of_leaf: packed(of_leaf), value, found)
        return (result, aux) if has_aux else result

    return differentiated
