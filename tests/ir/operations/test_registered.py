"""Users' own operations: what is refused, and what an operation without an unfolding is."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from learners import differing
from oracles import bptt, by_path, loss

import etir

OTHERS: dict[str, Any] = {
    "another product": (
        {"apply": lambda x, w: x @ w, "unfold": lambda x, w: 2 * x, "expression": "...i,ij->...j"},
        "on random operands their results, of up to ",
    ),
    "not linear": (
        {"apply": lambda x, w: x @ jnp.tanh(w), "expression": "...i,ij->...j"},
        "on random operands their results, of up to ",
    ),
    "not linear, without an unfolding": (
        {"apply": lambda x, w: x @ (w + 1)},
        "on random operands their results, of up to ",
    ),
    "another derivative": (
        {"apply": lambda x, w: jax.lax.stop_gradient(x) @ w, "expression": "...i,ij->...j"},
        "on random operands their derivatives by the data, of up to ",
    ),
    "another shape": (
        {"apply": lambda x, w: x @ w, "expression": "...i,ij->j..."},
        "apply gives an array of shape (2, 4), the expression one of (4, 2)",
    ),
    "too many axes": (
        {"apply": lambda x, w: x @ w, "expression": "abi,ij->abj"},
        "'abi' in 'abi,ij->abj' names 3 axes, but the operand has 2",
    ),
    "other sizes": (
        {"apply": lambda x, w: x @ w, "expression": "...i,ji->...j"},
        "'...i,ji->...j' does not fit operands of shapes (2, 3) and (3, 4)",
    ),
}


def model(operation: Any) -> Any:
    def step(params: Any, states: Any, x: Any) -> Any:
        h = 0.8 * states["h"] + jnp.tanh(operation(x, params["w"]))
        return {"h": h}, h

    params = {"w": jax.random.normal(jax.random.key(0), (3, 4))}
    return step, params, {"h": jnp.zeros((2, 4))}, jax.random.normal(jax.random.key(1), (5, 2, 3))


@pytest.mark.parametrize("name", OTHERS)
def test_an_operation_that_is_not_its_unfolding_is_refused(name: str):
    options, said = OTHERS[name]
    step, params, states, xs = model(etir.register_operation("mine", **options))
    with pytest.raises(etir.EtirError) as refused:
        etir.analyse(etir.lower(step, params, states, xs[0]))
    (finding,) = refused.value.diagnostics
    assert (finding.code, finding.loc is not None) == ("operation-meaning", True)
    assert finding.message.startswith(f"the weight operation 'mine' is not what its unfolding says: {said}")


def test_with_a_function_alone_the_data_are_its_derivative():
    step, params, states, xs = model(etir.register_operation("mine", apply=lambda x, w: x @ w))
    learner = etir.compile(step, params, states, xs[0], rule="d_rtrl", window=2)
    ts = jnp.zeros((5, 2, 4))
    found = learner.grad(loss, reduction="sum")(params, learner.init(), xs, ts)
    assert differing(by_path(found.grads), bptt(step, params, states, (xs,), ts).grads) == {}
    assert str(learner.certificate["w"].label) == "exact"
