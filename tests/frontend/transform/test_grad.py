"""grad and value_and_grad with respect to states."""

import jax
import jax.numpy as jnp
import numpy as np
from snippets import expected, message_of

from etir.frontend import HiddenState, ParamState, State, nn, transform


class Model(nn.Module):
    def __init__(self) -> None:
        self.w = ParamState(jnp.asarray(2.0))
        self.parts = [nn.Linear(1, 1, bias=False)]
        self.parts[0].w.value = jnp.asarray([[3.0]])
        self.h = HiddenState(jnp.asarray(1.0))
        self.calls = State(0)

    def update(self, x):
        self.calls.value += 1
        self.h.value = self.h.value * self.w.value + self.parts[0](x[None])[0]
        return self.h.value**2


def test_weights_of_a_module():
    model = Model()
    value, grads = transform.value_and_grad(model, model)(jnp.asarray(1.0))
    assert float(value) == 25
    assert {path: float(g.sum()) for path, g in grads.items()} == {"w": 10, "parts.0.w": 10}
    assert (float(model.h.value), int(model.calls.value)) == (5, 1)


def test_the_container_is_kept():
    model = Model()
    x = jnp.asarray(1.0)

    def fresh(wrt, **options):
        nn.init_all_states(model)
        return transform.grad(model, wrt, **options)(x)

    assert float(fresh(model.w)) == 10
    assert jax.tree.map(float, fresh([model.h, model.w, model.h])) == [20, 10, 20]
    assert jax.tree.map(float, fresh({"a": (model.w,)})) == {"a": (10,)}
    assert jax.tree.map(float, fresh(model.states("w"))) == {"w": 10}
    assert float(fresh(None)) == 30
    states, argument = fresh([model.w], argnums=0)
    assert (float(states[0]), float(argument)) == (10, 30)
    assert jax.tree.map(float, fresh([model.w], argnums=(0,))) == ([10], (30,))


def test_aux():
    w = ParamState(3.0)
    loss = lambda x: (w.value**2 * x, {"double": 2 * x})  # noqa: E731
    assert jax.tree.map(float, transform.grad(loss, [w], has_aux=True)(1.0)) == ([6], {"double": 2})
    value, grads = transform.value_and_grad(loss, w, has_aux=True)(1.0)
    assert (jax.tree.map(float, value), float(grads)) == ((9, {"double": 2}), 6)


def test_a_weight_in_a_tree():
    w = ParamState({"a": jnp.ones(2), "b": jnp.ones(())})
    grads = transform.grad(lambda: (w["a"] * 2).sum() * w["b"], w)()
    assert jax.tree.map(lambda g: g.tolist(), grads) == {"a": [2, 2], "b": 4}


def test_second_derivatives():
    w, calls = ParamState(2.0), State(0)

    def cube():
        calls.value += 1
        return w.value**3

    assert float(transform.grad(transform.grad(cube, w), w)()) == 12
    assert int(calls.value) == 1


def test_under_jit_twice_and_under_vmap():
    model = Model()
    step = transform.jit(transform.grad(model, model))
    first, second = step(jnp.asarray(1.0)), step(jnp.asarray(1.0))
    assert [float(g["w"]) for g in (first, second)] == [10, 2 * 13 * 5]
    w = ParamState(3.0)
    each = transform.vmap(transform.grad(lambda x: w.value**2 * x, w))
    assert each(jnp.arange(3.0)).tolist() == [0, 6, 12]


def test_detach_cuts_the_history():
    model = Model()

    def two_steps(cut):
        nn.init_all_states(model)
        model(jnp.asarray(1.0))
        if cut:
            nn.detach_states(model)
        return model(jnp.asarray(1.0))

    whole, cut = (transform.grad(two_steps, model)(cut)["w"] for cut in (False, True))
    np.testing.assert_allclose([whole, cut], [2 * 13 * (5 + 2), 2 * 13 * 5])


def test_a_weight_that_is_written_is_differentiated_at_its_first_value():
    w = ParamState(3.0)

    def loss():
        w.value = w.value * 2
        return w.value**2

    assert float(transform.grad(loss, w)()) == 24
    assert float(w.value) == 6


def test_integers_have_no_gradient():
    assert message_of("""
        n = State(0, name="n")
        transform.grad(lambda: 1.0, [n])()
    """) == expected("""
        model.py:2:1: error: state 'n' is i64[], which has no gradient [grad-state]
          transform.grad(lambda: 1.0, [n])()
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:5: state 'n' is declared here
          help: differentiate with respect to real or complex floating-point states
    """)


def test_only_states_are_differentiated():
    assert message_of("transform.grad(lambda: 1.0, [jnp.ones(2)])()") == expected("""
        model.py:1:1: error: what grad differentiates holds f64[2], and it takes States or a Module [not-a-state]
          transform.grad(lambda: 1.0, [jnp.ones(2)])()
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    """)  # fmt: skip
