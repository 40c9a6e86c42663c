"""TARGET on the command line: a model, or a transition that was made before."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from .. import zoo
from ..frontend.adapters import Adapted
from ..frontend.functionalise import functionalise
from ..frontend.module import Module
from ..frontend.nn import init_all_states
from ..ir.diagnostics import error, nearest
from ..ir.parser import parse
from ..ir.transition import Transition
from ..lowering import modelled
from ..program import Program
from . import importing
from .console import printing_aside

SUFFIXES = (".etir", ".txt")
ZOO = "zoo:"

_WANTED = (
    "a TARGET is a module, a tuple (module, *inputs) or (step, params, states, *inputs), a Transition, a Learner, "
    "or makes one of them"
)


@printing_aside()
def load(target: str, inputs: Sequence[Any] = ()) -> Program | Transition:
    """The model or the transition that `target` names; `inputs` are those of one step, where it does not bring its own.

    Raises EtirError where there is no such thing.
    """
    if target == "-" or (Path(target).suffix in SUFFIXES and ":" not in Path(target).name):
        return _saved(target)
    if target.startswith(ZOO):
        return _zoo(target.removeprefix(ZOO), inputs)
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not attribute:
        whole = target.rstrip(":")
        named = f"say what in it: {whole}:NAME" if whole.endswith(".py") else None
        known = "write pkg.mod:attr, file.py:attr, zoo:NAME, or the path of a saved .etir or .txt"
        raise error("target-form", f"'{target}' names no model", help=named or known)
    return _model(importing.find(place, attribute), attribute, tuple(inputs), called=False)


def _saved(target: str) -> Transition:
    try:
        text = sys.stdin.read() if target == "-" else Path(target).read_text()
    except (OSError, UnicodeDecodeError) as exception:
        folder = Path(target).parent
        missing = isinstance(exception, FileNotFoundError) and folder.is_dir()
        near = nearest(Path(target).name, [p.name for p in folder.iterdir()]) if missing else None
        reason = getattr(exception, "strerror", None) or "it is not text"
        help = f"did you mean '{folder / near}'?" if near else None
        raise error("target-file", f"cannot read '{target}': {reason}", help=help) from None
    return parse(text, file="<stdin>" if target == "-" else target)


def _zoo(name: str, inputs: Sequence[Any]) -> Program:
    names = [case.name for case in zoo.ALL]
    if name not in names:
        alike = [other for other in names if other.startswith(name)] or [nearest(name, names)]
        known = f"did you mean {' or '.join(repr(n) for n in alike)}?" if alike[0] else f"known: {', '.join(names)}"
        raise error("target-zoo", f"the zoo has no model '{name}'", help=known)
    case = zoo.case(name)
    model = case.build(jax.random.key(0))
    program = Program(
        name=name,
        step=model.step,
        params=model.params,
        states=model.states,
        inputs=model.inputs,
        buffers=case.buffers,
        draw=model.make_inputs,
    )
    return replace(program, inputs=tuple(inputs), draw=None) if inputs else program


def _model(found: Any, name: str, inputs: tuple[Any, ...], *, called: bool) -> Program | Transition:
    transition = getattr(found, "transition", found)
    if isinstance(transition, Transition):
        return transition
    several = type(found) in (tuple, list) and len(found) > 0
    given = importing.call(lambda: _modelled(*found) if several else _modelled(found), f"'{name}'")
    if given is not None:
        return _module(given[0], name, inputs or given[1])
    if several and len(found) >= 3 and callable(found[0]):
        step, params, states, *examples = found
        return _plain(name, step, params, states, tuple(inputs or examples))
    if callable(found) and not called:
        return _model(_made(found, name), name, inputs, called=True)
    what = f"'{name}' returns" if called else f"'{name}' is"
    raise error("target-kind", f"{what} a {type(found).__name__}, which is no model", notes=[_WANTED])


def _modelled(model: Any, *beside: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """A module, and what was given with it; None for anything else, a class included, of which one may be made."""
    return None if isinstance(model, type) else modelled(model, beside)


def _made(factory: Callable[..., Any], name: str) -> Any:
    needed = _required(factory)
    if needed:
        returned = f"{name}(...)" if inspect.isclass(factory) else f"{name}, params, states, *inputs"
        raise error(
            "target-kind",
            f"'{name}' cannot be called without arguments: it needs {', '.join(needed)}",
            notes=[_WANTED],
            help=f"add `def model(): return {returned}` to the file, and name that",
        )
    made = importing.call(factory, f"'{name}'")
    if inspect.isclass(factory) and isinstance(made, Module):
        importing.call(lambda: init_all_states(made), f"init_all_states of '{name}'")
    return made


def _required(function: Callable[..., Any]) -> list[str]:
    """The parameters of a function that have no default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in optional]


def _plain(name: str, step: Callable[..., Any], params: Any, states: Any, inputs: tuple[Any, ...]) -> Program:
    _check_inputs(name, inputs, _required(step)[2:])
    return Program(name=name, step=step, params=params, states=states, inputs=inputs)


def _module(model: Any, name: str, inputs: tuple[Any, ...]) -> Program:
    update = getattr(model, "update", None) if isinstance(model, Module) else None
    _check_inputs(name, inputs, _required(update) if update else ["x"] * isinstance(model, Adapted))
    functional = importing.call(lambda: functionalise(model, *inputs), f"'{name}'")
    return Program(
        name=model.name if isinstance(model, Adapted) else type(model).__name__,
        step=functional.step,
        params=functional.params,
        states=functional.states,
        inputs=inputs,
        module=functional,
    )


def _check_inputs(name: str, inputs: tuple[Any, ...], wanted: list[str]) -> None:
    """Refuse a step that wants inputs and has none; where some are given, calling it says more than counting."""
    if wanted and not inputs:
        options = " ".join("--input TYPE" for _ in wanted)
        raise error(
            "target-inputs",
            f"one step of '{name}' takes {', '.join(wanted)}, whose shapes are not known",
            help=f"give the type of each, in order: {options}, as in --input 'f32[8,16]'",
        )
