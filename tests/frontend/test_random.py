"""Random numbers from a key that is a state."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from snippets import expected, message_of

from etir.frontend import functionalise, nn, random, transform


def test_a_seed_gives_the_same_numbers_again():
    random.seed(7)
    first = [random.randn(3), random.rand(2), random.split_key(2)]
    random.seed(7)
    again = [random.randn(3), random.rand(2), random.split_key(2)]
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), first, again))


def test_each_call_draws_new_numbers_also_when_compiled():
    draw = transform.jit(lambda: random.randn(3))
    assert len({tuple(np.asarray(draw()).tolist()) for _ in range(4)}) == 4


def test_compiled_numbers_are_those_drawn_eagerly():
    random.seed(1)
    eager = [random.randn(3) for _ in range(2)]
    random.seed(1)
    draw = transform.jit(lambda: random.randn(3))
    np.testing.assert_array_equal(eager, [draw() for _ in range(2)])


def test_a_loop_draws_new_numbers_in_each_iteration():
    random.seed(1)
    eager = [random.rand(2) for _ in range(3)]
    random.seed(1)
    np.testing.assert_array_equal(eager, transform.for_loop(lambda: random.rand(2), length=3))


def test_samples_of_vmap_draw_their_own_and_the_key_moves_on_once():
    draw = transform.vmap(lambda: random.randn(2), axis_size=3)
    first, second = draw(), draw()
    assert len({float(x) for x in jnp.concatenate([first.ravel(), second.ravel()])}) == 12
    assert random.DEFAULT.value.shape == (2,)


def test_nested_vmap_draws_for_each_pair():
    draw = transform.vmap(transform.vmap(lambda: random.randn(), axis_size=2), axis_size=3)
    assert len({float(x) for x in draw().ravel()}) == 6


def test_kinds_of_numbers():
    key = jax.random.key(0)
    assert random.uniform(2.0, 3.0, (4,), key=key).min() >= 2
    assert abs(random.normal(5.0, 0.1, (100,), key=key).mean() - 5) < 0.1
    assert set(random.randint(0, 3, (50,), key=key).tolist()) == {0, 1, 2}
    assert random.bernoulli(jnp.ones(3), key=key).all()
    assert sorted(random.permutation(4, key=key).tolist()) == [0, 1, 2, 3]
    assert sorted(random.permutation(jnp.arange(3), key=key).tolist()) == [0, 1, 2]
    assert random.randn(2, 3, dtype=jnp.float32, key=key).dtype == jnp.float32


def test_a_key_of_its_own():
    model = nn.Module()
    model.key = random.KeyState(3)
    draw = transform.jit(lambda: jax.random.normal(model.key.split(), ()))
    assert draw() != draw()
    assert list(model.states()) == ["key"]
    model.key.seed(3)
    assert model.key.value.dtype == jnp.uint32


def test_the_key_has_a_path_in_a_step():
    pure = functionalise(lambda x: x + random.randn(), 0.0)
    assert list(pure.states) == ["random.key"]
    assert pure.kinds == {"random.key": "other"}
    new, first = pure.step({}, pure.states, 0.0)
    assert pure.step({}, new, 0.0)[1] != first


def test_a_draw_under_a_foreign_transform_is_refused():
    assert message_of("""
        draw = jax.jit(lambda: random.randn(2))
        draw()
    """) == expected("""
        model.py:1:24: error: state 'random.key' is written under a JAX transform, which would lose the write [foreign-transform]
          draw = jax.jit(lambda: random.randn(2))
                                 ^^^^^^^^^^^^^^^
          help: use jit, grad, vmap, scan or cond of etir.transform instead, or write after it returns
    """)  # noqa: E501  # fmt: skip


def test_importing_starts_no_device():
    program = (
        "import jax\n"
        "import etir.frontend\n"
        "jax.config.update('jax_num_cpu_devices', 2)  # refused once a device has been started\n"
        "print(len(jax.devices()))\n"
        "from etir.frontend import random, transform\n"
        "draw = transform.jit(transform.vmap(lambda: random.randn(), axis_size=2))\n"
        "print(len({float(x) for x in [*draw(), *draw()]}), type(random.DEFAULT.value).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("2\n4 ArrayImpl\n", "")
