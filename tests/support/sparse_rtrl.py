"""The sparse n-step approximation of RTRL by dense linear algebra, from the paper (Menick et al. 2021, section 3).

`J <- mask * (D J + I)` with `D = dh'/dh` and `I = dh'/dtheta` whole, and a mask of the entries that `n` steps fill.
What is structurally zero is found by trying: an entry that is zero at several random points. States of one shape share
a mask: a position is followed in all of them or in none.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from oracles import Gradients, by_path, loss


def _flat(tree: Any) -> Any:
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def _like(vector: Any, tree: Any) -> Any:
    leaves, treedef = jax.tree.flatten(tree)
    parts = jnp.split(vector, np.cumsum([leaf.size for leaf in leaves])[:-1])
    return treedef.unflatten([part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


def n_step_gradients(step: Any, params: Any, states: Any, xs: Any, ts: Any, n: int) -> Gradients:
    """The gradient of the summed losses with windows of one step: `l_theta + l_h J`, `J` masked after `n` steps."""
    h, theta = _flat(states), _flat(params)

    def after(h: Any, theta: Any, x: Any) -> Any:
        return _flat(step(_like(theta, params), _like(h, states), *x)[0])

    def instant(h: Any, theta: Any, x: Any, target: Any) -> Any:
        return loss(step(_like(theta, params), _like(h, states), *x)[1], target)

    jacobians = jax.jit(jax.jacrev(after, (0, 1)))
    slopes, move = jax.jit(jax.grad(instant, (0, 1))), jax.jit(after)
    mask = _filled(jacobians, states, h, theta, jax.tree.map(lambda a: a[0], xs), n)
    influence, total = jnp.zeros((h.size, theta.size)), jnp.zeros_like(theta)
    for t in range(len(jax.tree.leaves(xs)[0])):
        x, target = jax.tree.map(lambda a, t=t: a[t], (xs, ts))
        by_state, direct = slopes(h, theta, x, target)
        total = total + direct + by_state @ influence
        d, i = jacobians(h, theta, x)
        influence = mask * (d @ influence + i)
        h = move(h, theta, x)
    return by_path(_like(total, params))


def _filled(jacobians: Any, states: Any, h: Any, theta: Any, x: Any, n: int) -> np.ndarray:
    """The entries of the influence matrix that are not zero after `n` steps."""
    d_pattern, i_pattern = False, False
    for seed in range(3):
        keys = jax.random.split(jax.random.key(seed), 2)
        d, i = jacobians(jax.random.normal(keys[0], h.shape), theta + jax.random.normal(keys[1], theta.shape), x)
        d_pattern, i_pattern = d_pattern | (np.asarray(d) != 0), i_pattern | (np.asarray(i) != 0)
    count = len(jax.tree.leaves(states))
    d, i = np.asarray(d_pattern), np.asarray(i_pattern)
    d = d.reshape(count, len(d) // count, count, -1).any((0, 2)).astype(int)
    filled = i.reshape(count, len(d), -1).any(0)
    for _ in range(n - 1):
        filled = filled | ((d @ filled.astype(int)) > 0)
    return np.tile(filled, (count, 1))
