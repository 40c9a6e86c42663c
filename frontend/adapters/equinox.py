"""equinox: modules with an `eqx.nn.State`, and cells whose state is passed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ...ir.step import leaf_paths
from ..attributes import changed_values, plain_values
from ..cell import strong_array
from ..functional import Functional, Values, check_paths
from . import refusals
from .adapted import CARRY, Adapted, check_inputs, functional

LIBRARY = "equinox"
CALL = "etir.compile(cell, x), or etir.compile(model, state, x)"
_KEY = "rng.key"
"""The path of the key that is split at every step."""
_CELLS = (eqx.nn.GRUCell, eqx.nn.LSTMCell)

_CALL = "etir.compile(etir.from_equinox(model, state), x), with an eqx.Module that is called as model(x, state)"
_STATE = "; the state is given apart: etir.compile(etir.from_equinox(model, state), x)"
_GIVE_KEY = (
    "give it a key: etir.from_equinox(model, state, key=jax.random.key(0)), which is split at every step; "
    "to evaluate, eqx.nn.inference_mode(model)"
)
_MAKE = (
    "model, state = eqx.nn.make_with_state(Model)(...), then etir.compile(etir.from_equinox(model, state), x); "
    "any other state is a pytree: etir.from_equinox(model, jnp.zeros(...))"
)


def adapt(model: Any, state: Any, **options: Any) -> Adapted:
    """`etir.from_equinox`."""
    if not isinstance(model, eqx.Module):
        raise refusals.wrong_kind(LIBRARY, model, "an eqx.Module", _CALL)
    name = type(model).__name__
    make: Callable[..., Functional]
    if isinstance(model, _CELLS):
        make = partial(_of_cell, model, state, options)
    elif isinstance(state, eqx.nn.State) or (state is None and _indices(model)):
        make = partial(_of_stateful, model, _state_of(model, name, state), options)
    elif state is not None:
        make = partial(_of_carry, model, state, options)
    else:
        raise refusals.uninitialised(LIBRARY, f"'{name}' was given without a state", _MAKE)
    return Adapted(library=LIBRARY, name=name, functional=make)


def recognise(model: Any, args: tuple[Any, ...]) -> tuple[Adapted, tuple[Any, ...]] | None:
    """The model, and the inputs among what `etir.compile` was given; None for a function that equinox has wrapped."""
    kind = model if isinstance(model, type) else type(model)
    if kind.__module__.startswith("equinox._"):
        return None
    if args and isinstance(args[0], eqx.nn.State):
        return adapt(model, args[0]), args[1:]
    return adapt(model, None), args


def _of_cell(model: Any, state: Any, options: Mapping[str, Any], *inputs: Any) -> Functional:
    _check_inputs(model, inputs, options)
    batch = jnp.shape(inputs[0])[:-1]
    if len(batch) > 1 and state is None:
        shape = list(jnp.shape(inputs[0]))
        raise refusals.wrong_form(LIBRARY, f"x is of shape {shape}; wanted [inputs], or [batch, inputs]", _CALL)
    if state is None:
        zeros = jnp.zeros((*batch, model.hidden_size), model.weight_hh.dtype)
        state = zeros if isinstance(model, eqx.nn.GRUCell) else (zeros, zeros)

    def call(model: Any, carry: Any, given: Mapping[str, Any], x: Any) -> tuple[Any, Any]:
        one = partial(model, **given)
        for _ in batch:
            one = jax.vmap(one)
        carry = one(x, carry)
        return carry, carry if isinstance(model, eqx.nn.GRUCell) else carry[0]

    def kept(model: Any, states: Mapping[str, Any], given: Mapping[str, Any], x: Any) -> tuple[dict[str, Any], Any]:
        carry, outputs = call(model, states[CARRY], given, x)
        return {CARRY: carry}, outputs

    return _functional(model, {CARRY: state}, kept, inputs, options)


def _of_carry(model: Any, state: Any, options: Mapping[str, Any], *inputs: Any) -> Functional:
    _check_inputs(model, inputs, options)

    def call(
        model: Any, states: Mapping[str, Any], given: Mapping[str, Any], *inputs: Any
    ) -> tuple[dict[str, Any], Any]:
        returned = model(*inputs, states[CARRY], **given)
        structure = jax.tree.structure(states[CARRY])
        if isinstance(returned, (tuple, list)) and len(returned) == 2 and jax.tree.structure(returned[1]) == structure:
            return {CARRY: returned[1]}, returned[0]
        if jax.tree.structure(returned) == structure:
            return {CARRY: returned}, returned
        name, found = type(model).__name__, jax.tree.structure(returned)
        message = f"'{name}' returned {found}; wanted its output and the new state, {structure}"
        raise refusals.wrong_form(LIBRARY, message, _CALL)

    return _functional(model, {CARRY: state}, call, inputs, options)


def _check_inputs(model: Any, inputs: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    check_inputs(LIBRARY, type(model).__name__, model, inputs, options, carry=True, more=_STATE)


def _of_stateful(model: Any, state: Any, options: Mapping[str, Any], *inputs: Any) -> Functional:
    _check_inputs(model, inputs, options)
    indices = _indices(model)

    def call(
        model: Any, states: Mapping[str, Any], given: Mapping[str, Any], *inputs: Any
    ) -> tuple[dict[str, Any], Any]:
        outputs, after = model(*inputs, _with(state, indices, states), **given)
        return {path: after.get(index) for path, index in indices.items()}, outputs

    first = {path: state.get(index) for path, index in indices.items()}
    return _functional(model, first, call, inputs, options, state)


def _functional(
    model: Any, states: dict[str, Any], call: Callable[..., tuple[dict[str, Any], Any]], inputs: tuple[Any, ...],
    options: Mapping[str, Any], state: Any = None,
) -> Functional:  # fmt: skip
    name = type(model).__name__
    if options.get("key") is not None:
        states = {**states, _KEY: options["key"]}
    weights, fixed = eqx.partition(model, eqx.is_inexact_array)

    def run(params: Values, states: Values, *inputs: Any) -> tuple[Any, Any, Any]:
        whole = eqx.combine(_weights(weights, params), fixed)
        before = plain_values(_attributes(whole, ()))
        given, kept = {**options}, dict[str, Any]()
        if _KEY in states:
            kept[_KEY], given["key"] = jax.random.split(states[_KEY])
        try:
            after, outputs = call(whole, states, given, *inputs)
        except RuntimeError as lack:
            if "requires a key" not in str(lack):
                raise
            found = f"'{name}' draws random numbers without a key"
            raise refusals.uninitialised(LIBRARY, found, _GIVE_KEY) from lack
        if changed := changed_values(before, plain_values(_attributes(whole, ()))):
            raise refusals.written_attributes(LIBRARY, changed, "keep it in the state, as an array")
        return params, {**after, **kept}, outputs

    return functional(
        run,
        dict(leaf_paths(weights, "weight")),
        states,
        inputs,
        library=LIBRARY,
        name=name,
        called=type(model).__call__,
        buffers=lambda _: False,
        write=partial(_write, state),
        stateless=partial(refusals.stateless, LIBRARY, name, _MAKE),
    )


def _attributes(module: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The attributes of a module and of those in it, with their paths: what is static may be a list, or a dict."""
    for name, value in vars(module).items():
        if isinstance(value, eqx.Module):
            yield from _attributes(value, (*path, name))
        else:
            yield (*path, name), value


