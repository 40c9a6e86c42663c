"""What kernel 4 compiles to: a window's history has what Jacobians and sensitivities follow from, and not these."""

from dataclasses import dataclass, replace
from typing import Any

import h200
import jax
import jax.numpy as jnp

import etir
from etir.backends import Pallas

F32 = jnp.dtype("float32")
BATCH, INPUTS, UNITS, WINDOW = 16, 256, 4096, 32


@dataclass(frozen=True)
class Stored(Pallas):
    """The same kernels, with Jacobians and sensitivities stored."""

    def choose_history(self, unit: Any) -> Any:
        """Kernel 2."""
        return replace(super().choose_history(unit), remakes=False)


def adaptive(params: Any, states: Any, x: Any) -> Any:
    """A state of two parts with four Jacobians and two sensitivities, that follow from three arrays."""
    drive = etir.matmul(x, params["w"])
    z = jax.nn.sigmoid(states["v"] - states["a"])
    v = jnp.exp(-1 / params["tau"]) * states["v"] * (1 - z) + jnp.tanh(drive)
    return {"v": v, "a": 0.8 * states["a"] + 0.2 * z * v}, v


def window(backend: Pallas) -> Any:
    params = {"w": jnp.zeros((INPUTS, UNITS), F32), "tau": jnp.ones(UNITS, F32)}
    states, x = {key: jnp.zeros((BATCH, UNITS), F32) for key in "va"}, jax.ShapeDtypeStruct((BATCH, INPUTS), F32)
    options: dict[str, Any] = {"window": WINDOW, "backend": backend, "on_truncated": "ignore", "frozen": ["tau"]}
    learner = etir.compile(adaptive, params, states, x, **options)
    carry, xs = jax.eval_shape(learner.init), jax.ShapeDtypeStruct((WINDOW, BATCH, INPUTS), F32)
    return h200.compiled(lambda *given: learner.window(*given)[0], params, carry, xs, donated=(1,))


def test_jacobians_and_sensitivities_are_never_stored():
    made, stored = window(Pallas(interpreted=False)), window(Stored(interpreted=False))
    of_a_state = 4 * BATCH * UNITS
    of_an_array = WINDOW * of_a_state
    trace = 2 * 4 * BATCH * INPUTS * UNITS
    assert "suffix" in made.as_text()
    assert h200.passes(made, f"f32[{BATCH},{INPUTS},{UNITS}]").count("custom-call") == 1
    # Three arrays that D and f follow from, and two sensitivities carried to the end; else D and f, six, and these two.
    # Beside them what one step makes.
    most = 5 * of_an_array + 8 * of_a_state
    assert made.memory_analysis().temp_size_in_bytes < most
    assert stored.memory_analysis().temp_size_in_bytes > 8 * of_an_array
    assert h200.peak(made) < 1.05 * trace + most + 8 * of_a_state  # a carry holds states too
