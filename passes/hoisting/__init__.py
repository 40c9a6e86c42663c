"""Products with weights that stand in branches and loops, moved outside: they become equations of the step itself."""

from .hoist import hoisted
from .uses import of_operands, weight_operands

__all__ = ["hoisted", "of_operands", "weight_operands"]
