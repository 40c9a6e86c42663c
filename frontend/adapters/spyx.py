"""spyx: flax.nnx modules of spiking neurons, whose state is passed by hand and begins as `initial_state` makes it."""

from __future__ import annotations

from functools import partial
from typing import Any

from flax import nnx

from ..examples import check_call
from ..functional import Functional
from . import refusals
from .adapted import Adapted
from .nnx import adapt as adapt_nnx

LIBRARY = "spyx"
CALL = "etir.compile(model, x)"
_CALL = "etir.compile(model, x), with a neuron of spyx.nn or a spyx.nn.Sequential, and the x of one step, [batch, ...]"


def adapt(model: Any, state: Any) -> Adapted:
    """`etir.from_spyx`."""
    if not isinstance(model, nnx.Module) or not (state is not None or hasattr(model, "initial_state")):
        raise refusals.wrong_kind(LIBRARY, model, "a neuron with an initial state", _CALL)
    return Adapted(library=LIBRARY, name=type(model).__name__, functional=partial(_functional, model, state))


def recognise(model: Any, args: tuple[Any, ...]) -> tuple[Adapted, tuple[Any, ...]] | None:
    """The model, and the inputs among what `etir.compile` was given."""
    if isinstance(model, (type, nnx.Module)):
        return adapt(model, None), args
    return None


def _functional(model: Any, state: Any, *inputs: Any) -> Functional:
    check_call(model, (*inputs, state), _CALL)
    carry = model.initial_state(inputs[0].shape[0]) if state is None else state
    return adapt_nnx(model, carry=carry, method=_called, wrt=None).functional(*inputs)


def _called(model: Any, carry: Any, x: Any) -> tuple[Any, Any]:
    outputs, carry = model(x, carry)
    return carry, outputs
