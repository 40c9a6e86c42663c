"""The XLA backend: structured traces, advanced in place."""

from .engine import Engine

__all__ = ["Engine"]
