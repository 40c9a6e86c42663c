import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import etir
from etir import nn, transform


class Net(nn.Module):
    def __init__(self) -> None:
        self.w = etir.ParamState(jnp.ones((4, 8)) / 8, sharding=(None, "model"))
        self.limits = nn.Constrained(jnp.full(8, 0.9), sharding=("model",))
        self.h = etir.HiddenState(jnp.zeros(8), sharding=("model",))
        self.group = etir.HiddenGroupState(V=jnp.zeros(8), I=jnp.zeros(8), sharding=("model",))
        self.count = etir.State(0)

    def update(self, x):
        self.h.value = etir.scale(self.h.value, self.limits.constrained) + etir.matmul(x, self.w.value)
        self.group.value = {"V": self.group["I"] + self.h.value, "I": self.h.value}
        self.count.value += 1
        return self.group["V"]


def test_states_lie_as_they_are_annotated():
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    model, alone = (nn.init_all_states(Net(), batch_size=6) for _ in range(2))
    nn.place(model, mesh, batch="data")
    found = {path: value.sharding.spec for path, value in nn.save_states(model, ("w", "h", "count", "limits")).items()}
    assert found == {
        "w": PartitionSpec(None, "model"),
        "limits": PartitionSpec("model"),
        "h": PartitionSpec("data", "model"),
        "count": PartitionSpec(),
    }
    assert {x.sharding.spec for x in model.group.value.values()} == {PartitionSpec("data", "model")}
    assert {shard.data.shape for shard in model.h.value.addressable_shards} == {(3, 2)}
    xs = jax.random.normal(jax.random.key(0), (3, 6, 4))
    online, plain = etir.D_RTRL(model), etir.D_RTRL(alone)
    for learner in (online, plain):
        learner.compile_graph(xs[0])
    for x in xs:
        ours, theirs = (
            transform.jit(transform.grad(lambda x, run=run: jnp.sum(run(x) ** 2), of))(x)
            for run, of in ((online, model), (plain, alone))
        )
    assert {path: bool(jnp.allclose(ours[path], theirs[path])) for path in ours} == dict.fromkeys(ours, True)
    assert isinstance(model.h.value.sharding, NamedSharding)


def test_mistakes():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    with pytest.raises(etir.EtirError, match=r"weight 'w' is cut along 'model', an axis that the mesh does not have"):
        nn.place(Net(), mesh)
    wrong = {"w": etir.ParamState(jnp.ones(8), sharding=(None, "data"), name="w")}
    with pytest.raises(etir.EtirError, match=r"'w' is annotated for 2 axes, and holds f64\[8\] \[mesh-annotation\]"):
        nn.shardings(wrong, mesh)
