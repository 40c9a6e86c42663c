"""Sites that feed all positions along further axes of a state, wherever these stand: exact, as BPTT has it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import bptt, loss, relative_error

import etir
from etir.backends.folds.algebra import Algebra

STEPS, WIDE = 7, 3
PRODUCTS = {
    "a matrix": ("bi,ij->bj", (2, 3), (3, 4), (2, 4)),
    "a matrix, transposed": ("bi,ji->bj", (2, 3), (4, 3), (2, 4)),
    "a number a sample": ("bi,i->b", (2, 3), (3,), (2,)),
    "heads": ("bi,ihj->bhj", (2, 3), (3, 2, 4), (2, 2, 4)),
    "groups": ("bgi,gij->bgj", (2, 2, 3), (2, 3, 4), (2, 2, 4)),
    "element by element": ("bi,i->bi", (2, 4), (4,), (2, 4)),
}
CASES = [
    (name, axes)
    for name, (_, _, _, output) in PRODUCTS.items()
    for axes in ((0,), (1,), (2,), (1, 2), (1, 3))
    if max(axes) < len(output) + len(axes)
]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(("name", "axes"), CASES)
def test_the_gradient_is_that_of_backpropagation(
    name: str, axes: tuple[int, ...], in_place: bool, monkeypatch: pytest.MonkeyPatch
):
    if in_place:
        monkeypatch.setattr(Algebra, "in_place_from", 0)
    spec, data, weight, output = PRODUCTS[name]
    sizes = iter(output)
    state = [WIDE if k in axes else next(sizes) for k in range(len(output) + len(axes))]

    def step(params: Any, states: Any, x: Any) -> Any:
        y = jnp.expand_dims(etir.einsum(spec, x, params["w"]), axes)
        v = jnp.tanh(states["v"]) + y - 0.1 * states["a"]
        return {"v": v, "a": 0.8 * states["a"] + 0.1 * jnp.tanh(v) * jnp.cos(y)}, v

    draw = np.random.default_rng(0)
    params = {"w": jnp.asarray(draw.normal(size=weight))}
    states = {k: jnp.asarray(draw.normal(size=state)) for k in "va"}
    xs, ts = (jnp.asarray(draw.normal(size=(STEPS, *shape))) for shape in (data, state))
    wanted = bptt(step, params, states, (xs,), ts).grads["w"]
    for window in (1, 3):
        learner = etir.compile(step, params, states, xs[0], rule="d_rtrl", window=window)
        found = jax.jit(learner.grad(loss))(params, learner.init(params, states), xs, ts)
        assert learner.certificate["w"].label == "exact"
        assert relative_error(found.grads["w"], wanted) < 1e-12
