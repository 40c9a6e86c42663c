"""Sampling of a product: backends and windows take turns over the cases, and the rest is slow."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def turns(cases: Sequence[tuple[Any, ...]], *axes: Sequence[Any], ids: Sequence[str] | None = None) -> list[Any]:
    """Every case with every combination of the axes' values, as parameters of a test.

    A case is tried with as many combinations as the longest axis has values, so that each value of each axis is met;
    the next case with others.
    """
    found: list[Any] = []
    combinations = list(itertools.product(*axes))
    longest = max(map(len, axes))
    for k, case in enumerate(cases):
        tried = {tuple(axis[(n + k * (i + 1)) % len(axis)] for i, axis in enumerate(axes)) for n in range(longest)}
        for combination in combinations:
            marks = () if combination in tried else pytest.mark.slow
            name = "-".join(map(str, [ids[k] if ids else "-".join(map(str, case)), *combination]))
            found.append(pytest.param(*case, *combination, marks=marks, id=name))
    return found
