"""What other libraries call the rules: the one place that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

BRAINTRACE: Mapping[str, str] = MappingProxyType({
    "D_RTRL": "d_rtrl",
    "pp_prop": "pp_prop",
    "ES_D_RTRL": "pp_prop",
    "ESD_RTRL": "pp_prop",
    "EProp": "e_prop",
    "SnAp": "snap",
    "UORO": "uoro",
    "OSTLRecurrent": "d_rtrl",
    "OSTLFeedforward": "bptt",  # it drops what crosses a step: a window of one step is the whole of it
    "ThreeFactor": "three_factor",
    "DNI": "dni",
})  # fmt: skip
"""Our rule for each algorithm of braintrace."""


def own_name(name: str, rules: Iterable[str]) -> str:
    """The name among `rules` that is meant, however it is written (`D_RTRL`, `d_rtrl`, `DRTRL`); else `name` itself."""
    if name in rules:
        return name
    found = {_plain(other): rule for other, rule in [*BRAINTRACE.items(), *((rule, rule) for rule in rules)]}
    return found.get(_plain(name), name)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
