"""Powers of many factors as sums of a few exponentials, `l^n ~ sum_r C_r(l) mu_r^n`: coefficients, error and choice.

The best fit in the mean square over all `n` has a closed form, since the generating functions `1 / (1 - l x)` are the
reproducing kernel of the Hardy space: with `b_s(l) = (l - mu_s) / (1 - conj(mu_s) l)`,

    C_r(l) = (1 - |mu_r|^2) / (1 - conj(mu_r) l)  prod_{s != r} b_s(l) / b_s(mu_r) ,

and what is left of `l^n` is `prod_s |b_s(l)|` of it: nothing where `l` is one of the `mu`. Both hold for a matrix in
the place of `l`. A step `n` weighs `horizon^(2 n)`, so that factors of modulus one have a fit as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Constants = Sequence[complex]


def coefficients(matrices: Any, constants: Constants, horizon: float, xp: Any) -> list[Any]:
    """`C_r` of each of some matrices, `[..., m, m]`, for each constant; `xp` is `numpy` or `jax.numpy`."""
    mu = [_number(horizon * m) for m in constants]
    scaled = horizon * matrices
    one = xp.eye(matrices.shape[-1], dtype=matrices.dtype)
    blaschke = [_over(scaled - m * one, one - np.conj(m) * scaled, xp) for m in mu]
    return [
        _scale(mu, r) * _over(product, one - np.conj(mu[r]) * scaled, xp)
        for r, product in enumerate(_all_but_each(blaschke, one))
    ]


def _scale(mu: Sequence[Any], r: int) -> Any:
    """`(1 - |mu_r|^2) / prod_{s != r} b_s(mu_r)`."""
    others = [(1 - np.conj(n) * mu[r]) / (mu[r] - n) for s, n in enumerate(mu) if s != r]
    return _number(np.prod(np.asarray([1 - abs(mu[r]) ** 2, *others])))


def _all_but_each(items: Sequence[Any], one: Any) -> list[Any]:
    """For each item the product of the others."""
    before, after = [one], [one]
    for item, other in zip(items[:-1], items[:0:-1], strict=True):
        before.append(before[-1] @ item)
        after.append(other @ after[-1])
    return [b @ a for b, a in zip(before, after[::-1], strict=True)] if items else []


def convolved(matrices: Any, constants: Constants, horizon: float, xp: Any) -> list[list[Any]]:
    """`K[r][q]` with `sum over a + b = n - 1 of mu_q^a D^b ~ sum_r K[r][q] mu_r^n`: powers after powers.

    The fit of `(mu_q^n - D^n) / (mu_q - D)`, in a form that holds where `D` is `mu_q`: for `r != q` the product without
    `b_q`, and `K[q][q]` from the value of the generating function at `conj(mu_q)`, where no fit is off.
    """
    mu = [_number(horizon * m) for m in constants]
    scaled, count = horizon * matrices, len(mu)
    one = xp.eye(matrices.shape[-1], dtype=matrices.dtype)
    below = [_over(one, one - np.conj(m) * scaled, xp) for m in mu]
    blaschke = [(scaled - m * one) @ b for m, b in zip(mu, below, strict=True)]
    found: list[list[Any]] = [[None] * count for _ in mu]
    for r in range(count):
        others = [q for q in range(count) if q != r]
        for q, product in zip(others, _all_but_each([blaschke[s] for s in others], one), strict=True):
            found[r][q] = horizon * _scale(mu, r) * (below[r] @ below[q] @ product)
    for q in range(count):
        left = sum(_number(1 / (1 - mu[r] * np.conj(mu[q]))) * found[r][q] for r in range(count) if r != q)
        value = horizon * _number(np.conj(mu[q]))
        found[q][q] = value * below[q] - (1 - abs(mu[q]) ** 2) * left
    return found


def _over(above: Any, below: Any, xp: Any) -> Any:
    """`above below^-1` of matrices that commute."""
    return above / below if above.shape[-1] == 1 else xp.linalg.solve(below, above)


def _number(x: Any) -> Any:
    """A Python number, real where it can be: it takes the precision of what it meets."""
    return complex(x) if np.imag(x) else float(np.real(x))


def relative_error(matrices: npt.NDArray[Any], constants: Constants, horizon: float) -> npt.NDArray[np.float64]:
    """What part of the powers of each matrix, `[..., m, m]`, is left over at most, in the mean square over steps."""
    scaled, one = horizon * matrices, np.eye(matrices.shape[-1])
    left = np.broadcast_to(one, matrices.shape)
    for m in (horizon * m for m in constants):
        left = left @ _over(scaled - m * one, one - np.conj(m) * scaled, np)
    return np.linalg.norm(left, 2, axis=(-2, -1))


def choose(factors: npt.NDArray[Any], count: int, horizon: float, enough: float) -> tuple[complex, ...]:
    """At most `count` of the factors, those that serve all of them best; complex ones in pairs with their conjugates.

    A pivoted orthogonalisation of the columns `l^n`, whose residuals are known in closed form, then exchanges for as
    long as they help. Ends where the error that is left is `enough`. A factor counts half by its power's own length.
    """
    upper = np.unique(np.where(np.imag(factors) < 0, np.conj(factors), factors))
    upper = upper[np.abs(upper) * horizon < 1]
    if len(upper) > MOST:
        upper = upper[np.argsort(np.abs(upper))][np.linspace(0, len(upper) - 1, MOST).astype(int)]
    distance = _distances(upper, horizon)
    weight = -0.25 * np.log(1 - np.abs(horizon * upper) ** 2)
    sizes = np.where(np.imag(upper) != 0, 2, 1)
    chosen: list[int] = []
    left = np.zeros(len(upper))
    while len(upper) and left.max() > np.log(enough) - 1e-9 * (not chosen):
        free = np.where(sizes <= count - sizes[chosen].sum(), left + weight, -np.inf)
        if chosen:
            free[chosen] = -np.inf
        k = int(np.argmax(free))
        if free[k] == -np.inf:
            break
        chosen.append(k)
        left = left + distance[:, k]
    best = [upper[k] for k in _exchanged(chosen, distance, weight, sizes)]
    pairs = [(m, np.conj(m)) if m.imag else (m.real,) for m in sorted(best, key=lambda m: (-abs(m), m.imag))]
    return tuple(complex(m) for pair in pairs for m in pair)


MOST = 512
"""So many factors are looked at, at most."""


def _distances(factors: npt.NDArray[Any], horizon: float) -> npt.NDArray[np.float64]:
    """The logarithm of what is left of each factor's powers once another one, or its pair, is there: `[of, with]`."""
    of, by = horizon * factors[:, None], horizon * factors[None]
    own = np.abs((of - by) / (1 - np.conj(by) * of))
    pair = np.where(np.imag(by) != 0, np.abs((of - np.conj(by)) / (1 - by * of)), 1)
    return np.log(np.maximum(own * pair, 1e-30))


def _exchanged(
    chosen: list[int], distance: npt.NDArray[Any], weight: npt.NDArray[Any], sizes: npt.NDArray[Any]
) -> list[int]:
    """The choice after exchanges of one for another of its size that make the largest error smaller."""
    found = list(chosen)
    left = distance[:, found].sum(1)
    best = (left + weight).max(initial=-np.inf)
    for place in list(range(len(found))) * 4:
        without = left - distance[:, found[place]]
        worst = (without[:, None] + distance + weight[:, None]).max(0)
        worst = np.where(sizes == sizes[found[place]], worst, np.inf)
        worst[found] = np.inf
        k = int(np.argmin(worst))
        if worst[k] < best - 1e-9:
            found[place], left, best = k, without + distance[:, k], worst[k]
    return found
