"""Transitions with a fault in a field, a state, a region, a weight or a site, and what the verifier says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from ir_changes import set_at
from ir_examples import adaptive, gru, val

from etir.ir.expression import Expression
from etir.ir.transition import Transition, Weight


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
    t = gru()
    return replace(t, regions=set_at(t.regions, 1, body="a, b"))


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
    t = gru()
    return replace(t, sites=set_at(t.sites, 1, equation=15), associations=())


def equation_shared() -> Transition:
    t = gru()
    return replace(t, sites=set_at(t.sites, 1, equation=1), associations=())


def site_with(expression: str) -> Transition:
    t = gru()
    return replace(t, sites=set_at(t.sites, 0, expression=Expression.parse(expression)), associations=())


STRUCTURE: dict[str, tuple[Callable[[], Transition], str]] = {
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
        "  region @hidden(%h, %q, %yz, %yr, %yh, %dyz, %dyr, %dyh) -> (%h1)                 14 equations, "
        "digest e5fa44f2\n"
        "                     ^^",
    ),
    "shift_in_the_middle": (
        shift_in_the_middle,
        "error: region @hidden reads %dyh, %dyr, %dyz, which nothing defines [ir-undefined]\n"
        "  region @hidden(%dyh, %dyr, %dyz, %yh, %yr, %yz, %h) -> (%h1)                     14 equations, "
        "digest e5fa44f2\n"
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
}
