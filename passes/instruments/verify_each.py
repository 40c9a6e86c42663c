"""Checking what passes make: that it is well formed, and that nothing new means the same object."""

from __future__ import annotations

from dataclasses import replace

from ...ir.diagnostics import EtirError, error
from ...ir.printer import isomorphic
from ...ir.transition import Transition
from ...ir.verify import verify
from ..base import Pass
from .base import Instrument


class VerifyEach(Instrument):
    """Raises EtirError, naming the pass, where a pass has made a transition that is not well formed."""

    def after(self, pass_: Pass, before: Transition, after: Transition) -> None:
        """Verifies the result of a pass, if it is a new one."""
        findings = verify(after) if after is not before else []
        if findings:
            note = f"found after pass '{pass_}'"
            raise EtirError([replace(finding, notes=(*finding.notes, note)) for finding in findings])


class SameObject(Instrument):
    """Raises EtirError where a pass has made a new transition that says what the old one said.

    A pass that has nothing to do returns the object that it was given, so that whoever runs it can tell.
    """

    def after(self, pass_: Pass, before: Transition, after: Transition) -> None:
        """Compares the result of a pass with what it was given; a data-flow, which no text shows, is something new."""
        followed = before.flow is None and after.flow is not None
        if after is not before and not followed and isomorphic(before, after):
            raise error(
                "pass-contract",
                f"pass '{pass_}' changed nothing, but returned a new transition",
                help="return the transition that `run` was given where there is nothing to do",
            )
