"""What a rule that chooses other rules may ask: what each would give a parameter, and what it would hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...ir.plan import Trace
from ...ir.transition import Param, Reason, Transition, Verdict

if TYPE_CHECKING:
    from ..base import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one rule would give one parameter: the label, as it would be derived, and the traces that serve it."""

    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    traces: frozenset[Trace] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The rule that a parameter is to learn by, and why, in a few words."""

    rule: Rule
    because: str


@dataclass(frozen=True, kw_only=True)
class Trials(ABC):
    """Asked by a rule that chooses, about the parameters that it was given."""

    transition: Transition
    params: tuple[Param, ...]
    memory: int | None
    """Bytes that may be held; None for no bound."""
    credit: str
    """`full`, or `rule` for the classical per-step form of rules that have one."""
    trace_dtype: str | None = field(default=None)
    """The element type that traces will be held in; None for their own."""

    @abstractmethod
    def of(self, rule: Rule, params: Sequence[Param]) -> Mapping[Param, Trial]:
        """What `rule` would give each of some parameters, planned and labelled together; nothing where it is refused.

        One plan is written, whatever the number of parameters.
        """

    def bytes(self, traces: Iterable[Trace]) -> int:
        """What these traces would hold."""
        return sum(trace.held_as(self.trace_dtype).bytes for trace in set(traces))
