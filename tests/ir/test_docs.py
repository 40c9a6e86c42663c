"""The pages about the text form and the passes show what is true."""

import re
from typing import Any

from ir_examples import adaptive, gru
from tree import ROOT

from etir.ir.parser import parse
from etir.ir.printer import render
from etir.ir.transition import Transition
from etir.ir.verify import verify
from etir.passes import KNOWN

IR, PASSES = ((ROOT / "docs" / name).read_text() for name in ("ir.md", "passes.md"))


def blocks(page: str, language: str = "") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_transition_on_the_page_reads_back():
    (text,) = (block for block in blocks(IR) if block.startswith("transition"))
    assert text == render(gru())
    assert render(parse(text)) == text
    assert verify(parse(text)) == []


def test_the_plan_on_the_page_is_printed_so():
    (text,) = (block for block in blocks(IR) if block.startswith("  plan"))
    assert text in render(adaptive())


def test_every_pass_is_on_the_page():
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", PASSES, re.MULTILINE)) == sorted(KNOWN)


def test_the_pass_on_the_page_runs():
    code, pipeline = blocks(PASSES, "python")
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(code, namespace)
    exec(pipeline, namespace)
    made = namespace["DropOutputs"]("y").run(gru())
    assert isinstance(made, Transition)
    assert made.outputs == ()
    assert made is namespace["DropOutputs"]("z").run(made)
