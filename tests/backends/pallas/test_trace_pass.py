"""Traces as matrices: for every layout of a weight, the pass by matrices is XLA's pass."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir.backends.folds.one_pass import Operands, Pass
from etir.backends.folds.pattern import Sweep, Unit
from etir.backends.folds.trace_pass import xla_pass
from etir.backends.pallas.matrices import Matrices
from etir.backends.pallas.rank_k import RankK
from etir.backends.pallas.trace_pass import as_matrices

N = 4


def leaky(product: Any) -> Any:
    """A layer of leaky units with an adaptation, fed by `product(x, w)`."""

    def step(params: Any, states: Any, x: Any) -> Any:
        y = product(x, params["w"])
        v = 0.9 * states["v"] + y - 0.1 * states["a"]
        a = 0.8 * states["a"] + 0.1 * jnp.tanh(v)
        return {"v": v, "a": a}, v

    return step


def twice(x: Any, w: Any) -> Any:
    """Each output feeds two positions."""
    y = etir.matmul(x, w)
    return jnp.concatenate([y, 0.5 * y], -1)


def along(*axes: int) -> Any:
    """Each output feeds all positions along further axes of a state, of three positions each."""

    def product(x: Any, w: Any) -> Any:
        y = jnp.expand_dims(etir.matmul(x, w) if w.ndim == 2 else etir.einsum("bi,i->b", x, w), axes)
        return jnp.broadcast_to(y, [3 if k in axes else size for k, size in enumerate(y.shape)])

    return product


LAYOUTS = {
    "rows of data": (leaky(etir.matmul), (3, N), (2, 3), (2, N)),
    "no batch": (leaky(etir.matmul), (3, N), (3,), (N,)),
    "rows of outputs": (leaky(lambda x, w: etir.einsum("bi,ji->bj", x, w)), (N, 3), (2, 3), (2, N)),
    "groups": (leaky(lambda x, w: etir.einsum("bgi,gij->bgj", x, w)), (2, 3, N), (2, 2, 3), (2, 2, N)),
    "two axes of data": (leaky(lambda x, w: etir.einsum("bki,kij->bj", x, w)), (2, 3, N), (2, 2, 3), (2, N)),
    "two axes of outputs": (leaky(lambda x, w: etir.einsum("bi,ihj->bhj", x, w)), (3, 2, N), (2, 3), (2, 2, N)),
    "slots": (leaky(twice), (3, N), (2, 3), (2, 2 * N)),
    "slots after the output": (leaky(along(2)), (3, N), (2, 3), (2, N, 3)),
    "slots within the output": (leaky(along(1)), (3, N), (2, 3), (2, 3, N)),
    "slots before the output": (leaky(along(0)), (3, N), (2, 3), (3, 2, N)),
    "slots on both sides": (leaky(along(1, 3)), (3, N), (2, 3), (2, 3, N, 3)),
    "slots of a number": (leaky(along(1, 2)), (3,), (2, 3), (2, 3, 3)),
    "data without batch": (leaky(lambda x, w: etir.matmul(x, w) * jnp.ones((2, 1))), (3, N), (3,), (2, N)),
}


def unit_of(name: str) -> Unit:
    step, weight, data, state = LAYOUTS[name]
    states = {key: jnp.zeros(state) for key in "va"}
    learner = etir.compile(step, {"w": jnp.zeros(weight)}, states, jnp.zeros(data), on_truncated="ignore")
    (unit,) = learner._engine.program.sweeps.units
    return unit


def operands(sweep: Sweep, members: int | None, steps: int, seed: int = 0) -> Operands:
    random, place = np.random.default_rng(seed), sweep.placement
    lead = () if members is None else (members,)
    group = place.association.group.shape

    def array(*shape: int) -> Any:
        return jnp.asarray(random.normal(size=shape))

    assert sweep.data is not None
    return Operands(
        {k: array(*lead, *place.shape) for k in sweep.states},
        {pair: array(*lead, *group) for pair in sweep.jacobians},
        {k: array(steps, *lead, *place.output_shape) for k in sweep.factors},
        array(steps, *lead, *sweep.data.type.shape),
        {k: array(*lead, *group) for k in sweep.states},
    )


@pytest.mark.parametrize(
    ("name", "members"),
    [*((name, None) for name in LAYOUTS), ("groups", 3), ("slots", 2), ("slots after the output", 2)],
)
def test_the_pass_by_matrices_is_the_pass(name: str, members: int | None):
    unit = unit_of(name)
    (sweep,) = unit.sweeps
    assert Matrices(sweep.placement).fault() is None

    @jax.jit
    def both(given: Any) -> Any:
        of = Pass(unit.algebra, sweep, members)
        return xla_pass(of, given), as_matrices(RankK.by_definition, of, given)

    with jax.default_matmul_precision("highest"):
        wanted, found = both(operands(sweep, members, 3))
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_without_credit_nothing_is_read():
    (unit,) = [unit_of("no batch")]
    given = operands(unit.sweeps[0], None, 2)._replace(cotangents=None)
    _, read = as_matrices(RankK.by_definition, Pass(unit.algebra, unit.sweeps[0]), given)
    assert read is None
