"""brainstate: modules whose states are brainstate States; brainpy.state's and braintrace.nn's are such modules."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import brainstate
import jax
from brainstate import environ
from brainstate.transform import StatefulFunction

from ..attributes import changed_values, plain_values
from ..examples import check_call
from ..functional import Functional, Values, check_paths
from . import refusals
from .adapted import Adapted, calling, functional

LIBRARY = "brainstate"
CALL = "etir.compile(model, x)"
_OF_JAX = frozenset({"precision", "platform", "host_device_count"})
"""Settings of brainstate's environment that are JAX's, and process-wide: they stay as the user has them."""

_CLOCK = ("t", "i")
"""Settings that say which step it is: they go on from step to step, by `dt` and by one."""

_CALL = "etir.compile(model, x), with a brainstate.nn.Module that is called as model(x) and takes one step"
_INITIALISE = "make them first: brainstate.nn.init_all_states(model), or init_all_states(model, batch_size)"


def adapt(model: Any, **environment: Any) -> Adapted:
    """`etir.from_brainstate`."""
    if not isinstance(model, brainstate.nn.Module):
        raise refusals.wrong_kind(LIBRARY, model, "a brainstate.nn.Module", _CALL)
    settings = {**environ.all(), **environment}
    within = {name: value for name, value in settings.items() if name not in _OF_JAX}
    return Adapted(library=LIBRARY, name=type(model).__name__, functional=partial(_functional, model, within))


def recognise(model: Any, args: tuple[Any, ...]) -> tuple[Adapted, tuple[Any, ...]] | None:
    """The model, and the inputs among what `etir.compile` was given; None for a function that brainstate transforms."""
    if isinstance(model, (type, brainstate.nn.Module)):
        return adapt(model), args
    return None


def _functional(model: Any, environment: Mapping[str, Any], *inputs: Any) -> Functional:
    clock = _clock(environment)

    def called(now: Mapping[str, Any], *operands: Any) -> Any:
        within = {**environment, **{path.rpartition(".")[2]: value for path, value in now.items()}}
        with environ.context(**within) if within else contextlib.nullcontext():
            return model(*operands)

    check_call(model.update, inputs, _CALL)
    with calling(LIBRARY, type(model).__name__, inputs):
        outside = _outside(model, called, clock, inputs)
    bindings = _held(model) | outside
    first = {**{path: state.value for path, state in bindings.items()}, **clock}
    numbers = {path: _numbers(value, value) for path, value in first.items()}
    weights = [path for path, state in bindings.items() if isinstance(state, brainstate.ParamState)]

    def run(params: Values, states: Values, *operands: Any) -> tuple[Any, Any, Any]:
        now = _held(model) | outside  # `init_all_states` makes new States
        given = {path: _valued(value, first[path]) for path, value in {**params, **states}.items()}
        check_paths("the step", given, [*now, *clock])
        time = {path: given.pop(path) for path in clock}

        def whole(given: Values, time: Values, operands: tuple[Any, ...]) -> Any:
            for path, value in given.items():
                now[path].value = value
            before = _plain(model)
            outputs = called(time, *operands)
            if changed := changed_values(before, _plain(model)):
                raise refusals.written_attributes(LIBRARY, changed, "keep it in a brainstate State")
            return {path: state.value for path, state in now.items()}, outputs

        traced = StatefulFunction(whole, return_only_write=False).make_jaxpr(given, time, operands)
        used = traced.get_states(given, time, operands)
        if new := [_free_path(state, now) for state in used if not _among(state, now)]:
            raise refusals.new_states(LIBRARY, new, _INITIALISE)
        _, (after, outputs) = traced.jaxpr_call([state.value for state in used], given, time, operands)
        after |= {path: value + (environment["dt"] if path == "environ.t" else 1) for path, value in time.items()}
        after = {path: _numbers(value, first[path]) for path, value in after.items()}
        return {path: after[path] for path in params}, {path: after[path] for path in states}, outputs

    return functional(
        run,
        {path: numbers[path] for path in weights},
        {path: value for path, value in numbers.items() if path not in weights},
        inputs,
        library=LIBRARY,
        name=type(model).__name__,
        called=type(model).update,
        buffers=lambda path: path in clock or _owner(path, bindings, brainstate.BatchState),
        write=_write,
        stateless=partial(refusals.stateless, LIBRARY, type(model).__name__, _INITIALISE),
        hold="keep what changes by itself in another kind of State",
    )


def _clock(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The time and the number of the first step by path, `environ.t` and `environ.i`, where they are set."""
    found = {f"environ.{name}": environment[name] for name in _CLOCK if environment.get(name) is not None}
    if "environ.t" not in found:
        return found
    if environment.get("dt") is None:
        call = "etir.compile(etir.from_brainstate(model, dt=..., t=...), x)"
        raise refusals.uninitialised(LIBRARY, "the time 't' was given without the 'dt' by which it goes on", call)
    return {**found, "environ.t": environment["t"] + 0 * environment["dt"]}  # of a type that every later time has


