"""The state-based face's diagnostics: one function a mistake, each returning the exception to raise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax

from ..ir.diagnostics import Diagnostic, EtirError, did_you_mean, error
from ..ir.loc import Loc, calling_line
from ..ir.step import leaf_paths
from .cell import type_text

if TYPE_CHECKING:
    from .state import State

_TRANSFORMS = "jit, grad, vmap, scan or cond of etir.transform"


def declared(state: State) -> tuple[str, ...]:
    """A note that says where `state` was made."""
    return (f"{state.loc}: {state.title} is declared here",) if state.loc else ()


def mistake(code: str, message: str, *, notes: Iterable[str] = (), help: str | None = None) -> EtirError:
    """An exception with one diagnostic, at the user's line."""
    return error(code, message, loc=calling_line(), notes=notes, help=help)


def foreign_transform(state: State) -> EtirError:
    """A state is written under a JAX transform that does not thread it."""
    return mistake(
        "foreign-transform",
        f"{state.title} is written under a JAX transform, which would lose the write",
        notes=declared(state),
        help=f"use {_TRANSFORMS} instead, or write after it returns",
    )


def state_replaced(state: State, name: str) -> EtirError:
    """An array is assigned to the attribute that holds a state."""
    return mistake(
        "state-replaced",
        f"an array is assigned to '{name}', which holds {state.title}; the state would be lost",
        notes=declared(state),
        help=f"write its value: self.{name}.value = ...",
    )


def leaked_tracer(state: State, verb: str) -> EtirError:
    """A state holds, or is given, a value of a JAX transform that has ended."""
    return mistake(
        "leaked-tracer",
        f"{state.title} is {verb} with a value of a JAX transform that has ended",
        notes=declared(state),
        help=f"return the value from the function, or use {_TRANSFORMS}",
    )


def dead_initial(state: State) -> EtirError:
    """The initial value of a state belongs to a transform that has ended."""
    return mistake(
        "leaked-tracer",
        f"the initial value of {state.title} is of a JAX transform that has ended",
        notes=declared(state),
        help="make the model outside the transform, or give an initialiser: HiddenState(lambda: jnp.zeros(n))",
    )


def unset(state: State) -> EtirError:
    """A state without a value is read."""
    if state.lazy is not None:
        remedy = "its shape comes from the first input: call `.ensure(x)` on it before reading it"
    elif state.birth:
        remedy = "it was made inside a transform that keeps no new states (scan, cond): make it before"
    else:
        remedy = "give it an initial value, or an initialiser and call nn.init_all_states(model)"
    return mistake("state-unset", f"{state.title} is read, and has no value yet", notes=declared(state), help=remedy)


def wrong_leaf(state: State, path: str, leaf: object) -> EtirError:
    """A state is given something that is not an array."""
    where = f" at '{path}'" if path else ""
    return mistake(
        "state-leaf",
        f"{state.title} holds arrays, and was given a {type(leaf).__name__}{where}",
        notes=declared(state),
        help="keep what is not an array as a plain attribute",
    )


def wrong_kind(state: State, wanted: str, value: object, help: str) -> EtirError:
    """A state is given a container that its class does not hold."""
    return mistake(
        "state-kind",
        f"a {type(state).__name__} holds {wanted}, and {state.title} was given {_container_text(value)}",
        notes=declared(state),
        help=help,
    )


def group_shapes(state: State, value: dict[str, Any]) -> EtirError:
    """The arrays of a group differ in shape."""
    return mistake(
        "group-shape",
        f"{state.title} is a group, of one shape, and was given {type_text(value)}",
        notes=declared(state),
        help="broadcast them to one shape, or use HiddenTreeState",
    )


def several_shapes(state: State, value: Any) -> EtirError:
    """The common shape of a state is asked for, and it has none."""
    return mistake(
        "state-shapes",
        f"{state.title} has no one shape: it holds {type_text(value)}",
        notes=declared(state),
        help="read the shape of one entry",
    )


