"""Relations against dense patterns: nothing that holds is ever lost, and what can be written exactly is exact."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from etir.coupling import algebra, measure
from etir.coupling.relation import All, Same, Shifts, canonical, size_in, size_out
from etir.coupling.table import from_table, to_table

SETTINGS = settings(max_examples=150, deadline=None)


@st.composite
def leaves(draw, n_in=None, n_out=None):
    """One leaf, of the given sizes where they are given."""
    n_in = draw(st.integers(1, 4)) if n_in is None else n_in
    n_out = draw(st.integers(1, 4)) if n_out is None else n_out
    kinds = ["all", "shifts", "table"] + (["same"] if n_in == n_out else [])
    match draw(st.sampled_from(kinds)):
        case "same":
            return (Same(n_in),)
        case "all":
            return (All(n_in, n_out),)
        case "shifts":
            shifts = draw(st.sets(st.integers(1 - n_out, n_in - 1), min_size=1, max_size=4))
            return (Shifts.of(n_in, n_out, shifts),)
        case _:
            row = st.lists(st.integers(-1, n_in - 1), min_size=2, max_size=2)
            rows = np.array(draw(st.lists(row, min_size=n_out, max_size=n_out)), np.int32)
            return from_table(n_in, rows) or (All(n_in, n_out),)


@st.composite
def relations(draw, n_in=None, n_out=None):
    """A canonical product of leaves, of the given sizes where they are given."""
    parts = []
    sizes = [draw(_factors(n)) if n is not None else [None, None, None] for n in (n_in, n_out)]
    for a, b in zip(*sizes, strict=True):
        parts += draw(leaves(a, b))
    return canonical(parts) or ()


@st.composite
def _factors(draw, n):
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    first = draw(st.sampled_from(divisors))
    return draw(st.permutations([first, n // first, 1]))


def dense(relation):
    return measure.dense_relation(relation)


@SETTINGS
@given(relations())
def test_a_canonical_relation_is_its_own_canonical_form(relation):
    assert canonical(relation) == relation


@SETTINGS
@given(relations())
def test_transposition_is_exact_and_undoes_itself(relation):
    transposed = algebra.transpose(relation)
    assert np.array_equal(dense(transposed), dense(relation).T)
    assert np.array_equal(dense(algebra.transpose(transposed)), dense(relation))


@SETTINGS
@given(relations())
def test_a_table_holds_the_same_pairs(relation):
    rows = to_table(relation)
    assert np.array_equal(dense(from_table(size_in(relation), rows)), dense(relation))


@SETTINGS
@given(relations())
def test_fans_are_the_largest_row_and_column(relation):
    assert measure.fan_in(relation) == dense(relation).sum(1).max()
    assert measure.fan_out(relation) == dense(relation).sum(0).max()


@SETTINGS
@given(st.data())
def test_small_compositions_are_exact(data):
    middle = data.draw(st.sampled_from([1, 2, 4, 6, 12]))
    outer = data.draw(relations(n_in=middle, n_out=data.draw(st.sampled_from([1, 3, 4, 12]))))
    inner = data.draw(relations(n_in=data.draw(st.sampled_from([1, 2, 6, 12])), n_out=middle))
    expected = (dense(outer).astype(int) @ dense(inner).astype(int)) > 0
    composed = algebra.compose(outer, inner)
    found = np.zeros_like(expected) if composed is None else dense(composed)
    assert np.array_equal(found, expected)


@SETTINGS
@given(st.data())
def test_a_union_holds_both_and_is_exact_for_small_fans(data):
    n_in, n_out = data.draw(st.sampled_from([(12, 12), (6, 12), (12, 4), (1, 6), (8, 8)]))
    left, right = data.draw(relations(n_in=n_in, n_out=n_out)), data.draw(relations(n_in=n_in, n_out=n_out))
    joined = algebra.join(left, right)
    assert np.array_equal(dense(joined), dense(left) | dense(right))
    assert size_out(joined) == n_out


def test_large_sizes_stay_symbolic():
    n = 3 * 10**8
    gates = canonical((Shifts.of(3 * n, n, [n]),))
    dense_gates = canonical((Same(3), All(n, n)))
    assert algebra.compose(gates, dense_gates) == (Shifts.of(3, 1, [1]), All(n, n))
    band = canonical((Shifts.of(n, n, [-1, 0, 1]),))
    assert algebra.compose(band, band) == (Shifts(n, n, ((-2, 2),)),)
    assert algebra.join(band, (Same(n),)) == band
    assert algebra.transpose(band) == band
