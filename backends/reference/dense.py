"""The positional trace as a matrix `[state coordinates, weight coordinates]`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ...ir.operations import evaluate_expression
from ...ir.plan import Advance
from ...ir.transition import Association
from .scene import Scene, output_space, weight_space


def emit_advance(op: Advance, scene: Scene) -> tuple[jax.Array]:
    """`E' = D E + f dy/dw`."""
    data = None if op.data is None else scene.bindings[op.data]
    weight = scene.bindings[op.association.site.weight.value]
    jacobian, sensitivity, trace = (scene.values[v] for v in (op.jacobian, op.sensitivity, op.trace))
    return ((jacobian @ trace + sensitivity @ weight_jacobian(op.association, data, weight)).astype(trace.dtype),)


def weight_jacobian(association: Association, data: jax.Array | None, weight: jax.Array) -> jax.Array:
    """`dy/dw` of the site's operation: `[output, weight]`."""
    outputs, weights = output_space(association), weight_space(association)
    dtype = association.site.output.type.dtype

    def output(vector: jax.Array) -> jax.Array:
        operands = [*([] if data is None else [data]), *weights.split(vector)]
        wide = [jnp.asarray(x, dtype) for x in operands]
        return outputs.join([evaluate_expression(association.site.expression, *wide)])

    return jax.jacrev(output)(weights.join([weight]))
