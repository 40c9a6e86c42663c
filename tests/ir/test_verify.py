"""The verifier: one example a rule, in full text, and no crash whatever is broken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from ir_broken import broken_versions
from ir_changes import set_at
from ir_examples import ALL, adaptive, gru, val
from ir_faults_groups import GROUPS, gru_labels, with_certificate
from ir_faults_plan import PLAN, operand_too_early
from ir_faults_structure import STRUCTURE

from etir.ir.checks.sheet import Sheet
from etir.ir.diagnostics import EtirError
from etir.ir.parser import parse
from etir.ir.plan import Operation, Plan
from etir.ir.printer import render
from etir.ir.transition import Reason, Transition, Verdict
from etir.ir.verify import RULES, check, verify

CASES = STRUCTURE | GROUPS | PLAN


@pytest.mark.parametrize("name", ALL)
def test_a_good_transition_has_no_findings(name: str):
    t = ALL[name]()
    assert verify(t) == []
    assert verify(parse(render(t))) == []
    check(t)


@pytest.mark.parametrize("name", CASES)
def test_a_bad_transition_in_full_text(name: str):
    make, message = CASES[name]
    assert "\n".join(map(str, verify(make()))) == message


def test_every_rule_has_an_example():
    made = [make() for make, _ in CASES.values()]
    well_formed = [t for t in made if not any(finding.code == "ir-field" for finding in verify(t))]
    silent = [rule.__name__ for rule in RULES if not any(list(rule(t, Sheet(t))) for t in well_formed)]
    assert silent == []


def test_check_raises_every_finding():
    with pytest.raises(EtirError) as failure:
        check(operand_too_early())
    assert len(failure.value.diagnostics) == 2


@pytest.mark.parametrize("name", ALL)
def test_the_verifier_never_crashes(name: str):
    findings = [verify(broken) for broken in broken_versions(ALL[name](), every=3)]
    assert sum(map(len, findings)) > len(findings) / 2
    assert all(str(finding) for found in findings for finding in found)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Halve(Operation):
    """An operation of a user's, with a rule of its own."""

    of: Any


def test_an_operation_of_a_user_may_have_a_rule():
    t = adaptive()
    halve = Halve(of=t.params[0].value, results=(val("f32[]", "half"),))
    planned = replace(t, plan=Plan(rule="d_rtrl", window=4, credit="rule", step=(halve,)))
    assert verify(planned) == []

    def rule(operation: Halve, transition: Transition):
        if operation.results[0].type != operation.of.type:
            yield f"gives {operation.results[0].type} in {transition.name}"

    assert [str(finding) for finding in verify(planned, operations={Halve: rule})] == [
        "error: 'halve' gives f32[] in adaptive [operation-type]\n  %half : f32[] = halve(of=%w)"
    ]


def test_a_region_may_take_weights_and_shifts_of_its_own():
    t = gru()
    own = tuple(val(str(site.weight.value.type), "own") for site in t.sites)
    inputs = (*t.regions[2].inputs[:5], *own, *t.regions[2].inputs[5:])
    assert verify(replace(t, regions=set_at(t.regions, 2, inputs=inputs))) == []


def test_an_exact_label_needs_no_reason():
    labels = tuple(replace(label, label=Verdict.EXACT, reasons=()) for label in gru_labels())
    assert verify(with_certificate(labels=labels)) == []
    assert verify(with_certificate(labels=set_at(labels, 0, reasons=(Reason(text="why not"),)))) == []
