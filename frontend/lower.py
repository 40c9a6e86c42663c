"""Lower one step of a model to a `Step`: a Jaxpr whose leaves have paths."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any

import jax
import numpy as np

from ..ir import jaxpr as jx
from ..ir.diagnostics import Diagnostic, EtirError, did_you_mean, warn
from ..ir.finite import not_finite
from ..ir.loc import Loc, definition
from ..ir.step import Leaf, Signature, Step, StepFunction, leaf_paths
from ..ir.types import TensorType
from . import errors
from .adapters.braintrace import adopted
from .attributes import closed_over, may_settle, name_of, rewritten_values
from .examples import as_arrays, check_call
from .marks import with_marks

_SUSPICIOUS_CONSTANT = 16
"""Floating-point constants of at least this many elements, in two or more axes, look like weights."""

_EXAMPLE = "call it as (step, params, states, *inputs), with an example of every input that the step takes"


def lower(
    step: StepFunction,
    params: Any,
    states: Any,
    *inputs: Any,
    buffers: str | Sequence[str] = (),
    declared_at: dict[str, Loc] | None = None,
    marks: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Step:
    """Trace `step(params, states, *inputs) -> (new_states, outputs)` on example values.

    `params`, `states` and each input are any pytrees of arrays, or of anything with a shape and a dtype. States of
    floating or complex type are hidden unless their path matches one of the `buffers` globs. `declared_at` says where
    states were declared, for diagnostics. `marks` are those that the lowered step takes beside its inputs, and what
    each is of. Raises EtirError, all findings at once, where the step does not return its states with the structure,
    shapes and element types that it was given.
    """

    def again(states: Any, inputs: tuple[Any, ...]) -> Step:
        return lower(
            function, params, states, *inputs, buffers=buffers, declared_at=declared_at, marks=marks, name=name
        )

    function = step
    check_call(step, (params, states, *inputs), _EXAMPLE)
    params, states = as_arrays(params, "param", "parameter"), as_arrays(states, "state", "state")
    inputs = (as_arrays(inputs[0], "x", "input"),) if len(inputs) == 1 else as_arrays(inputs, "x", "input")
    loc, called = definition(step), name or getattr(step, "__name__", "step").strip("<>")
    beside: tuple[dict[str, Any], ...] = ()
    if marks:
        step, kinds = with_marks(step, states, marks)
        beside = (kinds,)
    whole = (params, states, (*inputs, *beside))
    structs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), whole)
    result: list[Any] = []

    def flat_step(*leaves: Any) -> list[Any]:
        p, s, x = jax.tree.unflatten(jax.tree.structure(structs), leaves)
        returned = step(p, s, *x)
        _check_pair(returned, loc)
        result.append((returned[0], returned[1]))
        return [*jax.tree.leaves(returned[0]), *jax.tree.leaves(returned[1])]

    seen = closed_over(function)
    closed, shapes = jx.trace(flat_step, *jax.tree.leaves(structs))
    after = closed_over(function)
    if written := rewritten_values(seen, after):
        settled = all(may_settle(path, after) for path in written)
        again_closed, _ = jx.trace(lambda *leaves: flat_step(*leaves), *jax.tree.leaves(structs))  # a trace of its own
        if not settled or rewritten_values(after, closed_over(function)) or not _same(closed, again_closed):
            raise errors.written_variables(map(name_of, written), loc)
    closed = adopted(closed)
    new_states, outputs = result[-1]
    declared = _declared(leaf_paths(states, "state"), buffers)
    state_leaves = _leaves(states, "state", declared, declared_at or {})
    _check_states(states, new_states, shapes, state_leaves, loc)
    _check_constants(closed, {id(x) for x in jax.tree.leaves(states)})
    _check_numbers(params, states, declared)
    return Step(
        name=called,
        jaxpr=closed,
        params=_leaves(params, "param"),
        states=state_leaves,
        inputs=(
            *_leaves(inputs[0] if len(inputs) == 1 else inputs, "x"),
            *_leaves(beside[0] if beside else (), "mark", dict.fromkeys(beside[0] if beside else (), "mark")),
        ),
        outputs=tuple(
            Leaf(path=path, type=TensorType.of(shape))
            for (path, _), shape in zip(leaf_paths(outputs, "y"), shapes[len(state_leaves) :], strict=True)
        ),
        signature=Signature(
            params=jax.tree.structure(params),
            states=jax.tree.structure(states),
            inputs=jax.tree.structure(inputs),
            outputs=jax.tree.structure(outputs),
            example_params=params,
            example_states=states,
            example_inputs=structs[2][: len(inputs)],
            marks=tuple(beside[0]) if beside else (),
        ),
        loc=loc,
        again=again,
    )


def _same(a: Any, b: Any) -> bool:
    """Whether two traces are one program of the same constants."""
    texts = [re.sub(r"0x[0-9a-f]+", "", str(jx.open_jaxpr(closed))) for closed in (a, b)]
    constants = list(zip(jx.consts_of(a), jx.consts_of(b), strict=False))
    return texts[0] == texts[1] and all(x is y or np.array_equal(x, y) for x, y in constants)


def _leaves(
    tree: Any, bare: str, declared: dict[str, str] | None = None, places: dict[str, Loc] | None = None
) -> tuple[Leaf, ...]:
    return tuple(
        Leaf(path=path, type=TensorType.of(x), declared=(declared or {}).get(path), loc=(places or {}).get(path))
        for path, x in leaf_paths(tree, bare)
    )


def _declared(leaves: list[tuple[str, Any]], buffers: str | Sequence[str]) -> dict[str, str]:
    buffers = (buffers,) if isinstance(buffers, str) else buffers
    paths = [path for path, _ in leaves]
    unknown = [glob for glob in buffers if not fnmatch.filter(paths, glob)]
    if unknown:
        raise EtirError([
            Diagnostic(
                code="buffer-path",
                message=f"no state matches '{glob}', which is declared not hidden",
                help=did_you_mean(glob, paths),
            )
            for glob in unknown
        ])  # fmt: skip
    return {path: "buffer" for path in paths if any(fnmatch.fnmatchcase(path, glob) for glob in buffers)}


def _described(value: Any) -> str:
    return str(TensorType.of(value)) if isinstance(value, (jax.Array, np.ndarray)) else f"a {type(value).__name__}"


def _check_pair(returned: Any, loc: Loc | None) -> None:
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        found = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else _described(returned)
        raise EtirError([
            Diagnostic(
                code="step-result",
                message=f"the step returned {found}; wanted the pair (new_states, outputs)",
                loc=loc,
                help="return the new states first, in the structure of the old ones, then the outputs (None for none)",
            )
        ])  # fmt: skip


def _check_states(states: Any, new: Any, shapes: list[Any], leaves: tuple[Leaf, ...], loc: Loc | None) -> None:
    if jax.tree.structure(states) != jax.tree.structure(new):
        raise EtirError([_structure_finding(states, new, loc)])
    findings = [
        Diagnostic(
            code="state-type",
            message=f"state '{leaf.path}' enters the step as {leaf.type} but leaves as {after}",
            loc=loc,
            notes=(f"{leaf.loc}: state '{leaf.path}' is declared here",) if leaf.loc else (),
            help=_type_help(leaf.type, after),
        )
        for leaf, after in zip(leaves, map(TensorType.of, shapes), strict=False)
        if leaf.type != after
    ]
    if findings:
        raise EtirError(findings)


def _type_help(before: TensorType, after: TensorType) -> str:
    if after.carries_credit and not before.carries_credit:
        return f"declare the state as {after}: only floating and complex states carry credit"
    short = str(before).partition("[")[0]
    if before.shape == after.shape:
        return f"cast the update to {short}, or declare the state as {after}"
    return f"return an update of shape {list(before.shape)}, or declare the state as {after}"


def _structure_finding(states: Any, new: Any, loc: Loc | None) -> Diagnostic:
    old_paths = [path for path, _ in leaf_paths(states, "state")]
    new_paths = [path for path, _ in leaf_paths(new, "state")]
    missing = [path for path in old_paths if path not in new_paths]
    extra = [path for path in new_paths if path not in old_paths]
    notes = [f"state '{path}' is not returned" for path in missing]
    notes += [f"'{path}' is returned but is no state" for path in extra]
    return Diagnostic(
        code="state-structure",
        message="the step returns its states in another structure than it was given",
        loc=loc,
        notes=tuple(notes) or (f"given {jax.tree.structure(states)}, returned {jax.tree.structure(new)}",),
        help="return every state, in the same containers",
    )


def _check_constants(closed: Any, known: Set[int]) -> None:
    """Warn of constants that look like weights that the step closed over: they would get no gradient, and no label.

    Not of those known, by identity, to be states that sequences begin with. Zeros and ones that only select, as a mask
    does by multiplication, are no weights.
    """
    variables = jx.all_invars(closed)
    for var, value in zip(variables, jx.consts_of(closed), strict=False):
        kind = jx.type_of(var)
        if id(value) in known or not kind.carries_credit or len(kind.shape) < 2 or kind.size < _SUSPICIOUS_CONSTANT:
            continue
        readers = [e for e in jx.equations(closed) if any(a is var for a in e.invars)]
        reader = next((e for e in readers if _sums_products(e)), None)
        if reader is None and _is_mask(value):
            continue
        reader = reader or next(iter(readers), None)
        finding = Diagnostic(
            code="closed-over-weight",
            severity="warning",
            message=f"the step closes over a constant {kind}; if it is a weight, it gets no gradient and no label",
            loc=jx.location(reader) if reader is not None else None,
            help="pass it in params; or, if it is fixed on purpose, in the inputs or in the states",
        )
        warn(finding)
    for body in (body for eqn in jx.equations(closed) for body in jx.sub_jaxprs(eqn)):
        _check_constants(body, known)


def _check_numbers(params: Any, states: Any, declared: dict[str, str]) -> None:
    """Buffers may begin with anything: a step may write them before it reads them."""
    findings = list(not_finite(leaf_paths(params, "param"), "parameter"))
    findings += not_finite(((path, x) for path, x in leaf_paths(states, "state") if path not in declared), "state")
    if findings:
        raise EtirError(findings)


def _sums_products(eqn: Any) -> bool:
    """Whether an equation is, or calls, one that sums products of its operands, as a weight's use does."""
    if eqn.primitive.name in ("dot_general", "conv_general_dilated", "etp_call"):
        return True
    if eqn.primitive.name == "etp":
        return set(eqn.params["expression"].output) != set(eqn.params["expression"].labels)
    return any(_sums_products(inner) for body in jx.sub_jaxprs(eqn) for inner in jx.equations(body))


def _is_mask(value: Any) -> bool:
    array = np.asarray(value)
    return bool(np.all((array == 0) | (array == 1)))
