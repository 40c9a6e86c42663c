"""The verifier: one example a rule, in full text, and no crash whatever is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_broken import broken_versions
from ir_changes import set_at
from ir_everything import everything
from ir_examples import ALL, adaptive, at, gru, val
from ir_faults_groups import GROUPS, gru_labels, with_certificate
from ir_faults_operations import OPERATIONS
from ir_faults_plan import PLAN, operand_too_early
from ir_faults_structure import STRUCTURE
from ir_plans import drawn_plans

from etir.ir.checks.fields import annotations_of
from etir.ir.checks.sheet import Sheet
from etir.ir.diagnostics import EtirError
from etir.ir.parser import parse
from etir.ir.plan import Operation, Plan, Sensitivity
from etir.ir.printer import render
from etir.ir.transition import Association, Reason, Transition, Verdict
from etir.ir.types import TensorType
from etir.ir.values import Value
from etir.ir.verify import RULES, check, verify
from etir.ir.vocabulary import vocabulary

if TYPE_CHECKING:
    from etir.ir.transition import Site

CASES = STRUCTURE | GROUPS | PLAN | OPERATIONS
EXAMPLES = ALL | {"everything": everything}
BASES = tuple(make() for make in ALL.values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_good_transition_has_no_findings(name: str):
    t = EXAMPLES[name]()
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
    assert len(failure.value.diagnostics) == 5


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_verifier_never_crashes(name: str):
    t = EXAMPLES[name]()
    findings = [verify(broken) for broken in broken_versions(t, every=17 if name == "everything" else 3)]
    assert sum(map(len, findings)) > len(findings) / 2
    assert all(str(finding) for found in findings for finding in found)


@pytest.mark.parametrize("name", sorted(vocabulary()))
@given(data=st.data())
def test_an_operation_with_any_operands_is_verified(name: str, data: st.DataObject):
    """Whatever its fields hold, as long as it is of their types: findings, and no exception."""
    t = data.draw(drawn_plans(data.draw(st.sampled_from(BASES)), name))
    assert all(str(finding) for finding in verify(t))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Halve(Operation):
    """An operation of a user's, which says what it wants."""

    of: Value

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        return (self.of.type,)

    def faults(self, t: Transition) -> Iterator[str]:
        if len(self.of.type.shape) != 2:
            yield f"halves {self.of.type} in {t.name}; wanted a matrix"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Silent(Operation):
    """An operation of a user's that says nothing."""

    of: Any


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Wrong(Operation):
    """An operation of a user's that does not work."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        raise ZeroDivisionError


def with_mine(operation: Operation) -> Transition:
    return replace(adaptive(), certificate=None, plan=Plan(rule="mine", window=4, credit="full", step=(operation,)))


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda t: Halve(of=t.params[0].value, results=(val("f32[3,4]", "half"),)), ""),
        (
            lambda t: Halve(of=t.params[0].value, results=(val("f32[]", "half"),)),
            "error: 'halve' gives f32[]; wanted f32[3,4] [operation-type]\n  %half : f32[] = halve(of=%w)",
        ),
        (
            lambda t: Halve(of=t.states[0].before, results=(val("f32[4]", "half"),)),
            "error: 'halve' halves f32[4] in adaptive; wanted a matrix [operation-type]\n"
            "  %half : f32[4] = halve(of=%V)",
        ),
        (
            lambda t: Silent(of=t.params[0].value, loc=at(2)),
            "cells.py:2:9: error: plan operation 'Silent' does not say what types it gives [operation-types]\n"
            "  help: define types(self, transition), a tuple of one TensorType a result",
        ),
    ],
    ids=["well", "types", "faults", "neither"],
)
def test_an_operation_of_a_user_says_what_it_wants(operation: Callable[[Transition], Operation], message: str):
    t = adaptive()
    plan = Plan(rule="d_rtrl", window=4, credit="rule", step=(operation(t),))
    assert "\n".join(map(str, verify(replace(t, plan=plan)))) == message


def test_a_mistake_in_an_operation_of_a_user_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        verify(with_mine(Wrong()))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Annotated(Operation):
    """An operation whose fields are annotated by what is not there at run time."""

    of: Value
    unknown: Unheard  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    site: Site | None = None


def test_a_field_is_checked_where_its_annotation_can_be_read():
    assert annotations_of(Annotated)["unknown"] is Any
    found = verify(with_mine(Annotated(of=3, unknown=3, site="x", results=())))  # pyright: ignore[reportArgumentType]
    assert [str(finding) for finding in found] == [
        "error: plan.step[0].of holds 3; wanted Value [ir-field]",
        "error: plan.step[0].site holds 'x'; wanted Site | None [ir-field]",
    ]


def test_an_operation_of_a_module_that_cannot_be_imported_is_verified():
    kind = type("Elsewhere", (Annotated,), {"__module__": "a_notebook", "__annotations__": {"k": int}, "k": 0})
    mine: Any = dataclass(frozen=True, eq=False, kw_only=True)(kind)
    found = verify(with_mine(mine(of=3, unknown=3, k="x", results=())))
    assert [str(finding) for finding in found] == [
        "error: plan.step[0].of holds 3; wanted Value [ir-field]",
        "error: plan.step[0].k holds 'x'; wanted int [ir-field]",
    ]


def test_operations_are_asked_only_about_a_model_that_is_well_formed():
    t = adaptive()
    broken = replace(t.associations[0], couplings=())
    (finding,) = verify(replace(t, associations=(broken,), plan=plan_of_one(broken)))
    assert finding.code == "ir-association"


def plan_of_one(association: Association) -> Plan:
    return Plan(rule="d_rtrl", window=4, credit="rule", step=(Sensitivity(association=association),))


def test_a_region_may_take_weights_and_shifts_of_its_own():
    t = gru()
    own = tuple(val(str(site.weight.value.type), "own") for site in t.sites)
    inputs = (*t.regions[2].inputs[:5], *own, *t.regions[2].inputs[5:])
    assert verify(replace(t, regions=set_at(t.regions, 2, inputs=inputs))) == []


def test_an_exact_label_needs_no_reason():
    labels = tuple(replace(label, label=Verdict.EXACT, reasons=()) for label in gru_labels())
    assert verify(with_certificate(labels=labels)) == []
    assert verify(with_certificate(labels=set_at(labels, 0, reasons=(Reason(text="why not"),)))) == []
