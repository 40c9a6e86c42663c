"""Operations that run jaxprs: calls, branches, loops and linear solves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir import jaxpr as jx
from . import matrix
from .context import Context, Couplings, Rule, couples_everything

UNKNOWN_TRIPS = 2**62
"""The trips of a `while`: more than it takes any closure to settle."""


def call(eqn: Any, context: Context) -> Couplings:
    """The couplings of the body."""
    body = jx.callee(eqn)
    return couples_everything(eqn, context) if body is None else context.analyse(body, context.indices(eqn.invars))


def cond(eqn: Any, context: Context) -> Couplings:
    """The union over the branches; the index has no derivative."""
    first, *others = [context.analyse(branch, context.indices(eqn.invars[1:])) for branch in eqn.params["branches"]]
    for other in others:
        first = matrix.join(first, other)
    return [[None, *row] for row in first]


def scan(eqn: Any, context: Context) -> Couplings:
    """The carry after all trips, and each trip's results, from constants, the first carry, and each trip's slices.

    With `M` the trip's coupling of the carry, the last carry depends on the first one by `M` to the number of trips,
    and a carry on what enters any trip before it by at most `S`, the union of the powers up to there.
    """
    consts, carry, slices = jx.scan_split(eqn)
    length = int(eqn.params["length"])
    body = context.analyse(eqn.params["jaxpr"], [*context.indices(eqn.invars[:consts]), *[None] * (carry + slices)])
    shapes = [jx.shape_of(atom) for atom in eqn.invars[consts : consts + carry]]
    if length == 0:
        kept = matrix.beside(
            [[None] * consts for _ in shapes], matrix.identity(shapes), [[None] * slices for _ in shapes]
        )
        return [*kept, *([None] * len(eqn.invars) for _ in body[carry:])]
    final, reached = _loop(matrix.columns(body[:carry], consts, consts + carry), shapes, length)
    entering = matrix.beside(
        matrix.columns(body, 0, consts), matrix.stacked(matrix.columns(body, consts + carry, None), length, None)
    )
    through = matrix.compose(reached, entering[:carry], consts + slices)
    carries = matrix.beside(matrix.columns(through, 0, consts), final, matrix.columns(through, consts, None))
    return [*carries, *_results(body[carry:], reached, through, (consts, carry, slices), length)]


def _results(
    rows: Couplings, reached: Couplings, through: Couplings, split: tuple[int, int, int], length: int
) -> Couplings:
    """Each trip's results, stacked: directly from its own slices, and from all earlier ones through the carry."""
    consts, carry, slices = split
    on_carry = matrix.columns(rows, consts, consts + carry)
    own = matrix.stacked(matrix.columns(rows, consts + carry, None), length, length, same=True)
    direct = matrix.beside(matrix.stacked(matrix.columns(rows, 0, consts), None, length), own)
    if length > 1:
        later = matrix.stacked(matrix.compose(on_carry, through, consts + slices), None, length)
        direct = matrix.join(direct, later)
    first = matrix.stacked(matrix.compose(on_carry, reached, carry), None, length)
    return matrix.beside(matrix.columns(direct, 0, consts), first, matrix.columns(direct, consts, None))


def _loop(trip: Couplings, shapes: Sequence[tuple[int, ...]], length: int) -> tuple[Couplings, Couplings]:
    """How the last carry depends on the first one, and the union of that over all earlier numbers of trips."""
    unmoved = matrix.identity(shapes)
    final = matrix.power(trip, length)
    return final, unmoved if length == 1 else matrix.power(matrix.join(unmoved, trip), length - 1)


def while_(eqn: Any, context: Context) -> Couplings:
    """The carry after any number of trips; the condition has no derivative."""
    skipped, consts = int(eqn.params["cond_nconsts"]), int(eqn.params["body_nconsts"])
    carried = eqn.invars[skipped + consts :]
    body = context.analyse(
        eqn.params["body_jaxpr"], [*context.indices(eqn.invars[skipped : skipped + consts]), *(None for _ in carried)]
    )
    shapes = [jx.shape_of(atom) for atom in carried]
    _, reached = _loop(matrix.columns(body, consts, None), shapes, UNKNOWN_TRIPS)
    entering = matrix.compose(reached, matrix.columns(body, 0, consts), consts)
    return matrix.beside([[None] * skipped for _ in carried], entering, reached)


def linear_solve(eqn: Any, context: Context) -> Couplings:
    """`A x = b`: the inverse of a matrix is a sum of its powers, so it couples what these couple.

    `x` depends on `b` by that, and on what `A` is made of by way of how `A x` depends on it.
    """
    lengths = eqn.params["const_lengths"]
    own, others = int(lengths[0]), sum(map(int, lengths[1:]))
    sides = eqn.invars[own + others :]
    shapes = [jx.shape_of(atom) for atom in sides]
    product = context.analyse(eqn.params["jaxprs"][0], [*context.indices(eqn.invars[:own]), *(None for _ in sides)])
    _, inverse = _loop(matrix.columns(product, own, None), shapes, UNKNOWN_TRIPS)
    by_matrix = matrix.compose(inverse, matrix.columns(product, 0, own), own)
    return matrix.beside(by_matrix, [[None] * others for _ in shapes], inverse)


CALLS = ["jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "eval_jaxpr"]

RULES: dict[str, Rule] = {
    **dict.fromkeys(CALLS, call),
    "cond": cond,
    "scan": scan,
    "while": while_,
    "custom_linear_solve": linear_solve,
}
