"""Gradients of a stateful model that is called step by step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from oracles import relative_error

import etir
from etir import transform


def gradients(call: Callable[[jax.Array], jax.Array], model: etir.Module, xs: jax.Array) -> dict[str, jax.Array]:
    """The sum of the gradients of each step's loss."""
    total: Any = 0
    for x in xs:
        found = transform.grad(lambda x: jnp.sum(call(x) ** 2), model)(x)
        total = found if total == 0 else jax.tree.map(jnp.add, total, found)
    return total


def assert_same(found: Any, wanted: Any) -> None:
    """Gradients by path are equal but for rounding."""
    assert {path: relative_error(found[path], wanted[path]) < 1e-12 for path in wanted} == dict.fromkeys(wanted, True)
