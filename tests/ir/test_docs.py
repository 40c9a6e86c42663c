"""The pages about the text form and the passes show what is true."""

import re
from typing import Any

import pytest
from golden_files import compare_with_golden
from ir_examples import adaptive, gru
from tree import ROOT

from etir.ir.attributes import attribute_fields, is_required
from etir.ir.parser import parse
from etir.ir.plan import Operation
from etir.ir.printer import render
from etir.ir.transition import Transition
from etir.ir.verify import verify
from etir.ir.vocabulary import vocabulary
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
    assert render(adaptive()).endswith(text + "}\n")


def row(name: str, kind: type[Any]) -> str:
    """What the page says of an operation or a part: its fields, where it runs, and the first line about it."""
    fields = ", ".join(f.name if is_required(f) else f"{f.name}?" for f in attribute_fields(kind))
    where = ", ".join(kind.phases) if issubclass(kind, Operation) else f"part: {kind.__mro__[1].__name__.lower()}"
    return f"| `{name}({fields})` | {where} | {str(kind.__doc__).strip().splitlines()[0]} |\n"


def operations_table() -> str:
    known = sorted(vocabulary().items(), key=lambda item: (not issubclass(item[1], Operation), item[0]))
    return "| operation | where | what it is |\n|---|---|---|\n" + "".join(row(*each) for each in known)


def test_every_operation_and_part_is_on_the_page(request: pytest.FixtureRequest):
    """`--update-goldens` writes the table, and fails."""
    table = re.compile(r"^\| operation \| where .*?(?=^$)", re.MULTILINE | re.DOTALL)
    wanted = table.sub(lambda _: operations_table(), IR)
    compare_with_golden(ROOT / "docs" / "ir.md", wanted, update=request.config.getoption("--update-goldens"))


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