def _weights(tree: Any, params: Values) -> Any:
    """A tree of weights with other values in it."""
    return jax.tree.unflatten(jax.tree.structure(tree), [params[path] for path, _ in leaf_paths(tree, "weight")])


def _is_index(leaf: Any) -> bool:
    return isinstance(leaf, eqx.nn.StateIndex)


def _indices(model: Any) -> dict[str, Any]:
    """The model's indices of states by path; one that stands in several places counts once."""
    leaves = jax.tree_util.tree_flatten_with_path(model, is_leaf=_is_index)[0]
    found: dict[Any, tuple[str, Any]] = {}
    for path, leaf in leaves:
        if _is_index(leaf):
            found.setdefault(leaf.marker, (jax.tree_util.keystr(path, simple=True, separator="."), leaf))
    return dict(found.values())


def _state_of(model: Any, name: str, state: Any) -> Any:
    """The state that was given, or that the model was made with, of strong types: it refuses to change its types."""
    try:
        return jax.tree.map(strong_array, eqx.nn.State(model) if state is None else state)
    except ValueError:
        raise refusals.uninitialised(LIBRARY, f"'{name}' was given without its eqx.nn.State", _MAKE) from None


def _with(state: Any, indices: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """A state with other values in it, of any types; the one given stays as it is."""
    leaves, structure = jax.tree.flatten(state)
    places = jax.tree.unflatten(structure, range(len(leaves)))
    for path, index in indices.items():
        for place, value in zip(jax.tree.leaves(places.get(index)), jax.tree.leaves(values[path]), strict=True):
            leaves[place] = value
    return jax.tree.unflatten(structure, leaves)


def _write(state: Any, model: Any, params: Values, states: Values) -> Any:
    """A new model, and its new state: equinox's modules are never written in place."""
    weights, fixed = eqx.partition(model, eqx.is_inexact_array)
    indices = _indices(model) if state is not None else {}
    given = {path: value for path, value in states.items() if path != _KEY}
    check_paths("write_back", {**params, **given}, [*dict(leaf_paths(weights, "weight")), *(indices or [CARRY])])
    new = eqx.combine(_weights(weights, params), fixed)
    return new, states[CARRY] if state is None else _with(state, indices, states)
