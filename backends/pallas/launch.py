"""What the launches of all kernels that advance traces are told alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Of the recursion `E_k <- sum_j P_kj E_j + sum_t s_k (x) x_t` of some states' traces, and of its contraction."""

    states: int
    pairs: tuple[tuple[int, int], ...]
    """For each Jacobian the new state and the old one."""
    fed: tuple[int, ...]
    """For each sensitivity its state."""
    steps: int
    reads: bool
    """Whether the old traces are contracted."""
    dtype: str
