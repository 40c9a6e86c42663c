"""The options of `etir.compile`, checked before there is anything to compile."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from .api import RuleLike, compile
from .backends import backend_of, element_type
from .frontend.marks import checked_marks
from .ir.diagnostics import Diagnostic, EtirError, did_you_mean
from .memory import budget
from .passes import PlanTraces
from .passes.plan_traces import check_rules
from .reports import check_on_truncated

OPTIONS = tuple(
    name for name, one in inspect.signature(compile).parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY
)
"""The names of the options of `etir.compile`."""


def check_options(rule: RuleLike, options: Mapping[str, Any], more: Sequence[str] = ()) -> None:
    """Raise EtirError, naming the nearest, for an option that `etir.compile` has not, and for a value of no meaning.

    `more` are names that are options too where these are asked for. What only a model can tell is left to `compile`.
    """
    known = [*OPTIONS, *more]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise EtirError([
            Diagnostic(code="unknown-option", message=f"there is no option '{name}'", help=did_you_mean(name, known))
            for name in unknown
        ])  # fmt: skip
    rules = options.get("rules")
    check_rules((rule, *(rules.values() if isinstance(rules, Mapping) else ())))
    window = options.get("window", 1)
    PlanTraces(window=1 if window == "auto" else window, credit=options.get("credit", "full")).check()
    budget(options.get("memory"))
    element_type(options.get("trace_dtype"))
    backend_of(options.get("backend", "auto"))
    checked_marks(mask=options.get("mask"), reset=options.get("reset"))
    check_on_truncated(options.get("on_truncated", "warn"))
