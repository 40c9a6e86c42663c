"""The text form: whole texts, names, and what prints of a broken transition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from ir_broken import broken_versions
from ir_examples import ALL, adaptive, at, gru, val

from etir.ir.layout import align, fold, wrap
from etir.ir.names import Names
from etir.ir.plan import Operation, Plan
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


@pytest.mark.parametrize("name", ALL)
def test_whole_text(name: str, golden: Callable[[str, str], None]):
    golden(f"transition_{name}.txt", render(ALL[name]()))


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


def test_an_operation_of_a_user():
    t = adaptive()
    value = val("f32[4]", "d")
    operation = DecayTwice(
        of=t.params[0].value, by=(0.5, 2), how="by halves", group=t.groups[0], association=t.associations[0],
        odd=3j, results=(value,), loc=at(2),
    )  # fmt: skip
    silent = DecayTwice(of=value)
    text = render(replace(t, plan=Plan(rule="mine", window=1, credit="full", step=(operation, silent))))
    assert text[text.index("  plan") :] == (
        "  plan mine window=1 credit=full {\n"
        "    step {\n"
        '      %d : f32[4] = decay_twice(of=%w, by=[0.5, 2], how="by halves", group=#0, association=%yw -> #0,\n'
        "                                odd=<complex>)  loc(cells.py:2:9)\n"
        "        = decay_twice(of=%d)\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


def test_isomorphic_ignores_hints_alone():
    t = gru()
    renamed = replace(t, inputs=(replace(t.inputs[0], path="z"),))
    other = gru()
    assert isomorphic(t, other)
    assert not isomorphic(t, renamed)
    assert not isomorphic(t, replace(t, regions=(replace(t.regions[0], digest="0"), *t.regions[1:])))
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


@pytest.mark.parametrize("name", ALL)
def test_every_broken_version_prints(name: str):
    assert all(render(broken).startswith("transition @") for broken in broken_versions(ALL[name](), every=5))


def test_align_pads_all_but_very_wide_cells():
    assert align([["a", "  b"], ["ccc", "  d"], ["x" * 99, "  e"]], "> ") == [
        "> a    b",
        "> ccc  d",
        f"> {'x' * 99}  e",
    ]


def test_fold_breaks_the_first_list():
    line = "= f(a=[" + ", ".join(['"one, two"', *("value" * 3 for _ in range(8))]) + "], b=[c])"
    assert fold(line) == [
        '= f(a=["one, two", ' + ", ".join(["value" * 3] * 5) + ",",
        "       " + ", ".join(["value" * 3] * 3) + "], b=[c])",
    ]
    assert fold("short [a, b]") == ["short [a, b]"]


def test_wrap_puts_items_under_each_other():
    assert wrap("f(", ["a", "b"], ")") == ["f(a, b)"]
    assert wrap("f(", [], ")") == ["f()"]
    assert wrap("call(", [f"the_argument_number_{k}" for k in range(6)], ") -> %y") == [
        "call(the_argument_number_0, the_argument_number_1, the_argument_number_2, the_argument_number_3,",
        "     the_argument_number_4, the_argument_number_5) -> %y",
    ]
