"""The layers' diagnostics: one function a mistake, each returning the exception to raise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir.diagnostics import EtirError, did_you_mean
from ..cell import type_text
from ..errors import declared, mistake
from ..state import State


def layer_input(layer: Any, x: Any) -> EtirError:
    """A layer is called with another number of features than it was made for."""
    given = type_text(x) if hasattr(x, "dtype") else f"something of type {type(x).__name__}"
    return mistake(
        "layer-input",
        f"{type(layer).__name__} takes {layer.in_size} features along axis {layer.dim}, and was given {given}",
        help="make the layer for as many features as it gets, or say with dim= along which axis they are",
    )


def layer_state(layer: Any, state: State, x: Any) -> EtirError:
    """A layer is called with another batch than the one that its states are of."""
    given, held = type_text(x), type_text(state.value)
    return mistake(
        "layer-state",
        f"{type(layer).__name__} was given {given}, and {state.title} is {held}, of another batch",
        notes=declared(state),
        help="nn.zero_states(model) before another batch; a layer that is used twice takes one shape",
    )


def layer_option(layer: Any, said: str) -> EtirError:
    """An option of a layer is none of its values, or does not go with its sizes."""
    return mistake("layer-option", f"{type(layer).__name__}: {said}")


def unknown_constraint(to: str, known: Sequence[str]) -> EtirError:
    """A constraint is named that does not exist."""
    return mistake(
        "constraint-name",
        f"there is no constraint '{to}'",
        help=did_you_mean(to, known) or f"known: {', '.join(known)}; or give a function",
    )


def no_inverse(to: Any) -> EtirError:
    """A constraint is a function whose inverse is not known."""
    name = getattr(to, "__name__", type(to).__name__)
    return mistake(
        "constraint-inverse",
        f"the inverse of the constraint '{name}' is not known, and the first value is given as it is used",
        help=f"give it: Constrained(init, to={name}, inverse=...)",
    )


def outside_constraint(name: str | None, value: Any, to: Any) -> EtirError:
    """The first value of a constrained weight is one that its constraint does not give."""
    said = to if isinstance(to, str) else getattr(to, "__name__", type(to).__name__)
    held = f"{value}" if value.ndim == 0 else f"of {type_text(value)}"
    return mistake(
        "constraint-range",
        f"a first value {held} is outside what the constraint '{said}' gives" + (f", for '{name}'" if name else ""),
        help="give a first value strictly inside its limits",
    )


def unknown_axis(state: State, axis: str, known: Sequence[str]) -> EtirError:
    """A state is annotated with an axis that the mesh does not have."""
    return mistake(
        "mesh-axis",
        f"{state.title} is cut along '{axis}', an axis that the mesh does not have",
        notes=declared(state),
        help=did_you_mean(axis, known) or f"it has {', '.join(known)}",
    )


def annotated_axes(state: State, count: int, value: Any) -> EtirError:
    """A state is annotated for more axes than it has."""
    return mistake(
        "mesh-annotation",
        f"{state.title} is annotated for {count} axes, and holds {type_text(value)}",
        notes=declared(state),
        help="give sharding= one entry for each axis of the value as it is declared, None where it is not cut",
    )
