"""Run a function for many samples at once, some states having a value for each sample, the others shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from .. import errors, frame
from ..cell import Cell
from ..frame import First
from ..state import State
from .named import like
from .samples import Samples, as_test

_AXIS = "etir_samples"


def vmap(
    function: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    axis_size: int | None = None,
    axis_name: Any = _AXIS,
    in_states: Any = None,
    out_states: Any = (),
    state_tag: str = "new",
) -> Callable[..., Any]:
    """`function` for one sample, as a function for many, as `jax.vmap` makes it.

    `in_states` says which states hold a value for each sample along their first axis: a State class, a tag, a predicate
    of a state, a Module, a State, or a list or tuple of these. By default they are those that `vmap_new_states` made.
    The other states are shared: all samples read one value, and writing one with a value for each sample is an
    EtirError, unless it is among `out_states`, which get an axis of samples, tagged `state_tag`. So do states that are
    made, or get their first value, inside. Random keys are split: each sample draws its own numbers.
    """
    splits = as_test(in_states, lambda state, cell: bool(cell.tags))
    widens = as_test(out_states, lambda state, cell: False)
    axes = (0, None, tuple(in_axes) if isinstance(in_axes, list) else in_axes, 0)

    @like(function)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        footprint = frame.inner_footprint()

        def attempt() -> Any:
            known = {state: frame.read(state) for state in footprint.states}
            cells = {state: cell for state, cell in known.items() if state.varies or splits(state, cell)}
            size = _common_size(cells, axis_size or _mapped_size(axes[2], args, kwargs))
            each = _first_of_each(size if in_states is None else None, state_tag)
            samples = Samples(function, footprint, cells, splits, widens, state_tag, axis_name, each)

            def run(body: Callable[..., Any], outs: Any, size: int | None = axis_size) -> Any:
                run_all = jax.vmap(body, axes, outs, axis_name=axis_name, axis_size=size)
                return run_all(*samples.operands, args, kwargs)

            try:
                if size is None:  # Nothing is mapped as yet: a run for one sample misses the states that are to be.
                    run(samples, (out_axes, 0, None), 1)
                return run(samples, (out_axes, 0, None))
            except ValueError as fault:
                culprits = samples.batched_writes(run)
                if culprits:
                    raise errors.batched_write(culprits) from fault
                raise

        out, own, shared = frame.settled(footprint, attempt)
        frame.commit(own)
        frame.commit(shared)
        return out

    return mapped


def vmap_new_states(
    function: Callable[..., Any] | None = None,
    *,
    state_tag: str = "new",
    axis_size: int | None = None,
    in_axes: Any = 0,
    out_axes: Any = 0,
) -> Any:
    """`function` run once for each of `axis_size` samples; every state that it makes or writes gets an axis of samples.

    So `nn.init_all_states(model)` under it gives each sample its own initial values, random ones drawn from a key of
    its own. The states are tagged, and `vmap` then splits them by default. Usable as a decorator with options.
    """
    if function is None:
        return lambda f: vmap_new_states(
            f, state_tag=state_tag, axis_size=axis_size, in_axes=in_axes, out_axes=out_axes
        )
    return vmap(function, in_axes, out_axes, axis_size=axis_size, in_states=(), out_states=..., state_tag=state_tag)


def _first_of_each(size: int | None, tag: str) -> Callable[[First], First | None]:
    """What makes, of the first value of one sample's state, that of each of so many; None where nothing is split."""
    if size is None:
        return lambda first: None

    def of_each(first: First) -> First:
        def make() -> Cell:
            tags: list[tuple[str, ...]] = []

            def one() -> Any:
                cell = first()
                tags.append(cell.tags)
                return cell.value

            value = vmap(one, axis_size=size)()
            return Cell(value=value, tags=(tag, *tags[-1]))

        return make

    return of_each


def _common_size(cells: dict[State, Cell], wanted: int | None) -> int | None:
    """How many samples there are, as the arguments say (`wanted`) or else the states; None where nothing says it."""
    for state, cell in cells.items():
        for leaf in () if state.varies else jax.tree.leaves(cell.value):
            if not leaf.ndim:
                raise errors.no_sample_axis(state, cell.value)
            size: int = leaf.shape[0]
            wanted = size if wanted is None else wanted
            if size != wanted:
                raise errors.sample_counts(state, size, wanted)
    return wanted


def _mapped_size(in_axes: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """The size of the first mapped axis of the arguments; None where there is none, or where JAX will refuse them."""
    try:
        axes = jax.tree.broadcast((in_axes, 0), (args, kwargs), is_leaf=lambda axis: axis is None)
        pairs = zip(
            jax.tree.leaves(axes, is_leaf=lambda axis: axis is None), jax.tree.leaves((args, kwargs)), strict=True
        )
        return next((leaf.shape[axis] for axis, leaf in pairs if axis is not None), None)
    except (ValueError, AttributeError, IndexError):
        return None
