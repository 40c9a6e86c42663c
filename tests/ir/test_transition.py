"""What nodes say that follows from their fields."""

from dataclasses import replace

import pytest
from ir_examples import adaptive

from etir.coupling import Coupling


@pytest.mark.parametrize(
    ("couplings", "union"),
    [
        (["[=]", None], "[=]"),
        (["[=]", "[=]"], "[=]"),
        (["[=]", "[1]"], "[0..1]"),
        ([None, None], "None"),
        ([None, "[*]"], "[*]"),
    ],
)
def test_a_trace_is_laid_out_along_every_coupling(couplings: list[str | None], union: str):
    (association,) = adaptive().associations
    read = tuple(None if text is None else Coupling.parse(text, (4,), (4,)) for text in couplings)
    assert str(replace(association, couplings=read).union) == union


def test_places_of_the_hidden_states_among_the_states():
    transition = adaptive()
    assert [state.path for state in transition.states] == ["neuron.V", "neuron.a", "t"]
    assert transition.hidden_places == (0, 1)
    assert replace(transition, states=transition.states[::-1]).hidden_places == (1, 2)
