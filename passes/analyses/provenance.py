"""What each value of a plan is made from."""

from __future__ import annotations

from ...ir.plan import Operation, Plan, Pullback, Total, Trace, Vjp
from ...ir.transition import Transition
from ...ir.values import Value


class Provenance:
    """The operations of one plan, found by the values that they make."""

    def __init__(self, transition: Transition) -> None:
        """Read the transition's plan."""
        assert transition.plan is not None
        self.plan: Plan = transition.plan
        self.maker: dict[Value, Operation] = {v: op for op in self.plan.operations for v in op.results}
        self.trace_of: dict[Value, Trace] = {v: t for t in self.plan.traces for v in (t.before, t.after)}
        self.vjp = self.plan.only(Vjp)
        self.pullback = self.plan.only(Pullback)
        self.entering = self.vjp.results[: len(transition.hidden)]
        """What reverse mode sends back to the hidden states as they entered the window."""
        self._operands: dict[Operation, tuple[Value, ...]] = {}

    def source(self, value: Value) -> Operation | None:
        """The operation that makes a value, sums over steps seen through."""
        op = self.maker.get(value)
        return self.maker.get(op.value) if isinstance(op, Total) else op

    def slice(self, value: Value) -> set[Value]:
        """Every value that a value is made from, through traces as well."""
        found: set[Value] = set()
        pending = [value]
        while pending:
            v = pending.pop()
            if v in found:
                continue
            found.add(v)
            op = self.maker.get(v)
            pending += self._read_by(op) if op is not None else ()
            trace = self.trace_of.get(v)
            pending += (trace.after,) if trace is not None and v is trace.before else ()
        return found

    def _read_by(self, operation: Operation) -> tuple[Value, ...]:
        """The operands of an operation, looked for once."""
        if operation not in self._operands:
            self._operands[operation] = operation.operands
        return self._operands[operation]
