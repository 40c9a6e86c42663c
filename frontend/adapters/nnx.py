"""flax.nnx: modules whose states are Variables, and cells whose carry is passed by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flax import nnx

from ..attributes import changed_values, plain_values
from ..functional import Functional, check_paths
from . import refusals
from .adapted import CARRY, Adapted, check_inputs, functional, method_of, pair

LIBRARY = "flax.nnx"
CALL = "etir.compile(model, x)"
_BUFFERS = (nnx.BatchStat, nnx.Intermediate)
"""Variables that a step writes and no later step learns through."""

_CALL = "etir.compile(model, x), with an nnx.Module that is called as model(x) and takes one step"
_HOLD_STILL = "write what changes by itself to an nnx.Variable of another type, or leave it out of wrt="
_BEGIN = "make them in __init__, or call the model once before compiling it"
_CELL = "give the cell: etir.compile(rnn.cell, x), with the x of one step; the learner runs over the sequence"


def adapt(model: Any, *, carry: Any, method: str | Callable[..., Any] | None, wrt: Any, **options: Any) -> Adapted:
    """`etir.from_nnx`."""
    if isinstance(model, (nnx.RNN, nnx.Bidirectional)):
        raise refusals.whole_sequence(LIBRARY, f"the model is an nnx.{type(model).__name__}", _CELL)
    if not isinstance(model, nnx.Module):
        raise refusals.wrong_kind(LIBRARY, model, "an nnx.Module", _CALL)
    make = partial(_functional, model, method, options, carry, nnx.Param if wrt is None else wrt)
    return Adapted(library=LIBRARY, name=type(model).__name__, functional=make)


def recognise(model: Any, args: tuple[Any, ...]) -> tuple[Adapted, tuple[Any, ...]] | None:
    """The model, and the inputs among what `etir.compile` was given; None for a function that nnx has transformed."""
    if callable(model) and not isinstance(model, (type, nnx.Module)):
        return None
    return adapt(model, carry=None, method=None, wrt=None), args


def _functional(
    model: Any,
    method: str | Callable[..., Any] | None,
    options: dict[str, Any],
    carry: Any,
    wrt: Any,
    *inputs: Any,
) -> Functional:
    name, takes_carry = type(model).__name__, carry is not None or isinstance(model, nnx.RNNCellBase)
    check_inputs(LIBRARY, name, method_of(LIBRARY, model, method), inputs, options, carry=takes_carry)
    if takes_carry and carry is None:
        carry = model.initialize_carry(inputs[0].shape, nnx.Rngs(0))
    graph, weights, rest = nnx.split(model, wrt, ...)
    params, states = _values(weights), _values(rest)
    if takes_carry:
        states[CARRY] = carry

    plain = _plain(model)

    def run(params: dict[str, Any], states: dict[str, Any], *inputs: Any) -> tuple[Any, Any, Any]:
        inner = nnx.merge(graph, _with(weights, params), _with(rest, states))
        given = (states[CARRY], *inputs) if takes_carry else inputs
        returned = method_of(LIBRARY, inner, method)(*given, **options)
        after, now = map(_values, nnx.split(inner, wrt, ...)[1:])
        _refuse_numbers(plain, _plain(inner))
        if takes_carry:
            now[CARRY], returned = pair(LIBRARY, name, returned, "the new carry and the output: carry, y")
        return after, now, returned

    return functional(
        run,
        params,
        states,
        inputs,
        library=LIBRARY,
        name=name,
        called=method_of(LIBRARY, model, method),
        buffers={path for path, variable in _variables(rest) if isinstance(variable, _BUFFERS)}.__contains__,
        write=partial(_write, wrt),
        stateless=partial(_stateless, model),
        hold=_HOLD_STILL,
        begin=_BEGIN,
    )


def _variables(state: Any) -> list[tuple[str, Any]]:
    return [(".".join(map(str, path)), variable) for path, variable in nnx.to_flat_state(state)]


def _values(state: Any) -> dict[str, Any]:
    return {
        path: variable.get_value() if isinstance(variable, nnx.Variable) else variable
        for path, variable in _variables(state)
    }


def _with(state: Any, values: Mapping[str, Any]) -> Any:
    """The state of nnx with other values in its Variables."""
    return nnx.from_flat_state([
        (path, variable.replace(value) if isinstance(variable, nnx.Variable) else value)
        for path, variable in nnx.to_flat_state(state)
        for value in [values[".".join(map(str, path))]]
    ])  # fmt: skip


def _plain(model: Any) -> dict[str, Any]:
    """The numbers, strings and such among a module's attributes, by path."""
    return plain_values(
        ((*path, name), value)
        for path, module in nnx.iter_modules(model)
        for name, value in vars(module).items()
        if not name.startswith("_")
    )


def _refuse_numbers(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Refuse a step that changes an attribute that is no Variable: compiled, it would see the first value for ever."""
    if changed := changed_values(before, after):
        help = "keep it in an nnx.Variable; where it only settles at the first call, call the model once beforehand"
        raise refusals.written_attributes(LIBRARY, changed, help)


def _write(wrt: Any, model: Any, params: Mapping[str, Any], states: Mapping[str, Any]) -> Any:
    """`nnx.update` of the model; a carry that is passed by hand is not in it."""
    if not isinstance(model, nnx.Module):
        raise refusals.wrong_kind(LIBRARY, model, "an nnx.Module", "learner.write_back(model, params, carry.states)")
    _, weights, rest = nnx.split(model, wrt, ...)
    given = {path: value for path, value in states.items() if path != CARRY}
    check_paths("write_back", {**params, **given}, [*_values(weights), *_values(rest)])
    nnx.update(model, _with(weights, params), _with(rest, given))
    return model


def _stateless(model: Any) -> Exception:
    sequence = next((m for _, m in nnx.iter_modules(model) if isinstance(m, (nnx.RNN, nnx.Bidirectional))), None)
    name = type(model).__name__
    if sequence is not None:
        return refusals.whole_sequence(LIBRARY, f"'{name}' has an nnx.{type(sequence).__name__} inside", _CELL)
    help = (
        "keep the state in an nnx.Variable that the step writes; or pass it by hand, as model(carry, x) -> (carry, y): "
        "etir.compile(etir.from_nnx(model, carry=jnp.zeros(...)), x)"
    )
    return refusals.stateless(LIBRARY, name, help)
