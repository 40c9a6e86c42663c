"""Sums of products of two arrays, as in einsum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax


def product_of(spec: str, x: Any, y: Any, *, precision: Any = None, preferred: Any = None) -> Any:
    """`jnp.einsum(spec, x, y)`, as one `dot_general` where it is one: that is traced in a fifth of the time."""
    terms, output = spec.split("->")
    left, right = terms.split(",")
    batch = [label for label in left if label in right and label in output]
    summed = [label for label in left if label in right and label not in output]
    own = [label for label in left if label not in right], [label for label in right if label not in left]
    if not _fits(left, right, [*batch, *summed], x, y) or not {*own[0], *own[1]} <= set(output):
        return jnp.einsum(spec, x, y, precision=precision, preferred_element_type=preferred)
    dtype = jnp.result_type(x, y)
    sides = [(left, x.astype(dtype), own[0]), (right, y.astype(dtype), own[1])]
    if [*batch, *own[1], *own[0]] == list(output) or ([*batch, *own[0], *own[1]] != list(output) and x.size > y.size):
        sides.reverse()
    (one, a, first), (other, b, second) = sides
    axes = [(tuple(map(one.index, labels)), tuple(map(other.index, labels))) for labels in (summed, batch)]
    found = lax.dot_general(a, b, (axes[0], axes[1]), precision=precision, preferred_element_type=preferred or dtype)
    labels = [*batch, *first, *second]
    return found if labels == list(output) else lax.transpose(found, [labels.index(label) for label in output])


def summed_product(x: Any, y: Any, axes: int | Sequence[int]) -> Any:
    """`(x * y).sum(axes)` of arrays that are stretched to each other.

    On a CPU one after the other: XLA's kernel for both at once takes five times as long as the two.
    """
    apart = lambda product: lax.optimization_barrier(product).sum(axes)  # noqa: E731
    return lax.platform_dependent(x * y, cpu=apart, default=lambda product: product.sum(axes))


def _fits(left: str, right: str, shared: list[str], x: Any, y: Any) -> bool:
    """Whether no axis has to be stretched."""
    return all(x.shape[left.index(label)] == y.shape[right.index(label)] for label in shared)
