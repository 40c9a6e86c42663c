"""Maps of hidden states: what they say of the position in a sequence, and of its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.diagnostics import did_you_mean, error
from ..ir.step import leaf_paths
from .reading import Reading, Table, new_axes, number
from .record import record
from .recording import is_inexact
from .run import AnyLearner, looked_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class PositionMap(Reading):
    """Distances between the hidden states of any two steps under one constant input."""

    distances: np.ndarray
    """Euclidean, `[steps, steps]`."""
    settled: int | None
    """The step from which on the states move by less than a thousandth of the largest distance; None if never."""

    def table(self) -> Table:
        """The distance from the first step, at a few steps."""
        last = len(self.distances) - 1
        at = sorted({min(k, last) for k in (1, 2, 5, 10, 20, 50, 100, last)})
        rest = "they do not settle" if self.settled is None else f"at rest from step {self.settled} on"
        return Table(
            title="Distances of hidden states under a constant input",
            head=("steps apart", "from the first", "mean"),
            rows=[(str(k), number(self.distances[0, k]), number(np.diagonal(self.distances, k).mean())) for k in at],
            notes=[rest],
        )

    def plot(self, axes: Axes | None = None) -> Axes:
        """The matrix of distances."""
        drawn = new_axes(axes, 5.2, 4.4)
        image = drawn.imshow(self.distances, cmap="viridis", origin="lower")
        drawn.set(xlabel="step", ylabel="step", title="Distance of hidden states, constant input")
        drawn.figure.colorbar(image, ax=drawn, label="Euclidean distance")
        return drawn


def position_map(
    learner: AnyLearner,
    x: Any = None,
    *,
    steps: int = 50,
    params: Any = None,
    states: Any = None,
    keep: str | Sequence[str] = "*",
    **marks: Any,
) -> PositionMap:
    """How far apart the hidden states of any two steps are while the input stays `x`, ones by default.

    All states that `keep` matches are taken together, one vector a step. States that tell positions apart under an
    input that says nothing carry a clock. Raises EtirError for arguments that `learner.predict` refuses.
    """
    own, params = looked_at(learner, params)
    inputs = [i.value.type for i in own.transition.inputs if i.path not in own.signature.marks]
    ones = jax.tree.unflatten(own.signature.inputs, [jnp.ones(kind.shape, kind.dtype) for kind in inputs])
    one = (ones[0] if len(ones) == 1 else ones) if x is None else x
    xs = jax.tree.map(lambda a: jnp.broadcast_to(a, (steps, *jnp.shape(a))), one)
    found = record(own, xs, params=params, states=states, keep=keep, every=1, steps=steps, **marks)
    rows = _vectors([x for x in found.states.values() if is_inexact(x)])
    distances = _distances(rows)
    moves = np.linalg.norm(np.diff(rows, axis=0), axis=1)
    moving = np.flatnonzero(moves > 1e-3 * max(float(distances.max()), 1e-30))
    last = int(moving[-1]) + 1 if len(moving) else 0
    return PositionMap(distances=distances, settled=None if last >= steps - 1 else last)


def _vectors(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """All arrays `[rows, ...]` side by side; complex ones as two."""
    parts = [part for x in arrays for part in ((np.real(x), np.imag(x)) if np.iscomplexobj(x) else (x,))]
    return np.concatenate([part.reshape(len(part), -1).astype(np.float64) for part in parts], axis=1)


def _distances(rows: np.ndarray) -> np.ndarray:
    squares = (rows**2).sum(1)
    found = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * rows @ rows.T, 0))
    np.fill_diagonal(found, 0)
    return found


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class ContentMap(Reading):
    """Final hidden states of several sequences, on the two axes along which they differ most."""

    labels: tuple[str, ...]
    points: np.ndarray
    """`[sequences, 2]`."""
    explained: tuple[float, float]
    """The share of the variance along each axis."""

    def table(self) -> Table:
        """A line for each sequence."""
        shares = " and ".join(f"{share:.0%}" for share in self.explained)
        return Table(
            title=f"Final hidden states: two principal components, {shares} of the variance",
            head=("sequence", "first", "second"),
            rows=[(name, *map(number, point)) for name, point in zip(self.labels, self.points, strict=True)],
        )

    def plot(self, axes: Axes | None = None) -> Axes:
        """A point for each sequence, with its label."""
        drawn = new_axes(axes, 6.4, 4.8)
        kinds = sorted(set(self.labels))
        shared = len(kinds) < len(self.labels)
        for kind in kinds if shared else [""]:
            points = np.array([p for p, label in zip(self.points, self.labels, strict=True) if kind in ("", label)])
            drawn.scatter(points[:, 0], points[:, 1], s=28, label=kind if shared else None)
        if shared:
            drawn.legend(frameon=False)
        else:
            for label, point in zip(self.labels, self.points, strict=True):
                drawn.annotate(label, tuple(point), xytext=(4, 3), textcoords="offset points", fontsize=9)
        first, second = (f"{share:.0%} of the variance" for share in self.explained)
        drawn.set(xlabel=first, ylabel=second, title="Final hidden states")
        drawn.margins(0.15)
        drawn.spines[["top", "right"]].set_visible(False)
        return drawn


def content_map(
    learner: AnyLearner,
    sequences: Sequence[Any],
    labels: Sequence[Any] | None = None,
    *,
    params: Any = None,
    states: Any = None,
    state: str | None = None,
) -> ContentMap:
    """Where sequences of like content end: a principal component analysis of the states that each leaves behind.

    Each of `sequences` is what `learner.predict` takes as `xs`; lengths may differ, and each new one is compiled for.
    All states of floating type are taken together, or the one called `state`. Labels that repeat are drawn as groups.
    Raises EtirError for fewer than two sequences, and where labels are not as many.
    """
    own, params = looked_at(learner, params)
    names = tuple(str(label) for label in (range(len(sequences)) if labels is None else labels))
    if len(sequences) < 2 or len(names) != len(sequences):
        raise error(
            "content-sequences",
            f"{len(sequences)} sequences with {len(names)} labels; wanted two or more, with a label each",
            help="give a list of sequences, each with a leading time axis",
        )
    ends = [_end(own.predict(params, states, xs)[0], state) for xs in sequences]
    rows = np.stack(ends)
    centred = rows - rows.mean(0)
    left, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    points = np.zeros((len(rows), 2))
    count = min(2, len(sizes))
    points[:, :count] = (left * sizes * signs)[:, :count]
    total = float((sizes**2).sum()) or 1.0
    shares = [float(size) ** 2 / total for size in (*sizes, 0.0)]
    return ContentMap(labels=names, points=points, explained=(shares[0], shares[1]))


def _end(states: Any, wanted: str | None) -> np.ndarray:
    """The states at the end of a sequence as one vector."""
    found = {path: np.asarray(x) for path, x in leaf_paths(states, "state") if not _is_key(x)}
    if wanted is not None and wanted not in found:
        raise error("recorded-name", f"no state is called '{wanted}'", help=did_you_mean(wanted, found))
    chosen = {path: x for path, x in found.items() if is_inexact(x)} if wanted is None else {wanted: found[wanted]}
    return _vectors([x[None] for x in chosen.values()])[0]


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
