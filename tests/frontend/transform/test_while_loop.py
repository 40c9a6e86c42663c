"""while_loop: states go on from iteration to iteration, and the test sees them."""

import jax.numpy as jnp
from snippets import expected, message_of

from etir.frontend import HiddenState, State, transform


def test_states_are_carried_and_tested():
    total, limit, seen = State(0.0), State(10.0), State(0)

    def body(x):
        total.value += x
        seen.value += 1
        return x + 1

    def run(x):
        return transform.while_loop(lambda x: total.value < limit.value, body, x)

    assert float(run(1.0)) == 5
    assert (float(total.value), int(seen.value), float(limit.value)) == (10, 4, 10)
    total.value = 0.0
    assert float(transform.jit(run)(3.0)) == 6
    assert (float(total.value), int(seen.value)) == (12, 7)
    assert float(run(1.0)) == 1
    assert int(seen.value) == 7


def test_lazy_states_get_their_shape_first():
    h = HiddenState(lazy=lambda x: jnp.zeros(x.shape, x.dtype))

    def body(x):
        h.value = h.ensure(x) + x
        return x + 1

    transform.while_loop(lambda x: x[0] < 3, body, jnp.zeros(2))
    assert h.value.tolist() == [3, 3]


def test_mistakes():
    assert message_of("""
        n = State(0, name="n")
        transform.while_loop(lambda x: setattr(n, "value", 1) or x < 3, lambda x: x + 1, 0)
    """) == expected("""
        model.py:2:32: error: state 'n' is written in the test of while_loop, which may only read [test-write]
          transform.while_loop(lambda x: setattr(n, "value", 1) or x < 3, lambda x: x + 1, 0)
                                         ^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:5: state 'n' is declared here
          help: write it in the body
    """)
    assert message_of("""
        n = State(0, name="n")
        transform.while_loop(lambda x: x < 3, lambda x: setattr(n, "value", 1.5) or x + 1, 0)
    """) == expected("""
        model.py:2:1: error: state 'n' enters the body of while_loop as i64[] but leaves as f64[] [state-type]
          transform.while_loop(lambda x: x < 3, lambda x: setattr(n, "value", 1.5) or x + 1, 0)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:5: state 'n' is declared here
          help: cast or reshape the update to i64[], or declare the state as f64[]
    """)
