"""penzai: layers whose parameters and states are variables in the tree of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from penzai import pz

from ..examples import check_call
from ..functional import Functional, Values, check_paths
from . import refusals
from .adapted import Adapted, functional

LIBRARY = "penzai"
CALL = "etir.compile(layer, x)"
_CALL = "etir.compile(model, x), with a pz.nn.Layer that is called as model(x) and takes one step"
_KEEP = "keep what is carried from step to step in a pz.StateVariable of the layer, and write its .value in the call"


def adapt(model: Any, **side_inputs: Any) -> Adapted:
    """`etir.from_penzai`."""
    if not isinstance(model, pz.nn.Layer):
        raise refusals.wrong_kind(LIBRARY, model, "a pz.nn.Layer", _CALL)
    make = partial(_functional, model, side_inputs)
    return Adapted(library=LIBRARY, name=type(model).__name__, functional=make)


def recognise(model: Any, args: tuple[Any, ...]) -> tuple[Adapted, tuple[Any, ...]] | None:
    """The model, and the inputs among what `etir.compile` was given."""
    return adapt(model), args


def _functional(model: Any, side_inputs: Mapping[str, Any], *inputs: Any) -> Functional:
    check_call(model, inputs, _CALL)
    slots, _ = pz.unbind_variables((model, dict(side_inputs)))
    frozen = {path: variable.freeze() for path, variable in _variables(model, side_inputs).items()}
    weights = [path for path, variable in frozen.items() if isinstance(variable, pz.ParameterValue)]

    def run(params: Values, states: Values, *inputs: Any) -> tuple[Any, Any, Any]:
        given = {**params, **states}
        bound = {path: _with(variable, given[path]).unfreeze_as_copy() for path, variable in frozen.items()}
        before = {path: variable.value for path, variable in bound.items()}
        layer, beside = pz.bind_variables(slots, bound.values())
        outputs = layer(*inputs, **beside)
        after = {
            path: given[path] if variable.value is before[path] else _array(variable.value, frozen[path].value)
            for path, variable in bound.items()
        }
        return {path: after[path] for path in params}, {path: after[path] for path in states}, outputs

    values = {path: _array(variable.value, variable.value) for path, variable in frozen.items()}
    name = type(model).__name__
    return functional(
        run,
        {path: values[path] for path in weights},
        {path: value for path, value in values.items() if path not in weights},
        inputs,
        library=LIBRARY,
        name=name,
        called=type(model).__call__,
        buffers=lambda _: False,
        write=partial(_write, side_inputs),
        stateless=partial(refusals.stateless, LIBRARY, name, _KEEP),
        hold="keep what changes by itself in a pz.StateVariable",
    )


def _variables(model: Any, side_inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a model, and then of side inputs such as a random stream, by path, each once."""
    found: dict[str, Any] = {}
    placed = [jax.tree_util.tree_flatten_with_path(tree)[0] for tree in (model, dict(side_inputs))]
    for place, leaf in [*placed[0], *placed[1]]:
        if isinstance(leaf, (pz.Parameter, pz.StateVariable)) and not any(leaf is other for other in found.values()):
            label = getattr(leaf, "label", None)
            written = jax.tree_util.keystr(place, simple=True, separator=".")
            found[label.replace("/", ".") if isinstance(label, str) else written] = leaf
    return found


def _array(value: Any, like: Any) -> Any:
    """The array of a variable's value, its named axes in the order that `like` has; any other tree as it is."""
    ordered = pz.nx.order_like(value, like)
    leaves = jax.tree.leaves(ordered)
    return jnp.asarray(leaves[0]) if len(leaves) == 1 else ordered


def _with(variable: Any, value: Any) -> Any:
    """A frozen variable that holds another value."""
    tree = jax.tree.unflatten(jax.tree.structure(variable.value), jax.tree.leaves(value))
    return dataclasses.replace(variable, value=tree)


def _write(side_inputs: Mapping[str, Any], model: Any, params: Values, states: Values) -> Any:
    """Each value in the variable of its path: penzai's variables are written in place."""
    variables, given = _variables(model, side_inputs), {**params, **states}
    check_paths("write_back", given, list(variables))
    for path, value in given.items():
        variables[path].value = _with(variables[path].freeze(), value).value
    return model
