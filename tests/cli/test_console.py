"""Colours only where they are read, tables no wider than the terminal, warnings as lines."""

import sys
import warnings

import pytest

from etir.cli import console
from etir.ir.diagnostics import EtirWarning


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_terminal_gets_colours(terminal):
    assert console.paint("exact", "exact") == "\x1b[32mexact\x1b[0m"


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_none_gets_none(terminal, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert console.paint("exact", "exact") == "exact"


def test_a_file_gets_no_colours():
    assert console.paint("exact", "exact") == "exact"


def test_a_table_is_as_wide_as_its_cells():
    rows = [("a", "exact"), ("layers.0.W", "truncated")]
    assert console.table(("weight", "label"), rows, columns=80, styles=[None, None]) == (
        "weight      label\na           exact\nlayers.0.W  truncated"
    )


def test_a_table_that_is_too_wide_shortens_its_first_column():
    rows = [("encoder.layers.0.attention.W", "exact")]
    assert console.table(("weight", "label"), rows, columns=20, styles=[None]) == (
        "weight         label\nencode…ntion.W  exact".replace("encode…ntion.W", "encode…tion.W")
    )


def test_shortening_keeps_both_ends():
    assert console.shorten("abcdefghij", 5) == "ab…ij"
    assert console.shorten("abcde", 5) == "abcde"


def test_warnings_are_lines_on_standard_error(capsys):
    with console.warnings_as_lines():
        warnings.warn("warning: a finding [code]", EtirWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: a finding [code]\n"


def test_other_warnings_are_left_alone():
    with pytest.warns(RuntimeWarning, match="theirs"), console.warnings_as_lines():
        warnings.warn("theirs", RuntimeWarning, stacklevel=1)