def wrong_tree(state: State, held: Any, given: Any) -> EtirError:
    """A state is written with another tree structure than it has."""
    old, new = ([path for path, _ in leaf_paths(tree, "") if path] for tree in (held, given))
    missing = [path for path in old if path not in new]
    unexpected = [path for path in new if path not in old]
    notes = [f"missing: {_quoted(missing)}"] if missing else []
    notes += [f"unexpected: {_quoted(unexpected)}"] if unexpected else []
    help = did_you_mean(unexpected[0], missing) if unexpected and missing else None
    return mistake(
        "state-tree",
        f"{state.title} holds {_tree_text(held)} and was given {_tree_text(given)}",
        notes=[*notes, *declared(state)],
        help=help,
    )


def no_entry(state: State, key: object, value: Any) -> EtirError:
    """A state is indexed by a key that it does not have."""
    if isinstance(value, dict):
        found, help = f"it has {_quoted(value)}", did_you_mean(str(key), [str(k) for k in value])
    elif isinstance(value, (list, tuple)):
        found, help = f"it has {len(value)} entries", None
    else:
        found, help = "it holds one array", "read the array as `.value`, then index that"
    return mistake("state-key", f"{state.title} has no entry {key!r}: {found}", notes=declared(state), help=help)


def batched_write(states: Sequence[tuple[State, Loc | None]]) -> EtirError:
    """States that vmap's samples share are written with a value for each sample."""
    return EtirError(
        [
            Diagnostic(
                code="vmap-write",
                message=f"{state.title} is shared by vmap's samples, and is written with one value for each",
                loc=loc,
                notes=declared(state),
                help="batch it (in_states=, out_states=, or make it under vmap_new_states), or reduce before writing",
            )
            for state, loc in states
        ]
    )


def sample_counts(state: State, size: int, wanted: int) -> EtirError:
    """A batched state has another number of samples than vmap maps over."""
    return mistake(
        "vmap-size",
        f"{state.title} holds {size} samples, and vmap maps over {wanted}",
        notes=declared(state),
        help="give vmap as many samples as nn.init_all_states or vmap_new_states made",
    )


def no_sample_axis(state: State, value: Any) -> EtirError:
    """A state that vmap is to split has no axis to split."""
    return mistake(
        "vmap-size",
        f"{state.title} is to be split by vmap, and {type_text(value)} has no leading axis",
        notes=declared(state),
        help="initialise it under vmap_new_states, or with nn.init_all_states(model, batch_size=...)",
    )


def no_gradient(state: State, value: Any) -> EtirError:
    """A state that carries no derivative is differentiated."""
    return mistake(
        "grad-state",
        f"{state.title} is {type_text(value)}, which has no gradient",
        notes=declared(state),
        help="differentiate with respect to real or complex floating-point states",
    )


def compiled_weight(state: State) -> EtirError:
    """A weight is to learn that holds the value of its transform."""
    return mistake(
        "compiled-weight",
        f"{state.title} is compiled for inference, and what it holds is not what is trained",
        notes=declared(state),
        help="call nn.decompile_params(model) first",
    )


def not_states(argument: str, found: object) -> EtirError:
    """Something else stands where states are wanted."""
    return mistake(
        "not-a-state",
        f"{argument} holds {_value_text(found)}, and it takes States or a Module",
    )


def not_a_module(function: str, found: object) -> EtirError:
    """Something else stands where a module is wanted."""
    return mistake(
        "not-a-module",
        f"{function} takes a Module or a dict of states, and was given a {type(found).__name__}",
    )


def no_update(module: object) -> EtirError:
    """A module that says not what a call does is called."""
    name = type(module).__name__
    return mistake(
        "module-update", f"{name} is called, and has no `update` method", help=f"define {name}.update(self, ...)"
    )


def path_clash(path: str) -> EtirError:
    """Two different states have one path."""
    return mistake("path-clash", f"two different states have the path '{path}'", help="rename one of them")


def bad_filter(found: object) -> EtirError:
    """A filter of states is of no known form."""
    return mistake(
        "state-filter",
        f"{found!r} is no filter of states",
        help="give a State class, a glob of paths, a predicate of a state, `...`, or a tuple of these",
    )


def left_over(paths: Sequence[str]) -> EtirError:
    """Some states match none of the filters that were to split them."""
    return mistake(
        "split-rest",
        f"no filter of split_states matches {_quoted(paths)}",
        help="add `...` as the last filter to take the rest",
    )


