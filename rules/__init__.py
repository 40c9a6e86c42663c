"""The learning rules, by name."""

from __future__ import annotations

from .base import Materials, Program, Rule
from .bptt import Bptt
from .d_rtrl import DRtrl
from .pp_prop import PpProp
from .rtrl import Rtrl

RULES: dict[str, Rule] = {rule.name: rule for rule in (Bptt(), DRtrl(), PpProp(), Rtrl())}
"""The rules that can be given by name; any other `Rule` can be given as an object."""

__all__ = ["RULES", "Bptt", "DRtrl", "Materials", "PpProp", "Program", "Rtrl", "Rule"]
