"""What an adapter makes of a model, and what all adapters do in the same way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from ...ir import jaxpr as jx
from ...ir.loc import definition
from ...ir.passed_through import passed_through
from ...ir.step import leaf_paths
from ...ir.types import TensorType
from ..examples import as_arrays
from ..functional import Functional
from . import refusals

CARRY = "carry"
"""The path of the states that a cell is given and returns, beside those that it holds."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Adapted:
    """Another library's model and how a step of it is taken; `etir.compile` takes it in the place of a module."""

    library: str
    """As the library calls itself: `flax.nnx`."""
    name: str
    """The name of the model's class."""
    functional: Callable[..., Functional]
    """The pure step, from an example of each input: the carry's batch is theirs."""


def functional(
    step: Callable[..., tuple[dict[str, Any], Any]],
    params: dict[str, Any],
    states: dict[str, Any],
    inputs: tuple[Any, ...],
    *,
    library: str,
    name: str,
    called: Any,
    buffers: Callable[[str], bool],
    write: Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any],
    stateless: Callable[[], Exception],
    after: Callable[..., tuple[dict[str, Any], dict[str, Any]]] | None = None,
    written: Callable[[list[str]], Exception] | None = None,
) -> Functional:
    """A `Functional` of `step(params, states, *inputs)`, whose uses of weights are traced without ETP operations.

    States are hidden, but those whose path is one of `buffers` and those that the step gives back as they came: their
    credit ends in themselves. `called` is what runs the step, for its place in the source. `after`, with the arguments
    of `step`, gives parameters and states as a step leaves them, for a library whose step may write both. Raises what
    `stateless` makes where no state carries credit, and what `written` makes of the paths of parameters that changed.
    """
    params, states = as_arrays(params, "param", "parameter"), as_arrays(states, "state", "state")
    step.__name__ = step.__qualname__ = name
    step.__dict__["defined_at"] = definition(called)
    held = _given_back(after or (lambda *given: ({}, step(*given)[0])), params, states, inputs)
    changed = [path for path in params if path not in held]
    if written is not None and changed:
        raise written(changed)
    credited = [path for path, x in leaf_paths(states, "state") if TensorType.of(x).carries_credit]
    if not any(path not in held and not buffers(path) for path in credited):
        raise stateless()
    return Functional(
        step=step,
        params=params,
        states=states,
        kinds={path: "other" for path in credited if path in held or buffers(path)},
        library=library,
        write=write,
        sites="auto",
    )


def pair(library: str, name: str, returned: Any, wanted: str) -> tuple[Any, Any]:
    """The two results of a step that is given its states; EtirError where there are not two."""
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        found = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else f"one {type(returned).__name__}"
        found = "one array" if isinstance(returned, jax.Array) else found
        raise refusals.wrong_form(library, f"'{name}' returned {found}", f"return {wanted}")
    return returned[0], returned[1]


def method_of(library: str, model: Any, method: str | Callable[..., Any] | None) -> Callable[..., Any]:
    """The method of a model that takes a step, or a function of the model and the inputs; EtirError without one."""
    if callable(method):
        return partial(method, model)
    if not hasattr(model, method or "__call__"):
        message = f"'{type(model).__name__}' has no method '{method or '__call__'}'"
        raise refusals.wrong_form(library, message, "name the one that takes a step: method='step'")
    return getattr(model, method or "__call__")


def check_inputs(
    library: str, name: str, function: Callable[..., Any], inputs: tuple[Any, ...], options: Any, *, carry: bool = False
) -> None:
    """Raise EtirError where `function`, a step of the model called `name`, does not take these inputs.

    With `carry`, it takes one value more: the states that are passed by hand.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*((None,) * carry), *inputs, **options)
    except TypeError as mismatch:
        bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        call = f"{name}{inspect.Signature(bare)}"
        raise refusals.wrong_inputs(library, call, len(inputs), str(mismatch), carry=carry) from None


def _given_back(after: Callable[..., tuple[Any, Any]], params: Any, states: Any, inputs: tuple[Any, ...]) -> set[str]:
    """The paths of the values that leave the step as they entered it."""
    found = [path for path, _ in (*leaf_paths(params, "param"), *leaf_paths(states, "state"))]
    left: list[str] = []

    def watched(params: Any, states: Any, *inputs: Any) -> list[Any]:
        leaves = [leaf for tree in after(params, states, *inputs) for leaf in leaf_paths(tree, "state")]
        left.extend(path for path, _ in leaves)
        return [value for _, value in leaves]

    places = passed_through(jx.trace(watched, params, states, *inputs)[0])
    entered = (None if place is None or place >= len(found) else found[place] for place in places)
    return {path for path, came in zip(left, entered, strict=True) if path == came}
