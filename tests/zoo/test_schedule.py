"""I6: with frozen weights, K single steps leave the states and traces that a K-window leaves, and the driver too."""

import jax
import numpy as np
import pytest
from learners import EXACT, compiled, settled, thin_matrix
from oracles import loss, relative_error
from problems import problem


@thin_matrix(windows=(2, 5, 1))
def test_single_steps_and_windows_leave_the_same_carry(name: str, rule: str, window: int):
    of = problem(name)
    learner = compiled(of, rule, window)

    @jax.jit
    def three_ways(params, states, xs, *targets):
        start = learner.init(params, states)
        stepped, ys = jax.lax.scan(lambda carry, x: learner.step(params, carry, *unpacked(x)), start, xs)
        windowed, ys_windowed = learner.window(params, start, xs)
        result = learner.grad(loss, reduction="sum")(params, start, xs, *targets)
        found = [settled(learner, carry) for carry in (stepped, windowed, result.carry)]
        return (found[0], ys), (found[1], ys_windowed), (found[2], result.losses)

    (stepped, ys), (windowed, ys_windowed), (driven, losses) = three_ways(*of.arguments)
    outcome = of.bptt()
    assert far_apart(windowed, stepped) == []
    assert far_apart(driven, stepped) == []
    assert far_apart(ys_windowed, ys) == []
    assert relative_error(losses, outcome.losses) < EXACT


def unpacked(x) -> tuple:
    return x if isinstance(x, tuple) else (x,)


def far_apart(found, wanted) -> list[str]:
    """The leaves of two carries that differ."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    leaves = zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(wanted), strict=True)
    return [jax.tree_util.keystr(path) for (path, a), b in leaves if not relative_error(numbers(a), numbers(b)) < EXACT]


def numbers(leaf) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


@pytest.mark.parametrize("name", ["lstm", "lru", "gif_recurrent", "noisy_counter"])
def test_a_sequence_may_be_cut_anywhere(name: str):
    """Two calls of the driver, the carry handed on, are one call: gradients add up, whole windows or not."""
    of = problem(name)
    learner = compiled(of, "d_rtrl", 2)
    drive = learner.grad(loss, reduction="sum")

    @jax.jit
    def apart(params, states, *sequence):
        first = drive(params, learner.init(params, states), *cut(sequence, slice(0, 4)))
        second = drive(params, first.carry, *cut(sequence, slice(4, None)))
        whole = drive(params, learner.init(params, states), *sequence)
        ends = [settled(learner, result.carry) for result in (second, whole)]
        return jax.tree.map(jax.numpy.add, first.grads, second.grads), ends[0], whole.grads, ends[1]

    grads, carry, whole, carry_whole = apart(*of.arguments)
    assert far_apart(grads, whole) == []
    assert far_apart(carry, carry_whole) == []


def cut(sequence, part: slice):
    return jax.tree.map(lambda a: a[part], sequence)
