"""Under a transform of JAX itself a write would be lost: it is refused, and nothing is lost silently."""

import jax
import jax.numpy as jnp
import pytest
from snippets import expected, message_of

from etir.frontend import HiddenState, ParamState, State, nn, transform
from etir.ir.diagnostics import EtirError

COUNTER = """
class Counter(nn.Module):
    def __init__(self):
        self.n = State(jnp.array(0.0))

    def __call__(self, x):
        self.n.value += 1
        return self.n.value * x

counter = Counter()
"""

LOST = """
    model.py:6:9: error: state 'n' is written under a JAX transform, which would lose the write [foreign-transform]
      self.n.value += 1
      ^^^^^^^^^^^^
      note: model.py:3:18: state 'n' is declared here
      help: use jit, grad, vmap, scan or cond of etir.transform instead, or write after it returns
"""  # fmt: skip

FOREIGN = [
    "jax.jit(counter)(1.0)",
    "jax.grad(counter)(1.0)",
    "jax.vmap(counter)(jnp.ones(2))",
    "jax.lax.scan(lambda c, x: (c, counter(x)), 0, jnp.ones(2))",
    "jax.lax.cond(True, counter, lambda x: x, 1.0)",
    "jax.lax.while_loop(lambda x: x < 1, counter, 0.0)",
    "jax.checkpoint(counter)(1.0)",
    "jax.eval_shape(counter, 1.0)",
]


@pytest.mark.parametrize("call", FOREIGN)
def test_a_write_is_refused(call):
    assert message_of(COUNTER + call) == expected(LOST)


@pytest.mark.parametrize("call", FOREIGN)
@pytest.mark.parametrize("outer", ["transform.jit", "transform.vmap", "transform.grad"])
def test_a_write_is_refused_inside_our_own_too(outer, call):
    argument = "jnp.ones(1)" if outer == "transform.vmap" else "1.0"
    assert message_of(f"{COUNTER}{outer}(lambda _: {call})({argument})") == expected(LOST)


def test_a_constant_is_refused_too():
    """It would be written while tracing, and not on the second call."""
    assert message_of("""
        flag = State(0, name="flag")
        jax.jit(lambda x: setattr(flag, "value", 1))(1.0)
    """) == expected("""
        model.py:2:19: error: state 'flag' is written under a JAX transform, which would lose the write [foreign-transform]
          jax.jit(lambda x: setattr(flag, "value", 1))(1.0)
                            ^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:8: state 'flag' is declared here
          help: use jit, grad, vmap, scan or cond of etir.transform instead, or write after it returns
    """)  # noqa: E501  # fmt: skip


def test_our_transform_inside_a_foreign_one_is_refused_and_leaves_the_state_alone():
    n = State(0)
    inner = transform.jit(lambda x: setattr(n, "value", n.value + 1))
    with pytest.raises(EtirError, match="foreign-transform"):
        jax.jit(inner)(1.0)
    assert int(n.value) == 0
    inner(1.0)
    assert int(n.value) == 1


def test_reading_is_allowed():
    w = ParamState(2.0)
    assert float(jax.grad(lambda x: x * w.value)(1.0)) == 2
    assert float(transform.jit(lambda x: jax.grad(lambda y: y * w.value)(x))(1.0)) == 2
    assert transform.vmap(lambda x: jax.jit(lambda y: y * w.value)(x))(jnp.ones(2)).tolist() == [2, 2]


def test_a_split_state_first_read_inside_a_foreign_transform():
    h = HiddenState(jnp.arange(3.0))

    def step(x):
        y = jax.jit(lambda x: h.value + x)(x)
        h.value += y
        return y

    assert transform.vmap(step, in_states=h)(jnp.ones(3)).tolist() == [1, 2, 3]
    assert h.value.tolist() == [1, 3, 5]


def test_a_model_that_lives_inside_one_foreign_transform_works():
    @jax.jit
    def run(x):
        model = nn.Module()
        model.h = HiddenState(jnp.zeros(2))
        for _ in range(2):
            model.h.value = model.h.value + x
        transform.for_loop(lambda y: setattr(model.h, "value", model.h.value + y), jnp.ones(3))
        return model.h.value

    assert [run(1.0).tolist(), run(2.0).tolist()] == [[5, 5], [7, 7]]
    assert transform.jit(run)(1.0).tolist() == [5, 5]
    assert transform.jit(lambda x: jax.vmap(run)(x))(jnp.ones(2)).shape == (2, 2)


def test_reading_a_leaked_value():
    assert message_of("""
        kept = []

        @jax.jit
        def run(x):
            kept.append(HiddenState(x, name="h"))

        run(1.0)
        kept[0].value
    """) == expected("""
        model.py:8:1: error: state 'h' is read with a value of a JAX transform that has ended [leaked-tracer]
          kept[0].value
          ^^^^^^^^^^^^^
          note: model.py:5:17: state 'h' is declared here
          help: return the value from the function, or use jit, grad, vmap, scan or cond of etir.transform
    """)  # fmt: skip


def test_writing_a_leaked_value():
    assert message_of("""
        h, kept = HiddenState(0.0, name="h"), []
        jax.jit(lambda x: kept.append(x))(1.0)
        h.value = kept[0]
    """) == expected("""
        model.py:3:1: error: state 'h' is written with a value of a JAX transform that has ended [leaked-tracer]
          h.value = kept[0]
          ^^^^^^^
          note: model.py:1:11: state 'h' is declared here
          help: return the value from the function, or use jit, grad, vmap, scan or cond of etir.transform
    """)  # fmt: skip


def test_an_initial_value_that_leaked():
    assert message_of("""
        model = nn.Module()

        @transform.jit
        def build(x):
            model.h = HiddenState(x)

        build(jnp.ones(2))
        model.h.value
        nn.init_all_states(model)
    """) == expected("""
        model.py:9:1: error: the initial value of state 'h' is of a JAX transform that has ended [leaked-tracer]
          nn.init_all_states(model)
          ^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:5:15: state 'h' is declared here
          help: make the model outside the transform, or give an initialiser: HiddenState(lambda: jnp.zeros(n))
    """)


def test_states_are_usable_from_another_thread():
    import threading

    n = State(0)
    step = transform.jit(lambda: setattr(n, "value", n.value + 1))
    step()
    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert int(n.value) == 2