def _outside(model: Any, called: Any, clock: Mapping[str, Any], inputs: tuple[Any, ...]) -> dict[str, Any]:
    """The states that the module does not hold and its call uses, by path."""
    given = (clock, *inputs)
    try:
        used = StatefulFunction(called, return_only_write=False).make_jaxpr(*given).get_states(*given)
    except Exception as fault:  # of brainstate's own class where a module calls another
        if refusal := _refusal(model, fault):
            raise refusal from fault
        raise
    held, found = _held(model), dict[str, Any]()
    for state in used:
        if not _among(state, held | found):
            found[_free_path(state, held | found)] = state
    return found


def _among(state: Any, bindings: Mapping[str, Any]) -> bool:
    return any(state is other for other in bindings.values())


def _held(model: Any) -> dict[str, Any]:
    return {".".join(map(str, path)): state for path, state in model.states().items()}


def _plain(model: Any) -> dict[str, Any]:
    """The numbers, strings and such among the attributes of a module and of those in it, by path."""
    return plain_values(
        ((*path, name), value)
        for path, module in model.nodes().items()
        for name, value in vars(module).items()
        if not name.startswith("_")
    )


def _free_path(state: Any, taken: Mapping[str, Any]) -> str:
    """A path for a state that the module does not hold: `random`, or its name, or its class's, numbered where taken."""
    name = "random" if state is brainstate.random.DEFAULT else str(state.name or type(state).__name__)
    return next(path for path in (name, *(f"{name}.{i}" for i in range(2, len(taken) + 3))) if path not in taken)


def _refusal(model: Any, fault: BaseException) -> Exception | None:
    """What is said of a call that fails for the want of an attribute, or of a key: of states, or of a setting."""
    name, made = type(model).__name__, any(isinstance(s, brainstate.ShortTermState) for s in model.states().values())
    cause: BaseException | None = fault
    while cause is not None:
        said = str(cause.args[0]) if cause.args else ""
        if isinstance(cause, KeyError) and (setting := re.match(r"Key '(\w+)' not found in environment", said)):
            found = f"'{name}' asks brainstate's environment for '{setting[1]}', which is not set"
            call = f"etir.compile(etir.from_brainstate(model, {setting[1]}=...), x), or compile in "
            more = "; it is that of the first step, and goes on from there" if setting[1] in _CLOCK else ""
            return refusals.uninitialised(LIBRARY, found, f"{call}brainstate.environ.context{more}")
        if isinstance(cause, AttributeError) and not made and any(m is cause.obj for m in model.nodes().values()):
            return refusals.uninitialised(
                LIBRARY, f"'{name}' is called before its states were made: {said}", _INITIALISE
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _owner(path: str, bindings: Mapping[str, Any], kind: type) -> bool:
    """Whether a leaf is of a state of this kind."""
    return any(isinstance(state, kind) for own, state in bindings.items() if path == own or path.startswith(f"{own}."))


def _is_quantity(value: Any) -> bool:
    return hasattr(value, "mantissa") and hasattr(value, "to_decimal")


def _numbers(value: Any, like: Any) -> Any:
    """The numbers of a value in the units that `like`, a value of the same tree, has."""

    def number(leaf: Any, known: Any) -> Any:
        if not _is_quantity(leaf):
            return leaf
        return leaf.mantissa if leaf.unit == known.unit else leaf.to_decimal(known.unit)

    return jax.tree.map(number, value, like, is_leaf=_is_quantity)


def _valued(numbers: Any, like: Any) -> Any:
    """The value of which these are the numbers, in the units of `like`."""
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(numbers))


def _write(model: Any, params: Values, states: Values) -> Any:
    """Every value in its State; of what the module does not hold (the key of `brainstate.random`), that too."""
    held = _held(model)
    given = {**params, **states}
    outside = {path: brainstate.random.DEFAULT for path in given if path == "random" and path not in held}
    given = {path: value for path, value in given.items() if path in held or not path.startswith("environ.")}
    check_paths("write_back", given, [*held, *outside])
    for path, value in given.items():
        state = {**held, **outside}[path]
        state.value = _valued(value, state.value)
    return model
