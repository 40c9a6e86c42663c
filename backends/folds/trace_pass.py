"""One pass over a positional trace: contraction, and advance over many steps, in place."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax

from ..reverse import stacked_product
from .algebra import Held, Passed
from .entries import contracted, entry_by_entry, member_by_member, read_first
from .one_pass import Operands, Pass, advanced
from .pieces import OF_MEMBERS, in_pieces


def trace_pass(of: Pass, given: Operands, sent: Any = None) -> Passed:
    """`E <- P E + sum_t s_t (x) x_t`, and the contraction with the old trace, by what the backend has chosen.

    Returns the new trace, and the contraction, of the weight's shape; None where nothing is contracted. The site's own
    product of the data with `sent`, cotangents of its output, is added to that.
    """
    choice = of.sweep.choice
    if choice is None or choice.run is None:
        return xla_pass(of, given, sent)
    return _plus_own(of, choice.run(of, given), given.data, sent)


def xla_pass(of: Pass, given: Operands, sent: Any = None, waits: Any = None) -> Passed:
    """`trace_pass` as XLA code, for every sweep; how a large trace is walked over is chosen by platform at lowering.

    On a CPU a large trace, of no members and no picked data, stays as it was where `waits` is given and true.
    """
    placed = of.placed(given)
    if of.members is not None:
        of, placed = of.unfolded(placed)
        return jax.lax.platform_dependent(placed, cpu=partial(member_by_member, of), default=partial(in_pieces, of))
    if not of.is_large(placed):
        return _plus_own(of, advanced(of, placed), placed.data, sent)
    if of.sweep.picked is not None:
        return jax.lax.platform_dependent(placed, cpu=partial(read_first, of), default=partial(in_pieces, of))

    def apart(placed: Operands, sent: Any, waits: Any) -> Passed:
        del waits
        return _plus_own(of, in_pieces(of, placed), placed.data, sent)

    return jax.lax.platform_dependent(placed, sent, waits, cpu=partial(entry_by_entry, of), default=apart)


def read_alone(of: Pass, given: Operands, sent: Any = None) -> Passed:
    """`xla_pass` of a trace that waits on a CPU: it stays as it is, and is advanced after it was read."""

    def alone(given: Operands, sent: Any) -> Passed:
        read = _plus_own(of, ({}, _read(of, of.placed(given))), given.data, sent)[1]
        return jax.lax.optimization_barrier((given.held, read))

    return jax.lax.platform_dependent(given, sent, cpu=alone, default=partial(xla_pass, of))


def caught_up(of: Pass, given: Operands) -> Held:
    """A trace that has waited, advanced. None has but on a CPU: elsewhere reading one takes as long as all of it."""
    return jax.lax.platform_dependent(
        given, cpu=lambda given: trace_pass(of, given)[0], default=lambda given: given.held
    )


def _read(of: Pass, placed: Operands) -> Any:
    if placed.cotangents is None:
        return None
    if of.members is not None:
        one = Pass(of.algebra, of.sweep)
        return jax.vmap(lambda *own: _read(one, Operands(*own)), OF_MEMBERS)(*placed)
    if of.is_large(placed):
        return contracted(of, placed)
    return of.algebra.passed(of.sweep, placed.held, {}, placed.cotangents, "")[1]


def _plus_own(of: Pass, found: Passed, data: Any, sent: Any) -> Passed:
    """What a pass has found, the site's own product added."""
    return found if sent is None else (found[0], found[1] + stacked_product(of.sweep.site, data, sent))
