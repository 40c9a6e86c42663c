"""A small recurrent model, all that a learner does with it, and the collectives of a compiled program."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import etir

BATCH, UNITS, INPUTS, OUTPUTS, STEPS = 8, 16, 4, 3, 4
OPTIMIZER = optax.adam(1e-2)


def step(params: Any, states: Any, x: Any) -> Any:
    driven = etir.matmul(x, params["Wx"]) + etir.matmul(states["h"], params["Wh"], params["b"])
    h = jnp.tanh(driven)
    c = etir.scale(states["c"], jax.nn.sigmoid(params["decay"])) + h
    return {"c": c, "h": h, "steps": states["steps"] + 1}, etir.matmul(c, params["Wy"])


def params() -> Any:
    keys = iter(jax.random.split(jax.random.key(0), 5))
    shapes = {"Wx": (INPUTS, UNITS), "Wh": (UNITS, UNITS), "b": (UNITS,), "decay": (UNITS,), "Wy": (UNITS, OUTPUTS)}
    return {name: 0.3 * jax.random.normal(next(keys), shape) for name, shape in shapes.items()}


def states(batch: int = BATCH) -> Any:
    return {"c": jnp.zeros((batch, UNITS)), "h": jnp.zeros((batch, UNITS)), "steps": jnp.int32(0)}


def sequences() -> tuple[Any, Any]:
    one, two = jax.random.split(jax.random.key(1))
    return jax.random.normal(one, (STEPS, BATCH, INPUTS)), jax.random.normal(two, (STEPS, BATCH, OUTPUTS))


def loss(y: Any, target: Any) -> Any:
    return jnp.sum((y - target) ** 2)


def compiled(rule: str = "d_rtrl", window: int = 2, batch: int = BATCH) -> Any:
    x = jnp.zeros((batch, INPUTS))
    return etir.compile(step, params(), states(batch), x, rule=rule, window=window, on_truncated="ignore")


def two_steps(learner: Any, params: Any, carry: Any, xs: Any, ys: Any) -> tuple[Any, Any]:
    """The gradient of a loss at the second of two steps, each a window, and the carry after them."""
    carry, _ = learner.step(params, carry, xs[0])

    def of_second(params: Any) -> Any:
        after, y = learner.step(params, carry, xs[1])
        return loss(y, ys[1]), after

    return jax.grad(of_second, has_aux=True)(params)


def everything(learner: Any, params: Any, states: Any, xs: Any, ys: Any, optimizer: Any = OPTIMIZER) -> dict[str, Any]:
    """What every method of a learner makes of a sequence, by name."""
    carry = learner.init(params, states)
    result = learner.grad(loss)(params, carry, xs, ys)
    trained = learner.train(loss, optimizer)(params, optimizer.init(params), carry, xs, ys)
    gradient, after = two_steps(learner, params, carry, xs, ys)
    return {
        "grads": result.grads,
        "losses": result.losses,
        "carry": result.carry,
        "trained": trained.params,
        "predicted": learner.predict(params, states, xs)[1],
        "bptt": jax.grad(lambda params: loss(learner.predict(params, states, xs)[1], ys))(params),
        "window": learner.window(params, carry, xs)[1],
        "step": gradient,
        "after": after,
    }


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, tree in found.items():
        for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(wanted[name]), strict=True):
            np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-9, atol=1e-9, err_msg=name)


_COLLECTIVE = re.compile(
    r"= (?P<of>\(.*?\)|\S+) (?P<what>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\("
)
_ARRAY = re.compile(r"f64\[([\d,]*)\]")


def collectives(function: Any, *args: Any) -> list[tuple[str, tuple[int, ...]]]:
    """The collective operations of a compiled program, and the shape of each array that they make on a device."""
    text = jax.jit(function).lower(*args).compile().as_text()
    found = [(m["what"], shape) for m in _COLLECTIVE.finditer(text) for shape in _ARRAY.findall(m["of"])]
    return [(what, tuple(int(n) for n in shape.split(",") if n)) for what, shape in found]
