"""Every case of the suite, in the order in which they run."""

from __future__ import annotations

from ..suite import Case
from . import calls, compile_cost, credit, growth, learning, windowed

CASES: tuple[Case, ...] = (
    *windowed.CASES,
    *calls.CASES,
    *growth.CASES,
    *credit.CASES,
    *compile_cost.CASES,
    *learning.CASES,
)
