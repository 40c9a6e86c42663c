"""From a stateful model to a step: native states and modules, transforms that carry states, and plain functions."""

from . import nn, random, transform
from .functional import Functional
from .functionalise import functionalise
from .module import Module
from .state import HiddenGroupState, HiddenState, HiddenTreeState, ParamState, ShortTermState, State

__all__ = [
    "Functional",
    "HiddenGroupState",
    "HiddenState",
    "HiddenTreeState",
    "Module",
    "ParamState",
    "ShortTermState",
    "State",
    "functionalise",
    "nn",
    "random",
    "transform",
]
