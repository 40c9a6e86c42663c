"""mark-sites: plain uses of weights that become sites."""

import jax.numpy as jnp
import pytest

import etir

PARAMS = {"w": jnp.ones((3, 8)), "b": jnp.zeros(8), "leak": jnp.ones((1, 8))}


def step(params, states, x):
    h = states["h"] * params["leak"] + x @ params["w"] + params["b"]
    return {"h": h}, h


@pytest.mark.parametrize("batch", [(), (4,), (1,), (4, 2)])
def test_a_weight_that_is_repeated_along_the_batch_has_a_position_for_each_output(batch: tuple[int, ...]):
    """JAX adds `[1, 8]` to `[4, 8]` without a broadcast of its own."""
    params = PARAMS if batch else PARAMS | {"leak": jnp.ones(8)}
    lowered = etir.lower(step, params, {"h": jnp.zeros((*batch, 8))}, jnp.zeros((*batch, 3)))
    transition = etir.analyse(lowered, sites="auto")
    assert [site.output.type.shape for site in transition.sites] == [(*batch, 8)] * 3
    assert all(association.traced for association in transition.associations)
    assert {label.label for label in etir.plan(transition, "d_rtrl").certificate} == {"exact"}


def test_a_weight_that_is_concatenated_is_not_repeated():
    def joined(params, states, x):
        h = 0.5 * states["h"] + jnp.concatenate([x, params["b"]])
        return {"h": h}, h

    lowered = etir.lower(joined, {"b": jnp.ones((1, 8))}, {"h": jnp.zeros((4, 8))}, jnp.zeros((3, 8)))
    (site,) = etir.analyse(lowered, sites="auto").sites
    assert site.output.type.shape == (1, 8)
