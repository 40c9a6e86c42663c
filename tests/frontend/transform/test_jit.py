"""jit: states are inputs and outputs of the compiled program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from etir.frontend import HiddenGroupState, HiddenState, ParamState, State, nn, transform


class Counter(nn.Module):
    def __init__(self) -> None:
        self.n = State(jnp.array(0))

    def __call__(self):
        self.n.value += 1
        return self.n.value


class Traced:
    """A function that counts how often it is traced."""

    def __init__(self, function) -> None:
        self.function, self.count = function, 0
        functools.update_wrapper(self, function)

    def __call__(self, *args, **kwargs):
        self.count += 1
        return self.function(*args, **kwargs)


def test_a_counter_counts():
    model = Counter()
    counter = transform.jit(model)
    assert [int(counter()) for _ in range(4)] == [1, 2, 3, 4]
    assert int(model()) == 5
    assert int(counter()) == 6


def test_later_calls_are_not_traced():
    n = State(0)

    @Traced
    def step(x):
        n.value += x
        return n.value

    fast = transform.jit(step)
    first = [int(fast(1)) for _ in range(2)]
    count = step.count
    assert count == 2  # once to find the state, once with it
    assert [*first, *(int(fast(1)) for _ in range(3))] == [1, 2, 3, 4, 5]
    assert step.count == count


def test_a_value_set_outside_is_seen():
    w = ParamState(2.0)
    fast = transform.jit(lambda x: w.value * x)
    assert float(fast(3.0)) == 6
    w.value = 5.0
    assert float(fast(3.0)) == 15


def test_a_function_that_raises_writes_nothing():
    n = State(0)

    @transform.jit
    def step(x):
        n.value += 1
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        step(1)
    assert int(n.value) == 0


def test_options_methods_and_static_arguments():
    class Model(nn.Module):
        def __init__(self) -> None:
            self.h = HiddenState(jnp.zeros(2))

        @functools.partial(transform.jit, static_argnames="twice")
        def update(self, x, twice=False):
            self.h.value += x * (2 if twice else 1)
            return self.h.value

    one, two = Model(), Model()
    assert one(1.0).tolist() == [1, 1]
    assert one(1.0, twice=True).tolist() == [3, 3]
    assert two(1.0).tolist() == [1, 1]

    @transform.jit(static_argnums=(1, 2))
    def power(x, n, mode):
        return x**n if mode == "up" else x

    assert float(power(2.0, 3, "up")) == 8
    assert float(power(2.0, 3, "same")) == 2


def test_a_branch_that_is_taken_later_brings_its_state():
    a, b = State(0), State(0)

    @transform.jit
    def step(x):
        state = a if x.ndim == 0 else b
        state.value += 1

    for x in (jnp.zeros(()), jnp.zeros(2), jnp.zeros(()), jnp.zeros((2, 2))):
        step(x)
    assert (int(a.value), int(b.value)) == (2, 2)


def test_initialisation_may_be_compiled():
    model = nn.Module()
    model.h = HiddenState(jnp.ones(3))
    transform.jit(lambda: nn.init_all_states(model, batch_size=2) and None)()
    assert model.h.varshape == (2, 3)


def test_a_state_made_inside_exists_after():
    model = nn.Module()

    @transform.jit
    def make(x):
        model.h = HiddenState(x * 2)
        model.h.value += 1

    make(jnp.ones(2))
    assert model.h.value.tolist() == [3, 3]
    make(jnp.zeros(2))
    assert model.h.value.tolist() == [1, 1]


def test_nested():
    n, m = State(0), HiddenGroupState(a=jnp.zeros(2), b=jnp.zeros(2))

    @transform.jit
    def inner(x):
        n.value += 1
        m["a"] += x
        return n.value

    @transform.jit
    def outer(x):
        return inner(x) + transform.cond(x > 1, lambda: inner(x), lambda: jnp.array(0))

    assert [int(outer(1.0)), int(outer(2.0)), int(outer(1.0))] == [1, 5, 4]
    np.testing.assert_array_equal(m["a"], [6, 6])


def test_a_deep_nest_is_traced_about_once_a_level():
    n = State(0.0)

    @Traced
    def leaf(x):
        n.value += x

    def scanned(body):
        return lambda x: transform.scan(lambda c, _: (c, body(x)), 0, length=1)[1]

    nest = leaf
    for _ in range(6):
        nest = scanned(nest)
    fast = transform.jit(nest)
    fast(1.0)
    assert float(n.value) == 1
    assert leaf.count <= 10  # 2 ** 7 without the memory of what was found


def test_a_jitted_function_keeps_its_name():
    def step():
        """One step."""

    assert (transform.jit(step).__name__, transform.jit(step).__doc__) == ("step", "One step.")
    assert transform.jit(Counter()).__name__ == "Counter"


def test_a_jitted_function_is_usable_under_jax():
    n = State(3.0)
    fast = transform.jit(lambda x: x * n.value)
    assert float(jax.grad(fast)(1.0)) == 3
    assert jax.vmap(fast)(jnp.arange(3.0)).tolist() == [0, 3, 6]


def test_lazy_states_are_set_before_the_program_is_compiled():
    h = HiddenState(lazy=lambda x: jnp.zeros(x.shape, x.dtype))

    @Traced
    def step(x):
        h.ensure(x)
        h.value += x
        return h.value

    fast = transform.jit(step)
    assert [fast(jnp.ones(2)).tolist() for _ in range(3)] == [[1, 1], [2, 2], [3, 3]]
    assert step.count == 2
    nn.zero_states({"h": h})
    assert fast(jnp.ones(2)).tolist() == [1, 1]
    nn.zero_states({"h": h})
    assert fast(jnp.ones((2, 3))).shape == (2, 3)


def test_without_jit():
    n = State(0)
    with jax.disable_jit():
        step = transform.jit(lambda: transform.for_loop(lambda x: setattr(n, "value", n.value + x), jnp.arange(3)))
        step()
    assert int(n.value) == 3
