"""ottt: a leaky trace of the data, read with the credit that each step sends to the output of a weight's use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from ..ir.diagnostics import error
from ..ir.plan import Advance, Plain, Product, Scalar
from ..ir.transition import Association, Site
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Rule, Task
from .shared.exit_reading import add_up
from .shared.positional import along, column_type, sample_axis
from .writer import Writer


@dataclass(frozen=True)
class Ottt(Rule):
    """Online training through time: `sum_t g_t (x) a_t` with `a' = leak a + x` (Xiao et al. 2022, equations 6 to 8).

    `g_t = dl_t/dy_t` is what the step's loss sends back, in that step alone, to the output of the weight's use: through
    the surrogate derivative of the spikes, and down the layers above. `leak` is to be the neurons' own: `D` is taken to
    be that number. A use without data, as of a bias, has a trace of ones.
    Memory: one array as large as the data for each use of a weight. Cost: one reverse sweep of the step, and one
    product a weight, at every step. Approximate always, as a trace of rank one; right where `D` is the leak, constant,
    and `f` constant too.
    """

    name: ClassVar[str] = "ottt"
    per_step: ClassVar[bool] = True

    leak: float = 0.5
    """The factor that a neuron's potential keeps from step to step, from 0 to 1."""

    def write(self, plan: Writer, task: Task) -> None:
        """A data trace for each use of a weight."""
        if not 0 <= self.leak <= 1:
            raise error("rule-option", f"ottt has leak={self.leak}; wanted a factor from 0 to 1")
        for site, association in {a.site: a for a in reversed(task.associations)}.items():
            if plan.exits.reaches(site, ()):
                add_up(plan, site, self._read(plan, site, association))

    def _read(self, plan: Writer, site: Site, association: Association) -> Value:
        credit, hint = plan.exit_credit().sites[site], f"g_{site.weight.value.hint}"
        if site.data is not None:
            trace = self._leaky(plan, column_type(association), site.data, site)
            return plan.step(Product(site=site, data=trace, cotangent=credit, loc=site.loc), hint)[0]
        axis = sample_axis(plan, association)
        shape = () if axis is None else (site.output.type.shape[axis],)
        (one,) = plan.apply(lambda: jnp.ones(shape), name="one")
        age = self._leaky(plan, one.type, one, site, by_sample=axis is not None)
        if axis is None:
            (product,) = plan.step(Product(site=site, data=None, cotangent=credit, loc=site.loc), hint)
            return plan.apply(_scaled, product, age, name="leaky")[0]
        (scaled,) = plan.apply(lambda c, n: _scaled(c, along(n, axis, c.ndim)), credit, age, name="leaky")
        return plan.step(Product(site=site, data=None, cotangent=scaled, loc=site.loc), hint)[0]

    def _leaky(self, plan: Writer, kind: TensorType, value: Value, site: Site, *, by_sample: bool = False) -> Value:
        """`a' = leak a + x`: its value after this step."""
        label = f"data of {'+'.join(site.weight.paths)}"
        before = plan.trace(kind, label, f"x_{site.weight.value.hint}", loc=site.loc)

        def advance(trace: Value) -> Value:
            step = Advance(trace=(trace,), by=Scalar(factor=self.leak), add=Plain(values=(value,)), loc=site.loc)
            return plan.step(step, f"{before.hint}_next")[0]

        if by_sample:
            return plan.carry_by_sample(before, advance)
        after = advance(before)
        plan.carry(before, after)
        return after


def _scaled(value: Any, factor: Any) -> Any:
    return (value * factor.astype(value.real.dtype)).astype(value.dtype)
