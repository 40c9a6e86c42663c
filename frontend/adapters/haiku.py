"""dm-haiku: transformed functions, with the state that they keep or the state of a core that is passed by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from ..functional import Functional
from . import refusals
from .adapted import CARRY, Adapted, calling, check_inputs, functional, pair

LIBRARY = "haiku"
CALL = "etir.compile(transformed, params[, state], x)"
_KEY = "rng"
_NAME = "model"
"""What haiku transforms has lost its name."""
_TRANSFORMED = (hk.Transformed, hk.TransformedWithState)

_CALL = (
    "model = hk.transform(lambda x, state: core(x, state)) or hk.transform_with_state(lambda x: ...), "
    "params = model.init(key, ...), and etir.compile(model, params, x) or etir.compile(model, params, state, x)"
)


class _Begun(Exception):  # noqa: N818 (no error: what was looked for has been found)
    """The first core of a function was called: its own initial state, or what it raises whatever that is."""

    def __init__(self, carry: Any, fault: Exception | None = None) -> None:
        super().__init__("a core was found")
        self.carry, self.fault = carry, fault


def adapt(transformed: Any, params: Any = None, state: Any = None, *, carry: Any, rng: Any, **options: Any) -> Adapted:
    """`etir.from_haiku`."""
    if not isinstance(transformed, _TRANSFORMED):
        raise refusals.wrong_kind(LIBRARY, transformed, "the result of hk.transform", _CALL)
    stateful = isinstance(transformed, hk.TransformedWithState)
    if not isinstance(params, Mapping):
        raise refusals.uninitialised(LIBRARY, "the transformed function was given without its parameters", _CALL)
    if stateful != isinstance(state, Mapping):
        found = "hk.transform_with_state's result was given without its state"
        lacks = found if stateful else "hk.transform's result keeps no state, and one was given"
        raise refusals.uninitialised(LIBRARY, lacks, _CALL)
    make = partial(_functional, transformed, dict(params), dict(state or {}), options, carry, rng)
    return Adapted(library=LIBRARY, name=_NAME, functional=make)


def recognise(model: Any, args: tuple[Any, ...]) -> tuple[Adapted, tuple[Any, ...]] | None:
    """The transformed function with its parameters and its state, and the inputs behind them."""
    if callable(model) and not isinstance(model, type):
        return None
    held = 2 if isinstance(model, hk.TransformedWithState) else 1
    return adapt(model, *args[:held], carry=None, rng=None), args[held:]


def _apply(transformed: Any, options: Mapping[str, Any], params: Any, state: Any, rng: Any, *inputs: Any) -> Any:
    """The output and the state after a call, whichever transform made the function."""
    stateful = isinstance(transformed, hk.TransformedWithState)
    taken = [params, *([state] if stateful else []), *([rng] if _takes_key(transformed, stateful) else []), *inputs]
    try:
        returned = transformed.apply(*taken, **options)
    except ValueError as lack:
        if "non-None PRNGKey" not in str(lack):
            raise
        help = "give it a key: etir.from_haiku(transformed, params, rng=jax.random.key(0))"
        raise refusals.uninitialised(LIBRARY, "the function draws random numbers without a key", help) from lack
    return returned if stateful else (returned, state)


def _takes_key(transformed: Any, stateful: bool) -> bool:
    """Whether `apply` takes a key: hk.without_apply_rng takes it away."""
    names = list(inspect.signature(transformed.apply).parameters)
    return names[1 + stateful : 2 + stateful] == ["rng"]


def _functional(
    transformed: Any,
    params: dict[str, Any],
    state: dict[str, Any],
    options: dict[str, Any],
    carry: Any,
    rng: Any,
    *inputs: Any,
) -> Functional:
    called = partial(transformed.init, None)
    takes_carry = carry is not None or _takes_carry(called, len(inputs), options)
    check_inputs(LIBRARY, _NAME, called, inputs, options, carry=takes_carry)
    call = partial(_apply, transformed, options)
    if takes_carry and carry is None:
        with calling(LIBRARY, _NAME, inputs):
            carry = _initial(partial(call, params, state, rng), inputs)
    beside = ({CARRY: carry} if takes_carry else {}) | ({} if rng is None else {_KEY: rng})

    def run(params: Any, states: Any, *inputs: Any) -> tuple[Any, Any, Any]:
        key, drawn = jax.random.split(states[_KEY]) if _KEY in beside else (None, None)
        held = {name: states[name] for name in state}
        given = (*inputs, states[CARRY]) if takes_carry else inputs
        returned, now = call(params, held, drawn, *given)
        now = dict(now)
        if takes_carry:
            returned, now[CARRY] = pair(LIBRARY, _NAME, returned, "the output and the new state: y, state")
        if key is not None:
            now[_KEY] = key
        return params, now, returned

    return functional(
        run,
        params,
        {**state, **beside},
        inputs,
        library=LIBRARY,
        name=_NAME,
        called=transformed.apply,
        buffers=partial(_is_average, state),
        write=partial(_write, tuple(state)),
        stateless=_stateless,
        begin="make them in init: params, state = model.init(key, ...)",
    )


def _takes_carry(called: Callable[..., Any], inputs: int, options: Mapping[str, Any]) -> bool:
    """Whether a function takes one argument more than there are inputs and options: the state of a core."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(called).parameters.values() if p.kind in kinds]
    return len([p for p in parameters if p.default is p.empty and p.name not in options]) == inputs + 1 > 1


