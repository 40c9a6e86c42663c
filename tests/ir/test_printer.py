"""The text form: whole texts, names, and what prints of a broken transition."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from ir_broken import broken_versions
from ir_changes import plan_of, with_operation
from ir_everything import everything
from ir_examples import ALL, adaptive, at, gru, val
from ir_same import differences

from etir.ir.layout import Listing, align, spread, wrap
from etir.ir.names import Names
from etir.ir.parser import parse
from etir.ir.plan import Advance, Diagonal, Operation, Part, Plan
from etir.ir.printer import isomorphic, render
from etir.ir.transition import (
    Association,
    Group,
    Input,
    Label,
    Output,
    Param,
    State,
    StateKind,
    Transition,
    Verdict,
    Weight,
)
from etir.ir.values import Value

EXAMPLES = ALL | {"everything": everything}


@pytest.mark.parametrize("name", EXAMPLES)
def test_whole_text(name: str, golden: Callable[[str, str], None]):
    golden(f"transition_{name}.txt", render(EXAMPLES[name]()))


def test_str_is_the_text():
    assert str(gru()) == render(gru())


def test_an_empty_transition():
    assert render(Transition(name="t", loc=at(3))) == "transition @t  loc(cells.py:3:9) {\n}\n"


def test_declarations_align_by_kind():
    text = render(
        Transition(
            name="t",
            params=(Param(path="w", value=val("f32[4,4]", "w")), Param(path="a.gain", value=val("f32[]", "gain"))),
            states=(
                State(path="h", before=val("f32[4]", "h"), after=val("f32[4]", "h"), kind=StateKind.HIDDEN),
                State(path="key", before=val("u32[2]", "key"), after=val("u64[2]", "key"), kind=StateKind.DISCRETE),
            ),
            inputs=(Input(path="x", value=val("f32[4]", "x")),),
            outputs=(Output(path="y", value=val("bf16[4]", "y")),),
        )
    )
    assert text == (
        "transition @t {\n"
        '  param  %w    : f32[4,4]  "w"\n'
        '  param  %gain : f32[]     "a.gain"\n'
        '  state  %h -> %h1     : f32[4]            hidden   "h"\n'
        '  state  %key -> %key1 : u32[2] -> u64[2]  discrete "key"\n'
        '  input  %x : f32[4]  "x"\n'
        '  output %y : bf16[4]  "y"\n'
        "}\n"
    )


def test_names_come_from_hints_and_are_unique():
    values = [val("f32[]", hint) for hint in ("h", "h", "h1", "h1", "", "", "cell.w", "a b/c", "9")]
    names = Names(values)
    assert [names[v] for v in values] == [
        "%h", "%h1", "%h1_1", "%h1_2", "%0", "%1", "%cell.w", "%a_b_c", "%9",
    ]  # fmt: skip
    assert names[values[1]] == "%h1"
    assert names[None] == "<missing>"


def test_numbered_names_ignore_hints():
    values = [val("f32[]", "h"), val("f32[]", "w")]
    names = Names(values, numbered=True)
    assert [names[v] for v in values] == ["%0", "%1"]


def test_names_are_those_of_the_text():
    t = gru()
    names = Names.of(t)
    assert [names[site.output] for site in t.sites] == ["%yz", "%yr", "%yh"]
    assert f"state  {names[t.states[0].before]} -> {names[t.states[0].after]}" in render(t)


def test_odd_names_and_places_are_quoted():
    param = Param(path='a "b"', value=val("f32[]", "w"), loc=at(3, file="my (old) model.py"))
    assert render(Transition(name="two words", params=(param,))) == (
        'transition @"two words" {\n  param  %w : f32[]  "a \\"b\\""  loc("my (old) model.py:3:9")\n}\n'
    )


def test_parameters_that_are_weights_share_a_line():
    w, v, u = (Param(path=name, value=val("f32[2,2]", name)) for name in "wvu")
    masked = Weight(value=val("f32[2,2]", "masked"), params=(w, v), loc=at(5))
    weights = (Weight(value=w.value, params=(w,)), Weight(value=v.value, params=(v,)), masked)
    text = render(Transition(name="t", params=(w, v, u), weights=(*weights, Weight(value=u.value, params=(u,)))))
    assert text.splitlines()[4:-1] == [
        "  weight %w, %v",
        "  weight %masked : f32[2,2] = prologue(%w, %v)  loc(cells.py:5:9)",
        "  weight %u",
    ]


def test_a_label_with_its_own_rule_and_several_reasons():
    t = gru()
    assert t.certificate is not None
    label = Label(path="cell.Wz", label=Verdict.EXACT, rule="snap(2)")
    text = render(replace(t, certificate=replace(t.certificate, labels=(label, *t.certificate.labels[1:]))))
    lines = [line.removeprefix("    ") for line in text.splitlines() if line.startswith(('    "cell', " " * 40))]
    assert lines == [
        '"cell.Wz"  exact        by "snap(2)"',
        '"cell.Wr"  truncated                  "reaches %h only through site %yh"               loc(cells.py:42:18)',
        '"cell.Wh"  approximate                "recurrence through %yz, %yh crosses positions"  loc(cells.py:41:18)',
        '                                      "the dropped term is dense"',
    ]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DecayTwice(Operation):
    """An operation that the package does not know."""

    of: Value
    by: tuple[float, ...] = ()
    how: str = "plain"
    group: Group | None = None
    association: Association | None = None
    odd: object = None


def planned(*step: Operation, **fields: Any) -> Transition:
    return replace(adaptive(), plan=Plan(rule="mine", window=1, credit="full", step=step, **fields))


def plan_text(t: Transition) -> str:
    text = render(t)
    return text[text.index("  plan") :]


def test_an_operation_of_a_user():
    t = adaptive()
    value = val("f32[4]", "d")
    operation = DecayTwice(
        of=t.params[0].value, by=(0.5, 2), how="by halves", group=t.groups[0], association=t.associations[0],
        odd=3j, results=(value,), loc=at(2),
    )  # fmt: skip
    silent = DecayTwice(of=value)
    assert plan_text(replace(t, plan=Plan(rule="mine", window=1, credit="full", step=(operation, silent)))) == (
        "  plan mine window=1 credit=full {\n"
        "    step {\n"
        "      %d : f32[4]\n"
        "        = decay_twice(of=%w,\n"
        "                      by=[0.5, 2],\n"
        '                      how="by halves",\n'
        "                      group=#0,\n"
        "                      association=%yw -> #0,\n"
        "                      odd=<complex>)  loc(cells.py:2:9)\n"
        "      = decay_twice(of=%d)\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


def test_results_of_one_type_share_a_line():
    """An operation stands on the line of its results where both fit; results of several types have a line a type."""
    kinds = ["f32[4]", "f32[4]", "f32[]", "f32[4]"]
    few = DecayTwice(of=val("f32[]", "a"), results=(val("f32[4]", "b"), val("f32[4]", "c")))
    several = DecayTwice(of=val("f32[]", "a"), results=tuple(val(kind, f"r{k}") for k, kind in enumerate(kinds)))
    many = DecayTwice(of=val("f32[]", "a"), results=tuple(val("f32[4]", f"a_long_name_{k}") for k in range(9)))
    assert plan_text(planned(few, several, many)).splitlines()[2:-3] == [
        "      %b, %c : f32[4] = decay_twice(of=%a2)",
        "      %r0, %r1 : f32[4],",
        "      %r2      : f32[],",
        "      %r3      : f32[4]",
        "        = decay_twice(of=%a3)",
        "      %a_long_name_0, %a_long_name_1, %a_long_name_2, %a_long_name_3, %a_long_name_4, %a_long_name_5, "
        "%a_long_name_6,",
        "      %a_long_name_7, %a_long_name_8 : f32[4]",
        "        = decay_twice(of=%a4)",
    ]
    read = parse(render(planned(few, several, many)), operations=(DecayTwice,))
    assert isomorphic(read, planned(few, several, many))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class About(Part):
    """A part about an association."""

    association: Association


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Both(Operation):
    """An operation of parts."""

    parts: tuple[About, ...]


def test_what_an_operation_is_about_is_said_once():
    """A part that names no association has that of the part before it, and an operation without a place its place."""
    t = gru()
    one, other, _ = t.associations
    parts = tuple(About(association=association) for association in (one, one, other, other, one))
    made = planned_in(t, Both(parts=parts, loc=one.site.loc), Both(parts=parts[:1], loc=at(50)))
    assert plan_text(made).splitlines()[2:-3] == [
        "      = both(parts=[about(association=%yz -> #0), about(), about(association=%yh -> #0), about(),",
        "                    about(association=%yz -> #0)])",
        "      = both(parts=[about(association=%yz -> #0)])  loc(cells.py:50:9)",
    ]
    read = parse(render(made), operations=(Both, About))
    assert differences(made, read) == []
    assert read.plan is not None
    assert [str(operation.loc) for operation in read.plan.step] == ["cells.py:41:18", "cells.py:50:9"]


def planned_in(t: Transition, *step: Operation) -> Transition:
    return replace(t, plan=Plan(rule="d_rtrl", window=16, credit="full", step=step))


def test_only_rules_that_differ_are_named():
    t = adaptive()
    assert "rule" not in plan_text(replace(t, plan=Plan(rule="a", window=1, credit="full")))
    text = plan_text(replace(t, plan=Plan(rule="a", window=1, credit="full", rules=("b c", "a"), left=t.params)))
    assert text == ('  plan a window=1 credit=full {\n    rule "b c" for %w\n    no trace for %w, %readout\n  }\n}\n')


def test_values_in_parts_are_named():
    t = everything()
    numbered = Names(numbered=True)
    text = render(t, numbered)
    lines = text[text.index("plan all_at_once") :]
    assert re.findall(r"%[A-Za-z_]", lines) == []
    advance = plan_of(t).step[9]
    assert isinstance(advance, Advance)
    assert isinstance(advance.by, Diagonal)
    assert f"factors=[{', '.join(numbered[value] for value in advance.by.factors)}]" in lines
    assert Names.of(t)[advance.by.factors[0]] == "%D_V_V_scaled"


def test_isomorphic_looks_into_parts():
    t = everything()
    advance = plan_of(t).step[9]
    assert isinstance(advance, Advance)
    swapped = replace(advance.by, factors=advance.by.factors[::-1])  # pyright: ignore[reportCallIssue]
    assert not isomorphic(t, with_operation(t, Advance, by=swapped))
    assert isomorphic(t, everything())


def test_isomorphic_ignores_hints_alone():
    t = gru()
    renamed = replace(t, inputs=(replace(t.inputs[0], path="z"),))
    other = gru()
    assert isomorphic(t, other)
    assert not isomorphic(t, renamed)
    assert not isomorphic(t, replace(t, regions=(replace(t.regions[0], recorded="0"), *t.regions[1:])))
    fresh = Value(type=t.inputs[0].value.type, hint="another")
    step = replace(t.regions[0], inputs=(*t.regions[0].inputs[:-1], fresh))
    forward = replace(t.regions[2], inputs=tuple(fresh if v is t.inputs[0].value else v for v in t.regions[2].inputs))
    regions = (step, t.regions[1], forward, t.regions[3])
    assert isomorphic(t, replace(t, inputs=(replace(t.inputs[0], value=fresh),), regions=regions))


def test_missing_parts_print_as_missing():
    t = gru()
    site = replace(t.sites[0], weight=None, expression=None)
    text = render(replace(t, params=(), sites=(site,), groups=(), regions=(), weights=(), certificate=None))
    assert text == (
        "transition @gru  loc(cells.py:31:1) {\n"
        '  state  %h -> %h1 : f32[8]  hidden "cell.h"  loc(cells.py:20:9)\n'
        '  input  %x : f32[3]  "x"\n'
        '  output %y : f32[8]  "y"\n'
        "  value  %xh : f32[11]\n"
        "\n"
        "  site %yz : f32[8] = etp.dot(%xh, <missing>)  <missing>  equation 1  held  loc(cells.py:41:18)\n"
        "\n"
        "  associate %Wz at %yz of an unknown group : [=]   traced\n"
        "  associate %Wh at %yh of an unknown group : [=]   traced\n"
        "  associate %Wr at %yr of an unknown group : none  untraced\n"
        '    through dot "mixes positions"  loc(cells.py:43:18)\n'
        "}\n"
    )


def test_a_section_that_no_text_can_show_leaves_the_others():
    text = render(replace(gru(), regions=(None,)))
    assert "  <broken regions: 'NoneType' object has no attribute 'outputs'>\n" in text
    assert "  site %yz : f32[8] = etp.dot(%xh, %Wz)" in text


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_broken_version_prints(name: str):
    broken = broken_versions(EXAMPLES[name](), every=17 if name == "everything" else 5)
    assert all(render(version).startswith("transition @") for version in broken)


def test_align_pads_all_but_very_wide_cells():
    assert align([["a", "  b"], ["ccc", "  d"], ["x" * 99, "  e"]], "> ") == [
        "> a    b",
        "> ccc  d",
        f"> {'x' * 99}  e",
    ]


WORDS = tuple("value" * 3 for _ in range(8))


def test_a_list_fills_lines():
    piece = Listing(head="f(a=[", items=WORDS, tail="])")
    assert spread("= ", piece, "  loc(a.py:1)") == [
        "= f(a=[" + ", ".join(WORDS[:6]) + ",",
        "       " + ", ".join(WORDS[6:]) + "])  loc(a.py:1)",
    ]
    assert spread("= ", Listing(head="f(", items=("a", "b"), tail=")"), "") == ["= f(a, b)"]
    assert spread("= ", Listing(head="f(" + "x" * 120, items=(), tail=")"), "") == [f"= f({'x' * 120})"]


def test_a_list_of_lists_opens_where_it_is_too_long():
    inner = Listing(
        head="by=diagonal(", items=("of=#0", Listing(head="all=[", items=WORDS, tail="]")), tail=")", stacked=True
    )
    outer = Listing(head="advance(", items=("trace=[%e]", inner, "add=plain()"), tail=")", stacked=True)
    assert spread("  = ", outer, "  loc(a.py:1)") == [
        "  = advance(trace=[%e],",
        "            by=diagonal(of=#0,",
        "                        all=[" + ", ".join(WORDS[:4]) + ",",
        "                             " + ", ".join(WORDS[4:]) + "]),",
        "            add=plain())  loc(a.py:1)",
    ]


def test_wrap_puts_items_under_each_other():
    assert wrap("f(", ["a", "b"], ")") == ["f(a, b)"]
    assert wrap("f(", [], ")") == ["f()"]
    assert wrap("", ["a", "b"], "") == ["a, b"]
    assert wrap("call(", [f"the_argument_number_{k}" for k in range(6)], ") -> %y") == [
        "call(the_argument_number_0, the_argument_number_1, the_argument_number_2, the_argument_number_3,",
        "     the_argument_number_4, the_argument_number_5) -> %y",
    ]
