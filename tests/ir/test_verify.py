"""The verifier: one example a rule, in full text, and no crash whatever is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from ir_broken import broken_versions
from ir_examples import ALL, adaptive, gru, val

from etir.ir.coupling import Coupling
from etir.ir.diagnostics import EtirError
from etir.ir.expression import Expression
from etir.ir.parser import parse
from etir.ir.plan import Operation, Plan, Pullback, Vjp
from etir.ir.printer import render
from etir.ir.transition import Dependence, Label, Reason, StateKind, Transition, Verdict, Weight
from etir.ir.verify import RULES, check, verify


def set_at(items: tuple[Any, ...], index: int, **changes: Any) -> tuple[Any, ...]:
    """The items, one of them changed."""
    return (*items[:index], replace(items[index], **changes), *items[index + 1 :])


def plan_of(t: Transition) -> Plan:
    assert t.plan is not None
    return t.plan


def with_plan(**changes: Any) -> Transition:
    t = adaptive()
    return replace(t, plan=replace(plan_of(t), **changes))


def with_step(index: int, **changes: Any) -> Transition:
    t = adaptive()
    return replace(t, plan=replace(plan_of(t), step=set_at(plan_of(t).step, index, **changes)))


def with_certificate(**changes: Any) -> Transition:
    t = gru()
    assert t.certificate is not None
    return replace(t, certificate=replace(t.certificate, **changes))


def gru_labels() -> tuple[Label, ...]:
    certificate = gru().certificate
    assert certificate is not None
    return certificate.labels


def field_of_a_node() -> Transition:
    return replace(gru(), sites=set_at(gru().sites, 1, equation="two"))


def field_of_a_tuple() -> Transition:
    return replace(gru(), groups=set_at(gru().groups, 0, shape=(8, None)))


def two_paths() -> Transition:
    return replace(gru(), params=set_at(gru().params, 1, path="cell.Wz"), regions=(), certificate=None, weights=(),
                   sites=(), groups=(), associations=())  # fmt: skip


def shared_argument() -> Transition:
    t = gru()
    return replace(t, inputs=set_at(t.inputs, 0, value=t.states[0].before), regions=())


def state_type() -> Transition:
    t = adaptive()
    after = val("bf16[4]", "V")
    regions = tuple(
        replace(r, outputs=tuple(after if v is t.states[0].after else v for v in r.outputs)) for r in t.regions
    )
    state = replace(t.states[0], after=after)
    return replace(t, states=(state, *t.states[1:]), regions=regions, groups=(), associations=(), plan=None)


def state_not_computed() -> Transition:
    t = gru()
    return replace(t, states=set_at(t.states, 0, after=val("f32[8]", "h")), groups=(), associations=())


def output_not_computed() -> Transition:
    return replace(gru(), outputs=set_at(gru().outputs, 0, value=val("f32[8]", "other")))


def region_reads_unknown() -> Transition:
    t = gru()
    inputs = (t.regions[3].inputs[0], val("f32[9]", "q"), *t.regions[3].inputs[1:])
    return replace(t, regions=set_at(t.regions, 3, inputs=inputs))


def shift_in_the_middle() -> Transition:
    t = gru()
    return replace(t, regions=set_at(t.regions, 3, inputs=t.regions[3].inputs[::-1]))


def same_region_twice() -> Transition:
    t = gru()
    return replace(t, regions=(*t.regions, t.regions[0]))


def body_of_other_type() -> Transition:
    t = gru()
    body = jax.make_jaxpr(lambda a, b, c: (a, b))(*(jnp.zeros((11, 8), jnp.float32),) * 3)
    return replace(t, regions=set_at(t.regions, 1, body=body))


def body_of_no_jaxpr() -> Transition:
    return replace(gru(), regions=set_at(gru().regions, 1, body="a, b"))


def weight_of_a_stranger() -> Transition:
    t, other = gru(), gru()
    weight = replace(t.weights[0], params=other.params[:1])
    sites = set_at(t.sites, 0, weight=weight)
    return replace(t, weights=(weight, *t.weights[1:]), sites=sites, associations=())


def weight_twice() -> Transition:
    t = gru()
    return replace(t, weights=(*t.weights, Weight(value=t.params[0].value, params=t.params[:1])))


def site_of_a_stranger() -> Transition:
    t = gru()
    return replace(t, weights=t.weights[1:])


def sites_of_one_output() -> Transition:
    t = gru()
    return replace(t, sites=set_at(t.sites, 1, output=t.sites[0].output), associations=(), regions=())


def equation_out_of_range() -> Transition:
    return replace(gru(), sites=set_at(gru().sites, 1, equation=15), associations=())


def equation_shared() -> Transition:
    return replace(gru(), sites=set_at(gru().sites, 1, equation=1), associations=())


def site_with(expression: str) -> Transition:
    t = gru()
    return replace(t, sites=set_at(t.sites, 0, expression=Expression.parse(expression)), associations=())


def group_twice() -> Transition:
    t = gru()
    return replace(t, groups=(*t.groups, t.groups[0]))


def group_of(**changes: Any) -> Transition:
    t = adaptive()
    return replace(t, groups=set_at(t.groups, 0, **changes), associations=(), plan=None)


def discrete_in_a_group() -> Transition:
    t = adaptive()
    return group_of(states=(t.states[0], replace(t.states[1], kind=StateKind.BUFFER)))


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


def operand_from_nowhere() -> Transition:
    return with_step(2, jacobian=val("f32[2,2,4]", "lost"))


def operand_too_early() -> Transition:
    t = adaptive()
    return replace(t, plan=replace(plan_of(t), step=plan_of(t).step[::-1]))


def result_twice() -> Transition:
    t = adaptive()
    first = plan_of(t).step[0]
    return with_same(t, step=(first, *plan_of(t).step))


def with_same(t: Transition, **changes: Any) -> Transition:
    return replace(t, plan=replace(plan_of(t), **changes))


def result_of_the_model() -> Transition:
    t = adaptive()
    return with_same(t, step=(*plan_of(t).step, replace(plan_of(t).step[1], results=(t.inputs[0].value,))))


def trace_of_two_types() -> Transition:
    t = adaptive()
    return with_same(t, traces=set_at(plan_of(t).traces, 0, before=val("f32[2]", "E")), step=(), at_window=())


def trace_not_advanced() -> Transition:
    t = adaptive()
    return with_same(t, step=plan_of(t).step[:2])


def trace_twice() -> Transition:
    t = adaptive()
    return with_same(t, traces=plan_of(t).traces * 2)


def group_of_another() -> Transition:
    t = adaptive()
    return with_same(t, step=set_at(plan_of(t).step, 0, group=adaptive().groups[0]))


def with_window(index: int, **changes: Any) -> Transition:
    t = adaptive()
    return with_same(t, at_window=set_at(plan_of(t).at_window, index, **changes))


def unknown_region() -> Transition:
    return with_window(0, region="backward")


def half_a_vjp() -> Transition:
    t = adaptive()
    vjp = plan_of(t).at_window[0]
    assert isinstance(vjp, Vjp)
    return with_same(t, at_window=(replace(vjp, results=vjp.results[:2]),))


def pullback_of_too_little() -> Transition:
    t = adaptive()
    pullback = plan_of(t).at_window[2]
    assert isinstance(pullback, Pullback)
    return with_same(t, at_window=(*plan_of(t).at_window[:2], replace(pullback, reverse=pullback.reverse[:1])))


same5 = Coupling.identity((5,))

CASES: dict[str, tuple[Callable[[], Transition], str]] = {
    "field_of_a_node": (
        field_of_a_node,
        "cells.py:42:18: error: sites[1].equation holds 'two'; wanted int [ir-field]",
    ),
    "field_of_a_tuple": (
        field_of_a_tuple,
        "error: groups[0].shape holds (8, None); wanted tuple[int, ...] [ir-field]",
    ),
    "two_paths": (
        two_paths,
        "cells.py:13:9: error: 2 parameters are called 'cell.Wz'; wanted one [ir-path]",
    ),
    "shared_argument": (
        shared_argument,
        "error: %h is input 'x' and state 'cell.h'; wanted a value for each [ir-argument]",
    ),
    "state_type": (
        state_type,
        "error: state 'neuron.V' enters the step as f32[4] but leaves as bf16[4] [state-type]\n"
        '  state  %V -> %V1 : f32[4] -> bf16[4]  hidden   "neuron.V"\n'
        "                     ^^^^^^^^^^^^^^^^^\n"
        "  help: cast the update to f32, or declare the state as bf16[4]",
    ),
    "state_not_computed": (
        state_not_computed,
        "cells.py:20:9: error: state 'cell.h' becomes %h1, which no region computes [ir-undefined]\n"
        '  state  %h -> %h1 : f32[8]  hidden "cell.h"  loc(cells.py:20:9)\n'
        "               ^^^",
    ),
    "output_not_computed": (
        output_not_computed,
        "error: output 'y' is %other, which no region computes [ir-undefined]\n"
        '  output %other : f32[8]  "y"\n'
        "         ^^^^^^",
    ),
    "region_reads_unknown": (
        region_reads_unknown,
        "error: region @hidden reads %q, %dyz, %dyr, %dyh, which nothing defines [ir-undefined]\n"
        "  region @hidden(%h, %q, %yz, %yr, %yh, %dyz, %dyr, %dyh) -> (%h1)                14 equations, digest e5fa44f2\n"
        "                     ^^",
    ),
    "shift_in_the_middle": (
        shift_in_the_middle,
        "error: region @hidden reads %dyh, %dyr, %dyz, which nothing defines [ir-undefined]\n"
        "  region @hidden(%dyh, %dyr, %dyz, %yh, %yr, %yz, %h) -> (%h1)                    14 equations, digest e5fa44f2\n"
        "                 ^^^^",
    ),
    "same_region_twice": (same_region_twice, "error: 2 regions are called @step; wanted one [ir-region]"),
    "body_of_other_type": (
        body_of_other_type,
        "error: region @weights gives (f32[11,8], f32[11,8], f32[11,8]), but its body gives (f32[11,8], f32[11,8]) "
        "[ir-region]",
    ),
    "body_of_no_jaxpr": (
        body_of_no_jaxpr,
        "error: region @weights has a str for a body; wanted a jaxpr [ir-region]",
    ),
    "weight_of_a_stranger": (
        weight_of_a_stranger,
        "error: weight %Wz is computed from 'cell.Wz', which is no parameter of this transition [ir-weight]\n"
        "  weight %Wz : f32[11,8] = prologue(%Wz1)\n"
        "         ^^^",
    ),
    "weight_twice": (weight_twice, "error: 2 weights are %Wz; wanted one [ir-weight]"),
    "site_of_a_stranger": (
        site_of_a_stranger,
        "cells.py:41:18: error: site %yz uses %Wz, which is no weight of this transition [ir-weight]\n"
        '  site %yz : f32[8] = etp.dot(%xh, %Wz)  "i,ij->j"  equation 1  held  loc(cells.py:41:18)\n'
        "                                   ^^^",
    ),
    "sites_of_one_output": (
        sites_of_one_output,
        "cells.py:42:18: error: two sites compute %yz; wanted a value for each [ir-defined-twice]\n"
        '  site %yz : f32[8] = etp.dot(%xh, %Wz)  "i,ij->j"  equation 1  held  loc(cells.py:41:18)\n'
        "       ^^^",
    ),
    "equation_out_of_range": (
        equation_out_of_range,
        "cells.py:42:18: error: site %yr is equation 15 of a step that has 15 [site-equation]\n"
        '  site %yr : f32[8] = etp.dot(%xh, %Wr)  "i,ij->j"  equation 15  held  loc(cells.py:42:18)\n'
        "                                                    ^^^^^^^^^^^",
    ),
    "equation_shared": (
        equation_shared,
        "cells.py:42:18: error: sites %yz and %yr are both equation 1 [site-equation]\n"
        '  site %yr : f32[8] = etp.dot(%xh, %Wr)  "i,ij->j"  equation 1  held  loc(cells.py:42:18)\n'
        "                                                    ^^^^^^^^^^",
    ),
    "expression_arity": (
        lambda: site_with("ij->j"),
        "cells.py:41:18: error: 'ij->j' is for 1 operands, but site %yz has 2 [site-expression]\n"
        '  site %yz : f32[8] = etp.dot(%xh, %Wz)  "ij->j"    equation 1  held  loc(cells.py:41:18)\n'
        "                                         ^^^^^^^",
    ),
    "expression_rank": (
        lambda: site_with("bi,ij->bj"),
        "cells.py:41:18: error: 'bi' in 'bi,ij->bj' names 2 axes, but %xh : f32[11] has 1 [site-expression]\n"
        '  site %yz : f32[8] = etp.dot(%xh, %Wz)  "bi,ij->bj"  equation 1  held  loc(cells.py:41:18)\n'
        "                                         ^^^^^^^^^^^",
    ),
    "expression_size": (
        lambda: site_with("i,ji->j"),
        "cells.py:41:18: error: axis 'i' of 'i,ji->j' has size 11, but 8 in %Wz : f32[11,8] [site-expression]\n"
        '  site %yz : f32[8] = etp.dot(%xh, %Wz)  "i,ji->j"  equation 1  held  loc(cells.py:41:18)\n'
        "                                         ^^^^^^^^^",
    ),
    "group_twice": (group_twice, "error: 2 groups have number #0; wanted one [ir-group]"),
    "group_without_states": (
        lambda: group_of_itself(states=(), jacobian=()),
        "error: group #0 has no state [ir-group]\n"
        "  group #0 [] shape [4] {",
    ),
    "discrete_in_a_group": (
        discrete_in_a_group,
        "error: group #0 has 'neuron.a', which is no state of this transition [ir-group]\n"
        "  group #0 [%V, %a] shape [4] {\n"
        "                ^^",
    ),
    "not_hidden": (
        lambda: group_of_itself(states=adaptive_with_counter()[1], jacobian=()),
        "error: group #0 has 'neuron.V', which is no state of this transition [ir-group]\n"
        "  group #0 [%V2] shape [4] {\n"
        "            ^^^",
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
        "error: the Jacobian of group #0, 'neuron.V' on 'neuron.a': the coupling leads from [5] to [5]; wanted [4] to [4] "
        "[coupling-shape]\n"
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
    "operand_from_nowhere": (
        operand_from_nowhere,
        "error: 'advance' reads %lost, which nothing computes [ir-undefined]\n"
        "  %E1 : f32[2,1,4,3] = advance(association=%yw -> #0, trace=%E, jacobian=%lost, sensitivity=%f, data=%x,\n"
        "                                                                         ^^^^^",
    ),
    "operand_too_early": (
        operand_too_early,
        "error: 'advance' reads %D, which is computed only later [ir-undefined]\n"
        "  %E1 : f32[2,1,4,3] = advance(association=%yw -> #0, trace=%E, jacobian=%D, sensitivity=%f, data=%x,\n"
        "                                                                         ^^\n"
        "error: 'advance' reads %f, which is computed only later [ir-undefined]\n"
        "  %E1 : f32[2,1,4,3] = advance(association=%yw -> #0, trace=%E, jacobian=%D, sensitivity=%f, data=%x,\n"
        "                                                                                         ^^",
    ),
    "result_twice": (
        result_twice,
        "error: 'jacobian' computes %D twice [ir-defined-twice]\n"
        "  %D  : f32[2,2,4]   = jacobian(group=#0)\n"
        "  ^^",
    ),
    "trace_of_two_types": (
        trace_of_two_types,
        "error: trace 'w at %yw' enters as f32[2] but leaves as f32[2,1,4,3] [trace-type]\n"
        '  trace %E -> %E1 : f32[2] -> f32[2,1,4,3]  "w at %yw"\n'
        "                    ^^^^^^^^^^^^^^^^^^^^^^\n"
        "error: trace 'w at %yw' becomes %E1, which nothing computes [ir-undefined]\n"
        '  trace %E -> %E1 : f32[2] -> f32[2,1,4,3]  "w at %yw"\n'
        "              ^^^",
    ),
    "trace_not_advanced": (
        trace_not_advanced,
        "error: trace 'w at %yw' becomes %E1, which nothing computes [ir-undefined]\n"
        '  trace %E -> %E1 : f32[2,1,4,3]  "w at %yw"\n'
        "              ^^^",
    ),
    "trace_twice": (
        trace_twice,
        "error: %E belongs to two traces [ir-defined-twice]\n"
        '  trace %E -> %E1 : f32[2,1,4,3]  "w at %yw"\n'
        "        ^^",
    ),
    "group_of_another": (
        group_of_another,
        "error: 'jacobian' has a group as its group that is not in this transition [ir-foreign]\n"
        "  %D  : f32[2,2,4]   = jacobian(group=#0)\n"
        "                                ^^^^^^",
    ),
    "jacobian_result": (
        lambda: with_step(0, results=(val("f32[2,4]", "D"),)),
        "error: 'advance' reads %D1, which nothing computes [ir-undefined]\n"
        "  %E1 : f32[2,1,4,3] = advance(association=%yw -> #0, trace=%E, jacobian=%D1, sensitivity=%f, data=%x,\n"
        "                                                                         ^^^\n"
        "error: 'jacobian' gives [2,4]; wanted [2,2,4] [operation-type]\n"
        "  %D  : f32[2,4]     = jacobian(group=#0)",
    ),
    "sensitivity_result": (
        lambda: with_same(adaptive_without_advance(), traces=()),
        "error: 'sensitivity' gives [2,4]; wanted [2,slots,4] [operation-type]\n"
        "  %f : f32[2,4]   = sensitivity(association=%yw -> #0)  loc(cells.py:8:15)",
    ),
    "unknown_region": (
        unknown_region,
        "error: 'vjp' differentiates region @backward, which is not there [operation-type]\n"
        '  = vjp(region="backward")',
    ),
    "half_a_vjp": (
        half_a_vjp,
        "error: 'vjp' gives f32[4], f32[4]; wanted f32[4], f32[4], f32[3,4], f32[4,2] [operation-type]\n"
        '  = vjp(region="forward")',
    ),
    "pullback_of_too_little": (
        pullback_of_too_little,
        "error: 'pullback' has reverse-mode gradients f32[3,4]; wanted f32[3,4], f32[4,2], those of the parameters "
        "[operation-type]\n"
        "  = pullback(positional=[param %w, param %readout], contributions=[%g], reverse=[%w_bar])",
    ),
}  # fmt: skip


def adaptive_with_counter() -> tuple[Transition, tuple[Any, ...]]:
    t = adaptive()
    return t, (replace(t.states[0], before=val("f32[4]", "V")),)


def adaptive_without_advance() -> Transition:
    t = adaptive()
    short = replace(plan_of(t).step[1], results=(val("f32[2,4]", "f"),))
    return with_same(t, step=(plan_of(t).step[0], short), at_window=())


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
    from etir.ir.checks.sheet import Sheet

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
