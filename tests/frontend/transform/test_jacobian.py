"""jacobian: by states, arguments and both, in either mode, beside JAX's."""

import jax
import jax.numpy as jnp
import pytest
from snippets import expected, message_of

from etir.frontend import HiddenState, ParamState, State, nn, transform


class Cell(nn.Module):
    def __init__(self) -> None:
        self.w = ParamState(jnp.arange(6.0).reshape(2, 3) / 10)
        self.h = HiddenState(jnp.ones(3))
        self.count = State(0)

    def update(self, x):
        self.count.value += 1
        self.h.value = jnp.tanh(x @ self.w.value + 0.5 * self.h.value)
        return {"y": self.h.value, "sum": self.h.value.sum()}


X = jnp.array([0.3, -0.7])


def pure(w, h, x):
    h = jnp.tanh(x @ w + 0.5 * h)
    return {"y": h, "sum": h.sum()}


@pytest.mark.parametrize("forward", [False, True])
def test_by_states_arguments_and_both(forward: bool):
    cell = Cell()
    wanted = jax.jacrev(pure, argnums=(0, 1, 2))(cell.w.value, cell.h.value, X)
    found, of_x = {}, {}
    both = transform.jacobian(cell, {"w": cell.w, "h": cell.h}, argnums=0, forward=forward)(X)
    for leaf, (of_states, of_args) in both.items():
        found[leaf], of_x[leaf] = (of_states["w"], of_states["h"], of_args), of_args
    assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.allclose(a, b, rtol=1e-12)), found, wanted))
    assert (int(cell.count.value), found["y"][0].shape) == (1, (3, 2, 3))
    nn.init_all_states(cell)
    alone = transform.jacobian(cell, argnums=0, forward=forward)(X)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), alone, of_x))


def test_auxiliary_results_and_weights_of_a_module():
    cell = Cell()
    found, aux = transform.jacobian(lambda x: (cell(x)["y"], "aux"), cell, has_aux=True)(X)
    assert (list(found), found["w"].shape, aux) == (["w"], (3, 2, 3), "aux")


def test_forward_mode_of_a_learner_is_refused():
    assert message_of("""
        import etir
        model = nn.LeakyReadout(3, 2)
        online = etir.D_RTRL(model)
        online.compile_graph(jnp.ones(3))
        transform.jacobian(lambda x: online(x) ** 2, model, forward=True)(jnp.ones(3))
    """) == expected("""
        model.py:5:30: error: jacobian in forward mode meets what has a rule for reverse mode alone [forward-derivative]
          transform.jacobian(lambda x: online(x) ** 2, model, forward=True)(jnp.ones(3))
                                       ^^^^^^^^^
          note: the steps of an online learner are such, since traces give gradients, and a jax.custom_vjp is
          help: leave out forward=True: jacobian takes reverse mode by default
    """)


def test_under_jit_it_writes_once():
    cell = Cell()
    transform.jit(transform.jacobian(cell, cell))(X)
    assert int(cell.count.value) == 1