def written_attributes(paths: Iterable[str], loc: Loc | None) -> EtirError:
    """The step changes attributes that are plain values of Python."""
    return error(
        "attribute-written",
        f"the step changes {_quoted(paths)}, and its first value would be compiled in",
        loc=loc,
        help="keep it in a state: etir.ShortTermState(0) in __init__, read and written as .value",
    )


def written_variables(names: Iterable[str], loc: Loc | None) -> EtirError:
    """The step changes variables of Python that it does not own."""
    return error(
        "attribute-written",
        f"the step changes {_quoted(names)}, which is a value of Python outside it: its first one would be compiled in",
        loc=loc,
        help="keep it in the states, as an array, or take it in as an input; a note that the step does not compute "
        "with, as how often it was traced, belongs in a list that it appends to",
    )


def written_weights(weights: Sequence[tuple[str, State, Loc | None]]) -> EtirError:
    """Parameters are written in the step."""
    return EtirError(
        [
            Diagnostic(
                code="weight-written",
                message=f"weight '{path}' is written in the step, which must hold weights still",
                loc=loc,
                notes=declared(state),
                help="train weights outside the model; declare what the step writes as a HiddenState or a State",
            )
            for path, state, loc in weights
        ]
    )


def unthreaded(states: Sequence[State]) -> EtirError:
    """A step touches states that it did not touch when it was made pure."""
    return EtirError(
        [
            Diagnostic(
                code="state-unthreaded",
                message=f"{state.title} is used by this call of the step, and was not by the first",
                loc=calling_line(),
                notes=declared(state),
                help="make the step again with inputs like these: what it uses must not change between calls",
            )
            for state in states
        ]
    )


def wrong_paths(function: str, missing: Sequence[str], unexpected: Sequence[str], known: Sequence[str]) -> EtirError:
    """A dict by path has too few or too many paths."""
    return EtirError([*missing_paths(function, missing), *unexpected_paths(function, unexpected, known)])


def missing_paths(function: str, paths: Sequence[str]) -> list[Diagnostic]:
    """One diagnostic for each path that `function` wants and was not given."""
    loc = calling_line()
    return [
        Diagnostic(code="path-missing", message=f"{function} was given nothing for '{path}'", loc=loc) for path in paths
    ]


def unexpected_paths(function: str, paths: Sequence[str], known: Sequence[str]) -> list[Diagnostic]:
    """One diagnostic for each path that `function` was given and does not know."""
    loc = calling_line()
    return [
        Diagnostic(
            code="path-unexpected",
            message=f"{function} was given '{path}', which the model does not have",
            loc=loc,
            help=did_you_mean(path, known),
        )
        for path in paths
    ]


def wrong_value(function: str, path: str, state: State, held: Any, given: Any) -> Diagnostic:
    """A value for a path does not fit the state that is there."""
    return Diagnostic(
        code="path-value",
        message=f"{function} was given {_value_text(given)} for '{path}', which holds {type_text(held)}",
        loc=calling_line(),
        notes=declared(state),
        help="initialise the model with the same sizes and the same batch first",
    )


def _value_text(value: Any) -> str:
    try:
        return type_text(value)
    except (AttributeError, TypeError):
        return f"a {type(value).__name__}"


def _container_text(value: Any) -> str:
    """A value as one says it: its type or class, and its first entry that is no single array."""
    if jax.tree_util.all_leaves([value]):
        return _value_text(value)
    nested = (
        [key for key, entry in value.items() if not jax.tree_util.all_leaves([entry])]
        if isinstance(value, dict)
        else []
    )
    inside = f" whose '{nested[0]}' is a {type(value[nested[0]]).__name__}" if nested else ""
    return f"a {type(value).__name__}{inside}"


def _tree_text(tree: Any) -> str:
    if isinstance(tree, dict):
        return "{" + ", ".join(repr(key) for key in tree) + "}"
    if jax.tree.structure(tree) == jax.tree.structure(0):
        return "one array"
    return f"a {type(tree).__name__} of {len(jax.tree.leaves(tree))} arrays"


def _quoted(names: Iterable[object]) -> str:
    return ", ".join(f"'{name}'" for name in names)
