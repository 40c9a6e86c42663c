"""Modules and layers, their initialisation, and the saving of their states."""

from ..filters import filter_states, merge_states, split_states
from ..module import Module
from .checkpoint import load_states, save_states
from .constrained import Constrained, compile_params, decompile_params
from .convolution import Conv
from .embedding import Embedding
from .gated import GRU, LSTM, MGU, RNN, MinGRU, MinLSTM
from .initialise import detach_states, init_all_states, zero_states
from .layers import Linear, Sequential
from .placement import place, shardings
from .recurrent import Recurrent
from .spiking import ALIF, LIB, LIF, CurrentLIF, LeakyReadout
from .state_space import LRU, MLSTM, S5, S6
from .structure import Structure, merge, split
from .surrogate import fast_sigmoid_spike, triangular_spike
from .traced import LayerNorm, LoRA, SparseLinear

__all__ = [
    "ALIF",
    "GRU",
    "LIB",
    "LIF",
    "LRU",
    "LSTM",
    "MGU",
    "MLSTM",
    "RNN",
    "S5",
    "S6",
    "Constrained",
    "Conv",
    "CurrentLIF",
    "Embedding",
    "LayerNorm",
    "LeakyReadout",
    "Linear",
    "LoRA",
    "MinGRU",
    "MinLSTM",
    "Module",
    "Recurrent",
    "Sequential",
    "SparseLinear",
    "Structure",
    "compile_params",
    "decompile_params",
    "detach_states",
    "fast_sigmoid_spike",
    "filter_states",
    "init_all_states",
    "load_states",
    "merge",
    "merge_states",
    "place",
    "save_states",
    "shardings",
    "split",
    "split_states",
    "triangular_spike",
    "zero_states",
]
