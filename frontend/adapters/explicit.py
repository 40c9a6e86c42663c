"""The adapters by name, for models that want to be told how they are called: `etir.from_nnx` and its like."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from .adapted import Adapted


def from_nnx(
    model: Any, *, carry: Any = None, method: str | Callable[..., Any] | None = None, wrt: Any = None, **options: Any
) -> Adapted:
    """A flax.nnx module as `etir.compile` takes it, in the mode (`model.train()`, `model.eval()`) that it is in now.

    One step is `model(*inputs, **options)`, or `model.method(...)`; a function as `method` is called with the model
    first. States are the module's Variables, random streams included, that `wrt` does not choose: the learned ones
    (`nnx.Param` by default, any filter of nnx). An `nnx.RNNCellBase` is called with a carry first, and returns the new
    one and its output; it begins as `initialize_carry` makes it for the batch of x. With `carry`, so is any module.
    Raises EtirError for anything that takes no such step.
    """
    return _adapter("nnx").adapt(model, carry=carry, method=method, wrt=wrt, **options)


def from_equinox(model: Any, state: Any = None, **options: Any) -> Adapted:
    """An equinox module as `etir.compile` takes it; its parameters are its arrays of floating point.

    One step is `model(*inputs, state, **options)`, which returns its output and the new state, in this order, as
    equinox's stateful layers do, or the new state alone, which is then the output too. `state` is an `eqx.nn.State` or
    any pytree of arrays; `key`, one of the options, is split at every step. `eqx.nn.GRUCell` and `eqx.nn.LSTMCell`
    begin with zeros where no state is given, and are mapped over the leading axes of x; their output is `h`. Raises
    EtirError for anything that takes no such step.
    """
    return _adapter("equinox").adapt(model, state, **options)


def from_brainstate(model: Any, **environment: Any) -> Adapted:
    """A brainstate module as `etir.compile` takes it, its states, which `init_all_states` has made, as they are now.

    One step is `model(*inputs)` in brainstate's environment as it is now (`dt`, `fit`, ...), with these settings beside
    it; the time `t` and the number `i` of a step, where set, are those of the first one, and go on by `dt` and by one.
    Parameters are the `ParamState`s; states are all others that the module holds, and those that its call uses, such as
    the key of `brainstate.random`. Values with a unit are numbers in the unit that they have now. Credit passes through
    every state of floating point but a `BatchState`. Raises EtirError for anything that takes no such step.
    """
    return _adapter("brainstate").adapt(model, **environment)


def from_penzai(model: Any, **side_inputs: Any) -> Adapted:
    """A penzai layer as `etir.compile` takes it: one step is `model(*inputs, **side_inputs)`.

    Parameters are its `pz.Parameter`s and states its `pz.StateVariable`s, called by their labels (`mlp.Linear.weights`)
    or by where they stand in the layer. Named arrays are arrays of their axes, in the order of now. Raises EtirError
    for anything that takes no such step.
    """
    return _adapter("penzai").adapt(model, **side_inputs)


def from_spyx(model: Any, state: Any = None) -> Adapted:
    """A neuron, or a `Sequential`, of spyx as `etir.compile` takes it: `model(x, state)` gives output and new state.

    The state is `model.initial_state(batch)` for the leading axis of x where none is given. Parameters, and everything
    else, are as `from_nnx` has them. Raises EtirError for anything that takes no such step.
    """
    return _adapter("spyx").adapt(model, state)


def from_linen(
    module: Any,
    variables: Any = None,
    *,
    carry: Any = None,
    rngs: Mapping[str, Any] | None = None,
    method: str | Callable[..., Any] | None = None,
    **options: Any,
) -> Adapted:
    """A flax.linen module and its variables, as `etir.compile` takes them; a bound module has its own.

    One step is `module.apply(variables, *inputs, method=method, **options)`, so `train=True` or `deterministic=False`
    go here. Parameters are the tree `variables["params"]`, states all other collections, which the step may write;
    `rngs` are the keys of the streams that it draws from, `{"dropout": key}`, split at every step. A
    `linen.RNNCellBase` is called with a carry first, and returns the new one and its output; it begins as
    `initialize_carry` makes it for the batch of x. With `carry`, so is any module. Raises EtirError for anything that
    takes no such step.
    """
    return _adapter("linen").adapt(module, variables, carry=carry, rngs=rngs, method=method, **options)


def from_haiku(
    transformed: Any, params: Any = None, state: Any = None, *, carry: Any = None, rng: Any = None, **options: Any
) -> Adapted:
    """A function that dm-haiku has transformed and its parameters, as `etir.compile` takes them.

    One step is `transformed.apply(params, rng, *inputs, **options)`, or, of `hk.transform_with_state`, with `state`
    behind `params`: so `is_training=True` goes here. `rng` is a key that is split at every step. A function that takes
    one argument more than there are inputs is given a state last, and returns its output and the new state, as an
    `hk.RNNCore` does; it begins as the core's `initial_state` makes it for the batch of x, or as `carry`. Raises
    EtirError for anything that takes no such step.
    """
    return _adapter("haiku").adapt(transformed, params, state, carry=carry, rng=rng, **options)


def _adapter(name: str) -> Any:
    """The file of a library, which imports it."""
    return importlib.import_module(f".{name}", __package__)
