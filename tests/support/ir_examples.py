"""Transitions written by hand: small, complete, valid, and without a model behind them."""

from __future__ import annotations

from collections.abc import Sequence

from etir.coupling import Coupling
from etir.ir.dataflow import Crossing
from etir.ir.expression import Expression
from etir.ir.loc import Loc
from etir.ir.plan import Advance, Contract, Diagonal, Jacobian, Outer, Plan, Pullback, Sensitivity, Trace, Vjp
from etir.ir.transition import (
    Association,
    Certificate,
    Dependence,
    Group,
    Input,
    Label,
    Output,
    Param,
    Reason,
    Region,
    Site,
    State,
    StateKind,
    Transition,
    Verdict,
    Weight,
)  # fmt: skip
from etir.ir.types import TensorType
from etir.ir.values import Value

DOT = Expression.parse("i,ij->j")


def at(line: int, column: int = 9, file: str = "cells.py") -> Loc:
    return Loc(file=file, line=line, column=column)


def val(text: str, hint: str = "") -> Value:
    return Value(type=TensorType.parse(text), hint=hint)


def dot(data: Value, weight: Weight, hint: str, equation: int, loc: Loc | None = None) -> Site:
    columns = weight.value.type.shape[-1]
    return Site(
        operation="dot",
        expression=DOT,
        data=data,
        weight=weight,
        output=val(f"f32[{columns}]", hint),
        equation=equation,
        held=True,
        loc=loc,
    )


def of_itself(param: Param) -> Weight:
    return Weight(value=param.value, params=(param,))


def shifts(sites: Sequence[Site]) -> tuple[Value, ...]:
    """The zeros that regions add to the sites' outputs."""
    return tuple(Value(type=site.output.type, hint=f"d{site.output.hint}") for site in sites)


def gru() -> Transition:
    """A GRU that resets before its recurrent product: one gate is out of reach of a positional trace."""
    Wz, Wr, Wh = (
        Param(path=f"cell.{name}", value=val("f32[11,8]", name), loc=at(12 + k))
        for k, name in enumerate(["Wz", "Wr", "Wh"])
    )
    h = State(path="cell.h", before=val("f32[8]", "h"), after=val("f32[8]", "h"), kind=StateKind.HIDDEN, loc=at(20))
    x, y = val("f32[3]", "x"), val("f32[8]", "y")
    xh, rh = val("f32[11]", "xh"), val("f32[11]", "rh")
    weights = tuple(of_itself(param) for param in (Wz, Wr, Wh))
    yz = dot(xh, weights[0], "yz", 1, at(41, 18))
    yr = dot(xh, weights[1], "yr", 2, at(42, 18))
    yh = dot(rh, weights[2], "yh", 6, at(43, 18))
    sites, params = (yz, yr, yh), [w.value for w in weights]
    zeros = shifts(sites)
    same = Coupling.identity((8,))
    group = Group(index=0, states=(h,), shape=(8,), jacobian=(Dependence(of=h, on=h, coupling=same),))
    through = Crossing(operation="dot", why="mixes positions", loc=at(43, 18))
    crosses = Reason(text="recurrence through %yz, %yh crosses positions", loc=at(41, 18))
    return Transition(
        name="gru",
        params=(Wz, Wr, Wh),
        states=(h,),
        inputs=(Input(path="x", value=x),),
        outputs=(Output(path="y", value=y),),
        regions=(
            Region(name="step", inputs=(*params, h.before, x), outputs=(h.after, y), equations=15, recorded="5f0c91d2"),
            Region(name="weights", inputs=tuple(params), outputs=tuple(params), equations=0, recorded="00aa17c4"),
            Region(
                name="forward",
                inputs=(*params, h.before, x, *zeros),
                outputs=(h.after, y, xh, rh),
                equations=18,
                recorded="b1946ac9",
            ),
            Region(
                name="hidden",
                inputs=(h.before, yz.output, yr.output, yh.output, *zeros),
                outputs=(h.after,),
                equations=14,
                recorded="e5fa44f2",
            ),
        ),
        weights=weights,
        sites=sites,
        groups=(group,),
        associations=(
            Association(site=yz, group=group, couplings=(same,), traced=True),
            Association(site=yh, group=group, couplings=(same,), traced=True),
            Association(site=yr, group=group, couplings=(None,), traced=False, through=(through,)),
        ),
        certificate=Certificate(
            rule="d_rtrl",
            window=16,
            labels=(
                Label(path="cell.Wz", label=Verdict.APPROXIMATE, rule="d_rtrl", reasons=(crosses,)),
                Label(
                    path="cell.Wr",
                    label=Verdict.TRUNCATED,
                    rule="d_rtrl",
                    reasons=(Reason(text="reaches %h only through site %yh", loc=at(42, 18)),),
                ),
                Label(
                    path="cell.Wh",
                    label=Verdict.APPROXIMATE,
                    rule="d_rtrl",
                    reasons=(crosses, Reason(text="the dropped term is dense")),
                ),
            ),
        ),
        loc=at(31, 1),
    )


