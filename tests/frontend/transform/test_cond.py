"""cond and switch: only the chosen function's writes happen."""

import jax.numpy as jnp
import pytest
from snippets import expected, message_of

from etir.frontend import State, random, transform


@pytest.fixture(params=[lambda f: f, transform.jit], ids=["eager", "jit"])
def wrap(request):
    return request.param


def test_branches_that_write_different_states(wrap):
    a, b, c = State(0), State(0), State(7)

    def left(x):
        a.value += x
        return a.value + c.value

    def right(x):
        b.value -= x
        return b.value

    step = wrap(lambda pred, x: transform.cond(pred, left, right, x))
    assert [int(step(p, x)) for p, x in [(True, 1), (False, 2), (True, 3)]] == [8, -2, 11]
    assert (int(a.value), int(b.value), int(c.value)) == (4, -2, 7)


def test_switch(wrap):
    n = State(0)
    functions = [lambda: None, lambda: setattr(n, "value", n.value + 1), lambda: setattr(n, "value", n.value * 10)]
    step = wrap(lambda i: transform.switch(i, functions))
    for i in (1, 2, 0, 1, 9, -4):
        step(i)
    assert int(n.value) == 110


def test_transforms_inside_branches(wrap):
    a, b = State(0), State(0)

    def loop(state):
        return lambda: transform.for_loop(lambda x: setattr(state, "value", state.value + x), jnp.arange(4))

    step = wrap(lambda pred: transform.cond(pred, loop(a), loop(b)))
    step(True)
    step(False)
    step(True)
    assert (int(a.value), int(b.value)) == (12, 6)


def test_random_numbers_in_one_branch(wrap):
    step = wrap(lambda pred: transform.cond(pred, lambda: random.randn(), lambda: jnp.asarray(0.0)))
    before = random.DEFAULT.value
    assert float(step(False)) == 0
    assert (random.DEFAULT.value == before).all()
    assert step(True) != step(True)


def test_gradients_through_a_branch():
    w, seen = State(3.0), State(0)

    def square(x):
        seen.value += 1
        return w.value**2 * x

    step = transform.jit(transform.grad(lambda p, x: transform.cond(p, square, lambda x: w.value * x, x), [w]))
    assert [float(step(p, 2.0)[0]) for p in (True, False)] == [12, 2]
    assert int(seen.value) == 1


def test_branches_must_agree_on_a_type():
    assert message_of("""
        a = State(0, name="a")

        def widen():
            a.value = a.value + 0.5

        transform.cond(True, widen, lambda: None)
    """) == expected("""
        model.py:6:1: error: state 'a' leaves branch 0 as f64[] but branch 1 as i64[] [branch-type]
          transform.cond(True, widen, lambda: None)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:5: state 'a' is declared here
          help: make both branches leave it with one type; a branch that does not write it leaves it as it was
    """)
