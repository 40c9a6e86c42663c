"""Couplings to test with: strategies that compose them of structural operations, and a few by name."""

import math

import numpy as np
from hypothesis import strategies as st

from etir.coupling import Coupling

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
