"""The pass manager: order, nesting, hooks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from ir_examples import gru
from toy_passes import Crash, DropOutputs, Options, Refuse, Rename, Side

from etir.ir.diagnostics import EtirError
from etir.ir.transition import Transition
from etir.passes.base import Pass
from etir.passes.instruments import Instrument
from etir.passes.manager import PassManager


class Diary(Instrument):
    """Writes down every hook in a list that may be shared."""

    def __init__(self, entries: list[str], name: str = "") -> None:
        self.entries, self.name = entries, name

    def before(self, pass_: Pass, transition: Transition) -> None:
        self.entries.append(f"{self.name}before {pass_}: {transition.name}")

    def after(self, pass_: Pass, before: Transition, after: Transition) -> None:
        self.entries.append(f"{self.name}after {pass_}: {before.name} -> {after.name}")

    def failed(self, remaining: Sequence[Pass], transition: Transition, failure: Exception) -> None:
        self.entries.append(f"{self.name}failed {', '.join(map(str, remaining))}: {type(failure).__name__}")

    def finished(self) -> None:
        self.entries.append(f"{self.name}finished")


def test_passes_run_in_order():
    made = PassManager((Rename("a"), Rename("b"), DropOutputs())).run(gru())
    assert (made.name, made.outputs) == ("b", ())


def test_nothing_to_do_gives_the_same_object():
    t = gru()
    assert PassManager((Rename("gru"), PassManager())).run(t) is t
    assert PassManager().run(t) is t


def test_a_manager_is_a_pass():
    inner = PassManager((Rename("a"), DropOutputs()))
    outer = PassManager((inner, Rename("b")))
    assert isinstance(outer, Pass)
    assert outer.run(gru()).name == "b"
    assert str(outer) == "rename{to=a},drop-outputs,rename{to=b}"


def test_instruments_see_the_passes_of_a_plain_inner_manager():
    entries: list[str] = []
    inner = PassManager((Rename("a"),))
    PassManager((inner, DropOutputs()), (Diary(entries),)).run(gru())
    assert entries == [
        "before rename{to=a}: gru",
        "after rename{to=a}: gru -> a",
        "before drop-outputs: a",
        "after drop-outputs: a -> a",
        "finished",
    ]


def test_an_inner_manager_with_instruments_is_one_pass_to_the_outer_one():
    entries: list[str] = []
    inner = PassManager((Rename("a"),), (Diary(entries, "inner "),))
    PassManager((inner,), (Diary(entries, "outer "),)).run(gru())
    assert entries == [
        "outer before rename{to=a}: gru",
        "inner before rename{to=a}: gru",
        "inner after rename{to=a}: gru -> a",
        "inner finished",
        "outer after rename{to=a}: gru -> a",
        "outer finished",
    ]


def test_hooks_nest():
    entries: list[str] = []
    PassManager((Rename("a"),), (Diary(entries, "1 "), Diary(entries, "2 "))).run(gru())
    assert [entry.split(" ", 2)[:2] for entry in entries] == [
        ["1", "before"], ["2", "before"], ["2", "after"], ["1", "after"], ["2", "finished"], ["1", "finished"],
    ]  # fmt: skip


@pytest.mark.parametrize(("bad", "kind"), [(Crash(), RuntimeError), (Refuse(), EtirError)])
def test_a_failure_is_told_and_raised_on(bad: Pass, kind: type[Exception]):
    entries: list[str] = []
    with pytest.raises(kind):
        PassManager((Rename("a"), bad, DropOutputs()), (Diary(entries),)).run(gru())
    assert entries[2:] == [f"before {bad}: a", f"failed {bad}, drop-outputs: {kind.__name__}", "finished"]


def test_managers_compare_by_their_passes():
    assert PassManager((Rename("a"),)) == PassManager((Rename("a"),), (Instrument(),))
    assert PassManager((Rename("a"),)) != PassManager((Rename("b"),))


def test_a_pass_prints_the_options_that_are_not_defaults():
    assert str(Options()) == "options"
    assert str(Options(odd=(), ratio=0.5, deep=0)) == "options{deep=0, odd=[]}"
    assert str(Options(count=1, deep=True, side=Side.RIGHT)) == "options{count=1, deep=true, side=right}"


def test_an_option_without_a_text_is_refused():
    with pytest.raises(TypeError, match=r"^a complex cannot be written as a pass option$"):
        str(Options(odd=3j))
