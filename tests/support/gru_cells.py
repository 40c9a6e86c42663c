"""The GRU of five libraries, each cell as its library ships it, behind one plain step function.

The reset gate stands after the recurrent product in flax.nnx, flax.linen and equinox, before it in haiku and
brainstate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import brainstate
import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
from flax import linen, nnx

INPUTS, HIDDEN = 3, 4


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A step `(params, state, x) -> (new state, output)` with float64 parameters and a state at rest."""

    step: Callable[[Any, Any, Any], tuple[Any, Any]]
    params: Any
    state: Any


def _at_rest() -> jax.Array:
    return jnp.zeros(HIDDEN, jnp.float64)


def _example() -> jax.Array:
    return jnp.zeros(INPUTS, jnp.float64)


def flax_nnx() -> Cell:
    """`nnx.GRUCell`: the gates fused in one product of the input and one of the state, then split."""
    cell = nnx.GRUCell(INPUTS, HIDDEN, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    graph, params = nnx.split(cell)
    return Cell(step=lambda p, h, x: nnx.merge(graph, p)(h, x), params=params, state=_at_rest())


def flax_linen() -> Cell:
    """`linen.GRUCell`: one product a gate."""
    cell = linen.GRUCell(features=HIDDEN, param_dtype=jnp.float64)
    params = cell.init(jax.random.key(0), _at_rest(), _example())
    return Cell(step=cell.apply, params=params, state=_at_rest())


def equinox() -> Cell:
    """`eqx.nn.GRUCell`: the weight on the left of its product."""
    cell = eqx.nn.GRUCell(INPUTS, HIDDEN, dtype=jnp.float64, key=jax.random.key(0))
    params, static = eqx.partition(cell, eqx.is_array)

    def step(params: Any, h: Any, x: Any) -> tuple[Any, Any]:
        h = eqx.combine(params, static)(x, h)
        return h, h

    return Cell(step=step, params=params, state=_at_rest())


def haiku() -> Cell:
    """`hk.GRU`: the recurrent weight split before its products; resets before the candidate's."""
    transformed = hk.without_apply_rng(hk.transform(lambda x, h: hk.GRU(HIDDEN)(x, h)))
    params = transformed.init(jax.random.key(0), _example(), _at_rest())

    def step(params: Any, h: Any, x: Any) -> tuple[Any, Any]:
        y, h = transformed.apply(params, x, h)
        return h, y

    return Cell(step=step, params=params, state=_at_rest())


def brainstate_nn() -> Cell:
    """`brainstate.nn.GRUCell`: input and state concatenated before each product; resets before the candidate's."""
    cell = brainstate.nn.GRUCell(INPUTS, HIDDEN)
    brainstate.nn.init_all_states(cell)
    named = {".".join(path): state for path, state in cell.states().items()}
    # brainstate computes in its own default precision; its `environ.context` switches JAX's float64 off on the way out.
    values = {path: jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), s.value) for path, s in named.items()}
    for path, state in named.items():
        state.value = values[path]
    function = brainstate.transform.StatefulFunction(cell.update, return_only_write=False)
    function.make_jaxpr(_example())
    paths = [next(path for path, state in named.items() if state is s) for s in function.get_states(_example())]
    hidden = {path: value for path, value in values.items() if isinstance(named[path], brainstate.HiddenState)}
    params = {path: value for path, value in values.items() if path not in hidden}

    def step(params: Any, hidden: Any, x: Any) -> tuple[Any, Any]:
        everything = params | hidden
        after, y = function.jaxpr_call([everything[path] for path in paths], x)
        after = dict(zip(paths, after, strict=True))
        return {path: after[path] for path in hidden}, y

    return Cell(step=step, params=params, state=hidden)


RESET_AFTER = {"flax.nnx": flax_nnx, "flax.linen": flax_linen, "equinox": equinox}
RESET_BEFORE = {"haiku": haiku, "brainstate": brainstate_nn}
CELLS = RESET_AFTER | RESET_BEFORE
