"""Removing a learning rule is deleting its file and its lines in a list: nothing below knows a rule by name."""

import re

import pytest
from tree import package_sources

from etir.rules import KNOWN

WORDS = {"auto", "Auto"}
"""What sites and backends are asked for by as well, and a kind of a mesh's axes in JAX."""
NAMES = sorted({name for rule in KNOWN for name in (rule.name, type(rule).__name__)} - WORDS)
BELOW = ("etir.ir", "etir.passes", "etir.backends", "etir.coupling")


def rules_named(source: str) -> list[str]:
    """The rules that a file names, in code or in prose."""
    return [name for name in NAMES if re.search(rf"\b{name}\b", source)]


def test_no_file_below_the_rules_names_one():
    found = {
        module: named
        for module, file in package_sources()
        if module.startswith(BELOW) and (named := rules_named(file.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize("source", ['rule: str = "d_rtrl"', "from ..rules import PpProp", '"""Exact for bptt."""'])
def test_a_name_is_found(source: str):
    assert rules_named(source) != []


def test_each_rule_is_one_file_named_after_it():
    modules = {type(rule).__module__ for rule in KNOWN}
    assert modules == {f"etir.rules.{rule.name}" for rule in KNOWN}
