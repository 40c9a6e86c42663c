"""Transitions with a fault in their plan, and what the verifier says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ir_changes import plan_of, set_at, with_same
from ir_examples import adaptive, val

from etir.ir.plan import Pullback, Vjp
from etir.ir.transition import Transition


def with_step(index: int, **changes: Any) -> Transition:
    t = adaptive()
    return replace(t, plan=replace(plan_of(t), step=set_at(plan_of(t).step, index, **changes)))


def operand_from_nowhere() -> Transition:
    return with_step(2, jacobian=val("f32[2,2,4]", "lost"))


def operand_too_early() -> Transition:
    t = adaptive()
    return replace(t, plan=replace(plan_of(t), step=plan_of(t).step[::-1]))


def operand_too_early_for_one() -> Transition:
    t = adaptive()
    jacobian, sensitivity, advance = plan_of(t).step
    return with_same(t, step=(jacobian, advance, sensitivity))


def result_twice() -> Transition:
    t = adaptive()
    first = plan_of(t).step[0]
    return with_same(t, step=(first, *plan_of(t).step))


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


def adaptive_without_advance() -> Transition:
    t = adaptive()
    short = replace(plan_of(t).step[1], results=(val("f32[2,4]", "f"),))
    return with_same(t, step=(plan_of(t).step[0], short), at_window=())


PLAN: dict[str, tuple[Callable[[], Transition], str]] = {
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
    "operand_too_early_for_one": (
        operand_too_early_for_one,
        "error: 'advance' reads %f, which is computed only later [ir-undefined]\n"
        "  %E1 : f32[2,1,4,3] = advance(association=%yw -> #0, trace=%E, jacobian=%D, sensitivity=%f, data=%x,\n"
        "                                                                                         ^^",
    ),
    "result_twice": (
        result_twice,
        "error: 'jacobian' computes %D twice [ir-defined-twice]\n  %D  : f32[2,2,4]   = jacobian(group=#0)\n  ^^",
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
        'error: %E belongs to two traces [ir-defined-twice]\n  trace %E -> %E1 : f32[2,1,4,3]  "w at %yw"\n        ^^',
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
        "cells.py:8:15: error: 'sensitivity' gives [2,4]; wanted [2,slots,4] [operation-type]\n"
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
}
