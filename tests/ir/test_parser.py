"""Reading texts: what `render` writes reads back, and what is wrong is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from ir_everything import everything
from ir_examples import ALL, DOT, adaptive, gru, val
from ir_same import differences

from etir.coupling import Coupling
from etir.ir.diagnostics import EtirError
from etir.ir.expression import Expression
from etir.ir.parser import parse
from etir.ir.plan import Operation, Part, Plan, Scalar
from etir.ir.printer import isomorphic, render
from etir.ir.transition import Association, StateKind, Transition
from etir.ir.types import TensorType


@pytest.mark.parametrize("make", [*ALL.values(), everything])
def test_a_text_reads_back(make: Callable[[], Transition]):
    t = make()
    read = parse(render(t))
    assert differences(read, t) == []
    assert render(read) == render(t)
    assert isomorphic(read, t)


def test_what_is_read_has_the_structure_of_the_original():
    read = parse(render(gru()))
    assert [state.kind for state in read.states] == [StateKind.HIDDEN]
    assert read.sites[0].data is read.sites[1].data
    assert read.sites[0].weight is read.weights[0]
    assert read.weights[0].params == (read.params[0],)
    assert read.groups[0].jacobian[0].coupling == Coupling.identity((8,))
    assert read.associations[2].couplings == (None,)
    assert str(read.associations[2].through[0].loc) == "cells.py:43:18"
    assert str(read.associations[0].loc) == "cells.py:41:18"
    assert read.regions[3].inputs[1] is read.sites[0].output
    assert read.regions[0].body is None
    assert read.certificate is not None
    assert [len(label.reasons) for label in read.certificate] == [1, 1, 2]


def test_space_and_comments_do_not_matter():
    text = render(adaptive())
    compact = " // a comment\n".join(line.strip() for line in text.splitlines())
    assert render(parse(compact)) == text


def test_an_empty_transition():
    assert render(parse("transition @t {}")) == "transition @t {\n}\n"


def test_odd_names_and_places_read_back():
    text = 'transition @"two words"  loc("my (old) model.py:3:9") {\n  param  %w : key<fry>[]  "a \\"b\\" ü"\n}\n'
    assert render(parse(text)) == text


@pytest.mark.parametrize("coupling", ["[=, -1..1]", "[=, b2]", "[(0,1>0) =]", "[*]", "[=, map:3..0]"])
def test_couplings_read_back(coupling: str):
    out = "f32[8]" if ">0" in coupling else "f32[2,4]"
    text = f"""transition @t {{
      param %w : f32[2,4] "w"
      state %h -> %h1 : {out} hidden "h"
      weight %w
      site %y : f32[2,4] = etp.identity(%w) "ab->ab" equation 0
      group #0 [%h] shape [8] {{
        associate %w at %y : {coupling} traced
      }}
    }}"""
    (found,) = parse(text).associations[0].couplings
    assert str(found) == coupling


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Anything(Operation):
    """An operation whose one field may hold anything that a text can show."""

    item: Any = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Part):
    """A part that the package does not know; it compares by value, so that a test can."""

    of: Association
    items: tuple[Any, ...]


def anything_in(t: Transition) -> dict[str, Any]:
    return {
        "value": t.params[0].value,
        "none": None,
        "true": True,
        "int": -3,
        "float": 1e-5,
        "infinite": float("-inf"),
        "string": 'a "quoted" string, with {braces}',
        "empty": (),
        "nested": (1, ("a", None), (t.params[0].value,)),
        "type": TensorType("bfloat16", (2, 3)),
        "expression": DOT,
        "coupling": Coupling.identity((2, 3)),
        "group": t.groups[0],
        "association": t.associations[0],
        "param": t.params[1],
        "state": t.states[2],
        "site": t.sites[0],
        "weight": t.weights[1],
        "list of parameters": t.params,
        "list of states": t.states[::-1],
        "list of sites and weights": (t.sites[0], t.weights[1], t.weights[0]),
        "numbers": ((0, 1), (2, -3), (4,), (True, 1), (1.5, 2)),
        "part": Scalar(factor=0.5),
        "part of a user's": Pair(of=t.associations[0], items=(t.params[0].value, None)),
        "parts": (Scalar(factor=0.5), Pair(of=t.associations[0], items=())),
        "a part in a part": Pair(of=t.associations[0], items=(Pair(of=t.associations[0], items=()),)),
    }


@pytest.mark.parametrize("key", anything_in(adaptive()))
def test_a_field_of_any_kind_reads_back(key: str):
    t = adaptive()
    item = anything_in(t)[key]
    plan = Plan(rule="mine", window=1, credit="full", step=(Anything(item=item, results=(val("f32[]", "r"),)),))
    text = render(replace(t, plan=plan))
    read = parse(text, operations=(Anything, Pair))
    assert read.plan is not None
    found = read.plan.step[0]
    assert isinstance(found, Anything)
    assert same(found.item, anything_in(read)[key])
    assert render(read) == text


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return isinstance(found, tuple) and len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, Scalar):
        return isinstance(found, Scalar) and found.factor == expected.factor
    return found is expected or (found == expected and type(found) is type(expected))


def test_a_number_of_numpy_is_written_as_one_where_python_takes_it_for_one():
    plan = Plan(rule="mine", window=1, credit="full", step=(Anything(item=(np.float64(0.1), np.int32(3))),))
    text = render(replace(adaptive(), plan=plan))
    assert "anything(item=[0.1, <int32>])" in text


def test_a_default_is_not_written():
    t = adaptive()
    text = render(replace(t, plan=Plan(rule="mine", window=1, credit="full", at_window=(Anything(),))))
    assert "    window {\n      = anything()\n    }" in text
    assert render(parse(text, operations=(Anything,))) == text


def wrong(old: str, new: str) -> str:
    """The text of the adaptive example with one thing changed."""
    text = render(adaptive())
    assert old in text
    return text.replace(old, new, 1)


ERRORS = {
    "type": (
        wrong("param  %w       : f32[3,4]", "param  %w       : f32"),
        "<text>:2:21: error: expected a type such as f32[8,16], found 'f32' [ir-syntax]\n"
        '  param  %w       : f32  "w"\n'
        "                    ^^^",
    ),
    "entry": (
        wrong("  input", "  imput"),
        "<text>:7:3: error: unknown entry 'imput' [ir-name]\n"
        '  imput  %x : f32[3]  "x"\n'
        "  ^^^^^\n"
        "  help: did you mean 'input'?",
    ),
    "no entry": (
        "transition @t {\n  %x",
        "<text>:2:3: error: expected an entry such as 'param', 'state' or 'site', or '}', found '%x' [ir-syntax]\n"
        "  %x\n"
        "  ^^",
    ),
    "end": (
        "transition @t {",
        "<text>:1:16: error: expected an entry such as 'param', 'state' or 'site', or '}', found the end of the text "
        "[ir-syntax]\n"
        "  transition @t {\n"
        "                 ^",
    ),
    "rest": (
        "transition @t {} }",
        "<text>:1:18: error: expected the end of the text, found '}' [ir-syntax]\n"
        "  transition @t {} }\n"
        "                   ^",
    ),
    "string without end": (
        wrong('"rate"', '"rate'),
        "<text>:8:23: error: expected a quoted string, found a string without end [ir-syntax]\n"
        '  output %y : f32[2]  "rate\n'
        "                      ^",
    ),
    "escape": (
        wrong('"rate"', '"ra\\te\\q"'),
        "<text>:8:23: error: this string has an unknown escape [ir-syntax]\n"
        '  output %y : f32[2]  "ra\\te\\q"\n'
        "                      ^^^^^^^^^",
    ),
    "kind of state": (
        wrong("hidden", "hiden"),
        "<text>:4:30: error: unknown kind of state 'hiden' [ir-name]\n"
        '  state  %V -> %V1 : f32[4]  hiden   "neuron.V"\n'
        "                             ^^^^^\n"
        "  help: did you mean 'hidden'?",
    ),
    "two types": (
        wrong("output %y : f32[2]", "output %x : f32[2]"),
        "<text>:8:10: error: '%x' is f32[3] above, but f32[2] here [ir-type]\n"
        '  output %x : f32[2]  "rate"\n'
        "         ^^",
    ),
    "value": (
        wrong("etp.dot(%x, %w_p)", "etp.dot(%x, %w_q)"),
        "<text>:18:35: error: unknown value '%w_q' [ir-name]\n"
        '  site %yw : f32[4] = etp.dot(%x, %w_q)  "i,ij->j"  equation 2  held  loc(cells.py:8:15)\n'
        "                                  ^^^^\n"
        "  help: did you mean '%w_p'?",
    ),
    "a value of a region": (
        wrong("-> (%V1, %a1)  ", "-> (%V1, %readuot)  "),
        "<text>:16:46: error: unknown value '%readuot' [ir-name]\n"
        "  region @hidden(%V, %a, %yw, %dyw) -> (%V1, %readuot)                               8 equations, "
        "digest 77d0\n"
        "                                             ^^^^^^^^\n"
        "  help: did you mean '%readout'?",
    ),
    "not a weight": (
        wrong("etp.dot(%x, %w_p)", "etp.dot(%x, %w)"),
        "<text>:18:35: error: '%w' is not a weight [ir-name]\n"
        '  site %yw : f32[4] = etp.dot(%x, %w)  "i,ij->j"  equation 2  held  loc(cells.py:8:15)\n'
        "                                  ^^",
    ),
    "not an operation": (
        wrong("etp.dot(", "dot("),
        "<text>:18:23: error: expected an operation such as etp.dot, found 'dot' [ir-syntax]\n"
        '  site %yw : f32[4] = dot(%x, %w_p)  "i,ij->j"  equation 2  held  loc(cells.py:8:15)\n'
        "                      ^^^",
    ),
    "operands": (
        wrong("etp.dot(%x, %w_p)", "etp.dot(%x, %x, %w_p)"),
        "<text>:18:23: error: expected a weight, or data and a weight, found 3 operands [ir-syntax]\n"
        '  site %yw : f32[4] = etp.dot(%x, %x, %w_p)  "i,ij->j"  equation 2  held  loc(cells.py:8:15)\n'
        "                      ^^^^^^^",
    ),
    "loc": (
        wrong("loc(cells.py:8:15)", "loc(cells.py)"),
        "<text>:18:75: error: expected a location such as model.py:9:4, found 'cells.py' [ir-syntax]\n"
        '  site %yw : f32[4] = etp.dot(%x, %w_p)  "i,ij->j"  equation 2  held  loc(cells.py)\n'
        "                                                                          ^^^^^^^^",
    ),
    "coupling": (
        wrong("%V <- %a : [=]", "%V <- %a : [b3]"),
        "<text>:22:25: error: '[b3]' is no coupling here: 'b3' relates 3 to 3 positions, not 4 to 4 [ir-syntax]\n"
        "  jacobian %V <- %a : [b3]\n"
        "                      ^^^^",
    ),
    "state of a group": (
        wrong("jacobian %V <- %a", "jacobian %V <- %x"),
        "<text>:22:20: error: '%x' is not a state [ir-name]\n"
        "  jacobian %V <- %x : [=]\n"
        "                 ^^",
    ),
    "label": (
        wrong('"w"        exact', '"w"        exakt'),
        "<text>:29:16: error: unknown label 'exakt' [ir-name]\n"
        '  "w"        exakt\n'
        "             ^^^^^\n"
        "  help: did you mean 'exact'?",
    ),
    "whole number": (
        wrong("equation 2", "equation 2.5"),
        "<text>:18:62: error: expected a whole number, found '2.5' [ir-syntax]\n"
        '  site %yw : f32[4] = etp.dot(%x, %w_p)  "i,ij->j"  equation 2.5  held  loc(cells.py:8:15)\n'
        "                                                             ^^^",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_shows_its_place(name: str):
    text, message = ERRORS[name]
    with pytest.raises(EtirError) as failure:
        parse(text)
    assert str(failure.value) == message


PLAN_ERRORS = {
    "operation": ("= advance(", "= advanse(", "unknown operation 'advanse'", "did you mean 'advance'?"),
    "a part for an operation": ("= advance(", "= outer(", "unknown operation 'outer'", None),
    "field": ("by=diagonal", "bye=diagonal", "unknown field of 'advance' 'bye'", "did you mean 'by'?"),
    "field of a part": ("add=outer(factors", "add=outer(factor", "unknown field of 'outer' 'factor'",
                        "did you mean 'factors'?"),
    "field twice": ("data=%x)", "data=%x, data=%x)", "field 'data' is given twice", None),
    "lacking": ("group=#0, pairs", "pairs", "operation 'jacobian' lacks its field 'group'", None),
    "lacking in a part": (", data=%x)", ")", "part 'outer' lacks its field 'data'", None),
    "lacking, and said by no one": ("by=diagonal(association=%yw -> #0,", "by=diagonal(",
                                    "part 'diagonal' lacks its field 'association'", None),
    "lacking in an operation": ("contract(association=%yw -> #0, ", "contract(",
                                "operation 'contract' lacks its field 'association'", None),
    "phase": ("    window {", "    vindow {", "unknown phase 'vindow'", "did you mean 'window'?"),
    "phase twice": ("    window {", "    step {", "phase 'step' is there already", None),
    "group": ("jacobian(group=#0", "jacobian(group=#3", "unknown group '#3'", None),
    "association": ("%yw -> #0", "%x -> #0", "no association leads from '%x' to group #0", None),
    "part": ("add=outer(", "add=uter(", "unknown kind of field 'uter'", "did you mean 'outer'?"),
    "base of parts": ("add=outer(", "add=drive(", "unknown kind of field 'drive'", None),
    "list of a kind": ("takers=param [%w]", "takers=param [%x]", "'%x' is not a parameter", None),
    "hole": ("data=%x", "data=<object>", "expected a field's value, found '<object>'", None),
    "rule of no parameter": ("for %readout", "for %x", "'%x' is not a parameter", None),
    "rule twice": ("for %readout", "for %readout, %readout", "'%readout' has a rule already", None),
    "rule without parameters": ("rule bptt for", "rule bptt", "expected 'for', found '%readout'", None),
    "no what": ("no trace for", "no traces for", "expected 'trace', found 'traces'", None),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAN_ERRORS)
def test_an_error_in_a_plan(name: str):
    old, new, message, help = PLAN_ERRORS[name]
    with pytest.raises(EtirError) as failure:
        parse(wrong(old, new))
    (finding,) = failure.value.diagnostics
    assert (finding.message, finding.help) == (message, help)
    assert finding.loc is not None
    assert finding.marks is not None


def test_a_file_gives_errors_their_name():
    with pytest.raises(EtirError, match=r"^gru\.txt:1:1: error: expected 'transition', found 'state'"):
        parse("state", file="models/gru.txt")


def test_an_expression_reads_back():
    assert Expression.parse(str(DOT)) == DOT
