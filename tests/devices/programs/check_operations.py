import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import etir

X = jax.random.normal(jax.random.key(0), (8, 4))
W = jax.random.normal(jax.random.key(1), (4, 4))
B = jax.random.normal(jax.random.key(2), (4,))
OPERATIONS = {
    "matmul": (etir.matmul, jnp.matmul, W),
    "einsum": (functools.partial(etir.einsum, "bi,ij->bj"), jnp.matmul, W),
    "scale": (etir.scale, jnp.multiply, B),
    "bias": (etir.bias, jnp.add, B),
    "vmap": (jax.vmap(etir.matmul, (0, None)), jnp.matmul, W),
}


def gradients(operation, x, w):
    return jax.grad(lambda x, w: jnp.sum(jnp.sin(operation(x, w))), (0, 1))(x, w)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_under_a_mesh(name, kind):
    operation, plain, w = OPERATIONS[name]
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        x = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))
        for found, wanted in (
            (operation(x, w), plain(x, w)),
            (jax.jit(operation)(x, w), plain(x, w)),
            (gradients(operation, x, w), gradients(plain, x, w)),
        ):
            assert jax.tree.map(jax.typeof, found) == jax.tree.map(jax.typeof, wanted)
            jax.tree.map(np.testing.assert_allclose, found, wanted)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("checked", [True, False])
def test_inside_shard_map(name, checked):
    operation, plain, w = OPERATIONS[name]
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def local(x, w):
        to_x, to_w = gradients(operation, x, w)
        return operation(x, w), to_x, to_w if checked else jax.lax.psum(to_w, "data")

    rows, whole = PartitionSpec("data"), PartitionSpec()
    mapped = jax.shard_map(local, mesh=mesh, in_specs=(rows, whole), out_specs=(rows, rows, whole), check_vma=checked)
    jax.tree.map(np.testing.assert_allclose, jax.jit(mapped)(X, w), (plain(X, w), *gradients(plain, X, w)))
