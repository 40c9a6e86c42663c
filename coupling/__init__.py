"""Couplings: which positions of an output depend on which positions of an input, symbolic in sizes."""

from .blocks import Axes, Block, Shape
from .colours import ColourFactor, Colours
from .coupling import Coupling
from .relation import All, Leaf, Relation, Same, Shifts, Table
from .targets import TargetFactor, Targets

__all__ = [
    "All",
    "Axes",
    "Block",
    "ColourFactor",
    "Colours",
    "Coupling",
    "Leaf",
    "Relation",
    "Same",
    "Shape",
    "Shifts",
    "Table",
    "TargetFactor",
    "Targets",
]
