"""The Jacobian of a function with respect to states, arguments, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from . import faults
from .derived import derived
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
    Raises EtirError in forward mode of what has a rule for reverse mode alone, as the steps of an online learner have.
    """
    derive = jax.jacfwd if forward else jax.jacrev

    @like(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        with faults.told_of_reverse_rules():
            of = derived(derive, function, wrt, argnums, has_aux, args, kwargs)
        result = jax.tree.map(lambda _, pair: of.pack(pair), of.value, of.found)
        return (result, of.aux) if has_aux else result

    return differentiated
