"""Gradients computed the obvious way, in float64: what every learner is compared with.

All take a plain `step(params, states, *inputs)`, a tuple `xs` of inputs and a tree `ts` of targets with a leading time
axis, and the squared error at every step. Gradients come back as a dictionary from dotted paths to arrays.
"""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Gradients = dict[str, np.ndarray]


class Outcome(NamedTuple):
    """Gradients of the summed losses, the loss of each step, and the states after the last."""

    grads: Gradients
    losses: Any
    states: Any


def loss(y: Any, target: Any, weight: Any = 1.0) -> Any:
    """Half the squared error, summed over everything (batch included), so that gradients of rows add up."""
    return 0.5 * weight * jnp.sum((y - target) ** 2)


def by_path(tree: Any) -> Gradients:
    """The leaves of a tree by dotted path."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def relative_error(found: Any, wanted: Any) -> float:
    """The distance of two arrays relative to the second one's norm; absolute where that is zero."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    scale = np.linalg.norm(wanted.ravel())
    return float(np.linalg.norm((found - wanted).ravel()) / (scale if scale > 0 else 1.0))


@cache
def _jitted_bptt(step: Any) -> Any:
    @jax.jit
    def bptt_of(params: Any, states: Any, xs: Any, ts: Any, weights: Any, cuts: Any) -> Any:
        def total(params: Any) -> Any:
            def body(states: Any, at: Any) -> Any:
                x, target, weight, cut = at
                states, y = step(params, jax.tree.map(lambda s: _without_credit(s, cut), states), *x)
                return states, loss(y, target, weight)

            states_after, losses = jax.lax.scan(body, states, (xs, ts, weights, cuts))
            return losses.sum(), (losses, states_after)

        return jax.grad(total, has_aux=True)(params)

    return bptt_of


def _without_credit(state: Any, cut: Any) -> Any:
    return jnp.where(cut, jax.lax.stop_gradient(state), state) if jnp.issubdtype(state.dtype, jnp.inexact) else state


def bptt(
    step: Any, params: Any, states: Any, xs: Any, ts: Any, weights: Any = None, window: int | None = None
) -> Outcome:
    """Back-propagation through the whole sequence: `jax.grad` of a scan.

    `weights` weigh the losses of the steps. With a `window`, credit ends where a window begins: the sum of the windows'
    own gradients, each from states that count as constants.
    """
    steps = np.arange(jax.tree.leaves(xs)[0].shape[0])
    weights = np.ones(len(steps)) if weights is None else weights
    cuts = np.zeros(len(steps), bool) if window is None else steps % window == 0
    grads, (losses, after) = _jitted_bptt(step)(params, states, xs, ts, weights, cuts)
    return Outcome(by_path(grads), np.asarray(losses), after)


class _Flat(NamedTuple):
    vector: Any
    restore: Any


def _real_vector(tree: Any) -> _Flat:
    """The floating and complex leaves of a tree as one real vector, and how to put such a vector back."""
    leaves, treedef = jax.tree.flatten(tree)
    carries = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
    parts = [_as_real(leaf) for leaf, on in zip(leaves, carries, strict=True) if on]
    cuts = np.cumsum([part.size for part in parts])[:-1]

    def restore(vector: Any, discrete: Any) -> Any:
        pieces = iter(jnp.split(vector, cuts))
        others = jax.tree.leaves(discrete)
        return treedef.unflatten(
            [
                _like(next(pieces), leaf) if on else other
                for leaf, on, other in zip(leaves, carries, others, strict=True)
            ]
        )

    return _Flat(jnp.concatenate(parts), restore)


def _as_real(leaf: Any) -> Any:
    flat = leaf.ravel()
    return jnp.concatenate([flat.real, flat.imag]) if jnp.iscomplexobj(leaf) else flat


def _like(piece: Any, leaf: Any) -> Any:
    if jnp.iscomplexobj(leaf):
        re, im = jnp.split(piece, 2)
        piece = re + 1j * im
    return piece.reshape(leaf.shape).astype(leaf.dtype)


def dense_rtrl(step: Any, params: Any, states: Any, xs: Any, ts: Any) -> Gradients:
    """Real-time recurrent learning (Williams and Zipser 1989): the whole influence matrix, one `jacrev` a step."""
    flat_params = _real_vector(params)
    theta = flat_params.vector

    @jax.jit
    def advance(states: Any, influence: Any, x: Any, target: Any) -> Any:
        flat_states = _real_vector(states)

        def hidden(s: Any, p: Any) -> Any:
            after, _ = step(flat_params.restore(p, params), flat_states.restore(s, states), *x)
            return _real_vector(after).vector

        def instant(s: Any, p: Any) -> Any:
            after, y = step(flat_params.restore(p, params), flat_states.restore(s, states), *x)
            return loss(y, target), after

        by_state, by_param = jax.jacrev(hidden, (0, 1))(flat_states.vector, theta)
        (l_state, l_param), after = jax.grad(instant, (0, 1), has_aux=True)(flat_states.vector, theta)
        return after, by_state @ influence + by_param, l_param + l_state @ influence

    influence = jnp.zeros((_real_vector(states).vector.size, theta.size))
    total = jnp.zeros_like(theta)
    for t in range(jax.tree.leaves(xs)[0].shape[0]):
        x, target = jax.tree.map(lambda a, t=t: a[t], (xs, ts))
        states, influence, grad = advance(states, influence, x, target)
        total = total + grad
    return by_path(flat_params.restore(total, params))


def directional_error(step: Any, params: Any, states: Any, xs: Any, ts: Any, key: Any, epsilon: float = 1e-5) -> float:
    """How far BPTT's derivative in a random direction is from a central difference, relative."""

    @jax.jit
    def total(params: Any) -> Any:
        def body(states: Any, at: Any) -> Any:
            states, y = step(params, states, *at[0])
            return states, loss(y, at[1])

        return jax.lax.scan(body, states, (xs, ts))[1].sum()

    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    along = treedef.unflatten([jax.random.normal(k, p.shape, p.dtype) for k, p in zip(keys, leaves, strict=True)])
    ahead, behind = (total(jax.tree.map(lambda p, d, e=e: p + e * d, params, along)) for e in (epsilon, -epsilon))
    grads = bptt(step, params, states, xs, ts).grads
    slope = sum(float(np.sum(grads[path] * direction)) for path, direction in by_path(along).items())
    return abs((ahead - behind) / (2 * epsilon) - slope) / abs(slope)
