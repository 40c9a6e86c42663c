"""The reference backend: the plan read literally, on dense real matrices. Slow, and the oracle of the others."""

from .engine import Engine

__all__ = ["Engine"]
