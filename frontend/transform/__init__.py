"""JAX's transforms, made to carry states: what a function writes is there after the call, on every call."""

from .cond import cond, switch
from .fixed_point import fixed_point
from .grad import grad, value_and_grad
from .jit import jit
from .scan import for_loop, scan
from .vmap import vmap, vmap_new_states

__all__ = [
    "cond",
    "fixed_point",
    "for_loop",
    "grad",
    "jit",
    "scan",
    "switch",
    "value_and_grad",
    "vmap",
    "vmap_new_states",
]
