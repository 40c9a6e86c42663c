"""freeze-params: which parameters do not learn."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.diagnostics import Diagnostic, EtirError, did_you_mean
from ..ir.transition import Transition
from .base import Pass


@dataclass(frozen=True)
class FreezeParams(Pass):
    """Take parameters for constants: they get neither trace nor gradient, and are labelled `frozen`.

    A product with a frozen weight is no site, by whatever operation it is made; a weight that is made of frozen
    parameters and others (`W0 + A @ B`) is a weight of the others.

    Before: `param %W : f32[8,8]  "base.W"`.  After: `param %W : f32[8,8]  "base.W"  frozen`.
    """

    name: ClassVar[str] = "freeze-params"

    params: tuple[str, ...] = ()
    """Globs of parameters."""

    def run(self, transition: Transition) -> Transition:
        """The transition with these parameters frozen. Raises EtirError for a glob that matches none."""
        paths = [param.path for param in transition.params]
        findings = [
            Diagnostic(
                code="frozen-path",
                message=f"no parameter matches '{glob}', given as frozen=",
                help=did_you_mean(glob, paths),
            )
            for glob in self.params
            if not fnmatch.filter(paths, glob)
        ]
        if findings:
            raise EtirError(findings)
        named = {path for glob in self.params for path in fnmatch.filter(paths, glob)}
        frozen = {p: replace(p, frozen=True) for p in transition.params if p.path in named and not p.frozen}
        if not frozen:
            return transition
        return replace(transition, params=tuple(frozen.get(p, p) for p in transition.params), flow=None)
