"""The text form of couplings."""

import numpy as np
import pytest
from coupling_strategies import band, dense_blocks, roll

from etir.coupling import Coupling


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


def test_a_brief_text_leaves_packed_tables_out():
    rows = np.random.default_rng(0).integers(0, 64, (64, 3))
    assert len(str(Coupling.table((64,), (64,), rows))) > 100
    assert Coupling.table((64,), (64,), rows).brief() == "[map]"
    assert Coupling.reversed((3, 8, 5), (1,)).brief() == "[=, map:7..0, =]"
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
