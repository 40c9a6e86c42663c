"""Which trace gets which kernel, why, and that a learner's numbers do not change with it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir.backends import Pallas, backend_of, kernels
from etir.backends.pallas import Win
from etir.backends.pallas.target import takes_references

BATCH, INPUTS, UNITS = 2, 3, 4
NO_KERNELS = "this JAX's Pallas writes no argument in place; wanted jax 0.12 or later"
WIN = Win(kernel="rank-k", card="a card", ratio=1.8, from_bytes=100)


def step(params: Any, states: Any, x: Any) -> Any:
    leaks = jnp.linspace(0.8, 0.95, states["v"].shape[-1], dtype=states["v"].dtype)
    v = leaks * states["v"] + etir.matmul(x, params["w"], params["b"])
    return {"v": v}, jnp.tanh(v)


def model(units: int = UNITS, dtype: str = "float32") -> tuple[Any, Any, Any]:
    random = np.random.default_rng(0)
    params = {"w": jnp.asarray(random.normal(size=(INPUTS, units)), dtype), "b": jnp.zeros(units, dtype)}
    return params, {"v": jnp.zeros((BATCH, units), dtype)}, jnp.zeros((BATCH, INPUTS), dtype)


def planned(units: int = UNITS, dtype: str = "float32") -> Any:
    return etir.plan(etir.analyse(etir.lower(step, *model(units, dtype))), "d_rtrl", 2)


def chosen(transition: Any, backend: Any) -> dict[str, tuple[str, str]]:
    """Kernel and reason of each trace, read off the text."""
    lines = [line for line in kernels(transition, backend).splitlines()[2:] if not line.startswith(" ")]
    return {line.split(" on ")[0]: tuple(line.split("v  ", 1)[1].split(maxsplit=1)) for line in lines}


KERNELS = """\
kernels of d_rtrl window=2 by backend 'pallas'
trace         kernel      why
w on v        rank-k      it was asked for
                          2 matrices 3 x 4 of float32, in place, in tiles of 64 rows; folds from 2 steps, \
from 16 on tensor cores
b on v        xla         a use without data: its trace has no second axis
history of v  map-suffix  it was asked for
                          a launch for all steps of a history of 8 positions, 128 a block; D and f are made in it, \
by 1 operation from 1 array a step, and never stored; XLA code elsewhere"""

NONE = f"""\
kernels of d_rtrl window=2 by backend 'pallas'
trace         kernel  why
w on v        xla     {NO_KERNELS}
b on v        xla     {NO_KERNELS}
history of v  xla     {NO_KERNELS}"""


def test_the_text_says_what_each_trace_got_and_why():
    assert kernels(planned(), "pallas") == (KERNELS if takes_references() else NONE)


@pytest.mark.parametrize(
    ("backend", "kernel", "reason"),
    [
        ("auto", "xla", "no win of a kernel is on record"),
        ("xla", "xla", "backend 'xla' has no kernel for it"),
        (Pallas(forced=False, wins=(WIN,)), "xla", "no win of rank-k is on record for this size"),
    ],
)
def test_without_a_recorded_win_xla_runs(backend: Any, kernel: str, reason: str):
    found = chosen(planned(), backend)["w"]
    forced = isinstance(backend, Pallas) and not takes_references()
    assert found == (kernel, NO_KERNELS if forced else reason)


def test_a_recorded_win_is_taken_from_its_size_on():
    wanted = ("rank-k", "1.8 times as fast as XLA's code on a card") if takes_references() else ("xla", NO_KERNELS)
    assert chosen(planned(units=5), Pallas(forced=False, wins=(WIN,)))["w"] == wanted


def test_another_element_type_is_left_to_xla():
    reason = "its trace is of float64; wanted float32 or bfloat16" if takes_references() else NO_KERNELS
    assert chosen(planned(dtype="float64"), "pallas")["w"] == ("xla", reason)


def test_auto_is_xla_as_long_as_nothing_wins():
    assert backend_of("auto").name == "xla"
    assert backend_of("pallas") == Pallas()


@pytest.mark.parametrize(("rule", "window"), [("d_rtrl", 2), ("e_prop", 5)])
def test_a_learner_has_the_same_numbers(rule: str, window: int):
    params, states, _ = model()
    random = np.random.default_rng(1)
    xs = jnp.asarray(random.normal(size=(5, BATCH, INPUTS)), jnp.float32)

    def learned(backend: str) -> Any:
        learner = etir.compile(step, params, states, xs[0], rule=rule, window=window, backend=backend)
        result = learner.grad(lambda y: (y**2).sum())(params, learner.init(), xs)
        return result.grads, learner.traces(result.carry)

    for a, b in zip(jax.tree.leaves(learned("pallas")), jax.tree.leaves(learned("xla")), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_under_a_mesh_xla_code_runs():
    """A kernel knows nothing of partitions."""
    from etir.backends.pallas.target import on_gpu

    def kernel(interpret: Any, x: Any) -> Any:
        raise AssertionError("the kernel was launched")

    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("x",))):
        assert on_gpu(kernel, lambda x: x + 1, True, 1) == 2
