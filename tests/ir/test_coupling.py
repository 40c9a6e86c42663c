"""Couplings against dense patterns, their text form, and the named constructors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from etir.ir.coupling import Coupling, algebra, table

SETTINGS = settings(max_examples=100, deadline=None)

SHAPES = [(), (1,), (5,), (6,), (2, 3), (3, 2), (2, 1, 3), (4, 3), (12,), (2, 6), (3, 2, 2), (1, 6)]


@st.composite
def reshapes(draw, shape):
    size = math.prod(shape)
    return draw(st.sampled_from([other for other in [*SHAPES, (size,)] if math.prod(other) == size]))


@st.composite
def steps(draw, shape, depth=None):
    """A coupling of some output to `shape`, composed of structural operations, or None where it relates nothing."""
    coupling = Coupling.identity(shape)
    for _ in range(draw(st.integers(0, 4)) if depth is None else depth):
        step = draw(one_step(coupling.out_shape))
        coupling = None if step is None else step.compose(coupling)
        if coupling is None:
            return None
    return coupling


@st.composite
def one_step(draw, shape):
    kinds = ["reshape", "all", "broadcast"] + (
        ["permute", "slice", "pad", "reverse", "reduce", "table", "window"] if shape else []
    )
    axis = draw(st.integers(0, max(0, len(shape) - 1)))
    match draw(st.sampled_from(kinds)):
        case "reshape":
            return Coupling.reshaped(shape, draw(reshapes(shape)))
        case "all":
            return Coupling.all(shape, draw(st.sampled_from([(), (3,), (2, 2)])))
        case "broadcast":
            return Coupling.broadcast(shape, (2, *shape), range(1, len(shape) + 1))
        case "permute":
            return Coupling.permuted(shape, draw(st.permutations(range(len(shape)))))
        case "slice":
            start = [draw(st.integers(0, n - 1)) for n in shape]
            limit = [draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True)]
            return Coupling.sliced(shape, start, limit, [draw(st.integers(1, 3)) for _ in shape])
        case "pad":
            return Coupling.padded(shape, [(draw(st.integers(0, 2)), 1, draw(st.integers(0, 1))) for _ in shape])
        case "reverse":
            return Coupling.reversed(shape, [axis])
        case "reduce":
            return Coupling.reduced(shape, [axis])
        case "window":
            ones = [1] * len(shape)
            window = [2 if k == axis else 1 for k in range(len(shape))]
            stride = draw(st.integers(1, 2))
            strides = [stride if k == axis else 1 for k in range(len(shape))]
            out = [
                (n + 1 - w) // s + 1 if k == axis else n
                for k, (n, w, s) in enumerate(zip(shape, window, strides, strict=True))
            ]
            padding = [(1, 0) if k == axis else (0, 0) for k in range(len(shape))]
            return Coupling.windowed(
                shape, out, window=window, strides=strides, padding=padding, base_dilation=ones, window_dilation=ones
            )
        case _:
            n = shape[axis]
            row = st.lists(st.integers(-1, n - 1), min_size=2, max_size=2)
            rows = np.array(draw(st.lists(row, min_size=4, max_size=4)), np.int32)
            out = [4 if k == axis else size for k, size in enumerate(shape)]
            matched = [(k, k) for k in range(len(shape)) if k != axis]
            return Coupling.table(shape, out, rows, (axis,), (axis,), matched)


@st.composite
def couplings(draw, in_shape=None, out_shape=None):
    """Any coupling, by chance; its shapes are as given, where they are."""
    shape = draw(st.sampled_from(SHAPES)) if in_shape is None else in_shape
    coupling = draw(steps(shape).filter(lambda found: found is not None))
    if out_shape is None:
        return coupling
    if coupling.out_shape == out_shape:
        return coupling
    if math.prod(coupling.out_shape) == math.prod(out_shape):
        return Coupling.reshaped(coupling.out_shape, out_shape).compose(coupling)
    total, size = math.prod(out_shape), math.prod(coupling.out_shape)
    rows = np.array([[(7 * k) % size] for k in range(total)], np.int32)
    fitted = Coupling.table(coupling.out_shape, out_shape, rows).compose(coupling)
    return Coupling.all(shape, out_shape) if fitted is None else fitted


def flat(coupling):
    """The dense pattern as a matrix, outputs by inputs."""
    return coupling.dense().reshape(math.prod(coupling.out_shape), math.prod(coupling.in_shape))


def holds(coupling, pattern):
    """Whether the coupling has every pair of the pattern."""
    return not np.any(pattern & ~(np.zeros_like(pattern) if coupling is None else flat(coupling)))


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


def band(shape, shifts):
    pieces = [Coupling.parse(f"[{shift}]", shape, shape) for shift in shifts]
    coupling = pieces[0]
    for piece in pieces[1:]:
        coupling = coupling.join(piece)
    return coupling


def roll(shape, by):
    return band(shape, [-by, shape[0] - by])


def dense_blocks(n, size):
    """Dense blocks on the diagonal, as a reshape, a mixing axis and a reshape back make them."""
    apart = Coupling.reshaped((n,), (n // size, size))
    mixed = Coupling.matched(apart.out_shape, apart.out_shape, [(0, 0)])
    return Coupling.reshaped(apart.out_shape, (n,)).compose(mixed.compose(apart))


@pytest.mark.parametrize(
    ("coupling", "expected"),
    [
        (Coupling.identity((8,)), "[=]"),
        (Coupling.identity((3, 8)), "[=]"),
        (Coupling.identity(()), "[=]"),
        (Coupling.all((8,), (8,)), "[*]"),
        (Coupling.all((8,), ()), "[*]"),
        (Coupling.matched((4, 8), (4, 5), [(0, 0)]), "[=, *]"),
        (band((8,), [-1, 0, 1]), "[-1..1]"),
        (roll((8,), 1), "[-1,7]"),
        (Coupling.sliced((24,), (8,), (16,)), "[8]"),
        (dense_blocks(12, 4), "[b4]"),
        (Coupling.sliced((12,), (1,), (12,), (3,)), "[=@4 x 1@3>1]"),
        (Coupling.sliced((12,), (1,), (12,), (5,)), "[map:1..11/5]"),
        (Coupling.reversed((8,), (0,)), "[map:7..0]"),
        (Coupling.reshaped((2, 3), (6,)), "[(0,1>0) =]"),
        (Coupling.permuted((2, 3), (1, 0)), "[(1>0) =, (0>1) =]"),
        (Coupling.broadcast((3,), (2, 3), (1,)), "[(0>1) =, *]"),
        (Coupling.broadcast((1, 3), (2, 3), (0, 1)), "[*, =]"),
        (Coupling.padded((3,), [(2, 0, 1)]), "[map:-1^2;0;-1;1;-1;2]"),
        (Coupling.sliced((24, 5), (8, 0), (16, 5)).compose(Coupling.all((3,), (24, 5))), "[*]"),
    ],
)
def test_text(coupling, expected):
    assert str(coupling) == expected
    assert Coupling.parse(expected, coupling.in_shape, coupling.out_shape) == coupling


def test_a_brief_text_leaves_tables_out():
    rows = np.random.default_rng(0).integers(0, 64, (64, 3))
    assert len(str(Coupling.table((64,), (64,), rows))) > 100
    assert Coupling.table((64,), (64,), rows).brief() == "[map]"
    assert Coupling.reversed((3, 8, 5), (1,)).brief() == "[=, map, =]"
    assert band((8,), [-1, 0, 1]).brief() == "[-1..1]"


@pytest.mark.parametrize(
    ("source", "in_shape", "out_shape", "message"),
    [
        ("=", (3,), (3,), "in brackets"),
        ("[=]", (3,), (4,), "equal shapes"),
        ("[=, *]", (3,), (3,), "2 items"),
        ("[b4]", (6,), (6,), "relates 4 to 4 positions, not 6 to 6"),
        ("[map:0..9]", (6,), (6,), "does not fit"),
        ("[(0,1>0) =]", (6,), (6,), "names an axis"),
        ("[(0>0]", (6,), (6,), "expected '(input axes>output axes) relation'"),
        ("[near]", (6,), (6,), "not a relation"),
    ],
)
def test_text_that_is_no_coupling_is_refused(source, in_shape, out_shape, message):
    with pytest.raises(ValueError, match="(?s)" + message.replace("(", r"\(").replace(")", r"\)")):
        Coupling.parse(source, in_shape, out_shape)


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
    assert Coupling.broadcast((), (2,), ()).mixes
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
