"""Couplings against dense patterns, their text form, and the named constructors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from coupling_strategies import SHAPES, band, couplings, dense_blocks, flat, holds, roll
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from etir.coupling import Coupling, algebra, table

SETTINGS = settings(max_examples=100, deadline=None)


@SETTINGS
@given(st.data())
def test_composition_loses_nothing_and_is_exact_when_small(data):
    inner = data.draw(couplings())
    outer = data.draw(couplings(inner.out_shape))
    expected = (flat(outer).astype(int) @ flat(inner).astype(int)) > 0
    composed = outer.compose(inner)
    assert holds(composed, expected)
    if inner.fan_in * outer.fan_in <= 16:
        assert np.array_equal(np.zeros_like(expected) if composed is None else flat(composed), expected)


@SETTINGS
@given(st.data())
def test_a_union_loses_nothing_and_is_exact_when_small(data):
    left = data.draw(couplings())
    right = data.draw(couplings(left.in_shape, left.out_shape))
    joined = left.join(right)
    assert holds(joined, flat(left) | flat(right))
    if left.fan_in <= 16 and right.fan_in <= 16:
        assert np.array_equal(flat(joined), flat(left) | flat(right))


@SETTINGS
@given(couplings())
def test_transposition_is_exact_and_undoes_itself(coupling):
    assert np.array_equal(flat(coupling.transpose()), flat(coupling).T)
    assert np.array_equal(flat(coupling.transpose().transpose()), flat(coupling))


@SETTINGS
@given(st.sampled_from(SHAPES).flatmap(lambda shape: couplings(shape, shape)))
def test_a_closure_has_every_power(coupling):
    reached = pattern = flat(coupling).astype(int)
    for _ in range(len(pattern)):
        reached = ((reached + reached @ pattern) > 0).astype(int)
    assert holds(coupling.closure(), reached > 0)
    assert coupling.closure().closure() == coupling.closure()
    squared, cubed = coupling.power(2), coupling.power(3)
    assert holds(squared, (pattern @ pattern) > 0)
    assert holds(cubed, (pattern @ pattern @ pattern) > 0)
    assert coupling.power(0).is_identity
    assert coupling.power(1) == coupling


@SETTINGS
@given(couplings())
def test_text_reads_back(coupling):
    assert Coupling.parse(str(coupling), coupling.in_shape, coupling.out_shape) == coupling
    assert hash(Coupling.parse(str(coupling), coupling.in_shape, coupling.out_shape)) == hash(coupling)


@SETTINGS
@given(couplings())
def test_fans_are_the_largest_row_and_column(coupling):
    assert coupling.fan_in == flat(coupling).sum(1).max()
    assert coupling.fan_out == flat(coupling).sum(0).max()


@SETTINGS
@given(st.sampled_from(SHAPES).flatmap(lambda shape: couplings(shape, shape)))
def test_the_diagonal_is_told_from_the_rest(coupling):
    pattern = flat(coupling)
    assert coupling.has_diagonal == np.diagonal(pattern).any()
    assert coupling.has_off_diagonal == (pattern & ~np.eye(len(pattern), dtype=bool)).any()
    assert not coupling.is_identity or np.array_equal(pattern, np.eye(len(pattern), dtype=bool))
    assert not coupling.is_all or pattern.all()


@SETTINGS
@given(couplings())
def test_targets_are_the_outputs_that_an_input_feeds(coupling):
    targets = coupling.targets()
    if targets is None:
        assert coupling.mixes or coupling.fan_out > 16
        return
    positions = targets.positions().reshape(-1, targets.slots)
    assert targets.slots == coupling.fan_out
    for column, found in zip(flat(coupling).T, positions, strict=True):
        assert sorted(found[found >= 0]) == sorted(np.flatnonzero(column))


@SETTINGS
@given(couplings())
def test_targets_gather_with_any_leading_axes(coupling):
    targets = coupling.targets()
    if targets is None:
        return
    values = np.random.default_rng(0).normal(size=(2, *coupling.out_shape))
    gathered = targets.gather(values, fill=7.0)
    assert gathered.shape == (2, *coupling.in_shape, targets.slots)
    positions = targets.positions()
    expected = np.where(positions < 0, 7.0, values.reshape(2, -1)[:, np.maximum(positions, 0)])
    assert np.array_equal(gathered, expected)


def test_targets_gather_tracers():
    coupling = Coupling.permuted((2, 3), (1, 0)).join(Coupling.reshaped((2, 3), (3, 2)))
    values = np.arange(6.0).reshape(3, 2)
    gathered = jax.jit(coupling.targets().gather)(values)
    assert np.array_equal(gathered, coupling.targets().gather(values))


@pytest.mark.parametrize(("gates", "gathers"), [([0, 3, 6, 9], 0), ([0, 6, 9], 0), ([0, 1, 6, 9], 1)])
def test_targets_that_repeat_an_axis_are_brought_without_a_gather(gates, gathers):
    whole = [Coupling.sliced((12,), [k], [k + 3], [1]) for k in gates]
    targets = functools.reduce(Coupling.join, whole).targets()
    values = np.arange(1.0, 7.0).reshape(2, 3)
    traced = jax.make_jaxpr(targets.gather)(values)
    assert str(traced).count(" = gather[") == gathers
    found = jax.jit(targets.gather)(values).sum(-1)
    expected = np.zeros((2, 12))
    for k in gates:
        expected[:, k : k + 3] += values
    assert np.array_equal(found, expected)


@SETTINGS
@given(couplings())
def test_outputs_of_one_colour_share_no_input(coupling):
    colours = coupling.colours()
    if colours is None:
        assert coupling.fan_out > 1
        return
    masks = colours.masks()
    assert masks.shape == (colours.count, *coupling.out_shape)
    assert masks.sum(0).min() == masks.sum(0).max() == 1
    for mask in masks:
        assert flat(coupling)[mask.ravel()].sum(0).max(initial=0) <= 1


def test_colours_are_few():
    assert Coupling.identity((4, 5)).colours().count == 1
    assert band((12,), [-1, 0, 1]).colours().count == 3
    assert roll((8,), 1).colours().count == 1
    assert band((32,), [0, 8]).colours().count == 2
    assert dense_blocks(12, 4).colours().count == 4
    assert Coupling.all((17,), (17,)).colours() is None
    assert Coupling.all((17,), ()).colours().count == 1


def test_a_slice_of_a_concatenation_reads_its_own_piece_alone():
    first = Coupling.piece((3,), (7,), (0,))
    second = Coupling.piece((4,), (7,), (3,))
    read = Coupling.sliced((7,), (3,), (7,))
    assert read.compose(first) is None
    assert read.compose(second).is_identity


def test_slices_put_together_again_are_the_identity():
    pieces = [Coupling.piece((4,), (8,), (k,)).compose(Coupling.sliced((8,), (k,), (k + 4,))) for k in (0, 4)]
    assert pieces[0].join(pieces[1]).is_identity


def test_a_slice_that_is_padded_again_reads_nothing_beside_it():
    padded = Coupling.piece((3,), (6,), (1,)).compose(Coupling.sliced((6,), (1,), (4,)))
    assert str(padded) == "[map:-1;1..3;-1^2]"


def test_a_stencil_in_two_axes_is_exact():
    across = Coupling.parse("[-1..1, =]", (4, 5), (4, 5))
    down = Coupling.parse("[=, -1..1]", (4, 5), (4, 5))
    assert across.join(down).fan_in == 5


def test_heads_apart_and_together_again():
    n, heads = 6 * 10**6, 4
    apart = Coupling.reshaped((8, heads * n), (8, heads, n))
    mixed = Coupling.matched(apart.out_shape, apart.out_shape, [(0, 0), (1, 1)])
    together = Coupling.reshaped(apart.out_shape, (8, heads * n)).compose(mixed.compose(apart))
    assert str(together) == f"[=, b{n}]"
    head = Coupling.sliced((8, heads * n), (0, n), (8, 2 * n)).compose(together)
    assert head.fan_in == n
    assert Coupling.sliced((8, heads * n), (0, 0), (8, n)).transpose().compose(head).fan_in == n
    assert head.compose(Coupling.piece((8, n), (8, heads * n), (0, 0))) is None


def test_a_closed_band_couples_everything():
    assert band((9,), [-1, 0, 1]).closure().is_all
    assert str(band((9,), [1]).closure()) == "[1..8]"
    assert band((9,), [0]).closure().is_identity


def test_empty_shapes():
    empty = Coupling.identity((0, 3))
    assert empty.is_identity
    assert empty == Coupling.all((0, 3), (0, 3))
    assert Coupling.parse(str(empty), (0, 3), (0, 3)) == empty
    assert not empty.has_off_diagonal


def test_stacking_adds_a_first_axis():
    inner = band((5,), [0, 1])
    assert str(inner.stacked(4, 4, same=True)) == "[=, 0..1]"
    assert str(inner.stacked(4, 4)) == "[*, 0..1]"
    assert str(inner.stacked(None, 4)) == "[(0>1) 0..1, *]"


def test_mixing_is_told_at_any_size():
    assert Coupling.all((2,), (2,)).mixes
    assert not Coupling.all((2,), ()).mixes
    assert not Coupling.broadcast((), (2,), ()).mixes
    assert Coupling.broadcast((), (2,), ()).repeats
    assert not dense_blocks(4, 2).mixes
    assert not band((3,), [0, 1]).mixes


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"cannot compose a coupling that reads \(3,\) with one that gives \(4,\)"):
        Coupling.identity((3,)).compose(Coupling.identity((4,)))
    with pytest.raises(ValueError, match="cannot join"):
        Coupling.identity((3,)).join(Coupling.identity((4,)))
    with pytest.raises(ValueError, match="only a shape's coupling to itself has powers"):
        Coupling.all((3,), (4,)).closure()
    with pytest.raises(ValueError, match="no common diagonal"):
        Coupling.all((3,), (4,)).has_diagonal  # noqa: B018


def test_windows_match_pooling():
    values = jnp.zeros((7,))
    for window, stride, low, high, dilation in [(3, 2, 1, 0, 1), (2, 2, 0, 1, 1), (3, 1, 1, 1, 2), (2, 3, 0, 0, 1)]:
        config = {"window_dimensions": (window,), "window_strides": (stride,), "padding": ((low, high),)}
        pooled = lax.reduce_window(values, 0.0, lax.add, window_dilation=(dilation,), **config)
        coupling = Coupling.windowed(
            (7,),
            pooled.shape,
            window=(window,),
            strides=(stride,),
            padding=((low, high),),
            base_dilation=(1,),
            window_dilation=(dilation,),
        )
        expected = [
            lax.reduce_window(row, 0.0, lax.add, window_dilation=(dilation,), **config) > 0 for row in jnp.eye(7)
        ]
        assert np.array_equal(coupling.dense(), np.array(expected).T)


@SETTINGS
@given(st.data())
def test_what_is_too_large_for_a_table_is_taken_too_large_not_too_small(data):
    inner = data.draw(couplings())
    outer = data.draw(couplings(inner.out_shape))
    other = data.draw(couplings(inner.in_shape, inner.out_shape))
    square = data.draw(couplings((2, 6), (2, 6)))
    patterns = [flat(coupling).astype(int) for coupling in (inner, outer, other, square)]
    limit = data.draw(st.sampled_from([1, 6, 20]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(algebra, "MAX_ENTRIES", limit)
        patch.setattr(table, "MAX_ENTRIES", limit)
        patch.setattr(algebra, "MAX_RUNS", 1)
        assert holds(outer.compose(inner), (patterns[1] @ patterns[0]) > 0)
        assert holds(inner.join(other), (patterns[0] + patterns[2]) > 0)
        assert holds(inner.transpose(), patterns[0].T > 0)
        assert holds(square.closure(), (patterns[3] + patterns[3] @ patterns[3]) > 0)
        assert square.has_off_diagonal >= (patterns[3] > np.eye(12)).any()
        assert square.has_diagonal >= np.diagonal(patterns[3]).any()
        targets, colours = inner.targets(), inner.colours()
        if targets is not None:
            positions = targets.positions().reshape(-1, targets.slots)
            assert all(set(np.flatnonzero(c)) <= set(p) for c, p in zip(patterns[0].T, positions, strict=True))
        if colours is not None:
            assert all((patterns[0][mask.ravel()].sum(0) <= 1).all() for mask in colours.masks())
