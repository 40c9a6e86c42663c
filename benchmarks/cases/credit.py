"""How close rules come to BPTT where layers are stacked, and what their traces cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from etir.rules import Cascade

from .. import memories
from ..record import Record
from ..suite import Case, Settings

MOST = {"leaky": {4: 0.15, 6: 0.03, 8: 0.01}}
"""Relative errors that are promised, by problem and number of constants."""


def _cascade(settings: Settings) -> Sequence[Record]:
    names = ("leaky", "spiking") if settings.quick else tuple(memories.PROBLEMS)
    records: list[Record] = []
    with jax.enable_x64(True):
        for name in names:
            of = memories.PROBLEMS[name](np.random.default_rng(0))
            wanted = memories.bptt(of)
            found, learner = memories.learned(of, "d_rtrl")
            base, plain = memories.held(learner), memories.errors(found, wanted)[0]
            records.append(_record(name, "d_rtrl", plain, 1.0))
            for constants in (6,) if settings.quick or name != "leaky" else (4, 6, 8):
                found, learner = memories.learned(of, Cascade(constants=constants))
                error = memories.errors(found, wanted)[0]
                most = MOST.get(name, {}).get(constants, plain / 2 if name in HALVED else None)
                records.append(_record(name, f"cascade, {constants}", error, memories.held(learner) / base, most))
    return records


HALVED = ("residual_lru", "elstm", "spiking")


def _record(name: str, program: str, error: float, traces: float, most: Any = None) -> Record:
    note = f"traces {traces:.2f} x d_rtrl's"
    return Record(
        case=f"credit across layers, {name}",
        program=program,
        metric="error",
        value=error,
        against="bptt",
        most=most,
        error=error,
        error_from="bptt",
        note=note,
    )


CASES = (Case("cascade", _cascade, ("quick", "full"), "errors of cascade and d_rtrl against BPTT, by problem"),)
