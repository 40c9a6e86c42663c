"""etir: a compiler toolkit for online learning in JAX."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .algorithms import (
        BPTT,
        D_RTRL,
        DNI,
        ES_D_RTRL,
        KF_RTRL,
        OTTT,
        RFLO,
        RTRL,
        UORO,
        Cascade,
        EProp,
        OSTLFeedforward,
        OSTLRecurrent,
        PpProp,
        SnAp,
        ThreeFactor,
        pp_prop,
    )
    from .api import analyse, compile, emit, plan
    from .backends import Backend, Carry, Learner, NonFiniteError, Result, Trained
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
    from .frontend.adapters import (
        from_brainstate,
        from_equinox,
        from_haiku,
        from_linen,
        from_nnx,
        from_penzai,
        from_spyx,
    )
    from .frontend.transform import vmap
    from .groups import HiddenGroup, find_hidden_groups_from_module, show_graph, write_graph
    from .ir.diagnostics import Diagnostic, EtirError, EtirWarning
    from .ir.operations.convolution import conv
    from .ir.operations.lookup import embed
    from .ir.operations.registered import register_operation
    from .ir.sparse import sparse_matmul
    from .ir.weight_operations import bias, einsum, matmul, scale
    from .judgement import Check
    from .lowering import lower
    from .passes import Pass, PassManager
    from .rules import Rule
    from .sharding import shard
    from .stateful import OnlineLearner
    from .training import fit

__version__ = "0.1.0"

__all__ = [
    "BPTT",
    "DNI",
    "D_RTRL",
    "ES_D_RTRL",
    "KF_RTRL",
    "OTTT",
    "RFLO",
    "RTRL",
    "UORO",
    "Backend",
    "Carry",
    "Cascade",
    "Check",
    "Diagnostic",
    "EProp",
    "EtirError",
    "EtirWarning",
    "HiddenGroup",
    "HiddenGroupState",
    "HiddenState",
    "HiddenTreeState",
    "Learner",
    "Module",
    "NonFiniteError",
    "OSTLFeedforward",
    "OSTLRecurrent",
    "OnlineLearner",
    "ParamState",
    "Pass",
    "PassManager",
    "PpProp",
    "Result",
    "Rule",
    "ShortTermState",
    "SnAp",
    "State",
    "ThreeFactor",
    "Trained",
    "analyse",
    "bias",
    "check",
    "compile",
    "conv",
    "declare_coupling",
    "einsum",
    "embed",
    "emit",
    "find_hidden_groups_from_module",
    "fit",
    "from_brainstate",
    "from_equinox",
    "from_haiku",
    "from_linen",
    "from_nnx",
    "from_penzai",
    "from_spyx",
    "functionalise",
    "lower",
    "matmul",
    "nn",
    "plan",
    "pp_prop",
    "random",
    "register_operation",
    "scale",
    "shard",
    "show_graph",
    "sparse_matmul",
    "transform",
    "vmap",
    "write_graph",
]

_HOME = {
    "ES_D_RTRL": "algorithms",
    "OSTLFeedforward": "algorithms",
    "OSTLRecurrent": "algorithms",
    "pp_prop": "algorithms",
    "BPTT": "algorithms",
    "Cascade": "algorithms",
    "DNI": "algorithms",
    "D_RTRL": "algorithms",
    "EProp": "algorithms",
    "KF_RTRL": "algorithms",
    "OTTT": "algorithms",
    "PpProp": "algorithms",
    "RFLO": "algorithms",
    "RTRL": "algorithms",
    "SnAp": "algorithms",
    "ThreeFactor": "algorithms",
    "UORO": "algorithms",
    "analyse": "api",
    "compile": "api",
    "emit": "api",
    "lower": "lowering",
    "plan": "api",
    "Backend": "backends",
    "Carry": "backends",
    "Learner": "backends",
    "NonFiniteError": "backends",
    "Result": "backends",
    "Trained": "backends",
    "check": "checking",
    "declare_coupling": "coupling.primitives",
    "from_brainstate": "frontend.adapters",
    "from_equinox": "frontend.adapters",
    "from_haiku": "frontend.adapters",
    "from_linen": "frontend.adapters",
    "from_nnx": "frontend.adapters",
    "from_penzai": "frontend.adapters",
    "from_spyx": "frontend.adapters",
    "HiddenGroupState": "frontend",
    "HiddenState": "frontend",
    "HiddenTreeState": "frontend",
    "Module": "frontend",
    "ParamState": "frontend",
    "ShortTermState": "frontend",
    "State": "frontend",
    "functionalise": "frontend",
    "nn": "frontend",
    "random": "frontend",
    "transform": "frontend",
    "Diagnostic": "ir.diagnostics",
    "EtirError": "ir.diagnostics",
    "EtirWarning": "ir.diagnostics",
    "conv": "ir.operations.convolution",
    "embed": "ir.operations.lookup",
    "register_operation": "ir.operations.registered",
    "sparse_matmul": "ir.sparse",
    "bias": "ir.weight_operations",
    "einsum": "ir.weight_operations",
    "matmul": "ir.weight_operations",
    "scale": "ir.weight_operations",
    "Check": "judgement",
    "Pass": "passes",
    "PassManager": "passes",
    "Rule": "rules",
    "shard": "sharding",
    "vmap": "frontend.transform",
    "HiddenGroup": "groups",
    "OnlineLearner": "stateful",
    "find_hidden_groups_from_module": "groups",
    "show_graph": "groups",
    "write_graph": "groups",
    "fit": "training",
}
"""Where each name lives, below this package: it is imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    elif not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is not None:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
