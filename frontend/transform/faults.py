"""The diagnostics of loops and branches: one function a mistake, each returning the exception to raise."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...ir.diagnostics import Diagnostic, EtirError, error
from ...ir.loc import Loc, calling_line, failing_line
from ..cell import Cell
from ..errors import declared

if TYPE_CHECKING:
    from ..state import State


def type_drift(drifts: Sequence[tuple[State, Cell, Cell]], transform: str) -> EtirError:
    """States leave the body of a loop with another type than they entered it with."""
    return EtirError(
        [
            Diagnostic(
                code="state-type",
                message=f"{state.title} enters the body of {transform} as {before} but leaves as {after}",
                loc=calling_line(),
                notes=declared(state),
                help=_drift_help(before, after),
            )
            for state, before, after in drifts
        ]
    )


def _drift_help(before: Cell, after: Cell) -> str:
    if not before.is_set:
        return "give it a value before the loop: call the model once, or `.ensure(x)`"
    return f"cast or reshape the update to {before}, or declare the state as {after}"


def branch_types(clashes: Sequence[tuple[State, Cell, Cell]], branch: int) -> EtirError:
    """States leave two branches with different types."""
    return EtirError(
        [
            Diagnostic(
                code="branch-type",
                message=f"{state.title} leaves branch 0 as {first} but branch {branch} as {other}",
                loc=calling_line(),
                notes=declared(state),
                help="make both branches leave it with one type; a branch that does not write it leaves it as it was",
            )
            for state, first, other in clashes
        ]
    )


def written_in_test(state: State, loc: Loc | None) -> EtirError:
    """The test of a loop writes a state."""
    return error(
        "test-write",
        f"{state.title} is written in the test of while_loop, which may only read",
        loc=loc,
        notes=declared(state),
        help="write it in the body",
    )


@contextmanager
def told_of_reverse_rules() -> Generator[None]:
    """A derivative is taken in a mode that a function's own rule may not have; JAX refuses it in words of its own."""
    try:
        yield
    except TypeError as fault:
        if "forward-mode" not in str(fault):
            raise
        raise error(
            "forward-derivative",
            "jacobian in forward mode meets what has a rule for reverse mode alone",
            loc=failing_line(fault) or calling_line(),
            notes=["the steps of an online learner are such, since traces give gradients, and a jax.custom_vjp is"],
            help="leave out forward=True: jacobian takes reverse mode by default",
        ) from fault
