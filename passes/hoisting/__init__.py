"""Products with weights that stand in branches and loops, moved outside: they become equations of the step itself."""

from .hoist import hoisted

__all__ = ["hoisted"]
