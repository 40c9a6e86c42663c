"""JAX's transforms, made to carry states: what a function writes is there after the call, on every call."""

from .cond import cond, switch
from .fixed_point import fixed_point
from .grad import grad, value_and_grad
from .jacobian import jacobian
from .jit import jit
from .remat import remat
from .scan import for_loop, scan
from .uses import StatefulJaxpr, Uses, make_jaxpr, states_of
from .vmap import vmap, vmap_new_states
from .while_loop import while_loop

__all__ = [
    "StatefulJaxpr",
    "Uses",
    "cond",
    "fixed_point",
    "for_loop",
    "grad",
    "jacobian",
    "jit",
    "make_jaxpr",
    "remat",
    "scan",
    "states_of",
    "switch",
    "value_and_grad",
    "vmap",
    "vmap_new_states",
    "while_loop",
]
