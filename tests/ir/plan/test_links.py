"""Slots of a reach, against dense linear algebra: which one feeds which, and how a Jacobian comes to them."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from coupling_strategies import couplings, flat
from hypothesis import given
from hypothesis import strategies as st

from etir.coupling import Coupling
from etir.ir.plan.links import covers, is_closed, links, pick, places_in, positions_of

OUTPUTS, GROUPS = [(3,), (2, 3), ()], [(4,), (2, 3), ()]
PAIRS = st.tuples(st.sampled_from(OUTPUTS), st.sampled_from(GROUPS)).flatmap(
    lambda shapes: st.tuples(couplings(*shapes), couplings(shapes[1], shapes[1]))
)
BLOCKS = Coupling.matched((2, 3), (2, 3), [(0, 0)])


def dense_entries(coupling, rng):
    """A matrix with this pattern, new positions by old ones, and its entries at the old positions."""
    matrix = flat(coupling) * rng.normal(size=flat(coupling).shape)
    fed = positions_of(coupling)
    at = np.arange(fed[..., 0].size).reshape(fed.shape[:-1])[..., None]
    return matrix, np.moveaxis(np.where(fed >= 0, matrix[fed, at], 0), -1, 0)


@given(PAIRS, st.integers(0, 2**16))
def test_the_matrix_on_the_slots_is_the_dense_one_restricted(pair, seed: int):
    reach, coupling = pair
    matrix, entries = dense_entries(coupling, np.random.default_rng(seed))
    own = positions_of(reach)
    found = pick(jnp.asarray(entries), links(reach, coupling))
    found = np.broadcast_to(found, (*own.shape, own.shape[-1]))
    wanted = matrix[own[..., :, None], own[..., None, :]] * (own >= 0)[..., :, None] * (own >= 0)[..., None, :]
    assert np.array_equal(found, wanted)


@given(PAIRS)
def test_a_reach_is_closed_where_no_entry_leads_out_of_it(pair):
    reach, coupling = pair
    followed = flat(reach).astype(int)
    onward = (flat(coupling).astype(int) @ followed) > 0
    assert is_closed(reach, [coupling]) == bool((onward <= (followed > 0)).all())


@given(PAIRS, st.integers(0, 2**16))
def test_leading_axes_are_kept(pair, seed: int):
    reach, coupling = pair
    _, entries = dense_entries(coupling, np.random.default_rng(seed))
    both = pick(jnp.asarray([entries, 2 * entries]), links(reach, coupling), lead=1)
    one = pick(jnp.asarray(entries), links(reach, coupling))
    assert np.array_equal(both, [one, 2 * one])


@pytest.mark.parametrize("output", OUTPUTS)
@given(data=st.data())
def test_slots_of_a_part_are_found_in_the_whole(output, data):
    shape = data.draw(st.sampled_from(GROUPS))
    part, more = data.draw(couplings(output, shape)), data.draw(couplings(output, shape))
    whole = part.join(more)
    own, wanted, places = positions_of(whole), positions_of(part), np.moveaxis(places_in(whole, part), 0, -1)
    found = np.take_along_axis(own, np.maximum(places, 0), axis=-1)
    assert np.array_equal(np.where(places >= 0, found, -1), wanted)
    assert covers(whole, part)
    assert covers(part, more) == bool((flat(more) <= flat(part)).all())


@pytest.mark.parametrize(
    ("coupling", "count"),
    [
        (Coupling.all((4,), (4,)), 4 * 4),
        (BLOCKS, 2 * 3 * 3),
        (Coupling.identity((5,)), 5),
        (Coupling.parse("[-1..1]", (4,), (4,)), 4 * 3 * 3),
    ],
)
def test_positions_that_reach_the_same_share_their_matrix(coupling: Coupling, count: int):
    """Dense blocks have one matrix a block, not one a position."""
    assert links(coupling, coupling).size == count


def test_a_dense_jacobian_is_rearranged_and_not_gathered():
    entries = jnp.arange(3 * 2 * 3.0).reshape(3, 2, 3)  # new position in the block, block, old position in the block
    found = pick(entries, links(BLOCKS, BLOCKS))
    assert found.shape == (2, 1, 3, 3)
    assert np.array_equal(found[:, 0], entries.transpose(1, 0, 2))
    assert "gather" not in str(jnp_trace(lambda x: pick(x, links(BLOCKS, BLOCKS)), entries))


def jnp_trace(function, *arguments):
    import jax

    return jax.make_jaxpr(function)(*arguments)


def test_one_position_feeds_itself():
    alone = Coupling.identity(())
    assert links(alone, alone).tolist() == [[0]]
    assert math.prod(positions_of(alone).shape) == 1
