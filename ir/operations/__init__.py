"""Weight operations that are more than one product of arrays: each an object that says what it computes.

Most are linear in their data, all in their weight: convolutions, look-ups by index, and users' own.
"""

from .base import Mapped, WeightOperation
from .call import call_operation, operation_call, with_operations

__all__ = ["Mapped", "WeightOperation", "call_operation", "operation_call", "with_operations"]
