"""Models of the papers whose rules read traces at each step's exit, and those rules' recursions, written out by hand.

A recursion is plain NumPy, float64, one sample: it gives what each weight would learn at each step, `[time, *weight]`,
summed by the caller. Nothing here differentiates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from oracles import Gradients, by_path, loss

import etir
from etir.frontend.nn import triangular_spike

INPUTS, NEURONS, OUTPUTS, STEPS = 3, 4, 2, 7
LEAK, THRESHOLD = 0.7, 0.6
SLOW, ADAPTATION = 0.9, 0.5
READOUT_LEAK = 0.8


def slope(v: Any) -> Any:
    """The surrogate derivative of `triangular_spike`."""
    return 0.5 * np.maximum(1 - np.abs(v), 0)


def rate(params: Any, states: Any, x: Any) -> Any:
    """The rate network of Murray 2019: leaky units, a linear readout."""
    u = etir.matmul(states["h"], params["U"]) + etir.matmul(x, params["W"], params["b"])
    h = LEAK * states["h"] + (1 - LEAK) * jnp.tanh(u)
    return {"h": h}, h @ params["R"]


def lif(params: Any, states: Any, x: Any) -> Any:
    """Leaky integrate-and-fire neurons with recurrence; the reset has no derivative, as in Bellec et al. 2020."""
    old = triangular_spike(states["v"] - THRESHOLD)
    v = LEAK * states["v"] - THRESHOLD * jax.lax.stop_gradient(old)
    v = v + etir.matmul(x, params["W"], params["b"]) + etir.matmul(old, params["U"])
    return {"v": v}, triangular_spike(v - THRESHOLD) @ params["R"]


def _adaptive(params: Any, states: Any, x: Any, recurrent: Callable[[Any], Any]) -> Any:
    def spikes(v: Any, a: Any) -> Any:
        return triangular_spike(v - THRESHOLD - ADAPTATION * a)

    old = spikes(states["v"], states["a"])
    v = LEAK * states["v"] - THRESHOLD * jax.lax.stop_gradient(old)
    v = v + etir.matmul(x, params["W"], params["b"]) + etir.matmul(recurrent(old), params["U"])
    a = SLOW * states["a"] + old
    y = READOUT_LEAK * states["y"] + etir.matmul(spikes(v, a), params["R"])
    return {"v": v, "a": a, "y": y}, y


def alif(params: Any, states: Any, x: Any) -> Any:
    """Adaptive neurons with recurrence, and a leaky readout."""
    return _adaptive(params, states, x, lambda spikes: spikes)


def alif_cut(params: Any, states: Any, x: Any) -> Any:
    """The same, no credit through recurrent spikes: e-prop of it is the gradient."""
    return _adaptive(params, states, x, jax.lax.stop_gradient)


STATES = {"rate": ("h",), "lif": ("v",), "alif": ("v", "a", "y"), "alif_cut": ("v", "a", "y")}
MODELS = {"rate": rate, "lif": lif, "alif": alif, "alif_cut": alif_cut}


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A model with a sequence to learn."""

    name: str
    step: Any
    params: Any
    states: Any
    xs: Any
    ts: Any


@cache
def task(name: str, batch: int | None = None) -> Task:
    """The model of this name, with random weights and data that make it spike."""
    keys = jax.random.split(jax.random.key(5), 6)
    sizes = {"W": (INPUTS, NEURONS), "U": (NEURONS, NEURONS), "b": (NEURONS,), "R": (NEURONS, OUTPUTS)}
    params = {k: 0.7 * jax.random.normal(key, s) for key, (k, s) in zip(keys, sizes.items(), strict=False)}
    lead = () if batch is None else (batch,)
    widths = {"y": OUTPUTS}
    states = {k: jnp.zeros((*lead, widths.get(k, NEURONS))) for k in STATES[name]}
    xs = 0.4 + jax.random.normal(keys[4], (STEPS, *lead, INPUTS))
    ts = jax.random.normal(keys[5], (STEPS, *lead, OUTPUTS))
    return Task(name=name, step=MODELS[name], params=params, states=states, xs=xs, ts=ts)


@cache
def outputs(of: Task) -> tuple[Any, Any]:
    """The outputs and the states after every step, `[time, ...]`."""

    def body(states: Any, x: Any) -> Any:
        states, y = of.step(of.params, states, x)
        return states, (y, states)

    y, states = jax.lax.scan(body, of.states, of.xs)[1]
    return np.asarray(y), {path: np.asarray(s) for path, s in states.items()}


