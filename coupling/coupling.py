"""The coupling of an output to an input: which positions of the one depend on which positions of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import diagonal, measure, pairs, text
from .blocks import Axes, Block, Shape, canonical_blocks
from .colours import Colours, colours_of
from .limits import SPREAD
from .relation import Relation, Same
from .shapes import pad_relation, reverse_relation, slice_relation, window_relation
from .table import from_table
from .targets import Targets, targets_of


@dataclass(frozen=True, slots=True)
class Coupling:
    """Which positions of an input each position of an output depends on.

    A coupling is a product of blocks, each of which relates some input axes to some output axes. Axes of size one are
    in no block. No dependence at all is no coupling: where a result can be empty, it is `None` instead.

    Equal couplings are equal values and hash alike. A coupling may contain pairs that do not depend, where the exact
    set has no compact form; it never lacks a pair that does.
    """

    in_shape: Shape
    out_shape: Shape
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, in_shape: Sequence[int], out_shape: Sequence[int], blocks: Sequence[Block]) -> Coupling | None:
        """The product of some blocks; axes that no block has are coupled to everything."""
        shapes = tuple(map(int, in_shape)), tuple(map(int, out_shape))
        kept = canonical_blocks(*shapes, blocks)
        return None if kept is None else cls(*shapes, kept)

    @classmethod
    def _of(cls, in_shape: Sequence[int], out_shape: Sequence[int], blocks: Sequence[Block]) -> Coupling:
        """Like `of`, for blocks that relate something."""
        coupling = cls.of(in_shape, out_shape, blocks)
        assert coupling is not None
        return coupling

    @classmethod
    def identity(cls, shape: Sequence[int]) -> Coupling:
        """Each position depends on itself."""
        blocks = tuple(Block((axis,), (axis,), (Same(size),)) for axis, size in enumerate(shape))
        return cls._of(shape, shape, blocks)

    @classmethod
    def all(cls, in_shape: Sequence[int], out_shape: Sequence[int]) -> Coupling:
        """Every position depends on every position."""
        return cls._of(in_shape, out_shape, ())

    @classmethod
    def matched(cls, in_shape: Sequence[int], out_shape: Sequence[int], axes: Sequence[tuple[int, int]]) -> Coupling:
        """Input axis `i` and output axis `o` agree for each pair `(i, o)`; all other axes couple everything.

        A pair whose input axis has size one is a broadcast, and is not tied.
        """
        blocks = [Block((i,), (o,), (Same(out_shape[o]),)) for i, o in axes if in_shape[i] == out_shape[o]]
        return cls._of(in_shape, out_shape, blocks)

    @classmethod
    def broadcast(cls, in_shape: Sequence[int], out_shape: Sequence[int], axes: Sequence[int]) -> Coupling:
        """Input axis `k` becomes output axis `axes[k]`, repeated where its size is one (`broadcast_in_dim`)."""
        return cls.matched(in_shape, out_shape, list(enumerate(axes)))

    @classmethod
    def reduced(cls, in_shape: Sequence[int], axes: Sequence[int]) -> Coupling:
        """The given axes are summed up, or reduced in any other way, and gone."""
        kept = [axis for axis in range(len(in_shape)) if axis not in axes]
        pairs = [(axis, position) for position, axis in enumerate(kept)]
        return cls.matched(in_shape, [in_shape[axis] for axis in kept], pairs)

    @classmethod
    def reshaped(cls, in_shape: Sequence[int], out_shape: Sequence[int]) -> Coupling:
        """The same positions in row-major order under another shape (`reshape`, `squeeze`, `expand_dims`)."""
        whole = Block(tuple(range(len(in_shape))), tuple(range(len(out_shape))), (Same(math.prod(in_shape)),))
        return cls._of(in_shape, out_shape, (whole,))

    @classmethod
    def permuted(cls, in_shape: Sequence[int], permutation: Sequence[int]) -> Coupling:
        """Output axis `k` is input axis `permutation[k]` (`transpose`)."""
        out_shape = [in_shape[axis] for axis in permutation]
        return cls.matched(in_shape, out_shape, [(axis, k) for k, axis in enumerate(permutation)])

    @classmethod
    def by_axis(
        cls, in_shape: Sequence[int], out_shape: Sequence[int], relations: Sequence[Relation | None]
    ) -> Coupling | None:
        """Output axis `k` depends on input axis `k` by the relation given for it; `None` where one relates nothing."""
        blocks: list[Block] = []
        for axis, relation in enumerate(relations):
            if relation is None and 0 not in (*in_shape, *out_shape):
                return None
            blocks.append(Block((axis,), (axis,), relation or ()))
        return cls.of(in_shape, out_shape, blocks)

    @classmethod
    def sliced(
        cls, in_shape: Sequence[int], start: Sequence[int], limit: Sequence[int], strides: Sequence[int] | None = None
    ) -> Coupling | None:
        """The positions from `start` up to `limit` by `strides` (`slice`)."""
        steps = strides or (1,) * len(in_shape)
        out_shape = [max(0, -(-(b - a) // s)) for a, b, s in zip(start, limit, steps, strict=True)]
        relations = [slice_relation(n, m, a, s) for n, m, a, s in zip(in_shape, out_shape, start, steps, strict=True)]
        return cls.by_axis(in_shape, out_shape, relations)

    @classmethod
    def piece(cls, in_shape: Sequence[int], out_shape: Sequence[int], start: Sequence[int]) -> Coupling | None:
        """The input is the part of the output that begins at `start` (`concatenate`, the update of a slice)."""
        zipped = zip(in_shape, out_shape, start, strict=True)
        return cls.by_axis(in_shape, out_shape, [pad_relation(n, m, a, 0) for n, m, a in zipped])

    @classmethod
    def padded(cls, in_shape: Sequence[int], config: Sequence[tuple[int, int, int]]) -> Coupling | None:
        """Padding `(low, high, interior)` an axis, negative ones included (`pad`); padding depends on nothing."""
        out_shape = [
            max(0, low + high + n + max(0, n - 1) * interior)
            for n, (low, high, interior) in zip(in_shape, config, strict=True)
        ]
        zipped = zip(in_shape, out_shape, config, strict=True)
        relations = [pad_relation(n, m, low, interior) for n, m, (low, _, interior) in zipped]
        return cls.by_axis(in_shape, out_shape, relations)

    @classmethod
    def reversed(cls, shape: Sequence[int], axes: Sequence[int]) -> Coupling:
        """The given axes read backwards (`rev`)."""
        blocks = [
            Block((axis,), (axis,), reverse_relation(size) if axis in axes else (Same(size),))
            for axis, size in enumerate(shape)
            if size
        ]
        return cls._of(shape, shape, blocks)

    @classmethod
    def windowed(
        cls,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        window: Sequence[int],
        strides: Sequence[int],
        padding: Sequence[tuple[int, int]],
        base_dilation: Sequence[int],
        window_dilation: Sequence[int],
    ) -> Coupling | None:
        """Each output position depends on a window of the input, axis by axis (`reduce_window`, pooling)."""
        relations = [
            window_relation(*sizes, window=w, stride=s, low=low, base_dilation=b, window_dilation=d)
            for *sizes, w, s, (low, _), b, d in zip(
                in_shape, out_shape, window, strides, padding, base_dilation, window_dilation, strict=True
            )
        ]
        return cls.by_axis(in_shape, out_shape, relations)

    @classmethod
    def table(
        cls,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        rows: npt.NDArray[np.integer],
        in_axes: Axes | None = None,
        out_axes: Axes | None = None,
        matched: Sequence[tuple[int, int]] = (),
    ) -> Coupling | None:
        """The flattened `out_axes` depend on the flattened `in_axes` by rows of indices, padded with -1.

        `rows` is `[n_out, fan_in]`. Both default to all axes; `matched` are further pairs of axes that agree.
        """
        ins = tuple(range(len(in_shape))) if in_axes is None else tuple(in_axes)
        outs = tuple(range(len(out_shape))) if out_axes is None else tuple(out_axes)
        same = [Block((i,), (o,), (Same(out_shape[o]),)) for i, o in matched]
        if 0 in (*in_shape, *out_shape):
            return cls.all(in_shape, out_shape)
        relation = from_table(math.prod(in_shape[axis] for axis in ins), rows)
        return None if relation is None else cls.of(in_shape, out_shape, [*same, Block(ins, outs, relation)])

    def compose(self, inner: Coupling) -> Coupling | None:
        """What this coupling's outputs depend on when its inputs are the outputs of `inner`."""
        return pairs.compose(self, inner)

    def join(self, other: Coupling) -> Coupling:
        """The union of both sets of pairs."""
        return pairs.join(self, other)

    def transpose(self) -> Coupling:
        """The same pairs with inputs and outputs exchanged."""
        return pairs.transpose(self)

    def closure(self) -> Coupling:
        """The union of all powers from the first on: what a position depends on after any number of steps."""
        return pairs.closure(self)

    def power(self, n: int) -> Coupling | None:
        """This coupling composed with itself `n` times; the identity for zero."""
        return pairs.power(self, n)

    def placed(
        self, in_shape: Sequence[int], out_shape: Sequence[int], in_axes: Sequence[int], out_axes: Sequence[int]
    ) -> Coupling:
        """The same on some axes of larger shapes, whose other axes couple everything."""
        return pairs.placed(self, tuple(in_shape), tuple(out_shape), in_axes, out_axes)

    def stacked(self, in_size: int | None = None, out_size: int | None = None, *, same: bool = False) -> Coupling:
        """With a new first axis on either side: coupled to everything, or index by index if `same`."""
        return pairs.stacked(self, in_size, out_size, same=same)

    @property
    def is_identity(self) -> bool:
        """Whether each position depends on itself alone."""
        return self.in_shape == self.out_shape and all(b.is_same and b.in_axes == b.out_axes for b in self.blocks)

    @property
    def is_all(self) -> bool:
        """Whether every position depends on every position."""
        return all(block.is_all for block in self.blocks)

    @property
    def mixes(self) -> bool:
        """Whether all of some input axis feeds all of some output axis, of whatever size; then it has no `targets`.

        Neither a sum nor a broadcast counts: there each position feeds a single one, or is fed by a single one.
        """
        return any(block.is_all and block.out_axes and block.in_axes for block in self.blocks)

    @property
    def repeats(self) -> bool:
        """Whether an input position is repeated along some output axis."""
        return any(block.is_broadcast for block in self.blocks)

    @property
    def spread(self) -> int:
        """The largest number of output positions that an input position feeds, broadcast axes left out."""
        return math.prod(measure.fan_out(block.relation) for block in self.blocks if not block.is_broadcast)

    @property
    def fan_in(self) -> int:
        """The largest number of input positions that an output position depends on."""
        return math.prod(measure.fan_in(block.relation) for block in self.blocks)

    @property
    def fan_out(self) -> int:
        """The largest number of output positions that an input position feeds."""
        return math.prod(measure.fan_out(block.relation) for block in self.blocks)

    @property
    def has_diagonal(self) -> bool:
        """Whether some position may depend on itself."""
        return diagonal.parts(self)[0]

    @property
    def has_off_diagonal(self) -> bool:
        """Whether some position may depend on another one."""
        return diagonal.parts(self)[1]

    def targets(self, limit: int = SPREAD) -> Targets | None:
        """The output positions that each input position feeds, `None` for more than `limit` or a broadcast axis."""
        return targets_of(self, limit)

    def colours(self, limit: int = 16, *, repeats: bool = True) -> Colours | None:
        """A colouring of the output positions in which two that share an input differ, `None` above `limit` colours.

        Without `repeats`, those that differ only along axes on which an input is repeated may share one.
        """
        return colours_of(self, limit, repeats=repeats)

    def dense(self) -> npt.NDArray[np.bool_]:
        """All pairs as an array `out_shape + in_shape`; for tests and the reference backend."""
        return measure.dense(self)

    def __str__(self) -> str:
        """The text form, as in `[=, -1..1]`; `parse` reads it."""
        return text.render(self)

    def brief(self) -> str:
        """The text form with packed tables left out, as in `[=, map]`: for people, not for `parse`."""
        return text.render(self, brief=True)

    @classmethod
    def parse(cls, source: str, in_shape: Sequence[int], out_shape: Sequence[int]) -> Coupling:
        """The coupling that `str` printed as `source`; `ValueError` where it is none of these shapes."""
        return cls._of(in_shape, out_shape, text.parse(source, tuple(in_shape), tuple(out_shape)))
