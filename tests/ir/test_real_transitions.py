"""The text form and the verifier on transitions that the passes make of real models."""

from __future__ import annotations

import jax
import pytest

from etir import analyse, lower, plan
from etir.ir.parser import parse
from etir.ir.printer import isomorphic, render
from etir.ir.transition import Transition
from etir.ir.verify import verify
from etir.passes import ANALYSIS, KNOWN, Certify, PassManager, PlanTraces
from etir.passes.instruments import Instrument, SameObject, VerifyEach
from etir.passes.pipeline import parse_pipeline
from etir.rules import RULES, PpProp
from etir.zoo import case

MODELS = ("gru_reset_before_fused", "lstm", "gif_recurrent", "lru", "two_layer_rnn", "weight_all_transforms")


class ReadBack(Instrument):
    """Fails where the text of a stage does not read back."""

    def after(self, pass_: object, before: Transition, after: Transition) -> None:
        read = parse(render(after))
        assert render(read) == render(after)
        assert isomorphic(read, after)
        assert verify(read) == verify(after)


def stages(name: str, rule: str, credit: str) -> Transition:
    entry = case(name)
    model = entry.build(jax.random.key(0), batch=2 if credit == "rule" else None)
    watched = (VerifyEach(), SameObject(), ReadBack())
    step = lower(model.step, model.params, model.states, *model.inputs, buffers=entry.buffers)
    return plan(analyse(step, instruments=watched), rule, 4, credit=credit, instruments=watched)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("rule", "credit"), [("d_rtrl", "full"), ("pp_prop", "rule"), ("rtrl", "full")])
def test_every_stage_is_well_formed_and_reads_back(name: str, rule: str, credit: str):
    made = stages(name, rule, credit)
    assert made.plan is not None
    assert made.certificate is not None


def test_the_analysis_does_nothing_twice():
    made = stages("lstm", "d_rtrl", "full")
    assert PassManager(tuple(kind() for kind in ANALYSIS)).run(made) is made


def test_the_passes_of_the_package_read_back():
    options = {"rule": PpProp(decay=0.5), "rules": (("cell.*", "rtrl"), ("b", PpProp())), "window": 4, "credit": "rule"}
    passes = [*(kind() for kind in ANALYSIS), PlanTraces(**options), Certify(**options)]
    text = str(PassManager(tuple(passes)))
    assert "certify{rule=pp_prop{decay=0.5}, rules=[[cell.*, rtrl], [b, pp_prop{}]], window=4, credit=rule}" in text
    assert parse_pipeline(text, KNOWN, values=[type(rule) for rule in RULES.values()]) == passes
