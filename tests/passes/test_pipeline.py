"""Textual pipelines: what prints reads back, and what is wrong is shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_passes import KNOWN, Decay, DropOutputs, Options, Rename, Side

from etir.ir.diagnostics import EtirError
from etir.passes.base import Pass
from etir.passes.manager import PassManager
from etir.passes.pipeline_text import parse_pipeline


def read(text: str) -> list[Pass]:
    return parse_pipeline(text, KNOWN, values=(Decay,))


def test_names_and_options():
    assert read(' rename{to=a} ,drop-outputs, options{text="a b",count=3} ') == [
        Rename("a"),
        DropOutputs(),
        Options(text="a b", count=3),
    ]
    assert read("") == []
    assert read("options{}") == [Options()]


def test_known_passes_may_come_by_name():
    assert parse_pipeline("drop-outputs", {"drop-outputs": DropOutputs}) == [DropOutputs()]


VALUES: list[dict[str, Any]] = [
    {"text": "cell.*"},
    {"text": "two words"},
    {"text": 'a "quote", a \\ and {braces} = ü'},
    {"text": ""},
    {"text": "true"},
    {"text": "none"},
    {"text": "3"},
    {"count": 0},
    {"count": -4},
    {"ratio": 1e-300},
    {"ratio": float("inf")},
    {"deep": True},
    {"names": ("a", "b c", "*")},
    {"names": ("one",)},
    {"pairs": (("cell.*", "rtrl"), ("b", Decay()))},
    {"side": Side.RIGHT},
    {"rule": Decay()},
    {"rule": Decay(0.5)},
    {"rule": "decay"},
    {"odd": ((), (1, (2.5, None)), False)},
    {"text": "a", "count": 2, "names": ("x",)},
]


@pytest.mark.parametrize("options", VALUES, ids=str)
def test_a_pass_reads_back(options: dict[str, Any]):
    pass_ = Options(**options)
    assert read(str(pass_)) == [pass_]
    assert read(str(PassManager((pass_, DropOutputs(), pass_)))) == [pass_, DropOutputs(), pass_]


@given(st.text(), st.none() | st.integers(), st.floats(allow_nan=False), st.booleans(), st.lists(st.text()).map(tuple))
def test_any_options_read_back(text: str, count: int | None, ratio: float, deep: bool, names: tuple[str, ...]):
    pass_ = Options(text=text, count=count, ratio=ratio, deep=deep, names=names)
    assert read(str(pass_)) == [pass_]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "rename{to=a},drop-output",
            "error: unknown pass 'drop-output' [unknown-pass]\n"
            "  rename{to=a},drop-output\n"
            "               ^^^^^^^^^^^\n"
            "  help: did you mean 'drop-outputs'?",
        ),
        (
            "zzz",
            "error: unknown pass 'zzz' [unknown-pass]\n"
            "  zzz\n"
            "  ^^^\n"
            "  help: known: breaks, copy, crash, drop-outputs, options, refuse, rename",
        ),
        (
            "options{cuont=3}",
            "error: pass 'options' has no option 'cuont' [unknown-option]\n"
            "  options{cuont=3}\n"
            "          ^^^^^\n"
            "  help: did you mean 'count'?",
        ),
        (
            "copy{a=1}",
            "error: pass 'copy' has no option 'a' [unknown-option]\n"
            "  copy{a=1}\n"
            "       ^\n"
            "  help: 'copy' has no options",
        ),
        (
            "options{rule=dekay{}}",
            "error: unknown value 'dekay' [unknown-value]\n"
            "  options{rule=dekay{}}\n"
            "               ^^^^^\n"
            "  help: did you mean 'decay'?",
        ),
        (
            "options{count=many}",
            "error: option 'count' of 'options' is many; wanted int | None [option-type]\n"
            "  options{count=many}\n"
            "                ^^^^",
        ),
        (
            "options{names=a}",
            "error: option 'names' of 'options' is a; wanted tuple[str, ...] [option-type]\n"
            "  options{names=a}\n"
            "                ^",
        ),
        (
            "options{side=up}",
            "error: option 'side' of 'options' is up; wanted Side [option-type]\n"
            "  options{side=up}\n"
            "               ^^",
        ),
        (
            "rename",
            "error: pass 'rename' needs its option 'to' [missing-option]\n"
            "  rename\n"
            "  ^^^^^^",
        ),
        (
            "options{deep=true, deep=false}",
            "error: option 'deep' is given twice [pipeline-syntax]\n"
            "  options{deep=true, deep=false}\n"
            "                     ^^^^",
        ),
        (
            "copy copy",
            "error: expected ',', found 'c' [pipeline-syntax]\n"
            "  copy copy\n"
            "       ^",
        ),
        (
            "copy,",
            "error: expected the name of a pass, found the end of the pipeline [pipeline-syntax]\n"
            "  copy,\n"
            "       ^",
        ),
        (
            "options{count=}",
            "error: expected a value: a word, a quoted string, a number or a list in brackets, found '}' "
            "[pipeline-syntax]\n"
            "  options{count=}\n"
            "                ^",
        ),
        (
            "options{names=[a",
            "error: expected ',', found the end of the pipeline [pipeline-syntax]\n"
            "  options{names=[a\n"
            "                  ^",
        ),
    ],
)  # fmt: skip
@pytest.mark.each
def test_an_error_in_full_text(text: str, message: str):
    with pytest.raises(EtirError) as failure:
        read(text)
    assert str(failure.value) == message
