"""What an adapter makes of a model, and what all adapters do in the same way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from ...ir import jaxpr as jx
from ...ir.diagnostics import EtirError
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
    run: Callable[..., tuple[Any, Any, Any]],
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
    hold: str = "",
    begin: str = "give each state its first value, of the shape that a step leaves it in",
) -> Functional:
    """A `Functional` of `run(params, states, *inputs)`, whose uses of weights are traced without ETP operations.

    `run` gives the parameters and the states as a step leaves them, and its outputs. States are hidden, but those whose
    path is one of `buffers` and those that the step gives back as they came: their credit ends in themselves. `called`
    is what runs the step, for its place in the source. Raises what `stateless` makes where no state carries credit, and
    EtirError for parameters that the step writes, with `hold` as what to do about it, and for states that it makes,
    with `begin`.
    """
    params, states = as_arrays(params, "param", "parameter"), as_arrays(states, "state", "state")

    def told(params: Any, states: Any, *inputs: Any) -> tuple[Any, Any, Any]:
        with calling(library, name, inputs, states):
            return run(params, states, *inputs)

    def step(params: dict[str, Any], states: dict[str, Any], *inputs: Any) -> tuple[dict[str, Any], Any]:
        _, now, outputs = told(params, states, *inputs)
        return {path: now[path] for path in states}, outputs

    step.__name__ = step.__qualname__ = name
    step.__dict__["defined_at"] = definition(called)
    kept = _given_back(told, params, states, inputs)
    if made := [path for path, known in kept.items() if known is None]:
        raise refusals.new_states(library, made, begin)
    if written := [path for path, _ in leaf_paths(params, "param") if not kept.get(path)]:
        raise refusals.written_weights(library, written, hold)
    credited = [path for path, x in leaf_paths(states, "state") if TensorType.of(x).carries_credit]
    still = [path for path in credited if kept.get(path) or buffers(path)]
    if len(still) == len(credited):
        raise stateless()
    return Functional(
        step=step,
        params=params,
        states=states,
        kinds=dict.fromkeys(still, "other"),
        library=library,
        write=write,
        sites="auto",
    )


@contextmanager
def calling(library: str, name: str, inputs: Any, states: Any = ()) -> Generator[None]:
    """A call of a model on these values: what it raises for values that it does not take is told in our words as well.

    A fault of another kind, as an attribute that is not there, is the model's own.
    """
    try:
        yield
    except EtirError:
        raise
    except Exception as fault:
        if isinstance(fault, (AttributeError, NameError, ImportError, NotImplementedError)):
            raise
        raise refusals.failed_call(
            library, name, fault, leaf_paths(inputs, "x"), leaf_paths(states, "state")
        ) from fault


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
    library: str, name: str, function: Callable[..., Any], inputs: tuple[Any, ...], options: Any, *,
    carry: bool = False, more: str = "",
) -> None:  # fmt: skip
    """Raise EtirError where `function`, a step of the model called `name`, does not take these inputs.

    With `carry`, it takes one value more: the states that are passed by hand. `more` is what to say beside the help.
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
        raise refusals.wrong_inputs(library, call, len(inputs), str(mismatch), carry=carry, more=more) from None


def _given_back(run: Callable[..., tuple[Any, Any, Any]], params: Any, states: Any, inputs: Any) -> dict[str, Any]:
    """Of each value that a step leaves, by path: whether it entered the step there; None where none was there."""
    found = [path for path, _ in (*leaf_paths(params, "param"), *leaf_paths(states, "state"))]
    left: list[str] = []

    def watched(params: Any, states: Any, *inputs: Any) -> list[Any]:
        leaves = [leaf for tree in run(params, states, *inputs)[:2] for leaf in leaf_paths(tree, "state")]
        left.extend(path for path, _ in leaves)
        return [value for _, value in leaves]

    places = passed_through(jx.trace(watched, params, states, *inputs)[0])
    entered = (None if place is None or place >= len(found) else found[place] for place in places)
    return {path: path == came if path in found else None for path, came in zip(left, entered, strict=True)}
