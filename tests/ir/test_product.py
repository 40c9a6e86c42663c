"""Sums of products of two arrays: every way in which axes may stand, against einsum; derivatives of a site too."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from etir.ir.product import product_of
from etir.ir.weight_operations import einsum

SIZES = {"b": 2, "i": 3, "j": 4, "k": 5}
SPECS = ["bi,ij->bj", "bi,ij->jb", "ij,bi->jb", "bj,bij->ij", "bi,bj->bij", "bi,bj->bji", "i,ij->j", "bki,bij->bkj"]
MORE = ["bi,bi->bi", "bi,j->bij", "bik,j->bj", "i,i->"]


def _arrays(spec: str, dtype: Any = np.float64) -> list[jax.Array]:
    draw = np.random.default_rng(0)
    return [jnp.asarray(draw.normal(size=[SIZES[x] for x in term]), dtype) for term in spec.split("->")[0].split(",")]


@pytest.mark.parametrize("spec", [*SPECS, *MORE])
def test_it_is_einsum(spec: str) -> None:
    x, y = _arrays(spec)
    found, wanted = product_of(spec, x, y), jnp.einsum(spec, x, y)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_axes_of_size_one_are_stretched_and_types_promoted_as_by_einsum() -> None:
    x, y = jnp.ones((1, 3)) * 2, jnp.arange(12, dtype=jnp.int32).reshape(2, 3, 2)
    found, wanted = product_of("bi,bij->ij", x, y), jnp.einsum("bi,bij->ij", x, y)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("spec", ["bi,ij->bj", "bi,ij->jb", "bki,bij->bkj", "bi,bj->bij", "bi,bi->bi"])
def test_the_derivatives_of_a_site_are_those_of_einsum(spec: str) -> None:
    x, y = _arrays(spec)
    bar = jnp.cos(jnp.arange(jnp.einsum(spec, x, y).size, dtype=x.dtype)).reshape(jnp.einsum(spec, x, y).shape)
    found = jax.vjp(lambda x, y: einsum(spec, x, y), x, y)[1](bar)
    wanted = jax.vjp(lambda x, y: jnp.einsum(spec, x, y), x, y)[1](bar)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
