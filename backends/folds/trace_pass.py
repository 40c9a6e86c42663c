"""One pass over a positional trace: contraction, and advance over many steps, in place."""

from __future__ import annotations

from functools import partial

import jax

from .algebra import Passed
from .entries import entry_by_entry, member_by_member
from .one_pass import Operands, Pass, advanced
from .pieces import in_pieces


def trace_pass(of: Pass, given: Operands) -> Passed:
    """`E <- P E + sum_t s_t (x) x_t`, and the contraction with the old trace, by what the backend has chosen.

    Returns the new trace, and the contraction, of the weight's shape; None where nothing is contracted.
    """
    choice = of.sweep.choice
    return (xla_pass if choice is None or choice.run is None else choice.run)(of, given)


def xla_pass(of: Pass, given: Operands) -> Passed:
    """`trace_pass` as XLA code, for every sweep; how a large trace is walked over is chosen by platform at lowering."""
    placed = of.placed(given)
    if of.members is not None:
        return jax.lax.platform_dependent(placed, cpu=partial(member_by_member, of), default=partial(in_pieces, of))
    if not of.batch or placed.nbytes < of.algebra.in_place_from:
        return advanced(of, placed)
    return jax.lax.platform_dependent(placed, cpu=partial(entry_by_entry, of), default=partial(in_pieces, of))