@cache
def samples(of: Task) -> list[Task]:
    """The samples of a batch, one by one."""
    if of.xs.ndim == 2:
        return [of]
    return [
        Task(name=of.name, step=of.step, params=of.params, states={k: s[n] for k, s in of.states.items()},
             xs=of.xs[:, n], ts=of.ts[:, n])
        for n in range(of.xs.shape[1])
    ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Local:
    """What one sample's neurons do at every step, for the recursions: `[time, ...]` each."""

    data: dict[str, Any]
    """What each weight is used on."""
    carried: Any
    """`dh'/dh` of the state that the weights feed: one number a neuron."""
    driven: Any
    """`dh'/du`: what a neuron's input does to it."""
    shown: Any
    """`dz/dh'`, of what the readout reads."""
    rates: Any
    """What the readout reads."""


def local(of: Task) -> Local:
    """By the papers' formulas, from the model's own course."""
    after = outputs(of)[1]
    before = {k: np.concatenate([np.asarray(of.states[k])[None], v[:-1]]) for k, v in after.items()}
    x, one = np.asarray(of.xs), np.ones((STEPS, 1))
    p = {k: np.asarray(v) for k, v in of.params.items()}
    if of.name == "rate":
        h = before["h"]
        u = h @ p["U"] + x @ p["W"] + p["b"]
        return Local(
            data={"W": x, "U": h, "b": one}, carried=np.full_like(u, LEAK),
            driven=(1 - LEAK) * (1 - np.tanh(u) ** 2), shown=np.ones_like(u), rates=after["h"],
        )  # fmt: skip
    lag = ADAPTATION * before["a"] if "a" in before else 0.0
    lead = ADAPTATION * after["a"] if "a" in after else 0.0
    old, new = before["v"] - THRESHOLD - lag, after["v"] - THRESHOLD - lead
    return Local(
        data={"W": x, "U": 1.0 * (old > 0), "b": one}, carried=np.full_like(new, LEAK), driven=np.ones_like(new),
        shown=slope(new), rates=1.0 * (new > 0),
    )  # fmt: skip


def eligibility(of: Task) -> dict[str, Any]:
    """`e_t = (dz_t/dh_t) eps_t`, by weight, `[time, data, neuron]`.

    Bellec et al. 2020, equations 13, 14, 22 to 25; Murray 2019's `p` for the rate network.
    """
    at, found = local(of), dict[str, Any]()
    adapts = "a" in of.states
    for path, data in at.data.items():
        eps, slow = np.zeros((data.shape[1], NEURONS)), np.zeros((data.shape[1], NEURONS))
        steps = list[Any]()
        for t in range(STEPS):
            if adapts:
                psi = slope(_old_margin(of, t))
                slow = psi * eps + (SLOW - psi * ADAPTATION) * slow
            eps = at.carried[t] * eps + at.driven[t] * data[t][:, None]
            steps.append(at.shown[t] * (eps - ADAPTATION * slow if adapts else eps))
        found[path] = np.stack(steps)
    return found


def _old_margin(of: Task, t: int) -> Any:
    """How far the neurons were above threshold as step `t` began."""
    if t == 0:
        return np.full(NEURONS, -THRESHOLD)
    after = outputs(of)[1]
    return after["v"][t - 1] - THRESHOLD - ADAPTATION * after["a"][t - 1]


def filtered(steps: dict[str, Any], kappa: float) -> dict[str, Any]:
    """`F_kappa`: `e~_t = kappa e~_(t-1) + e_t`."""
    found = dict[str, Any]()
    for path, e in steps.items():
        sums = [e[0]]
        for t in range(1, STEPS):
            sums.append(kappa * sums[-1] + e[t])
        found[path] = np.stack(sums)
    return found


def read(signal: Any, traces: dict[str, Any], of: Task) -> Gradients:
    """`sum_t L_t e_t`, by weight, in the weights' own shapes."""
    sums = {path: np.einsum("tn,tin->in", signal, e) for path, e in traces.items()}
    return {path: total.reshape(np.shape(of.params[path])) for path, total in sums.items()}


def error(of: Task) -> Any:
    """`dl_t/dy_t` at every step."""
    return outputs(of)[0] - np.asarray(of.ts)


def added(gradients: list[Gradients]) -> Gradients:
    """The sum over samples."""
    return {path: sum(g[path] for g in gradients) for path in gradients[0]}


def learned(of: Task, learner: Any, key: Any = None, **signals: Any) -> dict[str, Gradients]:
    """The gradient by a learner: by its driver, through windows, and (of one step) through single steps."""
    carry = learner.init(of.params, of.states, key=key)

    def driver(p: Any) -> Any:
        return learner.grad(loss)(p, carry, of.xs, of.ts, **signals).grads

    def window(p: Any) -> Any:
        return jax.vmap(loss)(learner.window(p, carry, of.xs, **signals)[1], of.ts).sum()

    def steps(p: Any) -> Any:
        def one(now: Any, at: Any) -> Any:
            x, target, given = at
            now, y = learner.step(p, now, x, **given)
            return jax.lax.stop_gradient(now), loss(y, target)

        return jax.lax.scan(one, carry, (of.xs, of.ts, signals))[1].sum()

    found = {"grad": jax.jit(driver)(of.params), "window": jax.jit(jax.grad(window))(of.params)}
    if learner.window_size == 1:
        found["step"] = jax.jit(jax.grad(steps))(of.params)
    return {how: by_path(grads) for how, grads in found.items()}
