"""Turn a stateful model into a pure step over dicts by path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from ..ir.loc import Loc, definition
from . import adapters, errors, frame
from .attributes import changed_values
from .cell import Cell
from .examples import check_call
from .frame import Footprint, Frame
from .functional import Functional, Values, check_paths, write_states
from .module import Module, plain_attributes
from .paths import free_path, states_within
from .state import HiddenState, ParamState, ShortTermState, State


def functionalise(model: Callable[..., Any], *example_inputs: Any) -> Functional:
    """The pure step of `model`, a module or a function that uses states, called as `model(*inputs)`.

    The model is traced on the example inputs, and nothing is computed; only lazily shaped states get their initial
    values. Every state that it uses is an argument of the step, those that it closes over included (the random key,
    say), and so is every state of the module. Raises EtirError where a weight is written, all of them at once. The step
    raises EtirError where a later call uses a state that this one did not, since its value would become a constant.
    Models of other libraries are taken as `etir.compile` takes them.
    """
    found = adapters.adapted(model, example_inputs)
    if found is not None:
        return found[0].functional(*found[1])
    check_call(_called(model), example_inputs, "call it as (module, *inputs), with an example of every input")
    bindings = {path: state for path, state in states_within(model).items() if frame.read(state).is_set or state.lazy}
    footprint, written = _traced(model, bindings, example_inputs)
    for state in footprint.states:
        if state not in bindings.values():
            bindings[free_path(state, bindings)] = state
    bindings = {path: state for path, state in bindings.items() if frame.read(state).is_set}
    weights = [path for path, state in bindings.items() if isinstance(state, ParamState)]
    _refuse_written_weights(bindings, weights, written)
    values = {path: frame.read(state).copied().value for path, state in bindings.items()}
    return Functional(
        step=_step(model, bindings, weights),
        params={path: values[path] for path in weights},
        states={path: value for path, value in values.items() if path not in weights},
        kinds={path: _kind(state) for path, state in bindings.items() if path not in weights},
        locs={path: state.loc for path, state in bindings.items()},
        bindings=bindings,
        write=partial(_write, bindings),
    )


def ensure_states(model: Callable[..., Any], bindings: Mapping[str, State], *inputs: Any) -> None:
    """Give the lazily shaped ones of a model's states that are unset the first values that one step gives them.

    The model is traced on the inputs where there are such states, and nothing else is written.
    """
    if any(state.lazy and not frame.read(state).is_set for state in bindings.values()):
        check_call(_called(model), inputs, "call it with what the model takes for one step")
        _traced(model, bindings, inputs)


def _traced(
    model: Callable[..., Any], bindings: Mapping[str, State], inputs: tuple[Any, ...]
) -> tuple[Footprint, dict[State, Loc | None]]:
    """All states that the model uses, lazily shaped ones set; and what it writes, and where."""
    footprint = Footprint(states=dict.fromkeys(bindings.values()))
    return footprint, frame.settled(footprint, lambda: _trace(model, footprint, inputs))


def _write(bindings: Mapping[str, State], model: Any, params: Values, states: Values) -> Any:
    """The model, with values in its own states, and in those that the one which was made pure closes over."""
    own = states_within(model)
    written = {path: own.get(path, state) for path, state in bindings.items()}
    write_states(written, {**params, **states}, list(bindings))
    return model


def _called(model: Callable[..., Any]) -> Callable[..., Any]:
    """What runs when `model` is called: a module's `update`, where it is not called in a way of its own."""
    inner = inspect.unwrap(model)
    if isinstance(inner, Module) and type(inner).__call__ is Module.__call__:
        return getattr(inner, "update", inner)
    return inner


def _trace(model: Callable[..., Any], footprint: Footprint, inputs: tuple[Any, ...]) -> dict[State, Loc | None]:
    """What the model writes, and where, having traced it on abstract states and inputs."""
    states = tuple(footprint.states)
    written: dict[State, Loc | None] = {}

    def pure(cells: tuple[Cell, ...], operands: tuple[Any, ...]) -> Any:
        with _inputs_only(footprint).over(dict(zip(states, cells, strict=True))) as inside:
            out = model(*operands)
            inside.settle()
            written.update(inside.written)
            return out

    jax.eval_shape(pure, tuple(frame.read(state) for state in states), inputs)
    return written


def _inputs_only(footprint: Footprint) -> Frame:
    """A frame in which each state must be an input."""
    return Frame(footprint, enters=lambda _, __, ___: None)


def _step(model: Callable[..., Any], bindings: Mapping[str, State], weights: list[str]) -> Callable[..., Any]:
    tags = {path: frame.read(state).tags for path, state in bindings.items()}
    state_paths = [path for path in bindings if path not in weights]
    remembered = Footprint()

    def step(params: Values, states: Values, *inputs: Any) -> tuple[dict[str, Any], Any]:
        check_paths("the step", params, weights)
        check_paths("the step", states, state_paths)
        given = {**params, **states}
        cells = {state: Cell(value=given[path], tags=tags[path]) for path, state in bindings.items()}
        inside = _inputs_only(Footprint(inner=remembered.inner))
        plain = plain_attributes(inspect.unwrap(model))
        with inside.over(cells):
            outputs = model(*inputs)
            _settle(inside)
            new = {path: inside.cells[state].value for path, state in bindings.items()}
        _refuse_written_weights(bindings, weights, inside.written)
        _refuse_written_attributes(model, plain)
        return {path: new[path] for path in state_paths}, outputs

    step.__name__ = step.__qualname__ = _name(model)
    step.__dict__["defined_at"] = definition(_called(model))
    return step


def _settle(inside: Frame) -> None:
    try:
        inside.settle()
    except frame.Missed as missed:
        raise errors.unthreaded([*missed.states, *missed.lazy]) from None


def _refuse_written_attributes(model: Callable[..., Any], before: Mapping[str, Any]) -> None:
    """Refuse a step that counts in Python: compiled, it would see the first value for ever."""
    if changed := changed_values(before, plain_attributes(inspect.unwrap(model))):
        raise errors.written_attributes(changed, definition(_called(model)))


def _refuse_written_weights(
    bindings: Mapping[str, State], weights: list[str], written: Mapping[State, Loc | None]
) -> None:
    changed = [(path, bindings[path], written[bindings[path]]) for path in weights if bindings[path] in written]
    if changed:
        raise errors.written_weights(changed)


def _kind(state: State) -> str:
    if isinstance(state, HiddenState):
        return "hidden"
    return "short_term" if isinstance(state, ShortTermState) else "other"


def _name(model: Callable[..., Any]) -> str:
    return getattr(model, "__name__", type(model).__name__)