def adaptive() -> Transition:
    """An adaptive neuron: two coupled states, a masked weight, a counter, and a plan."""
    theta = Param(path="w", value=val("f32[3,4]", "w"))
    readout = Param(path="readout", value=val("f32[4,2]", "readout"))
    V = State(path="neuron.V", before=val("f32[4]", "V"), after=val("f32[4]", "V"), kind=StateKind.HIDDEN)
    a = State(path="neuron.a", before=val("f32[4]", "a"), after=val("f32[4]", "a"), kind=StateKind.HIDDEN)
    t = State(path="t", before=val("i32[]", "t"), after=val("i32[]", "t"), kind=StateKind.DISCRETE)
    x, y = val("f32[3]", "x"), val("f32[2]", "y")
    masked = Weight(value=val("f32[3,4]", "w_p"), params=(theta,), loc=at(7))
    current = dot(x, masked, "yw", 2, at(8, 15))
    (zero,) = shifts((current,))
    same = Coupling.identity((4,))
    group = Group(
        index=0,
        states=(V, a),
        shape=(4,),
        jacobian=tuple(Dependence(of=of, on=on, coupling=same) for of in (V, a) for on in (V, a)),
    )
    association = Association(site=current, group=group, couplings=(same, None), traced=True)
    before, after = [V.before, a.before, t.before], [V.after, a.after, t.after]
    return Transition(
        name="adaptive",
        params=(theta, readout),
        states=(V, a, t),
        inputs=(Input(path="x", value=x),),
        outputs=(Output(path="rate", value=y),),
        regions=(
            Region(
                name="step",
                inputs=(theta.value, readout.value, *before, x),
                outputs=(*after, y),
                equations=12,
                recorded="c2f1",
            ),
            Region(
                name="weights",
                inputs=(theta.value, readout.value),
                outputs=(masked.value, readout.value),
                equations=1,
                recorded="9b1e",
            ),
            Region(
                name="forward",
                inputs=(masked.value, readout.value, *before, x, zero),
                outputs=(*after, y),
                equations=12,
                recorded="aa03",
            ),
            Region(
                name="hidden",
                inputs=(V.before, a.before, current.output, zero),
                outputs=(V.after, a.after),
                equations=8,
                recorded="77d0",
            ),
        ),
        weights=(masked, of_itself(readout)),
        sites=(current,),
        groups=(group,),
        associations=(association,),
        certificate=Certificate(
            rule="d_rtrl",
            window=4,
            credit="rule",
            labels=(
                Label(path="w", label=Verdict.EXACT, rule="d_rtrl"),
                Label(
                    path="readout",
                    label=Verdict.EXACT,
                    rule="bptt",
                    reasons=(Reason(text="reaches no hidden state: the window's gradient is the whole"),),
                ),
            ),
        ),
        plan=_adaptive_plan(association, group, (theta, readout), x),
    )


def _adaptive_plan(association: Association, group: Group, params: Sequence[Param], x: Value) -> Plan:
    states = [state.before.hint for state in group.states]
    traces = tuple(
        Trace(
            before=val("f32[3,4]", f"e_{name}"),
            after=val("f32[3,4]", f"e_{name}_next"),
            label=f"w on {name}",
            loc=at(8, 15),
        )
        for name in states
    )
    pairs = tuple((i, j) for i in range(2) for j in range(2))
    jacobian = Jacobian(
        group=group, pairs=pairs, results=tuple(val("f32[4]", f"D_{states[i]}_{states[j]}") for i, j in pairs)
    )
    sensitivity = Sensitivity(association=association, results=(val("f32[4]", "f_V"),), loc=at(8, 15))
    entering = tuple(Value(type=s.before.type, hint=f"{s.before.hint}_bar") for s in group.states)
    reverse = tuple(Value(type=p.value.type, hint=f"{p.value.hint}_bar") for p in params)
    contract = Contract(
        association=association,
        trace=tuple(trace.before for trace in traces),
        cotangents=entering,
        results=(val("f32[3,4]", "g_w"),),
    )
    return Plan(
        rule="d_rtrl",
        window=4,
        credit="rule",
        rules=("d_rtrl", "bptt"),
        left=(params[1],),
        traces=traces,
        step=(
            jacobian,
            sensitivity,
            Advance(
                trace=tuple(trace.before for trace in traces),
                by=Diagonal(association=association, pairs=pairs, factors=jacobian.results),
                add=Outer(association=association, factors=(*sensitivity.results, None), data=x),
                results=tuple(trace.after for trace in traces),
                loc=at(9),
            ),
        ),
        at_window=(
            Vjp(region="forward", results=(*entering, *reverse)),
            contract,
            Pullback(
                reverse=reverse,
                weights=(association.site.weight,),
                on_weights=contract.results,
                takers=(params[0],),
                results=tuple(Value(type=p.value.type, hint=f"grad_{p.value.hint}") for p in params),
            ),
        ),
    )


ALL = {"gru": gru, "adaptive": adaptive}
