"""The text of plans: whatever operations and parts there are, what prints reads back as the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_examples import adaptive, gru, val
from ir_plans import drawn_plans
from ir_same import differences

from etir.ir.parser import parse
from etir.ir.plan import Apply, Plan
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


def test_results_on_more_than_one_line_and_others_behind_them():
    many = [val("f32[4]", "sensitivity_of_the_voltage") for _ in range(6)]
    operation = Apply(region="step", values=(), results=(*many, val("f32[8]", "e")))
    text = render(replace(adaptive(), plan=Plan(step=(operation,), rule="d_rtrl", window=1, credit="full")))
    assert "%sensitivity_of_the_voltage5 : f32[4],\n" in text
    assert render(parse(text)) == text
