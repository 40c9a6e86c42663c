"""Steps that are told, each time, whether they count and whether a sequence begins: padding, and several sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..ir.diagnostics import Diagnostic, EtirError, error
from ..ir.loc import Loc, definition
from ..ir.marks import EACH, MARKS, SAMPLE
from ..ir.step import leaf_paths
from ..ir.types import TensorType


def with_marks(
    step: Callable[..., Any], states: Any, chosen: Mapping[str, str]
) -> tuple[Callable[..., Any], dict[str, jax.ShapeDtypeStruct]]:
    """A step that takes the chosen marks behind its inputs, and their types.

    A step that begins a sequence (`reset`) finds the states at their start. One that does not count (`mask` is false)
    gives states back as it found them, and zeros as outputs. Each is a choice between numbers, so what a learning rule
    makes of it follows: nothing is carried over a start, and everything through a step that does not count.

    Marks of samples choose along the first axis; a counter or a key that samples share goes on, and a key of random
    numbers never starts again. Raises EtirError for states that carry credit and for outputs without such an axis.
    """
    size = batch_of(states, chosen) if SAMPLE in chosen.values() else 0
    kinds = {name: jax.ShapeDtypeStruct((size,) * (chosen[name] == SAMPLE), bool) for name in MARKS if name in chosen}
    begin, loc = _begin(states) if "reset" in chosen else [], definition(step)

    def marked(params: Any, states: Any, *rest: Any) -> Any:
        *inputs, marks = rest
        if (reset := marks.get("reset")) is not None:
            leaves, structure = jax.tree.flatten(states)
            pairs = zip(begin, leaves, strict=True)
            leaves = [x if _is_key(x) or _shared(reset, x) else _either(reset, s, x) for s, x in pairs]
            states = jax.tree.unflatten(structure, leaves)
        returned = step(params, states, *inputs)
        mask = marks.get("mask")
        if mask is None or not isinstance(returned, (tuple, list)) or len(returned) != 2:
            return returned
        after, outputs = returned
        if jax.tree.structure(after) == jax.tree.structure(states):  # else the check of results has its say
            after = jax.tree.map(lambda new, old: new if _shared(mask, old) else _either(mask, new, old), after, states)
        if mask.ndim:
            _check_outputs(outputs, size, loc)
        return after, jax.tree.map(lambda y: _either(mask, y, jnp.zeros_like(y)), outputs)

    return marked, kinds


def checked_marks(**given: str | None) -> dict[str, str]:
    """The marks that were asked for, by name. Raises EtirError for anything but `"step"` and `"sample"`."""
    findings = [
        Diagnostic(
            code="unknown-option",
            message=f"{name}={value!r}; wanted one of {', '.join(map(repr, EACH))}, or None",
            help="the option says what a mark is of; the marks themselves are given to the learner's methods",
        )
        for name, value in given.items()
        if value is not None and not (isinstance(value, str) and value in EACH)
    ]
    if findings:
        raise EtirError(findings)
    return {name: value for name, value in given.items() if value is not None}


def _either(mark: jax.Array, chosen: Any, other: jax.Array) -> jax.Array:
    """One or the other, as a mark of the step, or of each sample of the first axis, says."""
    return jnp.where(mark.reshape(mark.shape + (1,) * (other.ndim - mark.ndim)), chosen, other)


def _shared(mark: jax.Array, state: jax.Array) -> bool:
    """Whether a state is one for all samples, where marks are of samples: a counter, a key of random numbers."""
    return bool(mark.ndim) and (state.shape[:1] != mark.shape or (_is_key(state) and state.shape == (2,)))


def _begin(states: Any) -> list[Any]:
    """The values that states begin with; one number for what is the same everywhere."""
    leaves = jax.tree.leaves(states)
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in leaves):
        raise error(
            "states-missing",
            "reset= begins sequences with the states given at compile, which were shapes alone",
            help="give arrays for the states: reset= puts these back",
        )
    return [x if _is_key(x) or not x.size or (x != x.ravel()[0]).any() else x.ravel()[0] for x in leaves]


def _is_key(value: Any) -> bool:
    """Whether an array is of keys of random numbers: drawn from again, they would give those of the last sequence.

    Raw keys are known by their type and their last axis, of two, alone.
    """
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key) or (value.dtype == jnp.uint32 and value.shape[-1:] == (2,))


def batch_of(states: Any, chosen: Mapping[str, str]) -> int:
    """The length of the first axis that all states that carry credit share."""
    kinds = [(path, kind) for path, x in leaf_paths(states, "state") if (kind := TensorType.of(x)).carries_credit]
    if len({kind.shape[:1] for _, kind in kinds}) == 1 and kinds[0][1].shape:
        return kinds[0][1].shape[0]
    name = next(name for name, of in chosen.items() if of == SAMPLE)
    raise error(
        "mark-batch",
        f"{name}={SAMPLE!r} is for states whose first axis counts samples; these do not share one",
        notes=[f"'{path}' is {kind}" for path, kind in kinds] or ["no state carries credit"],
        help=f"give every state a batch axis, or compile for one sample with {name}='step' and jax.vmap the learner",
    )


def _check_outputs(outputs: Any, size: int, loc: Loc | None) -> None:
    """Raise EtirError for outputs in which samples are mixed: the part of one could not be left out."""
    mixed = [(path, kind) for path, y in leaf_paths(outputs, "y") if (kind := TensorType.of(y)).shape[:1] != (size,)]
    if mixed:
        raise error(
            "mark-batch",
            f"mask={SAMPLE!r} cannot leave samples out of {' and '.join(f'{path!r}, {kind}' for path, kind in mixed)}",
            loc=loc,
            help=f"return outputs with the states' batch axis, of {size}, first, and reduce over it in the loss",
        )
