"""The end of a fold: later windows' credit into its history, and one pass over each trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...ir.plan import Contract, Trace
from ...ir.transition import Site
from ...ir.values import Value
from .algebra import Cotangents
from .history import Stretch, backward
from .one_pass import Operands, Pass
from .pattern import Sweeps, Unit
from .trace_pass import trace_pass


class Closed(NamedTuple):
    """What the end of a fold gives."""

    traces: dict[Trace, Any]
    """The traces that were swept, after the fold."""
    reads: dict[Contract, Any]
    """Each contraction of the trace that entered the fold, summed over the fold's windows."""
    rows: list[tuple[Site, Any, Any]]
    """Products that are left to do, with the fold's own history: site, stacked data, cotangents of its output."""


def close_fold(
    sweeps: Sweeps,
    held: Mapping[Trace, Any],
    states: Sequence[Any],
    record: Mapping[Value, Any],
    entering: Mapping[int, Any] | None = None,
    behind: bool = False,
    constants: Mapping[Value, Any] | None = None,
) -> Closed:
    """Advance every swept trace over a fold, and contract it; with `behind` over all of its steps but the last.

    Args:
        sweeps: the matched traces.
        held: the traces as they entered the fold.
        states: the hidden states as they entered, for their types.
        record: the values of every step of the fold, `[time, ...]`.
        entering: for each hidden state the cotangents that its windows send back, `[windows, *state]`; None where
            nothing is to be contracted.
        behind: whether the last step is left pending. Traces that are not carried are then contracted alone.
        constants: the values of parameters and weights.
    """
    windows = 1 if entering is None else next(iter(entering.values())).shape[0]
    stretches: list[Stretch] = []
    for unit in sweeps.units:
        of_unit = {k: entering[k] for k in unit.states} if entering is not None else None
        arriving = _arrivals(of_unit, record, windows) if of_unit is not None and windows > 1 else None
        stretches.append(Stretch(unit, record, arriving, {k: states[k] for k in unit.states}, constants or {}))
    swept = backward(stretches, behind)
    if entering is not None and windows == 1:
        swept = [replace(c, cotangents=_first(s.unit, entering)) for s, c in zip(stretches, swept, strict=True)]
    closed = Closed({}, {}, [])
    for unit, of_unit in zip(sweeps.units, swept, strict=True):
        cotangents = None if entering is None else of_unit.cotangents
        for sweep, factors, credit in zip(unit.sweeps, of_unit.factors, of_unit.credit, strict=True):
            carried = unit.carried(sweep)
            old = {k: held[trace] for k, trace in (carried if entering is None else sweep.trace_of).items()}
            if not old:
                continue
            data = None if sweep.data is None else record[sweep.data]
            given = Operands(old, of_unit.product, factors, data, cotangents)
            new, read = trace_pass(Pass(unit.algebra, sweep), given)
            closed.traces.update({trace: new[k] for k, trace in carried.items()})
            if read is not None:
                closed.reads[sweep.contract] = read
            if credit is not None:
                closed.rows.append((sweep.site, data, credit))
    return closed


def _arrivals(entering: Cotangents, record: Mapping[Value, Any], windows: int) -> Cotangents:
    """Credit that arrives before each step of a fold: what each window sends back, at its first step."""
    steps = jax.tree.leaves(dict(enumerate(record.values())))[0].shape[0] // windows

    def spread(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x[:, None], [(0, 0), (0, steps - 1)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(windows * steps, *x.shape[1:])

    return entering if steps == 1 else {k: spread(x) for k, x in entering.items()}


def _first(unit: Unit, entering: Mapping[int, Any]) -> Cotangents:
    """The credit of the one window."""
    return {k: unit.algebra.arriving(entering[k][0]) for k in unit.states}
