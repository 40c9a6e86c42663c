"""The work in traced programs, counted by hand; and what devices take for it."""

import jax
import jax.numpy as jnp
import pytest
from device_models import MOVES, MULTIPLIES

import etir
from etir.backends.loops import count_down, count_up
from etir.backends.timing.work import work_of
from etir.ir import jaxpr as jx

X = jax.ShapeDtypeStruct((4, 8), jnp.float32)
W = jax.ShapeDtypeStruct((8, 8), jnp.float32)
FULL, WIDE = 4 * 8 * 4, 8 * 8 * 4
"""Bytes of an `X` and of a `W`."""


def work(program, *types):
    return work_of(jx.trace(program, *types)[0])


def bytes_of(found):
    return sum(n * sum(b for b, _ in (*piece.bytes, *piece.apart)) for n, piece in found.pieces)


def flops_of(found):
    return sum(n * piece.flops for n, piece in found.pieces)


def launches_of(found):
    return sum(n * piece.launches for n, piece in found.pieces)


@pytest.mark.parametrize(
    ("program", "types", "launches", "moved"),
    [
        (lambda x: (2 * x + 1) * x, [X], 1, 2 * FULL),
        (lambda x: x.reshape(8, 4).T, [X], 1, 2 * FULL),
        (lambda x: jnp.tanh(x) + 1, [X], 1, 2 * FULL),
        (lambda x: (jnp.tanh(x) + 1, jnp.tanh(x) - 1), [X], 2, 2 * 2 * FULL),
        (lambda x: (lambda y: (y + 1, y - 1))(jnp.tanh(x)), [X], 3, 3 * 2 * FULL),
        (lambda x: (x * x).sum(), [X], 1, FULL + 4),
        (lambda x, w: x @ w, [X, W], 1, 2 * FULL + WIDE),
        (lambda x, w: x @ w.T, [X, W], 2, 2 * FULL + 3 * WIDE),
        (lambda x, w: jnp.einsum("bj,ij->bi", x, w), [X, W], 1, 2 * FULL + 3 * WIDE),
        (lambda x, w: jnp.tanh(x + 1) @ w, [X, W], 2, 4 * FULL + WIDE),
        (lambda x, w: etir.matmul(x, w), [X, W], 1, 2 * FULL + WIDE),
        (lambda x: jnp.einsum("bi,bj->bij", x, x), [X], 1, FULL + 4 * 8 * 8 * 4),
        (lambda x: x[1:3] + 1, [X], 1, FULL),
        (lambda w, x: jax.lax.dynamic_update_slice(w, 2 * x, (0, 0)), [W, X], 1, 2 * FULL),
        (lambda x: [x + 1, x - 1][0], [X], 1, 2 * FULL),
    ],
)
def test_kernels_after_fusion(program, types, launches, moved):
    found = work(program, *types)
    assert (launches_of(found), bytes_of(found)) == (launches, moved)


def test_a_loop_repeats_its_body_and_makes_its_results_once():
    def program(x, w):
        return jax.lax.scan(lambda h, _: (h @ w, h + 1), x, None, length=10)

    found = work(program, X, W)
    assert flops_of(found) == 10 * 2 * 4 * 8 * 8
    assert launches_of(found) == 10 * 2
    assert sum(n * piece.iterations for n, piece in found.pieces) == 10
    assert found.fresh == 10 * FULL + 2 * FULL


@pytest.mark.parametrize(("stop", "trips"), [(9, 7.0), (1, 0.0)])
def test_a_loop_that_counts_to_a_known_number_repeats_its_body_too(stop, trips):
    found = work(lambda x, w: count_up(2, stop, lambda _, x: x @ w, x), X, W)
    assert flops_of(found) == trips * 2 * 4 * 8 * 8


def test_a_loop_that_counts_down_repeats_its_body_too():
    assert flops_of(work(lambda x, w: count_down(7, lambda _, x: x @ w, x), X, W)) == 7 * 2 * 4 * 8 * 8


def test_a_loop_of_unknown_trips_counts_once():
    found = work(lambda x, w, stop: count_up(0, stop, lambda _, x: x @ w, x), X, W, jax.ShapeDtypeStruct((), jnp.int32))
    assert flops_of(found) == 2 * 4 * 8 * 8


def test_a_branch_counts_as_the_one_that_moves_most():
    found = work(lambda x, w: jax.lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x + 1), X, W)
    assert flops_of(found) == 2 * 4 * 8 * 8


def test_a_device_takes_its_time_for_what_it_is_slow_at():
    found = work(lambda x, w: jnp.tanh(x) @ w, X, W)
    assert MULTIPLIES.seconds(found) == pytest.approx(2 * 4 * 8 * 8 / 2e6)
    assert MOVES.seconds(found) == pytest.approx((4 * FULL + WIDE) * 1e-9)