def _initial(call: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
    """What `initial_state` of the core that the function calls first makes for the batch of the inputs.

    The batch is the first of none and the length of a leading axis with which a step gives the state back in its shape.
    """
    found: list[Any] = []  # the first core: those inside it are its own affair

    def look(next_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        core = context.module
        if found or not isinstance(core, hk.RNNCore) or context.method_name != "__call__":
            return next_call(*args, **kwargs)
        found.append(core)
        faults: list[Exception] = []
        for batch in (None, *_batches(args[0])):
            carry = core.initial_state(batch)
            if _keeps(next_call, args[0], carry, faults):
                raise _Begun(carry)
        if len(faults) > len(_batches(args[0])):  # no guess of the batch is to blame
            raise _Begun(None, faults[-1])
        raise _unknown()

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), inputs)
    try:
        with hk.intercept_methods(look):
            call(*zeros, None)
    except _Begun as begun:
        if begun.fault is not None:
            raise begun.fault from None
        return begun.carry
    except (TypeError, ValueError, AttributeError, IndexError):  # of the function's own, which has no state to go on
        raise _unknown() from None
    raise _unknown()


def _batches(x: Any) -> list[int]:
    return list({leaf.shape[0]: None for leaf in jax.tree.leaves(x) if leaf.ndim > 0})


def _keeps(call: Callable[..., Any], x: Any, carry: Any, faults: list[Exception]) -> bool:
    """Whether a core gives back a state of the types that it was given; what it raises is put into `faults`."""
    try:
        after = hk.eval_shape(call, x, carry)[1]
    except (TypeError, ValueError, IndexError, AssertionError) as fault:
        faults.append(fault)
        return False
    types = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (carry, after)]
    return jax.tree.structure(after) == jax.tree.structure(carry) and types[0] == types[1]


def _unknown() -> Exception:
    found = "the function takes a state that no hk.RNNCore in it says how to begin"
    help = "give it: etir.compile(etir.from_haiku(transformed, params, carry=core.initial_state(batch)), x)"
    return refusals.uninitialised(LIBRARY, found, help)


def _is_average(state: Mapping[str, Any], path: str) -> bool:
    """Whether a path is of an exponential moving average, as batch normalisation keeps."""
    owner = next((name for name in state if path.startswith(f"{name}.")), "")
    return "ema" in owner.rpartition("/")[2] and {"hidden", "average", "counter"} >= set(state[owner])


def _write(names: tuple[str, ...], model: Any, params: Any, states: Mapping[str, Any]) -> Any:
    """The parameters, and the state of a function that keeps one: what `apply` takes."""
    state = {name: states[name] for name in names}
    return (params, state) if isinstance(model, hk.TransformedWithState) else params


def _stateless() -> Exception:
    help = (
        "keep the state with hk.set_state and transform with hk.transform_with_state; or take one core's step, as "
        "hk.transform(lambda x, state: core(x, state)), where hk.dynamic_unroll runs over a whole sequence"
    )
    return refusals.stateless(LIBRARY, _NAME, help)
