"""The text form and the verifier on transitions that the passes make of real models."""

from __future__ import annotations

import jax
import pytest
from ir_same import differences
from learners import cells_first

from etir import analyse, lower, plan, zoo
from etir.ir.diagnostics import EtirError
from etir.ir.parser import parse
from etir.ir.printer import isomorphic, render
from etir.ir.transition import Transition
from etir.ir.verify import verify
from etir.passes import ANALYSIS, KNOWN, Certify, PassManager, PlanTraces
from etir.passes.instruments import Instrument, SameObject, VerifyEach
from etir.passes.pipeline_text import parse_pipeline
from etir.rules import RULES, PpProp

MODELS = ("gru_reset_before_fused", "lstm", "gif_recurrent", "lru", "two_layer_rnn", "weight_all_transforms")


class ReadBack(Instrument):
    """Fails where the text of a stage does not read back."""

    def after(self, pass_: object, before: Transition, after: Transition) -> None:
        read = parse(render(after))
        assert render(read) == render(after)
        assert isomorphic(read, after)
        assert verify(read) == verify(after)


def stages(name: str, rule: str, credit: str) -> Transition:
    entry = zoo.case(name)
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


def planned(analysed: Transition, rule: str) -> Transition | None:
    """The plan; None where random feedback would go from outputs of one axis to states of two."""
    try:
        return plan(analysed, rule, 4)
    except EtirError as refusal:
        if (rule, [d.code for d in refusal.diagnostics]) != ("rflo", ["feedback-shape"]):
            raise
        return None


@pytest.mark.parametrize("name", cells_first([entry.name for entry in zoo.ALL]))
def test_every_plan_reads_back(name: str):
    """Each model of the zoo, under each rule: the same thing, node by node, and as well formed as before."""
    entry = zoo.case(name)
    model = entry.build(jax.random.key(0))
    analysed = analyse(lower(model.step, model.params, model.states, *model.inputs, buffers=entry.buffers), entry.sites)
    for rule in RULES:
        if (made := planned(analysed, rule)) is None:
            continue
        read = parse(render(made))
        assert (rule, differences(made, read), verify(made), verify(read)) == (rule, [], [], [])
        assert render(read) == render(made)


def test_rules_of_several_parameters_read_back():
    entry = zoo.case("lstm")
    model = entry.build(jax.random.key(0), batch=2)
    analysed = analyse(lower(model.step, model.params, model.states, *model.inputs))
    made = plan(analysed, "d_rtrl", 4, rules={"Wi": "rtrl", "U*": "pp_prop", "readout": "bptt"})
    assert "    rule pp_prop for %Uf, %Ug, %Ui, %Uo\n    rule rtrl for %Wi\n    rule bptt for %readout\n" in render(
        made
    )
    assert "    no trace for %readout\n" in render(made)
    assert differences(made, parse(render(made))) == []
    assert verify(made) == []


def test_the_analysis_does_nothing_twice():
    made = stages("lstm", "d_rtrl", "full")
    assert PassManager(tuple(kind() for kind in ANALYSIS)).run(made) is made


def test_the_passes_of_the_package_read_back():
    rules = (("cell.*", "rtrl"), ("b", PpProp()))
    planned = PlanTraces(rule=PpProp(decay=0.5), rules=rules, window=4, credit="rule")
    passes = [*(kind() for kind in ANALYSIS), planned, Certify()]
    text = str(PassManager(tuple(passes)))
    assert text.endswith(
        "plan-traces{rule=pp_prop{decay=0.5}, rules=[[cell.*, rtrl], [b, pp_prop{}]], window=4, credit=rule},certify"
    )
    assert parse_pipeline(text, KNOWN, values=[type(rule) for rule in RULES.values()]) == passes
