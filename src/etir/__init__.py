"""etir: a compiler toolkit for online learning in JAX."""

from .api import analyse, compile, emit, lower, plan
from .backends import Backend, Carry, Learner, Result, Trained
from .checking import check
from .coupling.primitives import declare_coupling
from .frontend import (
    HiddenGroupState,
    HiddenState,
    HiddenTreeState,
    Module,
    ParamState,
    ShortTermState,
    State,
    functionalise,
    nn,
    random,
    transform,
)
from .ir.diagnostics import Diagnostic, EtirError, EtirWarning
from .ir.weight_operations import bias, einsum, matmul, scale
from .judgement import Check
from .passes import Pass, PassManager
from .rules import Rule
from .sharding import shard
from .stateful import D_RTRL, HiddenGroup, OnlineLearner, find_hidden_groups_from_module, show_graph, write_graph

__version__ = "0.1.0"

__all__ = [
    "D_RTRL",
    "Backend",
    "Carry",
    "Check",
    "Diagnostic",
    "EtirError",
    "EtirWarning",
    "HiddenGroup",
    "HiddenGroupState",
    "HiddenState",
    "HiddenTreeState",
    "Learner",
    "Module",
    "OnlineLearner",
    "ParamState",
    "Pass",
    "PassManager",
    "Result",
    "Rule",
    "ShortTermState",
    "State",
    "Trained",
    "analyse",
    "bias",
    "check",
    "compile",
    "declare_coupling",
    "einsum",
    "emit",
    "find_hidden_groups_from_module",
    "functionalise",
    "lower",
    "matmul",
    "nn",
    "plan",
    "random",
    "scale",
    "shard",
    "show_graph",
    "transform",
    "write_graph",
]
