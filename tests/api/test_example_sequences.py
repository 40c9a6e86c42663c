"""A whole sequence as the example of one step, and the whole text of what is said."""

import jax.numpy as jnp
import pytest
from snippets import expected, message_of

import etir

HEAD = """\
import etir
from etir import matmul
w, v = {"w": jnp.ones((7, 3))}, {"v": jnp.zeros((2, 3))}
xs = jnp.ones((9, 2, 4))
"""

CASES = {
    "states grow": (
        """
        def step(p, s, x):
            v = 0.9 * s["v"] + matmul(x, p["w"][:4])
            return {"v": v}, v
        etir.compile(step, w, v, xs)
        """,
        """
        model.py:5: error: the example input is f64[9,2,4]; the step fits f64[2,4], the first of the leading axis [example-sequence]
          def step(p, s, x):
          note: state 'v' enters the step as f64[2,3] but leaves as f64[9,2,3]
          help: pass one step of a sequence, xs[0]; if the axis is a batch, give the states one as well
        """,  # noqa: E501
    ),
    "JAX refuses": (
        """
        def step(p, s, x):
            v = matmul(jnp.concatenate([s["v"], x], -1), p["w"])
            return {"v": v}, v
        etir.compile(step, w, v, xs)
        """,
        """
        error: the example input is f64[9,2,4]; the step fits f64[2,4], the first of the leading axis [example-sequence]
          note: TypeError: Cannot concatenate arrays with different numbers of dimensions: got (2, 3), (9, 2, 4).
          help: pass one step of a sequence, xs[0]; if the axis is a batch, give the states one as well
        """,
    ),
    "a module of two inputs": (
        """
        class Cell(etir.Module):
            def __init__(self):
                self.w = etir.ParamState(w["w"])
                self.v = etir.HiddenState(v["v"])
            def update(self, x, gain):
                self.v.value = 0.9 * self.v.value + gain * matmul(x, self.w.value[:4])
        etir.compile(Cell(), xs, jnp.ones((9, 2, 1)))
        """,
        """
        model.py:9: error: the example inputs are f64[9,2,4], f64[9,2,1]; the step fits f64[2,4], f64[2,1], the first of the leading axis [example-sequence]
          def update(self, x, gain):
          note: state 'v' enters the step as f64[2,3] but leaves as f64[9,2,3]
          help: pass one step of a sequence, xs[0]; if the axis is a batch, give the states one as well
        """,  # noqa: E501
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_sequence_is_recognised(name: str):
    program, message = CASES[name]
    assert message_of(HEAD + expected(program)) == expected(message)


def test_what_fails_on_one_step_too_is_told_as_it_is():
    def step(p, s, x):
        raise KeyError("mine") if x.ndim == 3 else TypeError("mine too")

    for inputs, kind in ((jnp.ones((9, 2, 4)), KeyError), (jnp.ones((2, 4)), TypeError)):
        with pytest.raises(kind, match="mine"):
            etir.compile(step, {"w": jnp.ones(3)}, {"v": jnp.zeros(3)}, inputs)
