"""What is said of a model that an adapter cannot take: the library, what was found, and the call that is right."""

from __future__ import annotations

from ...ir.diagnostics import EtirError, error


def wrong_kind(library: str, found: str, call: str) -> EtirError:
    """Something of a library, or handed to its adapter, that is no model of which one step can be taken."""
    return error("model-kind", f"{library}: {found}", help=call)


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
    return error(
        "model-uninitialised", f"{library}: one step makes the states {named}, which were not there", help=call
    )


def written_weights(library: str, paths: list[str], call: str) -> EtirError:
    """A step writes weights, which are held still within a window."""
    named = ", ".join(f"'{path}'" for path in paths)
    return error("weight-written", f"{library}: the step writes {named}, which must be held still", help=call)
