"""Models of other libraries, handed over as they are: their outputs, their paths, and I1 to I3."""

import pytest
from framework_models import GUESTS, guest
from guest_contract import contract_faults, interface_faults


@pytest.mark.parametrize("name", GUESTS)
def test_the_outputs_are_the_librarys_own_and_the_paths_its_users(name: str):
    assert interface_faults(guest(name)) == []


@pytest.mark.parametrize("name", GUESTS)
@pytest.mark.parametrize(("rule", "window"), [("d_rtrl", 2), ("pp_prop", 3), ("rtrl", 2)])
def test_gradients_are_what_the_certificate_says(name: str, rule: str, window: int):
    assert contract_faults(guest(name), rule, window) == []
