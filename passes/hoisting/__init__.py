"""Products with weights in branches, loops and derivative rules, moved outside: equations of the step itself."""

from .everywhere import Known, everywhere
from .hoist import hoisted
from .own_rules import OWN_RULES
from .sparse import sparse_marked
from .stacks import by_entries
from .sums import summed_apart
from .uses import is_named, named_by, of_operands, weight_operands

__all__ = [
    "OWN_RULES",
    "Known",
    "by_entries",
    "everywhere",
    "hoisted",
    "is_named",
    "named_by",
    "of_operands",
    "sparse_marked",
    "summed_apart",
    "weight_operands",
]
