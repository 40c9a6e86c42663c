"""three_factor: eligibility traces, read with a signal that every step is given from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from ..ir.diagnostics import error
from ..ir.observable import Observable
from ..ir.plan.jacobian import real_dtype
from ..ir.transition import Association
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Rule, Task
from .shared.exit_reading import Signals, read_at_exit, seen, shown_by
from .writer import Writer

MODULATOR = "modulator"


@dataclass(frozen=True)
class ThreeFactor(Rule):
    """`sum_t <M_t, e_t>`: eligibility times a neuromodulator (Fremaux and Gerstner 2016; Gerstner et al. 2018).

    `e' = dz'/dw` is the eligibility of what the step shows of a neuron (its spikes where those are read, its new state
    where that is), with the trace `E' = D E + f (x) x` behind it; `M` is given to every step, as `modulator=` of
    `learner.step`, `window`, `grad` and `train`, and stands in the place of `dl/dz`. So a reward goes in with a minus
    sign: optimisers descend. Its `shape` broadcasts against that of the states, whose leading axes are the batch's:
    `()` is one number for all, `(neurons,)` one a neuron, `(batch, 1)` one a sample.
    Memory: batch x weight for each state of the group. Cost: one pass over the traces at every step, or at the end of
    each window of four steps or more. Approximate always: it is a gradient only where the modulator is one. Weights
    without a trace learn by the loss, inside windows.
    """

    name: ClassVar[str] = "three_factor"
    per_step: ClassVar[bool] = True

    shape: tuple[int, ...] = ()
    """The shape of the modulator at one step."""

    def write(self, plan: Writer, task: Task) -> None:
        """A trace for each association, read with the modulator."""
        chosen = seen(plan, task.associations)
        read_at_exit(plan, chosen, lambda: plan.shown_credit(self._signals(plan, chosen)))

    def _signals(self, plan: Writer, associations: Sequence[Association]) -> Signals:
        dtype = real_dtype(plan.transition.hidden[0].before.type.dtype)
        modulator = plan.signal(MODULATOR, TensorType(dtype, self.shape))
        return {o: self._spread(plan, o, modulator) for o in shown_by(plan, associations)}

    def _spread(self, plan: Writer, shown: Observable, modulator: Value) -> Value:
        """The modulator at the positions of one observable."""
        kind = shown.type
        try:
            fits = np.broadcast_shapes(self.shape, kind.shape) == kind.shape
        except ValueError:
            fits = False
        if not fits:
            paths = " and ".join(f"'{state.path}'" for state in shown.group.states)
            raise error(
                "modulator-shape",
                f"a modulator of shape {list(self.shape)} does not broadcast to {paths}, of shape {list(kind.shape)}",
                loc=shown.group.loc,
                help="give one number for all with shape=(), or one for each position of the last axes",
            )

        def spread(value: Any) -> Any:
            return jnp.broadcast_to(value, kind.shape).astype(kind.dtype)

        return plan.counted(plan.apply(spread, modulator, name="spread")[0])
