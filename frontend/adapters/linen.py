"""flax.linen: modules whose values live in collections beside them, and cells whose carry is passed by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from flax import errors, linen
from flax.core import meta, unfreeze

from ..functional import Functional
from . import refusals
from .adapted import CARRY, Adapted, check_inputs, functional, method_of, pair

LIBRARY = "flax.linen"
CALL = "etir.compile(module, variables, x)"
_BUFFERS = "batch_stats"
"""The collection that a step writes and no later step learns through."""
_STREAMS = "rngs"

_CALL = "variables = module.init(key, ...); etir.compile(module, variables, x)"
_WHOLE = "give the whole of what module.init returned, {'params': ...}"
_CELL = "give the cell and its variables, with the x of one step; the learner runs over the sequence"
_SEQUENCES = (linen.RNN, linen.Bidirectional)


def adapt(
    module: Any,
    variables: Any = None,
    *,
    carry: Any,
    rngs: Mapping[str, Any] | None,
    method: str | Callable[..., Any] | None,
    **options: Any,
) -> Adapted:
    """`etir.from_linen`."""
    if not isinstance(module, linen.Module):
        raise refusals.wrong_kind(LIBRARY, module, "a linen.Module", _CALL)
    name = type(module).__name__
    if isinstance(module, _SEQUENCES):
        raise refusals.whole_sequence(LIBRARY, f"the module is a linen.{name}", _CELL)
    if variables is None and module.scope is not None:
        module, variables = module.unbind()
    whole: Any = variables
    if not isinstance(variables, Mapping):
        raise refusals.uninitialised(LIBRARY, f"'{name}' was given without its variables", _CALL)
    if not all(isinstance(collection, Mapping) for collection in variables.values()):
        raise refusals.uninitialised(LIBRARY, f"'{name}' was given variables that are no collections", _WHOLE)
    make = partial(_functional, module, unfreeze(whole), method, options, carry, dict(rngs or {}))
    return Adapted(library=LIBRARY, name=name, functional=make)


def recognise(model: Any, args: tuple[Any, ...]) -> tuple[Adapted, tuple[Any, ...]] | None:
    """The module with its variables, and the inputs behind them; a bound module has them."""
    if callable(model) and not isinstance(model, (type, linen.Module)):
        return None
    bound = isinstance(model, linen.Module) and model.scope is not None
    variables, inputs = (None, args) if bound or not args else (args[0], args[1:])
    return adapt(model, variables, carry=None, rngs=None, method=None), inputs


def _apply(module: Any, variables: Any, *inputs: Any, **options: Any) -> Any:
    """`module.apply`, where what it lacks is said in our words."""
    name = type(module).__name__
    try:
        return module.apply(variables, *inputs, **options)
    except errors.InvalidRngError as lack:
        help = 'give it a key for each stream: etir.from_linen(module, variables, rngs={"dropout": jax.random.key(0)})'
        raise refusals.uninitialised(
            LIBRARY, f"'{name}' draws random numbers without a key: {_said(lack)}", help
        ) from lack
    except (errors.ScopeCollectionNotFound, errors.ScopeParamNotFoundError, errors.ScopeVariableNotFoundError) as lack:
        help = _CALL if variables["params"] else _WHOLE
        raise refusals.uninitialised(LIBRARY, f"'{name}' lacks variables: {_said(lack)}", help) from lack


def _said(exception: Exception) -> str:
    """The first sentence of an exception of flax."""
    return str(exception).partition("(https://")[0].strip().rstrip(".")


def _functional(
    module: Any,
    boxed: Any,
    method: str | Callable[..., Any] | None,
    options: dict[str, Any],
    carry: Any,
    rngs: dict[str, Any],
    *inputs: Any,
) -> Functional:
    name, takes_carry = type(module).__name__, carry is not None or isinstance(module, linen.RNNCellBase)
    bound = method_of(LIBRARY, module, method)
    check_inputs(LIBRARY, name, bound, inputs, options, carry=takes_carry)
    if takes_carry and carry is None:
        carry = module.initialize_carry(jax.random.key(0), inputs[0].shape)
    variables = meta.unbox(boxed)  # of what linen keeps beside an array, as how it is partitioned
    collections = {name: tree for name, tree in variables.items() if name != "params"}
    beside = ({CARRY: carry} if takes_carry else {}) | ({_STREAMS: rngs} if rngs else {})

    def run(params: Any, states: Any, *inputs: Any) -> tuple[Any, Any, Any]:
        held = {name: states[name] for name in collections}
        keys = {name: jax.random.split(key) for name, key in states.get(_STREAMS, {}).items()}
        given = (states[CARRY], *inputs) if takes_carry else inputs
        drawn = {name: pair[1] for name, pair in keys.items()}
        chosen = {"method": method, "mutable": list(held), "rngs": drawn, **options}
        returned, now = _apply(module, {"params": params, **held}, *given, **chosen)
        now = {**held, **now}
        if takes_carry:
            now[CARRY], returned = pair(LIBRARY, name, returned, "the new carry and the output: carry, y")
        if keys:
            now[_STREAMS] = {name: pair[0] for name, pair in keys.items()}
        return params, now, returned

    return functional(
        run,
        dict(variables.get("params", {})),
        {**collections, **beside},
        inputs,
        library=LIBRARY,
        name=name,
        called=bound,
        buffers=lambda path: path.startswith(f"{_BUFFERS}."),
        write=partial(_write, boxed),
        stateless=partial(_stateless, name),
    )


def _write(variables: Mapping[str, Any], model: Any, params: Any, states: Mapping[str, Any]) -> dict[str, Any]:
    """The variables with these values: those given, or, for the module, those that it was compiled with."""
    if not isinstance(model, (Mapping, linen.Module)):
        call = "variables = learner.write_back(variables, params, carry.states)"
        raise refusals.wrong_kind(LIBRARY, model, "a linen.Module, or its variables,", call)
    old: Mapping[str, Any] = model if isinstance(model, Mapping) else variables
    new = {"params": params, **{name: states[name] for name in variables if name in states}}
    return {**old, **{name: meta.replace_boxed(unfreeze(old.get(name, tree)), tree) for name, tree in new.items()}}


def _stateless(name: str) -> Exception:
    help = (
        "keep the state in a variable of a collection that the step writes; or pass it by hand, as "
        "module(carry, x) -> (carry, y): etir.compile(etir.from_linen(module, variables, carry=jnp.zeros(...)), x)"
    )
    return refusals.stateless(LIBRARY, name, help)
