"""scan and for_loop: written states are carried."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from snippets import expected, message_of

from etir.frontend import HiddenState, ParamState, ShortTermState, State, nn, transform


class Rnn(nn.Module):
    def __init__(self, size: int) -> None:
        self.w = ParamState(jnp.eye(size) * 0.5)
        self.h = HiddenState(jnp.zeros(size))

    def update(self, x):
        self.h.value = jnp.tanh(x + self.h.value @ self.w.value)
        return self.h.value


def test_scan_is_the_loop():
    loop, scanned = Rnn(2), Rnn(2)
    xs = jnp.linspace(-1, 1, 10).reshape(5, 2)
    expected_ys = [loop(x) for x in xs]
    carry, ys = transform.scan(lambda c, x: (c + 1, scanned(x)), 0, xs)
    np.testing.assert_allclose(ys, expected_ys, rtol=1e-12)
    np.testing.assert_allclose(scanned.h.value, loop.h.value, rtol=1e-12)
    assert int(carry) == 5


def test_length_reverse_and_unroll():
    seen = State(0)

    def body(carry, x):
        seen.value = seen.value * 10 + x
        return carry, seen.value

    _, ys = transform.scan(body, None, jnp.arange(1, 4), reverse=True, unroll=3)
    assert (int(seen.value), ys.tolist()) == (321, [321, 32, 3])
    assert transform.scan(lambda c, _: (c, None), 1, length=0)[0] == 1


def test_for_loop_takes_several_sequences():
    total = State(0.0)

    def add(x, y):
        total.value += x * y

    assert transform.for_loop(add, jnp.arange(3.0), jnp.ones(3)) is None
    assert float(total.value) == 3


def test_a_nested_loop_under_jit_and_grad():
    model = Rnn(2)
    xs = jnp.ones((2, 3, 2))

    def loss(xs):
        nn.init_all_states(model)
        return transform.for_loop(lambda inner: transform.for_loop(model, inner).sum(), xs).sum()

    def plain(w):
        h, total = jnp.zeros(2), 0.0
        for x in xs.reshape(6, 2):
            h = jnp.tanh(x + h @ w)
            total += h.sum()
        return total

    grads = transform.jit(transform.grad(loss, model))(xs)
    np.testing.assert_allclose(grads["w"], jax.grad(plain)(model.w.value), rtol=1e-10)


def test_lazy_states_get_their_shape_from_the_first_input():
    h = HiddenState(lazy=lambda x: jnp.zeros(x.shape, x.dtype))

    def step(x):
        h.value = h.ensure(x) + x
        return h.value

    assert transform.for_loop(step, jnp.ones((3, 2)))[-1].tolist() == [3, 3]
    nn.zero_states({"h": h})
    nested = transform.jit(lambda xs: transform.for_loop(lambda ys: transform.for_loop(step, ys), xs))
    assert nested(jnp.ones((2, 3, 4)))[-1, -1].tolist() == [6] * 4


def test_a_state_made_inside_does_not_outlive_an_iteration():
    kept = []

    def body(carry, x):
        local = ShortTermState(x)
        local.value += 1
        kept.append(local)
        return carry, local.value

    assert transform.scan(body, None, jnp.arange(3))[1].tolist() == [1, 2, 3]
    assert not kept[-1].is_set


def test_a_drifting_state_is_named():
    assert message_of("""
        v = HiddenState(jnp.zeros(4, jnp.float32), name="v")
        n = State(0, name="n")

        def body(carry, x):
            v.value = v.value.astype(jnp.bfloat16)
            n.value = jnp.stack([n.value, n.value])
            return carry, None

        transform.scan(body, None, length=3)
    """) == expected("""
        model.py:9:1: error: state 'v' enters the body of scan as f32[4] but leaves as bf16[4] [state-type]
          transform.scan(body, None, length=3)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:5: state 'v' is declared here
          help: cast or reshape the update to f32[4], or declare the state as bf16[4]
        model.py:9:1: error: state 'n' enters the body of scan as i64[] but leaves as i64[2] [state-type]
          transform.scan(body, None, length=3)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:2:5: state 'n' is declared here
          help: cast or reshape the update to i64[], or declare the state as i64[2]
    """)


def test_a_state_without_a_value_cannot_be_carried():
    assert message_of("""
        h = HiddenState(name="h")

        def body(carry, x):
            h.value = x
            return carry, None

        transform.scan(body, None, jnp.ones(3))
    """) == expected("""
        model.py:7:1: error: state 'h' enters the body of scan as unset but leaves as f64[] [state-type]
          transform.scan(body, None, jnp.ones(3))
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:5: state 'h' is declared here
          help: give it a value before the loop: call the model once, or `.ensure(x)`
    """)


def test_reading_what_an_iteration_made():
    assert message_of("""
        kept = []

        def body(carry, x):
            kept.append(ShortTermState(x, name="local"))
            return carry, None

        transform.scan(body, None, jnp.ones(3))
        kept[-1].value
    """) == expected("""
        model.py:8:1: error: state 'local' is read, and has no value yet [state-unset]
          kept[-1].value
          ^^^^^^^^^^^^^^
          note: model.py:4:17: state 'local' is declared here
          help: it was made inside a transform that keeps no new states (scan, cond): make it before
    """)


def test_a_failing_loop_writes_nothing():
    n = State(0)

    def body(carry, x):
        n.value += 1
        return carry + x[:2], None

    with pytest.raises(TypeError):
        transform.scan(body, jnp.zeros(3), jnp.ones((2, 3)))
    assert int(n.value) == 0
