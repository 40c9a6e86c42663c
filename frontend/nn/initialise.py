"""Giving states their initial values, and cutting their history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .. import errors, frame
from ..cell import Cell
from ..filters import states_of
from ..state import HiddenState, ShortTermState, State
from ..transform.vmap import vmap

_RESET = (HiddenState, ShortTermState)


def init_all_states(model: Any, batch_size: int | None = None) -> Any:
    """`model`, each hidden and short-term state at its initial value, with a leading axis of `batch_size` if given.

    An array is repeated along the axis; an initialiser is called once for each sample, with a random key of its own.
    Lazily shaped states become unset: they take their shape, batch axes included, from the next input. `model` is a
    module, or a dict of states by path.
    """
    lead = () if batch_size is None else (batch_size,)
    for state in _resettable("init_all_states", model):
        frame.write(state, Cell(value=_initial(state, lead)))
    return model


def zero_states(model: Any) -> Any:
    """`model`, each hidden and short-term state at its initial value in the batch that it has now; lazy ones unset.

    Call it where a new sequence starts.
    """
    for state in _resettable("zero_states", model):
        cell = frame.read(state)
        value = _initial(state, _lead(state, cell.value)) if cell.is_set else None
        frame.write(state, Cell(value=value, tags=() if value is None else cell.tags))
    return model


def detach_states(model: Any) -> Any:
    """`model`, no gradient passing from what its hidden and short-term states do next to how they came about.

    The numbers stay as they are. Under `transform.grad` this truncates backpropagation through time.
    """
    for state in _resettable("detach_states", model):
        if state.is_set:
            state.value = jax.lax.stop_gradient(state.value)
    return model


def _resettable(function: str, model: Any) -> list[State]:
    return [state for state in states_of(function, model).values() if isinstance(state, _RESET)]


def _initial(state: State, lead: tuple[int, ...]) -> Any:
    """The initial value with leading axes; None for a lazy state, and for one that has no initial value."""
    if state.initial is None or state.lazy is not None:
        return None
    if frame.holds_dead_tracer(state.initial):
        raise errors.dead_initial(state)
    if not any(callable(leaf) for leaf in jax.tree.leaves(state.initial)):
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, lead + leaf.shape), state.accept(state.initial))
    make: Callable[[], Any] = state.make_initial
    for size in reversed(lead):
        make = vmap(make, axis_size=size, in_states=())
    return state.accept(make())


def _lead(state: State, value: Any) -> tuple[int, ...]:
    """The axes that `value` has before those of the initial value; none where its arrays disagree about them."""
    leads = {leaf.shape[: leaf.ndim - rank] for leaf, rank in zip(jax.tree.leaves(value), state.ranks, strict=False)}
    return leads.pop() if len(leads) == 1 else ()
