"""etir.lower: one step of a model, of whatever kind, as a Jaxpr whose leaves have paths."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from .frontend import Functional, Module, adapters, functionalise
from .frontend.initial import with_initial
from .frontend.lower import lower as lower_function
from .frontend.marks import checked_marks
from .frontend.sequences import lowered_or_told
from .ir.diagnostics import Diagnostic, EtirError
from .ir.loc import Loc
from .ir.mesh_types import without_explicit_axes
from .ir.step import Step, leaf_paths
from .ir.types import TensorType


@without_explicit_axes()
def lower(
    model: Any,
    *args: Any,
    buffers: str | Sequence[str] = (),
    initial: str | Sequence[str] = (),
    mask: str | None = None,
    reset: str | None = None,
) -> Step:
    """One step of a model as a Jaxpr whose leaves have paths.

    `lower(step, params, states, *inputs)` takes a plain function `step(params, states, *inputs) -> (new_states,
    outputs)` over pytrees, and example values; `lower(module, *inputs)` a module, of ours or of another library that
    `etir.compile` takes, its states as they are now.
    States that match a glob in `buffers` are carried along but are not hidden: the credit through them is dropped, and
    the certificate says so. The first values of states that match a glob in `initial` are learned: they are parameters
    of the step, called `initial.h` for the state `h`. `mask` and `reset`, `"step"` or `"sample"`, say that the step is
    told whether it counts, and whether a sequence begins with it: see `etir.compile`. Raises EtirError where the step
    does not give its states back as it got them, and for NaN and infinities.
    """
    options: dict[str, Any] = {"initial": initial, "marks": checked_marks(mask=mask, reset=reset)}
    if isinstance(model, Functional):
        return lowered_or_told(lambda x: _lower_functional(model, x, buffers, **options), args)
    found = modelled(model, args)
    if found is not None:
        whole, inputs = found
        return lowered_or_told(lambda x: _lower_functional(functionalise(whole, *x), x, buffers, **options), inputs)
    if len(args) < 2:
        raise EtirError([too_few_arguments(model)])
    params, states, *inputs = args
    inside = adapters.wrapped(model) if adapters.is_call(model) else None
    with _told(inside):
        step = lowered_or_told(lambda x: _lowered(model, params, states, *x, buffers=buffers, **options), tuple(inputs))
    return step if inside is None else _of_model(step, "auto")


@contextmanager
def _told(inside: Diagnostic | None) -> Generator[None]:
    """Lower what may be a library's model in the form of a function, `inside`: is it no step, that is said of it."""
    try:
        yield
    except Exception as fault:
        codes = {d.code for d in fault.diagnostics} if isinstance(fault, EtirError) else set[str]()
        if inside is None or codes - {"step-arguments", "step-result", "state-structure"}:
            raise
        raise EtirError([inside]) from fault


def _lowered(step: Any, params: Any, states: Any, *inputs: Any, initial: str | Sequence[str], **options: Any) -> Step:
    """A plain function's step, with the first values of some of its states among its parameters."""
    globs = (initial,) if isinstance(initial, str) else tuple(initial)
    if not globs:
        return lower_function(step, params, states, *inputs, **options)
    begun, with_first, with_begun = with_initial(step, params, states, globs, options["marks"])
    lowered = lower_function(begun, with_first, with_begun, *inputs, **options)
    return replace(lowered, signature=replace(lowered.signature, initial=tuple(with_first.initial)))


def modelled(model: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]] | None:
    """What `functionalise` takes, and its inputs, where a module was given: a native one, or of a library we know.

    A module that `transform.vmap` wraps is one; None for a plain function.
    """
    if isinstance(model, Module) or (callable(model) and isinstance(inspect.unwrap(model), Module)):
        return model, args
    return adapters.adapted(model, args)


def _lower_functional(model: Functional, inputs: tuple[Any, ...], buffers: str | Sequence[str], **options: Any) -> Step:
    """A module's step: floating-point states that are no `HiddenState` are buffers."""
    model.refuse_compiled()
    states = leaf_paths(model.states, "state")
    kinds = {path: kind for path, kind in model.kinds.items() if kind != "hidden"}
    plain = [
        path
        for path, value in states
        if any(path == owner or path.startswith(f"{owner}.") for owner in kinds) and TensorType.of(value).carries_credit
    ]
    places = {path: loc for path, _ in states if (loc := _place(model, path)) is not None}
    named = (buffers,) if isinstance(buffers, str) else buffers
    options |= {"buffers": (*plain, *named), "declared_at": places}
    return _of_model(_lowered(model.step, model.params, model.states, *inputs, **options), model.sites, model.write)


def _of_model(step: Step, sites: str, write: Any = None) -> Step:
    """A lowered step with what its model says of sites and of results, and so for examples of other sizes."""
    lower_again = step.again
    again = None if lower_again is None else lambda *examples: _of_model(lower_again(*examples), sites, write)
    return replace(step, sites=sites, signature=replace(step.signature, write=write), again=again)


def _place(model: Functional, path: str) -> Loc | None:
    owners = [owner for owner in model.locs if path == owner or path.startswith(f"{owner}.")]
    return model.locs[max(owners, key=len)] if owners else None


def too_few_arguments(model: Any) -> Diagnostic:
    """What to say of a step that was given without its example values."""
    if isinstance(model, type):
        message = f"the class '{model.__name__}' was given; wanted a module, which is an instance of it"
        return Diagnostic(code="step-arguments", message=message, help=f"make one first: {model.__name__}(...)")
    if (inside := adapters.wrapped(model)) is not None:
        return inside
    return Diagnostic(
        code="step-arguments",
        message=f"'{getattr(model, '__name__', type(model).__name__)}' was given without parameters and states",
        help="call it as (step, params, states, *inputs) for a plain function, or as (module, *inputs)",
    )
