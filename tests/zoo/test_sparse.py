"""I1 to I5 for the rules that hold nothing: labels in the open scope never lie either."""

import pytest
from learners import REPRESENTATIVE, WINDOWS, compiled, contract_faults, differing, driver
from oracles import by_path
from problems import problem

from etir.rules import SnAp

STEPS = (1, 2, None)
OFTEN = ("gru_reset_before_fused", "lstm", "lru", "two_layer_leaky", "layer_norm_rnn", "tail_gather", "noisy_counter",
         "delay_buffer", "substeps_scan", "lif_current_recurrent")  # fmt: skip
"""Cases that are always tried; the others are slow."""


def turns() -> list[object]:
    """Each representative case with a number of steps and a window, by turns."""
    return [
        pytest.param(name, STEPS[k % 3], WINDOWS[(k // 3 + k) % 3], marks=() if name in OFTEN else pytest.mark.slow)
        for k, name in enumerate(REPRESENTATIVE)
    ]


@pytest.mark.parametrize(("name", "n", "window"), turns())
def test_gradients_are_what_the_certificate_says(name: str, n: int | None, window: int):
    assert contract_faults(name, SnAp(n=n), window) == []


@pytest.mark.parametrize("name", ["gru_reset_before_fused", "lru", "two_layer_leaky"])
def test_the_reference_backend_agrees(name: str):
    of = problem(name)
    found, wanted = (
        by_path(driver(compiled(of, SnAp(n=2), 2, backend=backend))(*of.arguments)[0])
        for backend in ("xla", "reference")
    )
    assert differing(found, wanted) == {}


@pytest.mark.parametrize("name", ["lstm", "layer_norm_rnn", "lif_current_recurrent"])
def test_a_batch_is_its_samples(name: str):
    """Samples do not meet: a trace has no slot for another sample's positions."""
    alone, together = (compiled(problem(name, batch=batch), SnAp(), 2).transition.plan for batch in (None, 3))
    sizes = [[trace.before.type.size for trace in plan.traces] for plan in (alone, together)]
    assert sizes[1] == [3 * size for size in sizes[0]]
    assert contract_faults(name, SnAp(), 2) == []
