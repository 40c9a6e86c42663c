"""Which traces are passed over once a window, though they are read at every step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from drawn_models import MODELS
from drawn_rules import WAYS, Told
from learners import differing, driver
from oracles import by_path

import etir
from etir.backends import kernels
from etir.ir import jaxpr as jx
from etir.ir.plan import Contract, Total
from etir.rules import EProp
from etir.rules.shared.positional import positional_trace


def test_only_the_whole_pattern_is_taken():
    of = MODELS["adaptive"]

    def taken(way: str) -> bool:
        learner = etir.compile(
            of.step, of.params, of.states, of.xs[0], rule=Told(ways=(way,)), window=4, on_truncated="ignore"
        )
        return bool(learner._engine.program.exits.units)

    assert {way for way in WAYS if taken(way)} == {"exit_detached", "exit_beside"}


@dataclass(frozen=True)
class Hanging(etir.Rule):
    """Reads each trace at each step's exit with credit that the trace itself has a part in."""

    name: ClassVar[str] = "hanging"

    def write(self, plan: Any, task: Any) -> None:
        for a in task.associations:
            trace, credit = positional_trace(plan, a), plan.exit_credit().states
            bars = [credit[a.group.states[k]] for k in trace.states]
            bars = plan.apply(
                lambda *v: tuple(jnp.tanh(c) * jnp.cos(v[-1].sum()) for c in v[: len(v) // 2]),
                *bars, *trace.before, name="hanging",
            )  # fmt: skip
            (read,) = plan.step(Contract(association=a, trace=trace.before, cotangents=tuple(bars)))
            plan.contribute(a.site.weight, *plan.window(Total(value=read)))


def outcome(name: str, rule: Any, backend: str, taken: int) -> Any:
    """Gradients and traces, in windows of four steps."""
    of = MODELS[name]
    learner = etir.compile(
        of.step, of.params, of.states, of.xs[0], rule=rule, window=4, backend=backend, on_truncated="ignore"
    )
    assert len(learner._engine.program.exits.units) == taken
    grads, _, carry = driver(learner)(of.params, of.states, of.xs, of.ts)
    return by_path(grads) | {f"trace {k}": x for k, x in enumerate(learner.traces(carry))}


def test_credit_that_hangs_on_the_trace_is_read_step_by_step():
    found, wanted = (outcome("leaky", Hanging(), backend, taken=0) for backend in ("xla", "reference"))
    assert differing(found, wanted) == {}


def test_a_pass_a_window_is_as_many_as_its_steps():
    """Two states; one use is left out of reverse mode, the other is not."""
    rule = Told(ways=("exit_detached", "exit_beside"))
    found, wanted = outcome("adaptive", rule, "xla", taken=2), outcome("adaptive", rule, "reference", taken=0)
    assert differing(found, wanted) == {}


def nested(jaxpr: Any) -> Iterator[Any]:
    """The equations of a jaxpr, and of those in it."""
    for eqn in jx.equations(jaxpr):
        yield eqn
        for part in jx.sub_jaxprs(eqn):
            yield from nested(part)


def test_a_window_carries_no_trace_through_its_steps():
    """Inside the loop over a window's steps no array has the trace's shape."""
    inputs, units = 3, 5

    def step(params: Any, states: Any, x: Any) -> Any:
        v = 0.9 * states["v"] + etir.matmul(x, params["w"])
        return {"v": v}, jnp.tanh(v)

    params, states, x = {"w": jnp.ones((inputs, units))}, {"v": jnp.zeros((2, units))}, jnp.ones((2, inputs))
    learner = etir.compile(step, params, states, x, rule=EProp(), window=4)
    xs = jnp.ones((4, 2, inputs))
    program = jax.make_jaxpr(lambda *given: learner.grad(lambda y: (y**2).sum())(*given))(params, learner.init(), xs)
    bodies = [eqn.params["jaxpr"] for eqn in nested(program) if eqn.primitive.name == "scan"]
    met = {v.aval.shape for body in bodies for eqn in nested(body) for v in eqn.outvars}
    assert (2, units) in met
    assert (2, inputs, units) not in met
    assert kernels(learner.transition, "xla").splitlines()[2:] == ["w on v  xla     backend 'xla' has no kernel for it"]
