"""A plan that makes no sense as a rule, but is well formed, and has an operation of nearly every kind."""

from __future__ import annotations

from dataclasses import replace

from ir_examples import adaptive, at, val

from etir.coupling import Coupling
from etir.ir.plan import (
    Advance,
    AdvanceFull,
    Apply,
    Contract,
    ContractFull,
    Credit,
    Diagonal,
    Jacobian,
    LossSignal,
    Neighbourhood,
    Outer,
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
    Total,
    Trace,
    Vjp,
)
from etir.ir.transition import Region, Transition
from etir.ir.values import Value


def trace(kind: str, name: str, label: str, start: str | None = None) -> Trace:
    return Trace(before=val(kind, name), after=val(kind, f"{name}_next"), label=label, start=start, loc=at(8, 15))


def everything() -> Transition:
    t = adaptive()
    (association,), (group,), site = t.associations, t.groups, t.sites[0]
    w, readout = t.params
    same = Coupling.identity((4,))
    x, wide, pairs = t.inputs[0].value, Coupling.parse("[-1..1]", (4,), (4,)), ((0, 0), (1, 0))
    reward = Signal(path="reward", value=val("f32[]", "reward"), loc=at(30))
    e_V, e_a = trace("f32[3,4]", "e_V", "w on V"), trace("f32[3,4]", "e_a", "w on a")
    near, data = trace("f32[3,3,4]", "near", "w near V"), trace("f32[3]", "X_w", "data of w")
    noise = trace("f32[4]", "noise", "a random direction", start="start_noise")
    full = trace("f32[8,12]", "e_w", "w on every hidden state")
    loss = LossSignal(results=(val("f32[2]", "y_bar"),))
    credit = Credit(
        region="exit",
        cotangents=loss.results,
        results=(val("f32[4]", "L_V"), val("f32[4]", "L_a"), val("f32[4]", "u")),
    )
    D = Jacobian(group=group, pairs=pairs, results=(val("f32[4]", "D_V_V"), val("f32[4]", "D_a_V")))
    D_whole = Jacobian(group=group, pairs=pairs[:1], whole=True, results=(val("f32[4]", "D"),))
    slower = Scale(value=D.results[0], factor=0.9, results=(val("f32[4]", "D_V_V_scaled"),))
    f = Sensitivity(association=association, results=(val("f32[4]", "f_V"),))
    turned = Apply(
        region="turn", values=(noise.before, reward.value), estimates="rtrl", results=(noise.after,), loc=at(31)
    )
    pushed = Push(tangents=(noise.before, noise.before), results=(val("f32[4]", "JV"), val("f32[4]", "Ja")))
    pulled = Pull(params=(w,), cotangents=pushed.results, results=(val("f32[3,4]", "w_pulled"),))
    read = Contract(
        association=association,
        trace=(e_V.after, e_a.after),
        cotangents=credit.results[:2],
        results=(val("f32[3,4]", "now"),),
    )
    step = (
        loss, credit, D, D_whole, slower, f, turned, pushed, pulled,
        Advance(
            trace=(e_V.before, e_a.before),
            by=Diagonal(association=association, pairs=pairs, factors=(*slower.results, D.results[1])),
            add=Outer(association=association, factors=(*f.results, None), data=x),
            results=(e_V.after, e_a.after),
        ),
        Advance(
            trace=(near.before,),
            by=Neighbourhood(
                association=association, reach=wide, pairs=pairs[:1], couplings=(same,), factors=D_whole.results,
            ),
            add=Outer(association=association, factors=f.results, data=x, reach=wide),
            results=(near.after,),
        ),
        Advance(trace=(data.before,), by=Scalar(factor=0.9), add=Plain(values=(x,)), results=(data.after,), loc=at(9)),
        read,
    )  # fmt: skip
    entering = (val("f32[4]", "V_bar"), val("f32[4]", "a_bar"))
    reverse = tuple(Value(type=p.value.type, hint=f"{p.value.hint}_bar") for p in t.params)
    total = Total(value=read.results[0], results=(val("f32[3,4]", "g_now"),))
    projected = Project(
        association=association, factors=(noise.before, None), cotangents=entering, results=(val("f32[4]", "yw_bar"),)
    )
    product = Product(site=site, data=data.before, cotangent=projected.results[0], results=(val("f32[3,4]", "g_data"),))
    contract_near = Contract(
        association=association,
        trace=(near.before,),
        cotangents=entering[:1],
        reach=wide,
        results=(val("f32[3,4]", "g_near"),),
    )
    contract_full = ContractFull(param=w, trace=full.before, cotangents=entering, results=(val("f32[3,4]", "g_full"),))
    on_weights = (*total.results, *product.results, *contract_near.results)
    at_window = (
        total,
        Vjp(region="forward", detached=(site,), exit=(noise.before, noise.before), results=(*entering, *reverse)),
        projected, product, contract_near,
        AdvanceFull(param=w, trace=full.before, results=(full.after,)),
        contract_full,
        Pullback(
            reverse=reverse, weights=(site.weight,) * 3, on_weights=on_weights, takers=(w,), params=(w,),
            on_params=contract_full.results,
            results=tuple(Value(type=p.value.type, hint=f"grad_{p.value.hint}") for p in t.params),
        ),
    )  # fmt: skip
    plan = Plan(
        rule="all_at_once",
        window=4,
        credit="full",
        rules=("all_at_once", "bptt"),
        left=(readout,),
        because=("all_at_once holds 1 kB; rtrl would hold more", ""),
        window_because="4 takes 1 ms",
        fold=64,
        fold_because="64 takes 1 ms",
        signals=(reward,),
        traces=(e_V, e_a, near, data, noise, full),
        step=step,
        at_window=at_window,
    )
    given = (*(weight.value for weight in t.weights), *(state.before for state in t.states), x)
    regions = (
        Region(
            name="exit",
            inputs=(*given, val("f32[4]", "dyw")),
            outputs=(val("f32[2]", "y"),),
            equations=5,
            recorded="6e17",
        ),
        Region(
            name="turn",
            inputs=(val("f32[4]", "a"), val("f32[]", "a")),
            outputs=(val("f32[4]", "turned"),),
            equations=2,
            recorded="70f2",
        ),
        Region(
            name="start_noise",
            inputs=(val("u32[2]", "a"),),
            outputs=(val("f32[4]", "start"),),
            equations=9,
            recorded="51ab",
        ),
    )
    return replace(t, regions=(*t.regions, *regions), plan=plan, certificate=None)
