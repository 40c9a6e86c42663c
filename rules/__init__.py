"""Learning rules: each is one file, and writes a plan. `etir.rules` is their public home.

A new one is a `Rule` (base.py) in a file named after it, and its two lines below: the import, and its entry in `KNOWN`.
"""

from __future__ import annotations

from .auto import Auto
from .base import Rule, Task
from .bptt import Bptt
from .cascade import Cascade
from .d_rtrl import DRtrl
from .dni import Dni
from .e_prop import EProp
from .kf_rtrl import KfRtrl
from .ottt import Ottt
from .pp_prop import PpProp
from .rflo import Rflo
from .rtrl import Rtrl
from .shared.positional import Positional, positional_trace, read_at_entry
from .shared.trials import Choice, Trial, Trials
from .snap import SnAp
from .three_factor import ThreeFactor
from .uoro import Uoro
from .writer import Writer

KNOWN: tuple[Rule, ...] = (
    Auto(),
    Bptt(),
    Cascade(),
    DRtrl(),
    Dni(),
    EProp(),
    KfRtrl(),
    Ottt(),
    PpProp(),
    Rflo(),
    Rtrl(),
    SnAp(),
    ThreeFactor(),
    Uoro(),
)
"""The rules that can be given by name; any other `Rule` can be given as an object."""

DEFAULT = "d_rtrl"
"""The rule of who names none."""

RULES: dict[str, Rule] = {rule.name: rule for rule in KNOWN}

__all__ = [
    "DEFAULT",
    "KNOWN",
    "RULES",
    "Auto",
    "Bptt",
    "Cascade",
    "Choice",
    "DRtrl",
    "Dni",
    "EProp",
    "KfRtrl",
    "Ottt",
    "Positional",
    "PpProp",
    "Rflo",
    "Rtrl",
    "Rule",
    "SnAp",
    "Task",
    "ThreeFactor",
    "Trial",
    "Trials",
    "Uoro",
    "Writer",
    "positional_trace",
    "read_at_entry",
]
