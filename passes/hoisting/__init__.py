"""Products with weights, and what mixes positions, in branches and loops, moved outside: equations of the step."""

from .everywhere import everywhere
from .hoist import hoisted
from .mixing import mixing_apart
from .own_rules import OWN_RULES
from .sparse import sparse_marked
from .stacks import by_entries
from .sums import summed_apart
from .uses import Known, is_named, named_by, of_operands, weight_operands

__all__ = [
    "OWN_RULES",
    "Known",
    "by_entries",
    "everywhere",
    "hoisted",
    "is_named",
    "mixing_apart",
    "named_by",
    "of_operands",
    "sparse_marked",
    "summed_apart",
    "weight_operands",
]
