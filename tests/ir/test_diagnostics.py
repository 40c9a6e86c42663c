"""Diagnostics: their text, and their list in docs/errors.md."""

import re
from pathlib import Path

import pytest
from codes import codes_in
from tree import ROOT, package_sources

from etir.ir.diagnostics import Diagnostic, EtirError, did_you_mean, error, nearest
from etir.ir.loc import Loc

LINES = (ROOT / "docs" / "errors.md").read_text().splitlines()
DOCUMENTED = [match[1] for line in LINES if (match := re.match(r"- `([^`]+)`: .*\.$", line))]


def test_every_code_has_one_line_and_every_line_has_a_code():
    used = set().union(*(codes_in(file.read_text()) for _, file in package_sources()))
    assert {"without a line": sorted(used - set(DOCUMENTED)), "without a use": sorted(set(DOCUMENTED) - used)} == {
        "without a line": [],
        "without a use": [],
    }
    assert len(DOCUMENTED) == len(set(DOCUMENTED))


@pytest.mark.parametrize(
    "source",
    [
        "Diagnostic(code='a-b', message='')",
        "raise error('a-b', 'c-d')",
        "raise self.error('a-b', m)",
        "yield sheet.finding('a-b', m)",
        "yield about('a-b', op)",
        "code = 'a-b' if x else 'a-b'",
        "def f():\n    return 'a-b', 'some text'",
    ],
)
def test_a_code_is_found(source: str):
    assert codes_in(source) == {"a-b"}


def test_a_string_that_is_no_code_is_not_found():
    assert codes_in("print('a-b')\nx = 'c-d'\nerror('Some text')") == set()


def test_a_source_line_with_carets(tmp_path: Path):
    file = tmp_path / "model.py"
    file.write_text("def step(p, s):\n    v = add(s, p)\n")
    finding = Diagnostic(
        code="state-type",
        message="state 'v' enters the step as f32[4] but leaves as bf16[4]",
        loc=Loc(file=str(file), line=2, column=9, end_column=18),
        notes=("model.py:1:1: state 'v' is declared here",),
        help="cast the update to f32",
    )
    assert str(finding) == (
        "model.py:2:9: error: state 'v' enters the step as f32[4] but leaves as bf16[4] [state-type]\n"
        "  v = add(s, p)\n"
        "      ^^^^^^^^^\n"
        "  note: model.py:1:1: state 'v' is declared here\n"
        "  help: cast the update to f32"
    )


def test_an_excerpt_takes_the_place_of_the_source_line():
    finding = Diagnostic(code="x-y", message="wrong", excerpt="state %v -> %v1", marks=(6, 8), severity="warning")
    assert str(finding) == "warning: wrong [x-y]\n  state %v -> %v1\n        ^^"


def test_a_place_without_a_readable_file_has_no_excerpt():
    assert str(Diagnostic(code="x-y", message="wrong", loc=Loc(file="gone.py", line=3))) == (
        "gone.py:3: error: wrong [x-y]"
    )


def test_an_error_has_all_its_findings():
    failure = EtirError([Diagnostic(code="x-y", message="one"), Diagnostic(code="x-z", message="two")])
    assert str(failure) == "error: one [x-y]\nerror: two [x-z]"
    assert [finding.code for finding in failure.diagnostics] == ["x-y", "x-z"]
    assert str(error("x-y", "one", notes=["n"], help="h")) == "error: one [x-y]\n  note: n\n  help: h"


def test_suggestions():
    assert nearest("d_rtl", ["bptt", "d_rtrl"]) == "d_rtrl"
    assert nearest("zzz", ["bptt"]) is None
    assert did_you_mean("d_rtl", ["bptt", "d_rtrl"], "rule") == "did you mean rule 'd_rtrl'?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
    assert did_you_mean("zzz", []) is None


@pytest.mark.parametrize("text", ["model.py:9", "model.py:9:4", "a b.py:1:2"])
def test_a_location_reads_back(text: str):
    assert str(Loc.parse(text)) == text


@pytest.mark.parametrize("text", ["model.py", "model.py:x"])
def test_what_is_no_location_is_refused(text: str):
    with pytest.raises(ValueError, match="not a location"):
        Loc.parse(text)
