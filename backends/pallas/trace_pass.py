"""The pass over a positional trace at a fold's end, by kernel 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...ir.plan.placement import as_type_of
from ..folds.algebra import Passed
from ..folds.one_pass import Operands, Pass
from ..folds.pattern import Sweep
from ..folds.trace_pass import xla_pass
from .matrices import Matrices
from .rank_k import ROWS, TENSOR_FROM, RankK
from .target import TOO_OLD, on_gpu, takes_references

TYPES = ("float32", "bfloat16")
"""The element types that traces may have."""
STATES = 8
"""So many arrays of a trace fit on a chip at once."""


class RankKPass:
    """`trace_pass` by kernel 1, of folds of two steps or more; one step's pass is XLA's, which makes one of it too."""

    def __init__(self, interpreted: bool) -> None:
        """Say whether the kernel is interpreted where there is no GPU."""
        self.interpreted = interpreted

    def __call__(self, of: Pass, given: Operands) -> Passed:
        """The new trace, and the contraction of the old one."""
        given = given._replace(factors={k: x for k, x in given.factors.items() if k in given.held})

        def kernel(interpret: Any, given: Operands) -> Passed:
            return as_matrices(partial(RankK.launch, interpret=interpret), of, given)

        steps = {x.shape[0] for x in given.factors.values()}
        kinds = {str(x.dtype) for x in given.held.values()}
        if given.data is None or not steps or min(steps) < 2 or len(kinds) > 1 or kinds - set(TYPES):
            return xla_pass(of, given)
        return on_gpu(kernel, partial(xla_pass, of), self.interpreted, given)


def fault(sweep: Sweep) -> str | None:
    """Why kernel 1 does not take a sweep; None where it does."""
    kinds = {trace.before.type.dtype for trace in sweep.traces} - set(TYPES)
    if not takes_references():
        return TOO_OLD
    if sweep.couplings is not None:
        return "positions meet: its Jacobians are small matrices"
    if kinds:
        return f"its trace is of {', '.join(sorted(kinds))}; wanted float32 or bfloat16"
    if len(sweep.states) > STATES:
        return f"it has {len(sweep.states)} arrays; at most {STATES} fit on a chip"
    if not sweep.placement.size:
        return "its trace is empty"
    if not sweep.factors:
        return "nothing feeds it"
    return Matrices(sweep.placement).fault()


def outline(sweep: Sweep) -> str:
    """What is emitted for a sweep that the kernel takes."""
    arrays = len(sweep.states)
    (rows, columns), dtype = Matrices(sweep.placement).shape, sweep.traces[0].before.type.dtype
    entries = sweep.placement.size // (rows * columns)
    whole = f"{arrays} arrays of {entries}" if arrays > 1 else str(entries)
    return (
        f"{whole} matrices {rows} x {columns} of {dtype}, in place, in tiles of {ROWS} rows; "
        f"folds from 2 steps, from {TENSOR_FROM} on tensor cores"
    )


def as_matrices(
    launch: Callable[[RankK, list[Any], dict[str, Any]], tuple[list[Any], Any]], of: Pass, given: Operands
) -> Passed:
    """`trace_pass` by `launch`, which is given matrices: `RankK.launch`, or `RankK.by_definition`."""
    sweep, matrices = of.sweep, Matrices(of.sweep.placement)
    held, pairs, factors, data, credit = of.placed(given)
    plan = matrices.launch(held, pairs, factors, of.members, credit is not None)
    arrays: dict[str, Any] = {
        "jacobians": [matrices.vectors(x, 0) for x in pairs.values()],
        "credit": [matrices.vectors(x, 0) for x in (credit or {}).values()],
        "sensitivities": [matrices.vectors(x, 1) for x in factors.values()],
        "data": matrices.rows_of_data(data),
    }
    new, read = launch(plan, [x.reshape(-1, *plan.matrix) for x in held.values()], arrays)
    shaped = {k: x.reshape(held[k].shape) for k, x in zip(held, new, strict=True)}
    if read is None:
        return shaped, None
    return shaped, as_type_of(matrices.contraction(read, of.members), sweep.site.weight.value.type.dtype)
