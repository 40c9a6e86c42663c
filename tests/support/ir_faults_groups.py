"""Transitions with a fault in a group, an association or the certificate, and what the verifier says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ir_changes import plan_of, set_at
from ir_examples import adaptive, gru

from etir.coupling import Coupling
from etir.ir.transition import Dependence, Group, Label, StateKind, Transition, Verdict


def with_plan(**changes: Any) -> Transition:
    t = adaptive()
    return replace(t, plan=replace(plan_of(t), **changes))


def with_certificate(**changes: Any) -> Transition:
    t = gru()
    assert t.certificate is not None
    return replace(t, certificate=replace(t.certificate, **changes))


def gru_labels() -> tuple[Label, ...]:
    certificate = gru().certificate
    assert certificate is not None
    return certificate.labels


def group_twice() -> Transition:
    t = gru()
    return replace(t, groups=(*t.groups, t.groups[0]))


def group_without_states() -> Transition:
    t = gru()
    return replace(t, groups=(*t.groups, Group(index=1, states=(), shape=(8,))))


def stranger_in_a_group() -> Transition:
    t = adaptive()
    group = replace(t.groups[0], states=(*t.states[:2], adaptive().states[0]))
    return replace(t, groups=(group,), associations=(), plan=None)


def buffer_in_a_group() -> Transition:
    t = adaptive()
    buffer = replace(t.states[1], kind=StateKind.BUFFER)
    group = replace(t.groups[0], states=(t.states[0], buffer), jacobian=())
    return replace(t, states=(t.states[0], buffer, t.states[2]), groups=(group,), associations=(), plan=None)


def state_in_two_groups() -> Transition:
    t = gru()
    return replace(t, groups=(*t.groups, replace(t.groups[0], index=1)))


def ungrouped() -> Transition:
    t = adaptive()
    group = replace(t.groups[0], states=t.states[:1], jacobian=t.groups[0].jacobian[:1])
    return replace(t, groups=(group,), associations=(), plan=None)


def shape_of_a_group() -> Transition:
    return group_of_itself(shape=(5,))


def group_of_itself(**changes: Any) -> Transition:
    """The adaptive example with its group changed, and nothing that names the group."""
    t = adaptive()
    return replace(t, groups=(replace(t.groups[0], **changes),), associations=(), plan=None)


def with_jacobian(make: Callable[[Transition], tuple[Dependence, ...]]) -> Transition:
    t = adaptive()
    return replace(t, groups=(replace(t.groups[0], jacobian=make(t)),), associations=(), plan=None)


def with_association(make: Callable[[Transition], dict[str, Any]]) -> Transition:
    t = adaptive()
    return replace(t, associations=(replace(t.associations[0], **make(t)),), plan=None)


def association_twice() -> Transition:
    t = adaptive()
    return replace(t, associations=t.associations * 2)


same5 = Coupling.identity((5,))


GROUPS: dict[str, tuple[Callable[[], Transition], str]] = {
    "group_twice": (group_twice, "error: 2 groups have number #0; wanted one [ir-group]"),
    "group_without_states": (
        group_without_states,
        "error: group #1 has no state [ir-group]\n  group #1 [] shape [8] {",
    ),
    "stranger_in_a_group": (
        stranger_in_a_group,
        "error: group #0 has 'neuron.V', which is no state of this transition [ir-group]\n"
        "  group #0 [%V, %a, %V2] shape [4] {\n"
        "                    ^^^",
    ),
    "buffer_in_a_group": (
        buffer_in_a_group,
        "error: group #0 has 'neuron.a', which is buffer; wanted hidden states [ir-group]\n"
        "  group #0 [%V, %a] shape [4] {\n"
        "                ^^",
    ),
    "state_in_two_groups": (
        state_in_two_groups,
        "error: state 'cell.h' is in group #0 and in group #1 [ir-group]\n  group #1 [%h] shape [8] {\n            ^^",
    ),
    "ungrouped": (
        ungrouped,
        "error: hidden state 'neuron.a' is in no group [ir-group]\n"
        '  state  %a -> %a1 : f32[4]  hidden   "neuron.a"\n'
        "                             ^^^^^^",
    ),
    "shape_of_a_group": (
        shape_of_a_group,
        "error: group #0 has shape [5], but its state 'neuron.V' is f32[4] [group-shape]\n"
        "  group #0 [%V, %a] shape [5] {\n"
        "                    ^^^^^^^^^\n"
        "error: group #0 has shape [5], but its state 'neuron.a' is f32[4] [group-shape]\n"
        "  group #0 [%V, %a] shape [5] {\n"
        "                    ^^^^^^^^^",
    ),
    "jacobian_outside": (
        lambda: with_jacobian(lambda t: (Dependence(of=t.states[2], on=t.states[0], coupling=same5),)),
        "error: the Jacobian of group #0 speaks of 't', which is not in the group [ir-group]\n"
        "  jacobian %t <- %V : [=]\n"
        "  ^^^^^^^^",
    ),
    "jacobian_twice": (
        lambda: with_jacobian(lambda t: t.groups[0].jacobian[:1] * 2),
        "error: the Jacobian of group #0 has 'neuron.V' on 'neuron.V' twice [ir-group]\n"
        "  jacobian %V <- %V : [=]\n"
        "  ^^^^^^^^",
    ),
    "jacobian_shape": (
        lambda: with_jacobian(lambda t: (Dependence(of=t.states[0], on=t.states[1], coupling=same5),)),
        "error: the Jacobian of group #0, 'neuron.V' on 'neuron.a': the coupling leads from [5] to [5]; "
        "wanted [4] to [4] [coupling-shape]\n"
        "  jacobian %V <- %a : [=]\n"
        "                      ^^^",
    ),
    "association_of_a_strange_site": (
        lambda: with_association(lambda t: {"site": replace(t.sites[0], loc=None)}),
        "error: association of %yw with group #0: no site of this transition has this output [ir-association]\n"
        "  associate %w_p at %yw : [=], none  traced\n"
        "                    ^^^",
    ),
    "association_of_a_strange_group": (
        lambda: with_association(lambda t: {"group": replace(t.groups[0], index=7)}),
        "error: association of %yw with group #7: this transition has no such group [ir-association]\n"
        "  associate %w_p at %yw of an unknown group : [=], none  traced\n"
        "                    ^^^",
    ),
    "association_twice": (
        association_twice,
        "error: association of %yw with group #0: there is one already [ir-association]\n"
        "  associate %w_p at %yw : [=], none  traced\n"
        "                    ^^^",
    ),
    "association_length": (
        lambda: with_association(lambda t: {"couplings": t.associations[0].couplings[:1]}),
        "error: association of %yw with group #0: 1 couplings for 2 states [ir-association]\n"
        "  associate %w_p at %yw : [=]  traced\n"
        "                    ^^^",
    ),
    "association_without_coupling": (
        lambda: with_association(lambda t: {"couplings": (None, None)}),
        "error: association of %yw with group #0: traced, but it reaches no state [ir-association]\n"
        "  associate %w_p at %yw : none, none  traced\n"
        "                    ^^^",
    ),
    "association_shape": (
        lambda: with_association(lambda t: {"couplings": (same5, None)}),
        "error: association of %yw with group #0: to 'neuron.V', the coupling leads from [5] to [5]; wanted [4] to [4] "
        "[coupling-shape]\n"
        "  associate %w_p at %yw : [=], none  traced\n"
        "                    ^^^",
    ),
    "label_missing": (
        lambda: with_certificate(labels=gru_labels()[1:]),
        "cells.py:12:9: error: the certificate has no label for parameter 'cell.Wz' [certificate-label]\n"
        '  param  %Wz : f32[11,8]  "cell.Wz"  loc(cells.py:12:9)\n'
        "                          ^^^^^^^^^",
    ),
    "label_twice": (
        lambda: with_certificate(labels=(*gru_labels(), gru_labels()[1])),
        "error: the certificate labels 'cell.Wr' 2 times; wanted one label [certificate-label]\n"
        '  "cell.Wr"  truncated    "reaches %h only through site %yh"               loc(cells.py:42:18)\n'
        "  ^^^^^^^^^",
    ),
    "label_of_nothing": (
        lambda: with_certificate(labels=(*gru_labels(), Label(path="cell.Wx", label=Verdict.EXACT, rule="d_rtrl"))),
        "error: the certificate labels 'cell.Wx', which is no parameter [certificate-label]\n"
        '  "cell.Wx"  exact\n'
        "  ^^^^^^^^^\n"
        "  help: did you mean 'cell.Wz'?",
    ),
    "label_without_reason": (
        lambda: with_certificate(labels=set_at(gru_labels(), 1, reasons=())),
        "error: the label of 'cell.Wr' is truncated and gives no reason [certificate-label]\n"
        '  "cell.Wr"  truncated\n'
        "             ^^^^^^^^^",
    ),
    "window": (
        lambda: with_certificate(window=0),
        "error: the certificate is for a window of 0 steps; wanted at least one [ir-settings]\n"
        "  certificate d_rtrl window=0 credit=full {\n"
        "                     ^^^^^^^^",
    ),
    "credit": (
        lambda: with_certificate(credit="none"),
        "error: the certificate is for credit 'none'; wanted 'full' or 'rule' [ir-settings]\n"
        "  certificate d_rtrl window=16 credit=none {\n"
        "                               ^^^^^^^^^^^",
    ),
    "plan_of_another_window": (
        lambda: with_plan(window=5),
        "error: the certificate is for d_rtrl window=4 credit=rule, but the plan is for d_rtrl window=5 credit=rule "
        "[ir-settings]\n"
        "  plan d_rtrl window=5 credit=rule {\n"
        "       ^^^^^^^^^^^^^^^^^^^^^^^^^^^",
    ),
}
