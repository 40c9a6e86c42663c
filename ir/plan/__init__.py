"""Plans and their operations: one file an operation, which says its types, its value and its cost.

The text form, the verifier and the backends find an operation by its class (`ir/vocabulary.py`): a new one is its own
file, and nothing else is to be told of it. The imports below are for those who name operations.
"""

from __future__ import annotations

from .advance import Advance
from .along import Along
from .apply import Apply, Scale
from .contract import Contract, Product, Project
from .coordinates import RealCoordinates
from .cost import Cost
from .credit import Credit
from .inflow import Inflow
from .influence import AdvanceFull, ContractFull
from .jacobian import Jacobian, Sensitivity, trace_dtype
from .latest import Latest, LatestProduct
from .ones import Ones
from .operation import STEP, WINDOW, Operation, Part, with_values
from .passed import Passed
from .picked import PickedProduct
from .placement import Placement
from .plan import Plan, Signal, Trace
from .push import Pull, Push
from .pushed import Bundle, ContractPushed, Units
from .recall import Memory, Recall, Shows
from .reverse import Pullback, Vjp
from .scene import Scene, WindowRun
from .select import Select
from .send_back import SendBack
from .signal import LossSignal, Total
from .slopes import Slopes
from .times import Times
from .transfer import Diagonal, Drive, Neighbourhood, Outer, Plain, Scalar, Transfer

__all__ = [
    "STEP",
    "WINDOW",
    "Advance",
    "AdvanceFull",
    "Along",
    "Apply",
    "Bundle",
    "Contract",
    "ContractFull",
    "ContractPushed",
    "Cost",
    "Credit",
    "Diagonal",
    "Drive",
    "Inflow",
    "Jacobian",
    "Latest",
    "LatestProduct",
    "LossSignal",
    "Memory",
    "Neighbourhood",
    "Ones",
    "Operation",
    "Outer",
    "Part",
    "Passed",
    "PickedProduct",
    "Placement",
    "Plain",
    "Plan",
    "Product",
    "Project",
    "Pull",
    "Pullback",
    "Push",
    "RealCoordinates",
    "Recall",
    "Scalar",
    "Scale",
    "Scene",
    "Select",
    "SendBack",
    "Sensitivity",
    "Shows",
    "Signal",
    "Slopes",
    "Times",
    "Total",
    "Trace",
    "Transfer",
    "Units",
    "Vjp",
    "WindowRun",
    "trace_dtype",
    "with_values",
]
