"""The weights prologue: what depends on parameters alone."""

import pytest
from stages import lowered

from etir.ir import jaxpr as jx
from etir.passes import Canonicalise, ingest
from etir.passes.analyses.prologue import find_prologue


@pytest.mark.parametrize(
    ("update", "inside", "frontier"),
    [
        ("etir.matmul(x, p['W'])", [], [(1,)]),
        ("etir.matmul(x, jnp.tanh(p['W']))", ["tanh"], [(1,)]),
        ("etir.matmul(x, p['W'] + p['A'])", ["add"], [(0, 1)]),
        ("etir.matmul(x, p['W']) + p['W'].sum()", ["reduce_sum"], [(1,), (1,)]),
        ("etir.matmul(x, p['W'] * jnp.arange(12.0).reshape(3, 4))", ["mul"], [(1,)]),
        ("etir.matmul(x, etir.einsum('ij,ij->ij', p['W'], p['A']))", ["etp"], [(0, 1)]),
        ("etir.matmul(x, p['W'] * x[0])", [], [(1,)]),
        ("x @ jnp.ones((3, 4))", [], []),
        ("jnp.zeros(4) + etir.bias(x.sum(), p['W'][0])", ["slice", "squeeze"], [(1,)]),
    ],
)
def test_what_is_in_it(update: str, inside: list[str], frontier: list[tuple[int, ...]]):
    source = f"def step(p, s, x):\n    return {{'h': s['h'] + {update}}}, x"
    params = {"A": "f64[3,4]", "W": "f64[3,4]"}
    body = Canonicalise().run(ingest(lowered(source, params, {"h": "f64[4]"}, "f64[3]"))).region("step").body
    found = find_prologue(body, 2)
    assert [eqn.primitive.name for k, eqn in enumerate(jx.equations(body)) if k in found.equations] == inside
    assert [found.params_of[var] for var in found.frontier] == frontier
