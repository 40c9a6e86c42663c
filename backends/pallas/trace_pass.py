"""The pass over a positional trace at a fold's end, by kernel 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from ...ir.plan.placement import as_type_of
from ..folds.algebra import Algebra, Cotangents, Held, Jacobians
from ..folds.pattern import Sweep
from ..folds.trace_pass import xla_pass
from .matrices import Matrices
from .rank_k import ROWS, TENSOR_FROM, RankK
from .target import on_gpu, takes_references

TYPES = ("float32", "bfloat16")
"""The element types that traces may have."""
STATES = 8
"""So many arrays of a trace fit on a chip at once."""


class RankKPass:
    """`trace_pass` by kernel 1, of folds of two steps or more; one step's pass is XLA's, which makes one of it too."""

    def __init__(self, interpreted: bool) -> None:
        """Say whether the kernel is interpreted where there is no GPU."""
        self.interpreted = interpreted

    def __call__(
        self,
        algebra: Algebra,
        sweep: Sweep,
        held: Held,
        product: Jacobians,
        factors: Mapping[int, jax.Array],
        data: jax.Array | None,
        cotangents: Cotangents | None,
        members: int | None = None,
    ) -> tuple[Held, jax.Array | None]:
        """The new trace, and the contraction of the old one."""
        factors = {k: x for k, x in factors.items() if k in held}
        operands = (held, product, factors, data, cotangents)

        def twin(held: Held, product: Jacobians, factors: Any, data: Any, cotangents: Any) -> Any:
            return xla_pass(algebra, sweep, held, product, factors, data, cotangents, members)

        def kernel(interpret: Any, held: Held, product: Jacobians, factors: Any, data: Any, cotangents: Any) -> Any:
            launch = partial(RankK.launch, interpret=interpret)
            return as_matrices(launch, algebra, sweep, held, product, factors, data, cotangents, members)

        steps = {x.shape[0] for x in factors.values()}
        kinds = {str(x.dtype) for x in held.values()}
        if data is None or not steps or min(steps) < 2 or len(kinds) > 1 or kinds - set(TYPES):
            return twin(*operands)
        return on_gpu(kernel, twin, self.interpreted, *operands)


def fault(sweep: Sweep) -> str | None:
    """Why kernel 1 does not take a sweep; None where it does."""
    kinds = {trace.before.type.dtype for trace in sweep.traces} - set(TYPES)
    if not takes_references():
        return "this JAX's Pallas writes no argument in place; wanted jax 0.12 or later"
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
    launch: Callable[[RankK, list[Any], dict[str, Any]], tuple[list[Any], Any]],
    algebra: Algebra,
    sweep: Sweep,
    held: Held,
    product: Jacobians,
    factors: Mapping[int, Any],
    data: Any,
    cotangents: Cotangents | None,
    members: int | None = None,
) -> tuple[Held, Any]:
    """`trace_pass` by `launch`, which is given matrices: `RankK.launch`, or `RankK.by_definition`."""
    matrices = Matrices(sweep.placement)
    pairs = {p: algebra.placed(sweep, x) for p, x in product.items() if p[0] in held and p[1] in held}
    plan = matrices.launch(held, pairs, factors, members, cotangents is not None)
    credit = [] if cotangents is None else [algebra.placed(sweep, cotangents[k]) for k in held]
    arrays: dict[str, Any] = {
        "jacobians": [matrices.vectors(x, 0) for x in pairs.values()],
        "credit": [matrices.vectors(x, 0) for x in credit],
        "sensitivities": [matrices.vectors(x, 1) for x in factors.values()],
        "data": matrices.rows_of_data(data),
    }
    new, read = launch(plan, [x.reshape(-1, *plan.matrix) for x in held.values()], arrays)
    shaped = {k: x.reshape(held[k].shape) for k, x in zip(held, new, strict=True)}
    if read is None:
        return shaped, None
    weight = sweep.site.weight.value.type
    return shaped, as_type_of(read.reshape(*([] if members is None else [members]), *weight.shape), weight.dtype)
