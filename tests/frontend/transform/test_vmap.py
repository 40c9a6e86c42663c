"""vmap: split and shared states; vmap_new_states: states for each sample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from snippets import expected, message_of

from etir.frontend import HiddenState, ParamState, ShortTermState, State, nn, random, transform


class Rnn(nn.Module):
    def __init__(self, size: int) -> None:
        self.w = ParamState(jnp.eye(size) * 0.5)
        self.h = HiddenState(jnp.zeros(size))

    def update(self, x):
        self.h.value = jnp.tanh(x + self.h.value @ self.w.value)
        return self.h.value


def per_sample(model, size):
    @transform.vmap_new_states(state_tag="new", axis_size=size)
    def init():
        nn.init_all_states(model)

    init()


def test_new_states_have_an_axis_of_samples():
    model = Rnn(32)
    per_sample(model, 16)
    assert model.h.value.shape == (16, 32)
    assert repr(model.h) == "HiddenState('h', f64[16,32] per new)"
    assert model.w.value.shape == (32, 32)
    per_sample(model, 4)
    assert model.h.value.shape == (4, 32)


def test_the_model_then_works_per_sample():
    model, alone = Rnn(3), Rnn(3)
    per_sample(model, 4)
    xs = jax.random.normal(jax.random.key(0), (4, 3))
    step = transform.jit(transform.vmap(model))
    for _ in range(3):
        ys = step(xs)
    for x, y, h in zip(xs, ys, model.h.value, strict=True):
        nn.init_all_states(alone)
        assert jnp.allclose([alone(x) for _ in range(3)][-1], y)
        assert jnp.allclose(alone.h.value, h)


def test_a_reset_ends_the_axis():
    model = Rnn(3)
    per_sample(model, 4)
    nn.zero_states(model)
    assert (model.h.value.shape, repr(model.h)) == ((4, 3), "HiddenState('h', f64[4,3] per new)")
    nn.init_all_states(model)
    assert repr(model.h) == "HiddenState('h', f64[3])"


def test_each_sample_draws_its_own_initial_value():
    model = nn.Module()
    model.h = HiddenState(lambda: random.randn(2))
    model.fixed = HiddenState(jnp.ones(2))
    per_sample(model, 3)
    assert len({float(x) for x in model.h.value.ravel()}) == 6
    assert model.fixed.value.tolist() == [[1, 1]] * 3


def test_states_made_under_vmap_new_states():
    model = nn.Module()

    @transform.vmap_new_states(axis_size=3)
    def build():
        model.h = HiddenState(jnp.zeros(2))
        model.noise = ShortTermState(random.randn(2))

    transform.jit(build)()
    assert (model.h.value.shape, model.noise.value.shape) == ((3, 2), (3, 2))
    assert transform.vmap(lambda: model.h.value + model.noise.value)().shape == (3, 2)


@pytest.mark.parametrize(
    "chosen",
    [HiddenState, lambda s: s.name == "h", "h", "list", "dict", "module"],
    ids=["class", "predicate", "state", "list", "dict", "module"],
)
def test_choosing_the_split_states(chosen):
    model = nn.Module()
    model.h, model.w = HiddenState(jnp.zeros(2)), ParamState(jnp.ones(2))
    nn.init_all_states(model, batch_size=3)
    part = nn.Module()
    part.h = model.h
    named = {"h": model.h, "list": [ParamState(0.0), model.h], "dict": model.states(HiddenState), "module": part}
    chosen = named[chosen] if isinstance(chosen, str) else chosen

    def step(x):
        assert model.h.value.shape == (2,)
        model.h.value += x * model.w.value

    transform.vmap(step, in_states=chosen)(jnp.arange(3.0))
    assert model.h.value.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert repr(model.h) == "HiddenState('h', f64[3,2])"


def test_choosing_by_tag():
    a, b = HiddenState(jnp.zeros(())), HiddenState(jnp.zeros(()))
    transform.vmap_new_states(lambda: nn.init_all_states({"a": a}) and None, state_tag="left", axis_size=3)()
    transform.vmap_new_states(lambda: nn.init_all_states({"b": b}) and None, state_tag="right", axis_size=2)()
    shapes = []
    transform.vmap(lambda: shapes.append((a.value.shape, b.value.shape)), in_states="left", axis_size=3)()
    assert shapes[-1] == ((), (2,))


def test_nested_samples():
    model = Rnn(2)

    @transform.vmap_new_states(state_tag="outer", axis_size=3)
    def outer():
        transform.vmap_new_states(lambda: nn.init_all_states(model) and None, state_tag="inner", axis_size=4)()

    outer()
    assert repr(model.h) == "HiddenState('h', f64[3,4,2] per outer per inner)"
    assert transform.vmap(transform.vmap(model))(jnp.ones((3, 4, 2))).shape == (3, 4, 2)
    nn.zero_states(model)
    assert model.h.value.shape == (3, 4, 2)


def test_axes_of_arguments_and_results():
    scale = State(2.0)
    f = transform.vmap(lambda x, y, k=0: (x + y * scale.value + k, y), in_axes=[1, None], out_axes=(1, None))
    out, y = f(jnp.arange(6.0).reshape(2, 3), 1.0, k=jnp.zeros((3, 2)))
    assert out.tolist() == [[2, 3, 4], [5, 6, 7]]
    assert float(y) == 1


def test_named_axis():
    f = transform.vmap(lambda x: x - jax.lax.pmean(x, "samples"), axis_name="samples")
    assert f(jnp.arange(3.0)).tolist() == [-1, 0, 1]


def test_a_shared_write_of_one_value_for_all():
    calls, total = State(0), State(0.0)

    def step(x):
        calls.value += 1
        total.value += jax.lax.psum(x, "samples")
        return x

    transform.jit(transform.vmap(step, axis_name="samples"))(jnp.arange(3.0))
    assert (int(calls.value), float(total.value)) == (1, 3)


def test_out_states_get_an_axis():
    last = State(jnp.zeros(()))
    transform.vmap(lambda x: setattr(last, "value", x), out_states=last)(jnp.arange(3.0))
    assert (last.value.tolist(), repr(last)) == ([0, 1, 2], "State(f64[3] per new)")


def test_a_lazy_state_gets_its_shape_per_sample():
    h = HiddenState(lazy=lambda x: jnp.zeros(x.shape, x.dtype))

    def step(x):
        h.value = h.ensure(x) + x

    run = transform.jit(transform.vmap(step))
    run(jnp.ones((3, 2)))
    run(jnp.ones((3, 2)))
    assert repr(h) == "HiddenState(f64[3,2] per new)"
    assert float(h.value.sum()) == 12


def test_inside_scan_and_grad():
    model = Rnn(2)
    per_sample(model, 3)
    xs = jax.random.normal(jax.random.key(1), (4, 3, 2))

    def loss():
        per_sample(model, 3)
        return transform.for_loop(transform.vmap(model), xs).sum()

    def plain(w):
        h, total = jnp.zeros((3, 2)), 0.0
        for x in xs:
            h = jnp.tanh(x + h @ w)
            total += h.sum()
        return total

    np.testing.assert_allclose(
        transform.jit(transform.grad(loss, model))()["w"], jax.grad(plain)(model.w.value), rtol=1e-10
    )


def test_an_error_of_the_function_is_its_own():
    h = State(0.0)

    def step(x):
        h.value += 1
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        transform.vmap(step)(jnp.ones(2))
    with pytest.raises(ValueError, match="out_axes"):
        transform.vmap(lambda x: (setattr(h, "value", h.value + 1), x)[1], out_axes=None)(jnp.ones(2))


def test_a_batched_write_to_a_shared_state():
    assert message_of("""
        model = nn.Module()
        model.h, model.calls = HiddenState(jnp.zeros(2)), State(0)

        def step(x):
            model.calls.value += 1
            model.h.value = x

        transform.vmap(step)(jnp.ones((3, 2)))
    """) == expected("""
        model.py:6:5: error: state 'h' is shared by vmap's samples, and is written with one value for each [vmap-write]
          model.h.value = x
          ^^^^^^^^^^^^^
          note: model.py:2:24: state 'h' is declared here
          help: batch it (in_states=, out_states=, or make it under vmap_new_states), or reduce before writing
    """)  # fmt: skip


def test_samples_must_be_as_many_as_inputs():
    assert message_of("""
        h = HiddenState(jnp.zeros((3, 2)), name="h")
        step = transform.vmap(lambda x: h.value + x, in_states=h)
        step(jnp.ones((4, 2)))
    """) == expected("""
        model.py:3:1: error: state 'h' holds 3 samples, and vmap maps over 4 [vmap-size]
          step(jnp.ones((4, 2)))
          ^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:5: state 'h' is declared here
          help: give vmap as many samples as nn.init_all_states or vmap_new_states made
    """)


def test_a_scalar_has_no_samples():
    assert message_of("""
        h = HiddenState(0.0, name="h")
        transform.vmap(lambda x: h.value + x, in_states=h)(jnp.ones(4))
    """) == expected("""
        model.py:2:1: error: state 'h' is to be split by vmap, and f64[] has no leading axis [vmap-size]
          transform.vmap(lambda x: h.value + x, in_states=h)(jnp.ones(4))
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:5: state 'h' is declared here
          help: initialise it under vmap_new_states, or with nn.init_all_states(model, batch_size=...)
    """)


def test_what_is_split_is_decided_anew_on_each_call():
    h = HiddenState(jnp.zeros(2))
    transform.vmap_new_states(lambda: nn.init_all_states({"h": h}) and None, axis_size=2)()
    step = transform.jit(transform.vmap(lambda x: h.value + x))
    assert step(jnp.ones(2)).shape == (2, 2)
    h.value = jnp.asarray([[1.0, 1.0], [2.0, 2.0]])
    assert step(jnp.ones(2)).tolist() == [[2, 2], [3, 3]]
    nn.init_all_states({"h": h})
    h.value = jnp.asarray([0.0, 5.0])
    assert step(jnp.zeros(2)).tolist() == [[0, 5], [0, 5]]


def test_nothing_to_map():
    n = State(0)
    with pytest.raises(ValueError, match="axis_size"):
        transform.vmap(lambda: n.value)()


class LazyCell(nn.Module):
    """A state that takes its shape from the input, and begins at random."""

    def __init__(self) -> None:
        self.w = ParamState(jnp.ones((2, 3)))
        self.h = HiddenState(lazy=lambda x: random.rand(3))

    def update(self, x):
        self.h.value = self.h.ensure(x) + x @ self.w.value
        return self.h.value


XS = jnp.arange(24.0).reshape(3, 4, 2)


def test_lazily_shaped_states_get_a_first_value_for_each_sample():
    model = LazyCell()
    ys = transform.vmap(model)(XS[0])
    assert repr(model.h) == "HiddenState('h', f64[4,3] per new)"
    begun = ys - XS[0] @ model.w.value
    assert len({float(x) for x in begun.ravel()}) == 12
    assert (transform.vmap(model)(XS[1]) == ys + XS[1] @ model.w.value).all()


@pytest.mark.parametrize("wrap", [transform.jit, lambda call: call])
def test_lazily_shaped_states_inside_a_loop_over_samples(wrap):
    model = LazyCell()
    ys = wrap(lambda xs: transform.for_loop(transform.vmap(model), xs))(XS)
    assert ys.shape == (3, 4, 3)
    assert jnp.allclose(ys[2] - ys[1], XS[2] @ model.w.value)
    assert (model.h.value == ys[-1]).all()
    nested = LazyCell()
    transform.vmap(transform.vmap(nested))(XS)
    assert repr(nested.h) == "HiddenState('h', f64[3,4,3] per new per new)"
