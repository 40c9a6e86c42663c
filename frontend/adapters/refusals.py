"""What is said of a model that an adapter cannot take: the library, what was found, and the call that is right."""

from __future__ import annotations

import textwrap
from typing import Any

from ...ir.diagnostics import Diagnostic, EtirError, error
from ...ir.loc import calling_line, chain, failing_line
from ...ir.types import TensorType
from .libraries import LIBRARIES, library_of

_SHOWN = 6
"""How many states are named in a message."""
_LENGTH = 200
"""How many characters of a library's own message are repeated."""


def wrong_kind(library: str, given: object, wanted: str, call: str) -> EtirError:
    """Something that is no model of the library of which one step can be taken."""
    home = library_of(given)
    name = given.__name__ if isinstance(given, type) else type(given).__name__
    kind = "the class " if isinstance(given, type) else ""
    found = f"{kind}'{name}'{f' of {home}' if home not in (None, library) else ''}"
    other = f"use etir.from_{LIBRARIES[home]}" if home not in (None, library) else call
    return error("model-kind", f"{library}: {found} was given where {wanted} is wanted", help=other)


def bare_call(library: str, found: str, call: str) -> Diagnostic:
    """A function that calls a model was given in the model's place; `call` is how the model itself is given."""
    help = f"{call}, with no jit or method around it: learners are compiled"
    return Diagnostic(code="step-arguments", message=f"{library}: {found}; wanted the model itself", help=help)


def wrong_form(library: str, found: str, call: str) -> EtirError:
    """What a step takes or returns is of another form than it must be."""
    return error("model-kind", f"{library}: {found}", help=call)


def wrong_inputs(library: str, call: str, count: int, why: str, *, carry: bool, more: str) -> EtirError:
    """A step cannot be called with the inputs that were given."""
    fit = "the input given does" if count == 1 else f"the {count} inputs given do"
    message = f"{fit} not fit '{call}'" if count else f"no input was given to '{call}'"
    by_hand = f"; states that are passed by hand are given as etir.from_{LIBRARIES[library]}(..., carry=...)"
    help = f"give an example of every input of one step{'' if carry else by_hand}{more}"
    return error("step-arguments", f"{library}: {message}", notes=[why], help=help)


def failed_call(
    library: str, name: str, fault: Exception, inputs: list[tuple[str, Any]], states: list[tuple[str, Any]]
) -> EtirError:
    """A model does not take the values that it is called with."""
    several = "s" if len(inputs) > 1 else ""
    given = ", ".join(str(TensorType.of(value)) for _, value in inputs)
    held = [f"{path} {TensorType.of(value)}" for path, value in states]
    cause = chain(fault)[0]
    said = textwrap.shorten(str(cause), _LENGTH, placeholder=" ...")
    return error(
        "model-call",
        f"{library}: '{name}' fails on the example input{several} {given}",
        loc=failing_line(fault) or calling_line(),
        notes=[f"{type(cause).__name__}: {said}", *([f"its states are {_some(held)}"] if held else [])],
        help="run the model on these by itself; inputs, and states passed by hand, have the sizes it was made for",
    )


def _some(texts: list[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")


def whole_sequence(library: str, found: str, call: str) -> EtirError:
    """A module that runs over whole sequences, where one that takes a step is wanted."""
    return error("model-sequence", f"{library}: {found}, which runs over a whole sequence; wanted one step", help=call)


def uninitialised(library: str, found: str, call: str) -> EtirError:
    """A module whose weights or states have not been made, or were not given."""
    return error("model-uninitialised", f"{library}: {found}", help=call)


def stateless(library: str, name: str, call: str) -> EtirError:
    """A model that carries nothing from one step to the next."""
    message = f"{library}: '{name}' keeps no state from one step to the next, so there is nothing to learn online"
    return error("model-stateless", message, help=call)


def new_states(library: str, paths: list[str], call: str) -> EtirError:
    """A call of a model makes states that were not there before it."""
    named = ", ".join(f"'{path}'" for path in paths)
    return uninitialised(library, f"one step makes the states {named}, which were not there before", call)


def written_weights(library: str, paths: list[str], call: str) -> EtirError:
    """A step writes weights, which are held still within a window."""
    named = ", ".join(f"'{path}'" for path in paths)
    return error("weight-written", f"{library}: the step writes {named}, which must be held still", help=call)


def written_attributes(library: str, paths: list[str], call: str) -> EtirError:
    """A step changes attributes that are plain values of Python."""
    named = ", ".join(f"'{path}'" for path in paths)
    message = f"{library}: the step changes {named}, and its first value would be compiled in"
    return error("attribute-written", message, help=call)
