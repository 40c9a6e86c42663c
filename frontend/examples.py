"""The example values that a step is lowered with, and whether the step can be called on them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..ir.diagnostics import Diagnostic, EtirError, error
from ..ir.loc import definition
from ..ir.step import leaf_paths


def as_arrays(tree: Any, bare: str, noun: str) -> Any:
    """The tree with arrays of strong types as leaves; EtirError for leaves that cannot be arrays.

    A Python scalar as a state would otherwise change its type at the second step.
    """
    findings: list[Diagnostic] = []
    leaves = [_array(path, leaf, noun, findings) for path, leaf in leaf_paths(tree, bare)]
    if findings:
        raise EtirError(findings)
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def _array(path: str, value: Any, noun: str, findings: list[Diagnostic]) -> Any:
    if isinstance(value, jax.ShapeDtypeStruct):
        return value
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        findings.append(
            Diagnostic(
                code="leaf-type",
                message=f"{noun} '{path}' is of type {type(value).__name__}; wanted an array or a number",
                help="keep what is no number out of the trees: close over it, or make it static with functools.partial",
            )
        )
        return value
    return jax.lax.convert_element_type(array, array.dtype) if getattr(array, "weak_type", False) else array


def check_call(function: Callable[..., Any], arguments: Sequence[Any], example: str) -> None:
    """Raise EtirError where `function` cannot be called with so many arguments; `example` says what was wanted."""
    if not callable(function):
        raise error("step-arguments", f"the step is of type {type(function).__name__}; wanted a function", help=example)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*arguments)
    except TypeError as mismatch:
        raise error(
            "step-arguments",
            f"'{getattr(function, '__name__', 'step')}{_plain(signature)}' does not take the {len(arguments)} "
            f"example value{'' if len(arguments) == 1 else 's'} given",
            loc=definition(function),
            notes=[str(mismatch)],
            help=example,
        ) from None


def _plain(signature: inspect.Signature) -> str:
    """The parameters' names alone."""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))
