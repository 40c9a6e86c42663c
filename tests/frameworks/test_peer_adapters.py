"""Models of equinox, brainstate, braintrace, brainpy, penzai and spyx as they are: outputs, paths, labels, I1 to I3."""

from functools import cache

import pytest
from guest_contract import compiled, contract_faults, interface_faults
from learners import labels_of
from peer_models import EXACT, NEWEST_ONLY, PEERS

TURNS = (("d_rtrl", 2), ("pp_prop", 3), ("rtrl", 2))
NEWEST = [pytest.mark.second_leg]


@cache
def peer(name: str):
    return PEERS[name]()


def each(names):
    """Models whose libraries the first leg lacks are the second one's."""
    return [pytest.param(name, marks=NEWEST if name in NEWEST_ONLY else []) for name in names]


@pytest.mark.parametrize("name", each(PEERS))
def test_the_outputs_are_the_librarys_own_and_the_paths_its_users(name: str):
    assert interface_faults(peer(name)) == []


@pytest.mark.parametrize(
    ("name", "rule", "window"),
    [
        pytest.param(
            name, *turn, marks=[pytest.mark.slow] if t != k % 2 else NEWEST if name in NEWEST_ONLY else []
        )
        for k, name in enumerate(PEERS)
        for t, turn in enumerate(TURNS)
    ],
)  # fmt: skip
def test_gradients_are_what_the_certificate_says(name: str, rule: str, window: int):
    """Each model meets one rule and window; the rest is slow."""
    assert contract_faults(peer(name), rule, window) == []


@pytest.mark.parametrize("name", each(EXACT))
def test_element_wise_recurrences_are_exact(name: str):
    labels = labels_of(compiled(peer(name)))
    assert labels == dict.fromkeys(labels, "exact")
