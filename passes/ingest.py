"""From a lowered step to a transition of which nothing is known yet."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import numpy as np

from ..ir.regions import STEP, make_region
from ..ir.step import Leaf, Step
from ..ir.transition import Input, Output, Param, State, StateKind, Transition
from ..ir.values import Value
from .asked_rules import with_asked_rules


def ingest(step: Step) -> Transition:
    """The transition that holds `step` as its one region, every state of unknown kind."""
    examples = [_example(x) for x in jax.tree.leaves(step.signature.example_params)] or [None] * len(step.params)
    params = tuple(
        Param(path=leaf.path, value=_value(leaf), example=x, loc=leaf.loc)
        for leaf, x in zip(step.params, examples, strict=True)
    )
    inputs = tuple(
        Input(path=leaf.path, value=_value(leaf), mark=leaf.declared == "mark", loc=leaf.loc) for leaf in step.inputs
    )
    results = _results(step)
    states = tuple(
        State(path=leaf.path, before=_value(leaf), after=after, kind=_declared_kind(leaf), loc=leaf.loc)
        for leaf, after in zip(step.states, results, strict=False)
    )
    outputs = tuple(
        Output(path=leaf.path, value=value) for leaf, value in zip(step.outputs, results[len(states) :], strict=True)
    )
    signature = [*(p.value for p in params), *(s.before for s in states), *(i.value for i in inputs)]
    body = make_region(STEP, with_asked_rules(step.jaxpr), signature, results)
    return Transition(
        name=step.name, params=params, states=states, inputs=inputs, outputs=outputs, regions=(body,), loc=step.loc
    )


def _example(leaf: Any) -> Any:
    """An array as it is; None for a shape alone, or for what is being traced."""
    known = isinstance(leaf, (jax.Array, np.ndarray)) and not isinstance(leaf, jax.core.Tracer)
    return leaf if known else None


def _results(step: Step) -> list[Value]:
    """One value for each result; a result that is an argument, or that comes twice, still gets a value of its own."""
    leaves = [*step.states, *step.outputs]
    return [Value(type=leaf.type, hint=hint(leaf.path)) for leaf in leaves]


def _value(leaf: Leaf) -> Value:
    return Value(type=leaf.type, hint=hint(leaf.path), loc=leaf.loc)


def hint(path: str) -> str:
    """A short name for a leaf: the last word of its path that is no number."""
    words = [word for word in path.split(".") if word.isidentifier()]
    return words[-1] if words else "v"


def _declared_kind(leaf: Leaf) -> StateKind:
    return StateKind.BUFFER if leaf.declared == "buffer" else StateKind.UNKNOWN
