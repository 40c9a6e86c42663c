"""The text of plans: whatever operations and parts there are, what prints reads back as the same thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_examples import adaptive, gru
from ir_plans import drawn_plans
from ir_same import differences

from etir.ir.parser import parse
from etir.ir.printer import isomorphic, render
from etir.ir.vocabulary import vocabulary

BASES = (adaptive(), gru())


@pytest.mark.parametrize("name", sorted(vocabulary()))
@given(data=st.data())
def test_every_operation_and_part_reads_back(name: str, data: st.DataObject):
    t = data.draw(drawn_plans(data.draw(st.sampled_from(BASES)), name))
    text = render(t)
    read = parse(text)
    assert differences(t, read) == []
    assert render(read) == text
    assert isomorphic(read, t)
