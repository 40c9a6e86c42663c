"""What a user chooses, which weights are sites and which rule each follows, keeps the contract."""

import numpy as np
import pytest
from learners import REPRESENTATIVE, compiled, contract_faults, differing, labels_of, run
from problems import bptt_gradients, problem


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_automatic_sites_do_not_lie(name: str):
    assert contract_faults(name, "d_rtrl", 2, sites="auto") == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("leaky_plain_input", {"W": "exact", "V": "exact", "b": "exact", "readout": "exact"}),
        ("leaky_plain_leak", {"W": "exact", "leak": "exact", "b": "exact", "readout": "exact"}),
        ("rnn_plain_recurrence", {"W": "approximate", "U": "approximate", "b": "approximate", "readout": "exact"}),
        ("weight_half_marked", {"W": "exact", "readout": "exact"}),
    ],
)
def test_automatic_sites_reach_plain_uses(name: str, found: dict[str, str]):
    assert labels_of(compiled(problem(name), "d_rtrl", 1, sites="auto")) == found


def test_sites_by_path_leave_the_others_as_they_are():
    faults = contract_faults("leaky_plain_input", "d_rtrl", 2, sites=("V",))
    labels = run("leaky_plain_input", "d_rtrl", 2, sites=("V",)).labels
    assert (faults, labels) == ([], {"W": "exact", "V": "exact", "b": "truncated", "readout": "exact"})


@pytest.mark.parametrize(
    ("name", "bought"),
    [
        ("gru_reset_before", ("Wr", "Ur", "br")),
        ("two_layer_rnn", ("layers.0.W", "layers.0.U", "layers.0.b")),
        ("lif_current_recurrent", ("U",)),
        ("rnn_plain_recurrence", ("U",)),
    ],
)
@pytest.mark.parametrize("window", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_exactness_can_be_bought_for_single_weights(name: str, bought: tuple[str, ...], window: int):
    found = run(name, "d_rtrl", window, rules=Rules(dict.fromkeys(bought, "rtrl")))
    plain = run(name, "d_rtrl", window)
    assert {path for path in bought if found.labels[path] != "exact"} == set()
    assert {path for path in bought if plain.labels[path] == "exact"} == set()
    assert differing(found.whole, {path: bptt_gradients(name)[path] for path in bought}) == {}
    others = {path: grad for path, grad in plain.whole.items() if path not in bought}
    assert differing(found.whole, others) == {}
    assert any(np.any(grad) for grad in others.values())


class Rules(dict):
    """A dictionary that a cache takes for a key."""

    def __hash__(self) -> int:
        return hash(tuple(self.items()))
