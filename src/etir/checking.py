"""etir.check: a learner, or a model, and whether what its certificate says is true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax

from .api import compile
from .backends import Learner
from .frontend import Functional, functionalise
from .ir.diagnostics import EtirError
from .judgement import Check, check_learner, program_of
from .lowering import modelled, too_few_arguments
from .program import Program, in_float64


def check(model: Any, *args: Any, steps: int | None = None, seed: int = 0, **options: Any) -> Check:
    """Every weight's gradient beside that of BPTT, and whether its label is true: `irdump check` from Python.

    `check(learner)` tries a learner as it is, in its own precision; `check(step, params, states, *inputs, **options)`
    or `check(module, *inputs, **options)` compiles with the options of `etir.compile` (a window of two steps by
    default), in double precision where the step lets it be. The inputs and the loss are random; the sequence is of
    `steps` steps, at least three windows by default. What is returned prints as a table; it is true where no label is
    a lie, and raises nothing unless asked by `.require()`. Raises EtirError where there is nothing to compare with.
    """
    if isinstance(model, Learner):
        program, learner = program_of(model)
        return check_learner(program, learner, steps=steps, seed=seed)
    with jax.enable_x64(True):
        chosen: dict[str, Any] = {"window": 2, "on_truncated": "ignore"} | options
        return check(compile(*_widened(model, args), **chosen), steps=steps, seed=seed)


def _widened(model: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """What `compile` takes, in double precision where the step lets it be."""
    found = modelled(model, args)
    if found is not None:
        whole, args = found
        model = functionalise(whole, *args)
    if isinstance(model, Functional):
        given = Program(name="", step=model.step, params=model.params, states=model.states, inputs=args)
        wide = in_float64(given)
        return replace(model, params=wide.params, states=wide.states), *wide.inputs
    if len(args) < 2:
        raise EtirError([too_few_arguments(model)])
    wide = in_float64(Program(name="", step=model, params=args[0], states=args[1], inputs=args[2:]))
    return model, wide.params, wide.states, *wide.inputs
