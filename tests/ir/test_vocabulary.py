"""Which operations and parts a text may name: what the modules of `ir/plan` define, whatever they are called."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from ir_examples import adaptive

from etir.ir import plan
from etir.ir.diagnostics import EtirError
from etir.ir.parser import parse
from etir.ir.plan import Advance, Operation, Part
from etir.ir.printer import render
from etir.ir.verify import verify
from etir.ir.vocabulary import vocabulary

NEW = """
from dataclasses import dataclass

from ..values import Value
from .operation import Operation
from .transfer import Transfer


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class HalveTwice(Operation):
    of: Value

    def types(self, t):
        return (self.of.type,)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Forget(Transfer):
    after: int = 1

    def apply(self, scene, trace):
        return [None for _ in trace]
"""


@pytest.fixture
def one_more_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file in a folder that the package is made of as well."""
    (tmp_path / "halve_twice.py").write_text(textwrap.dedent(NEW))
    monkeypatch.setattr(plan, "__path__", [*plan.__path__, str(tmp_path)])
    yield
    del sys.modules[f"{plan.__name__}.halve_twice"]


TEXT = """
  plan mine window=1 credit=full {
    step {
      %half : f32[3] = halve_twice(of=%x)
      %e : f32[3]    = advance(trace=[%x], by=forget(after=2), add=plain(values=[%half]))
    }
  }
}
"""


def text() -> str:
    head = render(adaptive())
    return head[: head.index("  certificate")].rstrip() + "\n" + TEXT


@pytest.mark.usefixtures("one_more_file")
def test_an_operation_and_a_part_are_one_new_file():
    assert {"halve_twice", "forget"} <= vocabulary().keys()
    read = parse(text())
    assert verify(read) == []
    assert read.plan is not None
    halve, advance = read.plan.step
    assert isinstance(advance, Advance)
    assert (type(halve).__name__, type(advance.by).__name__) == ("HalveTwice", "Forget")
    assert render(parse(render(read))) == render(read)


def test_without_the_file_the_text_is_not_understood():
    with pytest.raises(EtirError, match="unknown operation 'halve_twice'"):
        parse(text())


def test_bases_are_not_in_it_and_all_that_the_package_exports_is():
    exported = {kind for kind in vars(plan).values() if isinstance(kind, type) and issubclass(kind, (Operation, Part))}
    assert {kind.__name__ for kind in exported - set(vocabulary().values())} == {
        "Operation",
        "Part",
        "Transfer",
        "Drive",
    }


def test_more_may_be_named():
    class Mine(Part):
        pass

    assert vocabulary([Mine])["mine"] is Mine
    assert "mine" not in vocabulary()
