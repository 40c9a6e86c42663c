"""Every case of the suite, in the order in which they run."""

from __future__ import annotations

from ..suite import Case
from . import calls, compile_cost, credit, growth, kernels, learning, operations, peers, planner, windowed

CASES: tuple[Case, ...] = (
    *windowed.CASES,
    *operations.CASES,
    *planner.CASES,
    *calls.CASES,
    *peers.CASES,
    *growth.CASES,
    *credit.CASES,
    *compile_cost.CASES,
    *learning.CASES,
    *kernels.CASES,
)
