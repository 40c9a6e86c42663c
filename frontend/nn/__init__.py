"""Modules, their initialisation, and the saving of their states."""

from ..filters import filter_states, merge_states, split_states
from ..module import Module
from .checkpoint import load_states, save_states
from .convolution import Conv
from .embedding import Embedding
from .initialise import detach_states, init_all_states, zero_states
from .layers import Linear, Sequential
from .traced import LayerNorm, LoRA, SparseLinear

__all__ = [
    "Conv",
    "Embedding",
    "LayerNorm",
    "Linear",
    "LoRA",
    "Module",
    "Sequential",
    "SparseLinear",
    "detach_states",
    "filter_states",
    "init_all_states",
    "load_states",
    "merge_states",
    "save_states",
    "split_states",
    "zero_states",
]
