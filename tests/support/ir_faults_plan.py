"""Transitions with a fault in their plan as a whole, and what the verifier says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ir_changes import plan_of, set_at, with_operation, with_same
from ir_examples import adaptive, at, val

from etir.ir.plan import Advance, Contract, Jacobian, LossSignal, Pullback, Scale, Signal
from etir.ir.transition import Transition


def changed(change: Callable[[Transition, Advance], dict[str, Any]]) -> Transition:
    """The example with its advance changed."""
    t = adaptive()
    advance = plan_of(t).step[2]
    assert isinstance(advance, Advance)
    return with_operation(t, Advance, **change(t, advance))


def operand_from_nowhere() -> Transition:
    return with_operation(adaptive(), Contract, trace=(val("f32[3,4]", "lost"), val("f32[3,4]", "gone")))


def operand_of_a_part_from_nowhere() -> Transition:
    return changed(lambda t, advance: {"add": replace(advance.add, data=val("f32[3]", "lost"))})


def operand_too_early() -> Transition:
    t = adaptive()
    return with_same(t, step=plan_of(t).step[::-1])


def operand_too_early_for_one() -> Transition:
    t = adaptive()
    jacobian, sensitivity, advance = plan_of(t).step
    return with_same(t, step=(jacobian, advance, sensitivity))


def operand_of_a_step() -> Transition:
    t = adaptive()
    advanced = plan_of(t).step[2].results
    return with_operation(t, Contract, trace=advanced)


def result_twice() -> Transition:
    t = adaptive()
    first = plan_of(t).step[0]
    return with_same(t, step=(first, *plan_of(t).step))


def result_of_the_model() -> Transition:
    t = adaptive()
    extra = Scale(value=t.inputs[0].value, factor=0.5, results=(t.inputs[0].value,))
    return with_same(t, step=(*plan_of(t).step, extra))


def trace_of_two_types() -> Transition:
    t = adaptive()
    return with_same(t, traces=set_at(plan_of(t).traces, 0, before=val("f32[2]", "e_V")), step=(), at_window=())


def trace_not_advanced() -> Transition:
    t = adaptive()
    return with_same(t, step=plan_of(t).step[:2])


def trace_twice() -> Transition:
    t = adaptive()
    return with_same(t, traces=(*plan_of(t).traces, plan_of(t).traces[0]))


def start(region: str) -> Transition:
    t = adaptive()
    return with_same(t, traces=set_at(plan_of(t).traces, 0, start=region))


def group_of_another() -> Transition:
    return with_operation(adaptive(), Jacobian, group=adaptive().groups[0])


def association_of_another_in_a_part() -> Transition:
    return changed(
        lambda t, advance: {"add": replace(advance.add, association=replace(t.associations[0], couplings=(None, None)))}
    )


def parameter_of_another_in_a_list() -> Transition:
    return with_operation(adaptive(), Pullback, takers=adaptive().params[:1])


def signal_of_the_model() -> Transition:
    t = adaptive()
    return with_same(t, signals=(Signal(path="reward", value=t.inputs[0].value, loc=at(30)),))


def loss_at_a_windows_end() -> Transition:
    t = adaptive()
    *rest, pullback = plan_of(t).at_window
    extra = LossSignal(results=(val("f32[2]", "y_bar"),))
    return with_same(t, at_window=(*rest, extra, pullback))


def signal_twice() -> Transition:
    reward = Signal(path="reward", value=val("f32[]", "reward"))
    return with_same(adaptive(), signals=(reward, replace(reward, value=val("f32[]", "again"))))


PLAN: dict[str, tuple[Callable[[], Transition], str]] = {
    "operand_from_nowhere": (
        operand_from_nowhere,
        "cells.py:8:15: error: 'contract' reads %lost, which nothing computes [ir-undefined]\n"
        "  %g_w : f32[3,4] = contract(association=%yw -> #0, trace=[%lost, %gone], cotangents=[%V_bar, %a_bar])\n"
        "                                                           ^^^^^\n"
        "cells.py:8:15: error: 'contract' reads %gone, which nothing computes [ir-undefined]\n"
        "  %g_w : f32[3,4] = contract(association=%yw -> #0, trace=[%lost, %gone], cotangents=[%V_bar, %a_bar])\n"
        "                                                                  ^^^^^",
    ),
    "operand_of_a_part_from_nowhere": (
        operand_of_a_part_from_nowhere,
        "cells.py:9:9: error: 'advance' reads %lost, which nothing computes [ir-undefined]\n"
        "  add=outer(factors=[%f_V, none], data=%lost))  loc(cells.py:9:9)\n"
        "                                       ^^^^^",
    ),
    "operand_too_early": (
        operand_too_early,
        "cells.py:9:9: error: 'advance' reads %D_V_V, which is computed only later [ir-undefined]\n"
        "  factors=[%D_V_V, %D_V_a, %D_a_V, %D_a_a]),\n"
        "           ^^^^^^\n"
        "cells.py:9:9: error: 'advance' reads %D_V_a, which is computed only later [ir-undefined]\n"
        "  factors=[%D_V_V, %D_V_a, %D_a_V, %D_a_a]),\n"
        "                   ^^^^^^\n"
        "cells.py:9:9: error: 'advance' reads %D_a_V, which is computed only later [ir-undefined]\n"
        "  factors=[%D_V_V, %D_V_a, %D_a_V, %D_a_a]),\n"
        "                           ^^^^^^\n"
        "cells.py:9:9: error: 'advance' reads %D_a_a, which is computed only later [ir-undefined]\n"
        "  factors=[%D_V_V, %D_V_a, %D_a_V, %D_a_a]),\n"
        "                                   ^^^^^^\n"
        "cells.py:9:9: error: 'advance' reads %f_V, which is computed only later [ir-undefined]\n"
        "  add=outer(factors=[%f_V, none], data=%x))  loc(cells.py:9:9)\n"
        "                     ^^^^",
    ),
    "operand_too_early_for_one": (
        operand_too_early_for_one,
        "cells.py:9:9: error: 'advance' reads %f_V, which is computed only later [ir-undefined]\n"
        "  add=outer(factors=[%f_V, none], data=%x))  loc(cells.py:9:9)\n"
        "                     ^^^^",
    ),
    "operand_of_a_step": (
        operand_of_a_step,
        "cells.py:8:15: error: 'contract' reads %e_V_next, which each step has of its own; take its total "
        "[ir-undefined]\n"
        "  %g_w : f32[3,4] = contract(association=%yw -> #0, trace=[%e_V_next, %e_a_next], cotangents=[%V_bar, "
        "%a_bar])\n"
        "                                                           ^^^^^^^^^\n"
        "cells.py:8:15: error: 'contract' reads %e_a_next, which each step has of its own; take its total "
        "[ir-undefined]\n"
        "  %g_w : f32[3,4] = contract(association=%yw -> #0, trace=[%e_V_next, %e_a_next], cotangents=[%V_bar, "
        "%a_bar])\n"
        "                                                                      ^^^^^^^^^",
    ),
    "result_twice": (
        result_twice,
        "error: 'jacobian' computes %D_V_V twice [ir-defined-twice]\n"
        "  %D_V_V, %D_V_a, %D_a_V, %D_a_a : f32[4] = jacobian(group=#0, pairs=[[0,0], [0,1], [1,0], [1,1]])\n"
        "  ^^^^^^\n"
        "error: 'jacobian' computes %D_V_a twice [ir-defined-twice]\n"
        "  %D_V_V, %D_V_a, %D_a_V, %D_a_a : f32[4] = jacobian(group=#0, pairs=[[0,0], [0,1], [1,0], [1,1]])\n"
        "          ^^^^^^\n"
        "error: 'jacobian' computes %D_a_V twice [ir-defined-twice]\n"
        "  %D_V_V, %D_V_a, %D_a_V, %D_a_a : f32[4] = jacobian(group=#0, pairs=[[0,0], [0,1], [1,0], [1,1]])\n"
        "                  ^^^^^^\n"
        "error: 'jacobian' computes %D_a_a twice [ir-defined-twice]\n"
        "  %D_V_V, %D_V_a, %D_a_V, %D_a_a : f32[4] = jacobian(group=#0, pairs=[[0,0], [0,1], [1,0], [1,1]])\n"
        "                          ^^^^^^",
    ),
    "result_of_the_model": (
        result_of_the_model,
        "error: 'scale' computes %x again; the model or a trace has it already [ir-defined-twice]\n"
        "  %x                             : f32[3] = scale(value=%x, factor=0.5)\n"
        "  ^^",
    ),
    "trace_of_two_types": (
        trace_of_two_types,
        "cells.py:8:15: error: trace 'w on V' enters as f32[2] but leaves as f32[3,4] [trace-type]\n"
        '  trace %e_V -> %e_V_next : f32[2] -> f32[3,4]  "w on V"  loc(cells.py:8:15)\n'
        "                            ^^^^^^^^^^^^^^^^^^\n"
        "cells.py:8:15: error: trace 'w on V' becomes %e_V_next, which nothing computes [ir-undefined]\n"
        '  trace %e_V -> %e_V_next : f32[2] -> f32[3,4]  "w on V"  loc(cells.py:8:15)\n'
        "                ^^^^^^^^^\n"
        "cells.py:8:15: error: trace 'w on a' becomes %e_a_next, which nothing computes [ir-undefined]\n"
        '  trace %e_a -> %e_a_next : f32[3,4]            "w on a"  loc(cells.py:8:15)\n'
        "                ^^^^^^^^^",
    ),
    "trace_not_advanced": (
        trace_not_advanced,
        "cells.py:8:15: error: trace 'w on V' becomes %e_V_next, which nothing computes [ir-undefined]\n"
        '  trace %e_V -> %e_V_next : f32[3,4]  "w on V"  loc(cells.py:8:15)\n'
        "                ^^^^^^^^^\n"
        "cells.py:8:15: error: trace 'w on a' becomes %e_a_next, which nothing computes [ir-undefined]\n"
        '  trace %e_a -> %e_a_next : f32[3,4]  "w on a"  loc(cells.py:8:15)\n'
        "                ^^^^^^^^^",
    ),
    "trace_twice": (
        trace_twice,
        "cells.py:8:15: error: %e_V belongs to two traces [ir-defined-twice]\n"
        '  trace %e_V -> %e_V_next : f32[3,4]  "w on V"  loc(cells.py:8:15)\n'
        "        ^^^^",
    ),
    "start_from_nowhere": (
        lambda: start("begin"),
        "cells.py:8:15: error: trace 'w on V' starts as region @begin, which is not there [ir-undefined]\n"
        '  trace %e_V -> %e_V_next : f32[3,4]  "w on V"  start @begin  loc(cells.py:8:15)\n'
        "                                                ^^^^^^^^^^^^",
    ),
    "start_of_other_types": (
        lambda: start("hidden"),
        "cells.py:8:15: error: trace 'w on V' starts as region @hidden, which is (f32[4], f32[4], f32[4], f32[4]) "
        "-> (f32[4], f32[4]); wanted (u32[2]) -> (f32[3,4]) [trace-type]\n"
        '  trace %e_V -> %e_V_next : f32[3,4]  "w on V"  start @hidden  loc(cells.py:8:15)\n'
        "                                                ^^^^^^^^^^^^^",
    ),
    "group_of_another": (
        group_of_another,
        "error: 'jacobian' has a group of another transition as its group [ir-foreign]\n"
        "  %D_V_V, %D_V_a, %D_a_V, %D_a_a : f32[4] = jacobian(group=#0, pairs=[[0,0], [0,1], [1,0], [1,1]])\n"
        "                                                     ^^^^^^",
    ),
    "association_of_another_in_a_part": (
        association_of_another_in_a_part,
        "cells.py:9:9: error: 'advance' has an association of another transition as its association [ir-foreign]\n"
        "  by=diagonal(association=%yw -> #0,\n"
        "                          ^^^",
    ),
    "parameter_of_another_in_a_list": (
        parameter_of_another_in_a_list,
        "error: 'pullback' has a parameter of another transition as its takers [ir-foreign]\n"
        "  = pullback(reverse=[%w_bar, %readout_bar], weights=weight [%w_p], on_weights=[%g_w], takers=param [%w1])\n"
        "                                                                                                     ^^^",
    ),
    "choices_of_too_few": (
        lambda: with_same(adaptive(), because=("it fits",)),
        "error: the plan has 1 choices for 2 parameters [ir-settings]\n  plan d_rtrl window=4 credit=rule {",
    ),
    "rules_of_too_few": (
        lambda: with_same(adaptive(), rules=("d_rtrl",)),
        "error: the plan has 1 rules for 2 parameters [ir-settings]\n  plan d_rtrl window=4 credit=rule {",
    ),
    "without_trace_of_another": (
        lambda: with_same(adaptive(), left=adaptive().params[1:]),
        "error: the plan has no trace for 'readout', which is no parameter of this transition [ir-foreign]\n"
        "  no trace for %readout1\n"
        "               ^^^^^^^^^",
    ),
    "signal_twice": (
        signal_twice,
        "error: two signals are called 'reward'; wanted one [ir-path]\n"
        '  signal %again  : f32[]  "reward"\n'
        "                          ^^^^^^^^",
    ),
    "signal_of_the_model": (
        signal_of_the_model,
        "cells.py:30:9: error: signal 'reward' is %x, which is something else already [ir-argument]\n"
        '  signal %x : f32[3]  "reward"  loc(cells.py:30:9)\n'
        "         ^^",
    ),
    "loss_at_a_windows_end": (
        loss_at_a_windows_end,
        "error: 'loss_signal' runs at a window's end; it has no meaning there [operation-phase]\n"
        "  %y_bar : f32[2]   = loss_signal()",
    ),
}
