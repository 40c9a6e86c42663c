"""How close `cascade` comes to BPTT where a layer's weights reach the memory of layers above; `d_rtrl` beside it.

Run as `python -m benchmarks.memories [names]`: the relative error of the lower layers' gradients over one sequence,
window 1, float64, and the bytes of traces for each of `d_rtrl`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import etir
from etir.rules import Cascade

Draw = np.random.Generator
CONSTANTS = (6,)


class Problem(NamedTuple):
    """A step, its parameters and states at rest, inputs and targets with a leading time axis."""

    step: Callable[..., Any]
    params: Any
    states: Any
    xs: jax.Array
    ts: jax.Array


def _normal(draw: Draw, *shape: int) -> jax.Array:
    return jnp.asarray(draw.normal(size=shape) / shape[0] ** 0.5)


def _sequence(draw: Draw, steps: int, inputs: int, outputs: int) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(draw.normal(size=(steps, inputs))), jnp.asarray(draw.normal(size=(steps, outputs)))


def leaky(draw: Draw, n: int = 32, inputs: int = 8, steps: int = 400) -> Problem:
    """Two layers of leaky memories, time constants 2 to 100, with a tanh between."""
    below, above = (jnp.asarray(1 - np.exp(draw.uniform(np.log(0.01), np.log(0.5), n))) for _ in range(2))
    params = {"W": _normal(draw, inputs, n), "V": _normal(draw, n, n)}

    def step(p: Any, s: Any, x: Any) -> Any:
        h = below * s["h"] + jnp.sqrt(1 - below**2) * etir.matmul(x, p["W"])
        k = above * s["k"] + jnp.sqrt(1 - above**2) * etir.matmul(jnp.tanh(h), p["V"])
        return {"h": h, "k": k}, jnp.tanh(k)

    return Problem(step, params, {"h": jnp.zeros(n), "k": jnp.zeros(n)}, *_sequence(draw, steps, inputs, n))


def lru_params(
    draw: Draw, inputs: int, n: int, outputs: int, turn: float, decays: tuple[float, float] = (0.01, 0.3)
) -> dict[str, jax.Array]:
    """A layer of linear recurrent units: decays a step between two bounds, phases up to `turn`."""
    decay = np.exp(draw.uniform(*np.log(decays), n))
    parts = {"B_re": (inputs, n), "B_im": (inputs, n), "C_re": (n, outputs), "C_im": (n, outputs)}
    rings = {"nu": jnp.log(jnp.asarray(decay)), "theta": jnp.asarray(draw.uniform(0, turn, n))}
    return rings | {k: _normal(draw, *shape) / 2**0.5 for k, shape in parts.items()}


def lru_layer(p: Any, h: Any, x: Any) -> tuple[Any, Any]:
    """The new state, and the real part of what is read of it."""
    turn = jnp.exp(-jnp.exp(p["nu"]) + 1j * p["theta"])
    gamma = jnp.sqrt(1 - jnp.exp(-2 * jnp.exp(p["nu"])))
    h = etir.scale(h, turn) + etir.scale(etir.matmul(x, p["B_re"]) + 1j * etir.matmul(x, p["B_im"]), gamma)
    return h, (etir.matmul(h, p["C_re"] + 1j * p["C_im"])).real


def lru(
    draw: Draw, layers: int = 2, residual: bool = False, turn: float = 0.3, n: int = 16, steps: int = 300
) -> Problem:
    """Layers of linear recurrent units with complex factors, phases up to `turn`, a tanh between."""
    width = 16
    params = [lru_params(draw, width, n, width, turn) for _ in range(layers)]
    if residual:
        params = [p | {k: 0.3 * p[k] for k in ("C_re", "C_im")} for p in params]
    states = [jnp.zeros(n, "complex128") for _ in range(layers)]

    def step(p: Any, s: Any, x: Any) -> Any:
        new: list[Any] = []
        for own, h in zip(p, s, strict=True):
            h, y = lru_layer(own, h, x)
            x = x + jnp.tanh(y) if residual else jnp.tanh(y)
            new.append(h)
        return new, x

    return Problem(step, params, states, *_sequence(draw, steps, width, width))


def residual_lru(draw: Draw) -> Problem:
    """Four layers of linear recurrent units on a residual stream, whose branches begin small."""
    return lru(draw, layers=4, residual=True, turn=0.1, n=12, steps=200)


def elstm(draw: Draw, n: int = 16, inputs: int = 8, steps: int = 200) -> Problem:
    """Two layers of the element-wise LSTM of Irie et al. 2023."""
    names = ("F", "Z", "O")

    def layer(i: int) -> dict[str, jax.Array]:
        own = {k: _normal(draw, i, n) for k in names} | {f"w{k}": 0.3 * _normal(draw, n) * n**0.5 for k in names[:2]}
        return own | {f"b{k}": jnp.full(n, 2.0 if k == "F" else 0.0) for k in names}

    def cell(p: Any, c: Any, x: Any) -> tuple[Any, Any]:
        f = jax.nn.sigmoid(etir.matmul(x, p["F"], p["bF"]) + etir.scale(c, p["wF"]))
        z = jnp.tanh(etir.matmul(x, p["Z"], p["bZ"]) + etir.scale(c, p["wZ"]))
        c = f * c + (1 - f) * z
        return c, jax.nn.sigmoid(etir.matmul(x, p["O"], p["bO"])) * c

    def step(p: Any, s: Any, x: Any) -> Any:
        a, y = cell(p["below"], s["a"], x)
        b, y = cell(p["above"], s["b"], y)
        return {"a": a, "b": b}, y

    params = {"below": layer(inputs), "above": layer(n)}
    return Problem(step, params, {"a": jnp.zeros(n), "b": jnp.zeros(n)}, *_sequence(draw, steps, inputs, n))


def spiking(draw: Draw, n: int = 24, inputs: int = 12, steps: int = 200) -> Problem:
    """Two layers of current-based leaky integrate-and-fire neurons."""
    from etir.frontend.nn import triangular_spike

    params = {"W": 3 * _normal(draw, inputs, n), "V": 3 * _normal(draw, n, n), "R": _normal(draw, n, 4)}

    def neurons(i: Any, v: Any, drive: Any) -> tuple[Any, Any, Any]:
        i = 0.8 * i + drive
        v = 0.9 * v * (1 - jax.lax.stop_gradient(triangular_spike(v - 1.0))) + 0.3 * i
        return i, v, triangular_spike(v - 1.0)

    def step(p: Any, s: Any, x: Any) -> Any:
        i, v, out = neurons(s["i"], s["v"], etir.matmul(x, p["W"]))
        j, u, out = neurons(s["j"], s["u"], etir.matmul(out, p["V"]))
        return {"i": i, "v": v, "j": j, "u": u}, out @ p["R"]

    states = {k: jnp.zeros(n) for k in "ivju"}
    return Problem(step, params, states, *_sequence(draw, steps, inputs, 4))


PROBLEMS: dict[str, Callable[[Draw], Problem]] = {
    "leaky": leaky, "lru": lru, "residual_lru": residual_lru, "elstm": elstm, "spiking": spiking,
}  # fmt: skip


def loss(y: Any, t: Any) -> Any:
    """The squared error of a step."""
    return jnp.sum((y - t) ** 2)


def bptt(of: Problem) -> Any:
    """The gradient by back-propagation through time."""

    def total(params: Any) -> Any:
        def body(states: Any, at: Any) -> Any:
            states, y = of.step(params, states, at[0])
            return states, loss(y, at[1])

        return jax.lax.scan(body, of.states, (of.xs, of.ts))[1].sum()

    return jax.jit(jax.grad(total))(of.params)


def learned(of: Problem, rule: Any, window: int = 1, backend: str = "xla") -> tuple[Any, Any]:
    """The gradient by a rule, and the learner."""
    learner = etir.compile(
        of.step, of.params, of.states, of.xs[0], rule=rule, window=window, backend=backend, on_truncated="ignore"
    )
    drive = jax.jit(learner.grad(loss, reduction="sum"))
    return drive(of.params, learner.init(of.params, of.states), of.xs, of.ts).grads, learner


def errors(found: Any, wanted: Any) -> tuple[float, dict[str, float]]:
    """The relative error of all gradients together, and that of each."""
    leaves = jax.tree_util.tree_leaves_with_path(
        jax.tree.map(lambda a, b: (a, b), found, wanted), is_leaf=lambda x: type(x) is tuple
    )
    parts = {jax.tree_util.keystr(path, simple=True, separator="."): pair for path, pair in leaves}
    one = {k: float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) for k, (a, b) in parts.items()}
    off = sum(float(jnp.sum(jnp.abs(a - b) ** 2)) for a, b in parts.values())
    return (off / sum(float(jnp.sum(jnp.abs(b) ** 2)) for _, b in parts.values())) ** 0.5, one


def held(learner: Any) -> int:
    """The bytes of a learner's traces."""
    return sum(trace.before.type.bytes for trace in learner.transition.plan.traces)


def main(names: list[str]) -> None:
    """Print a table for each problem."""
    jax.config.update("jax_enable_x64", True)
    for name in names or PROBLEMS:
        of = PROBLEMS[name](np.random.default_rng(0))
        wanted = bptt(of)
        found, learner = learned(of, "d_rtrl")
        base, (whole, one) = held(learner), errors(found, wanted)
        print(name, "d_rtrl", f"{whole:.2g}", {k: f"{e:.2g}" for k, e in one.items() if e > 1e-9}, flush=True)
        for count in CONSTANTS:
            found, learner = learned(of, Cascade(constants=count))
            whole, one = errors(found, wanted)
            parts = {k: f"{e:.2g}" for k, e in one.items() if e > 1e-9}
            print(name, count, f"{whole:.2g}", f"bytes {held(learner) / base:.2f}", parts, flush=True)
        print(learner.certificate)


if __name__ == "__main__":
    main(sys.argv[1:])
