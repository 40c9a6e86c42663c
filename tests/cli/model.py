"""Models that tests name on the command line; copied to where they run."""

import jax
import jax.numpy as jnp

import etir
from etir.frontend import HiddenState, Module, ParamState, ShortTermState


def step(params, states, x):
    h = jnp.tanh(etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"]))
    return {"h": h}, h @ params["out"]


params = {"W": jnp.full((3, 4), 0.3), "U": jnp.eye(4) * 0.5, "out": jnp.ones((4, 2))}
states = {"h": jnp.zeros(4)}
without_inputs = (step, params, states)


def model():
    return step, params, states, jnp.zeros(3)


def leaky(params, states, x):
    h = 0.9 * states["h"] + etir.matmul(x, params["W"])
    return {"h": h}, h


batched = (step, params, {"h": jnp.zeros((2, 4))}, jnp.zeros((2, 3)))
exact = (leaky, {"W": jnp.ones((3, 4))}, states, jnp.zeros(3))


class Cell(Module):
    def __init__(self, n=4):
        self.w = ParamState(jnp.eye(n) * 0.5)
        self.h = HiddenState(jnp.zeros(n))

    def update(self, x):
        self.h.value = jnp.tanh(x + etir.matmul(self.h.value, self.w.value))
        return self.h.value


cell = Cell()


class Filtered(Module):
    """A cell that reads a low-passed copy of itself, kept in a state that carries no credit."""

    def __init__(self):
        self.w = ParamState(jnp.eye(4) * 0.5)
        self.h = HiddenState(jnp.zeros(4))
        self.slow = ShortTermState(jnp.zeros(4))

    def update(self, x):
        self.h.value = jnp.tanh(x + etir.matmul(self.slow.value, self.w.value))
        self.slow.value = 0.9 * self.slow.value + 0.1 * self.h.value
        return self.h.value


class Sized(Module):
    def __init__(self, n):
        self.n = n


class Nested:
    inner = exact


def wrong_shape():
    return (lambda p, s, x: ({"h": s["h"] + x @ p["W"]}, x)), {"W": jnp.ones((3, 4))}, states, jnp.zeros(5)


def drifts():
    return (
        (lambda p, s, x: ({"h": (s["h"] * p["W"]).astype(jnp.bfloat16)}, x)),
        {"W": jnp.ones(4)},
        states,
        jnp.zeros(4),
    )


def raises():
    return helper()


def helper():
    raise ValueError("no weights\nto be found")


def leaves():
    raise SystemExit(3)


def counts():
    def step(params, states, x):
        return {"h": states["h"] * params["w"]}, states["h"] > 0

    return step, {"w": jnp.ones(4)}, states, jnp.zeros(4)


def single():
    def step(params, states, x):
        h = (0.9 * states["h"] + etir.matmul(x, params["W"])).astype(jnp.float32)
        return {"h": h}, h

    f32 = jnp.float32
    return step, {"W": jnp.ones((3, 4), f32)}, {"h": jnp.zeros(4, f32)}, jnp.zeros(3, f32)


def switches_double_precision_off():
    jax.config.update("jax_enable_x64", False)
    return exact


def silent():
    """Its readout begins at zero, so that no weight has a gradient."""
    return step, {**params, "out": jnp.zeros((4, 2))}, states, jnp.zeros(3)


def ignores():
    """A weight that has no gradient wherever it is, and an integer parameter."""

    def step(params, states, x):
        h = 0.9 * states["h"] + etir.matmul(x, params["W"]) + 0 * etir.matmul(x, params["V"])
        return {"h": h}, params["n"] * h

    return step, {"W": jnp.ones((3, 4)), "V": jnp.ones((3, 4)), "n": jnp.array(2)}, states, jnp.zeros(3)


def only_ignores():
    step, params, states, x = ignores()
    return (lambda p, s, x: (step(p, s, x)[0], 1.0 * x)), params, states, x


def fragile():
    """Its constant parameter has no logarithm once there is noise in it."""

    def step(params, states, x):
        h = 0.9 * states["h"] + etir.matmul(x, params["W"]) + jnp.log(params["tau"])
        return {"h": h}, h

    return step, {"W": jnp.ones((3, 40)), "tau": jnp.full(40, 0.01)}, {"h": jnp.zeros(40)}, jnp.zeros(3)


def overflows():
    def step(params, states, x):
        h = 1e200 * states["h"] + etir.matmul(x, params["W"])
        return {"h": h}, h

    return step, {"W": jnp.ones((3, 4))}, states, jnp.zeros(3)


def late():
    """What its weight does is put out one step later."""

    def step(params, states, x):
        return {"h": etir.matmul(x, params["W"])}, states["h"]

    return step, {"W": jnp.ones((3, 4))}, states, jnp.zeros(3)


def only_shapes():
    shape = jax.ShapeDtypeStruct
    return leaky, {"W": shape((3, 4), jnp.float32)}, {"h": shape((4,), jnp.float32)}, shape((3,), jnp.float32)


def talks():
    print("the function is called")

    def step(params, states, x):
        print("the step is called")
        return leaky(params, states, x)

    return step, *exact[1:]


nothing = None
