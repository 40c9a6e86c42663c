"""Position maps and content maps, beside what is known in closed form and by another decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir import EtirError
from etir.instruments import content_map, position_map


def leaky(params, states, x):
    h = 0.5 * states["h"] + etir.matmul(x, params["W"])
    return {"h": h, "count": states["count"] + 1}, h


PARAMS = {"W": jax.random.normal(jax.random.key(0), (2, 3))}
STATES = {"h": jnp.zeros(3), "count": jnp.zeros((), jnp.int32)}


@pytest.fixture(scope="module")
def learner():
    return etir.compile(leaky, PARAMS, STATES, jnp.zeros(2))


def test_distances_under_a_constant_input(learner):
    x = jnp.array([1.0, -2.0])
    found = position_map(learner, x, steps=30)
    sizes = 2 * (1 - 0.5 ** np.arange(1, 31)) * np.linalg.norm(np.asarray(x @ PARAMS["W"]))
    np.testing.assert_allclose(found.distances, np.abs(sizes[:, None] - sizes), atol=1e-7)
    moves = np.diff(sizes) / found.distances.max()
    assert found.settled == np.flatnonzero(moves > 1e-3)[-1] + 1
    assert repr(found).endswith(f"at rest from step {found.settled} on")
    assert repr(position_map(learner, steps=5)).endswith("they do not settle")
    np.testing.assert_allclose(
        position_map(learner, steps=5).distances, position_map(learner, jnp.ones(2), steps=5).distances
    )


def test_final_states_on_their_principal_axes(learner):
    sequences = [jax.random.normal(jax.random.key(k), (3 + k % 2, 2)) for k in range(6)]
    found = content_map(learner, sequences, "abcdef")
    ends = []
    for xs in np.asarray(sequences, dtype=object):
        h = np.zeros(3)
        for x in np.asarray(xs):
            h = 0.5 * h + x @ np.asarray(PARAMS["W"])
        ends.append(h)
    centred = np.array(ends) - np.mean(ends, 0)
    sizes, axes = np.linalg.eigh(centred.T @ centred)
    for k in (0, 1):
        along = centred @ axes[:, -1 - k]
        np.testing.assert_allclose(np.abs(found.points[:, k]), np.abs(along), atol=1e-9)
        np.testing.assert_allclose(found.explained[k], sizes[-1 - k] / sizes.sum())
    assert repr(found).splitlines()[1].split() == ["sequence", "first", "second"]
    np.testing.assert_allclose(content_map(learner, sequences, state="h").points, found.points)


def test_what_is_no_list_of_sequences(learner):
    with pytest.raises(EtirError) as refused:
        content_map(learner, [jnp.zeros((3, 2))], ["one", "two"])
    assert str(refused.value) == (
        "error: 1 sequences with 2 labels; wanted two or more, with a label each [content-sequences]\n"
        "  help: give a list of sequences, each with a leading time axis"
    )
    with pytest.raises(EtirError) as refused:
        content_map(learner, [jnp.zeros((3, 2))] * 2, state="g")
    assert str(refused.value) == "error: no state is called 'g' [recorded-name]\n  help: known: count, h"
