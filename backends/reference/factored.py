"""The rank-one trace of pp-prop: a matrix `F` `[state coordinates, output coordinates]`, a vector `X` of the data."""

from __future__ import annotations

import jax

from ...ir.plan import AdvanceFactored
from ...ir.transition import Association
from .dense import weight_jacobian
from .scene import Scene, data_space


def emit_advance_factored(op: AdvanceFactored, scene: Scene) -> tuple[jax.Array, jax.Array]:
    """`F' = a D F + (1 - a) f` and `X' = a X + x`."""
    rows, columns = (scene.values[value] for value in op.factors)
    jacobian, sensitivity = scene.values[op.jacobian], scene.values[op.sensitivity]
    assert op.data is not None
    data = data_space(op.association).join([scene.bindings[op.data]])
    new = op.decay * (jacobian @ rows) + (1 - op.decay) * sensitivity
    return new.astype(rows.dtype), (op.decay * columns + data).astype(columns.dtype)


def product(association: Association, factors: tuple[jax.Array, jax.Array], weight: jax.Array) -> jax.Array:
    """The trace that two factors stand for: `F dy/dw`, with `X` in the data's place."""
    rows, columns = factors
    (data,) = data_space(association).split(columns)
    return rows @ weight_jacobian(association, data, weight)
