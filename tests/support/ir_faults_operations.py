"""Transitions with a fault in one operation of their plan, and what the operation says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ir_changes import plan_of, with_operation, with_same
from ir_everything import everything
from ir_examples import adaptive, at, gru, val

from etir.coupling import Coupling
from etir.ir.expression import Expression
from etir.ir.plan import (
    Advance,
    AdvanceFull,
    Apply,
    Contract,
    ContractFull,
    Credit,
    Jacobian,
    Operation,
    Plain,
    Plan,
    Product,
    Project,
    Pull,
    Pullback,
    Push,
    Scalar,
    Scale,
    Sensitivity,
    Signal,
    Vjp,
)
from etir.ir.transition import Param, StateKind, Transition

Change = Callable[[Transition, Any], dict[str, Any]]


def broken(kind: type[Operation], change: Change, nth: int = 0) -> Callable[[], Transition]:
    """Makes the example with an operation of it changed."""

    def make() -> Transition:
        t = everything()
        operation = [each for each in plan_of(t).operations if type(each) is kind][nth]
        return with_operation(t, kind, nth, **change(t, operation))

    return make


def by(nth: int, change: Change) -> Callable[[], Transition]:
    """Makes the example with the transfer of an advance changed."""
    return broken(Advance, lambda t, o: {"by": replace(o.by, **change(t, o.by))}, nth)


def add(nth: int, change: Change) -> Callable[[], Transition]:
    """Makes the example with the drive of an advance changed."""
    return broken(Advance, lambda t, o: {"add": replace(o.add, **change(t, o.add))}, nth)


def alone(t: Transition, operation: Operation) -> Transition:
    """An example whose plan is one operation."""
    return replace(t, certificate=None, plan=Plan(rule="mine", window=1, credit="full", step=(operation,)))


def jacobian_of_other_results() -> Transition:
    t = adaptive()
    return alone(t, Jacobian(group=t.groups[0], pairs=((0, 0),), results=(val("f32[2]", "D"), val("f32[4]", "D"))))


def jacobian_of_no_dependence() -> Transition:
    t = adaptive()
    group = replace(t.groups[0], jacobian=t.groups[0].jacobian[:1])
    jacobian = Jacobian(group=group, pairs=((0, 1),), results=(val("f32[4]", "D"),))
    return alone(replace(t, groups=(group,), associations=()), jacobian)


def sensitivity_of_an_untraced_association() -> Transition:
    t = gru()
    return alone(t, Sensitivity(association=t.associations[2], results=(val("f32[8]", "f"),)))


def sensitivity_of_other_results() -> Transition:
    t = adaptive()
    return alone(t, Sensitivity(association=t.associations[0], results=(val("f32[2,4]", "f"),), loc=at(8, 15)))


def advance_of_a_count() -> Transition:
    t = adaptive()
    count = t.states[2].before
    scaled = Advance(trace=(count,), by=Scalar(factor=0.5), add=Plain(values=(None,)), results=(val("i32[]", "half"),))
    return alone(t, scaled)


def complex_numbers_in_a_real_trace() -> Transition:
    t = everything()
    phase = Signal(path="phase", value=val("c64[3]", "phase"))
    t = with_same(t, signals=(*plan_of(t).signals, phase))
    return with_operation(t, Advance, 2, add=Plain(values=(phase.value,)))


def product_of_data_that_the_site_has_not() -> Transition:
    t = adaptive()
    site = replace(t.sites[0], data=None, expression=Expression.parse("ij->j"))
    product = Product(site=site, data=t.inputs[0].value, cotangent=t.states[0].before, results=(val("f32[3,4]", "g"),))
    return alone(replace(t, sites=(site,), associations=()), product)


def without_hidden_states() -> Transition:
    """The example with states that are not hidden."""
    t = adaptive()
    states = tuple(replace(state, kind=StateKind.BUFFER) for state in t.states[:2])
    return replace(t, states=(*states, t.states[2]), groups=(), associations=())


def influence_on_nothing() -> Transition:
    t = without_hidden_states()
    trace = t.params[0].value
    made = alone(t, AdvanceFull(param=t.params[0], trace=trace, results=(val("f32[3,4]", "e"),)))
    return with_same(made, step=(), at_window=plan_of(made).step)


def push_of_nothing() -> Transition:
    t = without_hidden_states()
    return alone(t, Push(tangents=(t.states[0].before,), results=(val("f32[4]", "JV"),)))


def pull_to_a_count() -> Transition:
    t = adaptive()
    count = Param(path="n", value=val("i32[]", "n"))
    cotangents = tuple(state.before for state in t.hidden)
    return alone(
        replace(t, params=(*t.params, count)),
        Pull(params=(count,), cotangents=cotangents, results=(val("i32[]", "n_bar"),)),
    )


OPERATIONS: dict[str, tuple[Callable[[], Transition], str]] = {
    "jacobian_of_no_such_state": (
        broken(Jacobian, lambda t, o: {"pairs": ((0, 0), (2, 0))}),
        "error: 'jacobian' is of state 2 by state 0, of a group of 2 [operation-type]\n"
        "  %D_V_V, %D_a_V : f32[4]   = jacobian(group=#0, pairs=[[0,0], [2,0]])",
    ),
    "jacobian_of_no_dependence": (
        jacobian_of_no_dependence,
        "error: 'jacobian' is of state 0 by state 1, on which it does not depend [operation-type]\n"
        "  %D : f32[4] = jacobian(group=#0, pairs=[[0,1]])",
    ),
    "jacobian_of_other_results": (
        jacobian_of_other_results,
        "error: 'jacobian' gives f32[2], f32[4]; wanted f32[4] [operation-type]\n  = jacobian(group=#0, pairs=[[0,0]])",
    ),
    "sensitivity_of_an_untraced_association": (
        sensitivity_of_an_untraced_association,
        "cells.py:42:18: error: 'sensitivity' is about an association that no positional trace follows "
        "[operation-type]\n"
        "  %f : f32[8] = sensitivity(association=%yr -> #0)",
    ),
    "sensitivity_of_other_results": (
        sensitivity_of_other_results,
        "cells.py:8:15: error: 'sensitivity' gives f32[2,4]; wanted f32[4] [operation-type]\n"
        "  %f : f32[2,4] = sensitivity(association=%yw -> #0)",
    ),
    "advance_of_another_layout": (
        broken(Advance, lambda t, o: {"trace": (t.states[0].before,) * 2}),
        "cells.py:8:15: error: 'advance' has a trace of f32[4]; wanted shape [3,4] [operation-type]\n"
        "  = advance(trace=[%V, %V],",
    ),
    "advance_of_a_count": (
        advance_of_a_count,
        "error: 'advance' scales i32[]; wanted floating-point numbers [operation-type]\n"
        "  %half : i32[] = advance(trace=[%t], by=scalar(factor=0.5), add=plain(values=[none]))",
    ),
    "diagonal_of_too_few_factors": (
        by(0, lambda t, o: {"factors": o.factors[:1]}),
        "cells.py:8:15: error: 'advance' has 1 factor for 2 pairs [operation-type]\n  = advance(trace=[%e_V, %e_a],",
    ),
    "diagonal_of_no_such_array": (
        by(0, lambda t, o: {"pairs": ((0, 0), (2, 0))}),
        "cells.py:8:15: error: 'advance' is carried from array 0 to array 2, of a trace of 2 [operation-type]\n"
        "  = advance(trace=[%e_V, %e_a],",
    ),
    "diagonal_of_other_positions": (
        by(0, lambda t, o: {"factors": (t.inputs[0].value, *o.factors[1:])}),
        "cells.py:8:15: error: 'advance' has a carrying factor of f32[3]; wanted shape [4] [operation-type]\n"
        "  = advance(trace=[%e_V, %e_a],",
    ),
    "diagonal_at_the_output": (
        by(0, lambda t, o: {"at_output": True}),
        "cells.py:8:15: error: 'advance' has a trace of f32[3,4]; wanted shape [4] [operation-type]\n"
        "  = advance(trace=[%e_V, %e_a],",
    ),
    "neighbourhood_without_couplings": (
        by(1, lambda t, o: {"couplings": ()}),
        "cells.py:8:15: error: 'advance' has 0 couplings for 1 pair [operation-type]\n  = advance(trace=[%near],",
    ),
    "neighbourhood_of_other_positions": (
        by(1, lambda t, o: {"couplings": (Coupling.identity((3,)),)}),
        "cells.py:8:15: error: 'advance' has a coupling between other positions than its group's [operation-type]\n"
        "  = advance(trace=[%near],",
    ),
    "neighbourhood_of_too_few_slots": (
        by(1, lambda t, o: {"couplings": (o.reach,)}),
        "cells.py:8:15: error: 'advance' has a carrying factor of f32[4]; wanted shape [3,4] [operation-type]\n"
        "  = advance(trace=[%near],",
    ),
    "neighbourhood_of_another_reach": (
        by(1, lambda t, o: {"reach": Coupling.identity((4,))}),
        "cells.py:8:15: error: 'advance' has a trace of f32[3,3,4]; wanted shape [3,4] [operation-type]\n"
        "  = advance(trace=[%near],",
    ),
    "neighbourhood_on_other_positions": (
        by(1, lambda t, o: {"reach": Coupling.parse("[0..2]", (4,), (4,))}),
        "cells.py:8:15: error: 'advance' is carried on positions [0..2], but added to on positions [-1..1] "
        "[operation-type]\n"
        "  = advance(trace=[%near],",
    ),
    "plain_of_too_few": (
        add(2, lambda t, o: {"values": ()}),
        "cells.py:9:9: error: 'advance' has 0 values for 1 array [operation-type]\n"
        "  = advance(trace=[%X_w], by=scalar(factor=0.9), add=plain(values=[]))  loc(cells.py:9:9)",
    ),
    "plain_of_another_shape": (
        add(2, lambda t, o: {"values": (t.states[0].before,)}),
        "cells.py:9:9: error: 'advance' has a value to add of f32[4]; wanted shape [3] [operation-type]\n"
        "  = advance(trace=[%X_w], by=scalar(factor=0.9), add=plain(values=[%V]))  loc(cells.py:9:9)",
    ),
    "complex_numbers_in_a_real_trace": (
        complex_numbers_in_a_real_trace,
        "cells.py:9:9: error: 'advance' puts c64[3] into a trace of f32[3], which is real [operation-type]\n"
        "  = advance(trace=[%X_w], by=scalar(factor=0.9), add=plain(values=[%phase]))  loc(cells.py:9:9)",
    ),
    "outer_of_too_few": (
        add(0, lambda t, o: {"factors": o.factors[:1]}),
        "cells.py:8:15: error: 'advance' has 1 factor for 2 arrays [operation-type]\n  = advance(trace=[%e_V, %e_a],",
    ),
    "outer_of_other_positions": (
        add(0, lambda t, o: {"factors": (t.inputs[0].value, None)}),
        "cells.py:8:15: error: 'advance' has a factor to add of f32[3]; wanted shape [4] [operation-type]\n"
        "  = advance(trace=[%e_V, %e_a],",
    ),
    "outer_without_data": (
        add(0, lambda t, o: {"data": None}),
        "cells.py:8:15: error: 'advance' has no data where its site has some [operation-type]\n"
        "  = advance(trace=[%e_V, %e_a],",
    ),
    "outer_of_other_data": (
        add(0, lambda t, o: {"data": t.states[0].before}),
        "cells.py:8:15: error: 'advance' has a data array of f32[4]; wanted shape [3] [operation-type]\n"
        "  = advance(trace=[%e_V, %e_a],",
    ),
    "contract_of_another_reach": (
        broken(Contract, lambda t, o: {"reach": Coupling.identity((3,))}, nth=1),
        "cells.py:8:15: error: 'contract' has a reach from [3] to [3]; wanted [4] to [4] [operation-type]\n"
        "  = contract(association=%yw -> #0, trace=[%near], cotangents=[%V_bar], "
        "reach=coupling from [3] to [3] [=])",
    ),
    "contract_with_too_few": (
        broken(Contract, lambda t, o: {"cotangents": o.cotangents[:1]}),
        "cells.py:8:15: error: 'contract' has 1 cotangent for 2 arrays [operation-type]\n"
        "  %now           : f32[3,4] = contract(association=%yw -> #0, trace=[%e_V_next, %e_a_next], "
        "cotangents=[%L_V])",
    ),
    "contract_of_another_layout": (
        broken(Contract, lambda t, o: {"trace": (t.states[0].before,) * 2}),
        "cells.py:8:15: error: 'contract' has a trace of f32[4]; wanted shape [3,4] [operation-type]\n"
        "  %now           : f32[3,4] = contract(association=%yw -> #0, trace=[%V, %V], cotangents=[%L_V, %L_a])",
    ),
    "contract_at_other_positions": (
        broken(Contract, lambda t, o: {"cotangents": (t.inputs[0].value,) * 2}),
        "cells.py:8:15: error: 'contract' has a cotangent of f32[3]; wanted shape [4] [operation-type]\n"
        "  %now           : f32[3,4] = contract(association=%yw -> #0, trace=[%e_V_next, %e_a_next], "
        "cotangents=[%x, %x])",
    ),
    "project_with_too_few": (
        broken(Project, lambda t, o: {"cotangents": o.cotangents[:1]}),
        "cells.py:8:15: error: 'project' has 1 cotangent for 2 factors [operation-type]\n"
        "  %yw_bar   : f32[4]    = project(association=%yw -> #0, factors=[%noise, none], cotangents=[%V_bar])",
    ),
    "project_at_other_positions": (
        broken(Project, lambda t, o: {"factors": (None, t.inputs[0].value)}),
        "cells.py:8:15: error: 'project' has a factor of f32[3]; wanted shape [4] [operation-type]\n"
        "  %yw_bar   : f32[4]    = project(association=%yw -> #0, factors=[none, %x], cotangents=[%V_bar, %a_bar])",
    ),
    "product_without_data": (
        broken(Product, lambda t, o: {"data": None}),
        "cells.py:8:15: error: 'product' has no data where its site has some [operation-type]\n"
        "  %g_data   : f32[3,4]  = product(site=site %yw, data=none, cotangent=%yw_bar)",
    ),
    "product_of_data_that_the_site_has_not": (
        product_of_data_that_the_site_has_not,
        "cells.py:8:15: error: 'product' has data where its site has none [operation-type]\n"
        "  %g : f32[3,4] = product(site=site %yw, data=%x, cotangent=%V)",
    ),
    "product_with_another_cotangent": (
        broken(Product, lambda t, o: {"cotangent": t.inputs[0].value}),
        "cells.py:8:15: error: 'product' has a cotangent of f32[3]; wanted shape [4] [operation-type]\n"
        "  %g_data   : f32[3,4]  = product(site=site %yw, data=%X_w, cotangent=%x)",
    ),
    "scale_of_a_count": (
        broken(Scale, lambda t, o: {"value": t.states[2].before}),
        "error: 'scale' scales i32[]; wanted floating-point numbers [operation-type]\n"
        "  %D_V_V_scaled  : f32[4]   = scale(value=%t, factor=0.9)",
    ),
    "apply_of_no_region": (
        broken(Apply, lambda t, o: {"region": "turned"}),
        "cells.py:31:9: error: 'apply' runs region @turned, which is not there [operation-type]\n"
        '  = apply(region="turned", values=[%noise, %reward], estimates="rtrl")  loc(cells.py:31:9)',
    ),
    "apply_to_other_values": (
        broken(Apply, lambda t, o: {"values": o.values[::-1]}),
        "cells.py:31:9: error: 'apply' gives region @turn f32[], f32[4]; wanted f32[4], f32[] [operation-type]\n"
        '  %noise_next    : f32[4]   = apply(region="turn", values=[%reward, %noise], estimates="rtrl")  '
        "loc(cells.py:31:9)",
    ),
    "credit_of_no_region": (
        broken(Credit, lambda t, o: {"region": "leave"}),
        "error: 'credit' runs region @leave, which is not there [operation-type]\n"
        '  %L_V, %L_a, %u : f32[4]   = credit(region="leave", cotangents=[%y_bar])',
    ),
    "credit_of_too_few": (
        broken(Credit, lambda t, o: {"cotangents": ()}),
        "error: 'credit' has 0 cotangents for 1 results of region @exit [operation-type]\n"
        '  %L_V, %L_a, %u : f32[4]   = credit(region="exit", cotangents=[])',
    ),
    "push_of_too_few": (
        broken(Push, lambda t, o: {"tangents": o.tangents[:1]}),
        "error: 'push' has tangents of f32[4]; wanted f32[4], f32[4], those of the hidden states [operation-type]\n"
        "  %JV, %Ja       : f32[4]   = push(tangents=[%noise])",
    ),
    "push_of_nothing": (
        push_of_nothing,
        "error: 'push' has no hidden state to push forward [operation-type]\n  %JV : f32[4] = push(tangents=[%V])",
    ),
    "pull_of_too_few": (
        broken(Pull, lambda t, o: {"cotangents": o.cotangents[:1]}),
        "error: 'pull' has cotangents of f32[4]; wanted f32[4], f32[4], those of the hidden states [operation-type]\n"
        "  %w_pulled      : f32[3,4] = pull(params=param [%w], cotangents=[%JV])",
    ),
    "pull_to_a_count": (
        pull_to_a_count,
        "error: 'pull' differentiates by i32[]; wanted floating-point numbers [operation-type]\n"
        "  %n_bar : i32[] = pull(params=param [%n], cotangents=[%V, %a])",
    ),
    "influence_of_another_shape": (
        broken(AdvanceFull, lambda t, o: {"trace": t.params[0].value}),
        "error: 'advance_full' has a trace of f32[3,4]; wanted shape [8,12] [operation-type]\n"
        "  %e_w_next : f32[8,12] = advance_full(param=param %w, trace=%w)",
    ),
    "influence_on_nothing": (
        influence_on_nothing,
        "error: 'advance_full' has no hidden state to follow [operation-type]\n"
        "  %e : f32[3,4] = advance_full(param=param %w, trace=%w)",
    ),
    "influence_read_with_too_few": (
        broken(ContractFull, lambda t, o: {"cotangents": o.cotangents[:1]}),
        "error: 'contract_full' has cotangents of f32[4]; wanted f32[4], f32[4], those of the hidden states "
        "[operation-type]\n"
        "  %g_full   : f32[3,4]  = contract_full(param=param %w, trace=%e_w, cotangents=[%V_bar])",
    ),
    "vjp_of_no_region": (
        broken(Vjp, lambda t, o: {"region": "backward"}),
        "error: 'vjp' differentiates region @backward, which is not there [operation-type]\n"
        '  = vjp(region="backward", detached=site [%yw], exit=[%noise, %noise])',
    ),
    "vjp_that_leaves_with_too_few": (
        broken(Vjp, lambda t, o: {"exit": o.exit[:1]}),
        "error: 'vjp' has exit cotangents of f32[4]; wanted f32[4], f32[4], those of the hidden states "
        "[operation-type]\n"
        '  = vjp(region="forward", detached=site [%yw], exit=[%noise])',
    ),
    "half_a_vjp": (
        lambda: with_same(adaptive(), at_window=(Vjp(region="forward", results=(val("f32[4]", "V_bar"),)),)),
        "error: 'vjp' gives f32[4]; wanted f32[4], f32[4], f32[3,4], f32[4,2] [operation-type]\n"
        '  %V_bar : f32[4] = vjp(region="forward")',
    ),
    "pullback_of_too_little": (
        broken(Pullback, lambda t, o: {"reverse": o.reverse[:1]}),
        "error: 'pullback' has reverse-mode gradients f32[3,4]; wanted f32[3,4], f32[4,2], those of the "
        "parameters [operation-type]\n"
        "  = pullback(reverse=[%w_bar],",
    ),
    "pullback_to_too_few": (
        broken(Pullback, lambda t, o: {"weights": o.weights[:1]}),
        "error: 'pullback' has 3 contributions for 1 weight [operation-type]\n"
        "  = pullback(reverse=[%w_bar, %readout_bar],",
    ),
    "pullback_of_another_type": (
        broken(Pullback, lambda t, o: {"on_params": (t.states[0].before,)}),
        "error: 'pullback' adds f32[4] to a parameter of f32[3,4] [operation-type]\n"
        "  = pullback(reverse=[%w_bar, %readout_bar],",
    ),
}
