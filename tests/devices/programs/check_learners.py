import jax
import jax.numpy as jnp
import numpy as np
import on_meshes as model
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import etir

over_batch = PartitionSpec(None, "data")
whole = PartitionSpec()


def everything(learner, *given):
    return jax.jit(model.everything, static_argnums=0)(learner, *given)


def gradients(learner, params, states, xs, ys):
    """Of all that a learner makes, the gradient over the sequence alone."""
    return {"grads": learner.grad(model.loss)(params, learner.init(params, states), xs, ys).grads}


@pytest.fixture(scope="module")
def known():
    """A learner on one device, and what it makes of a sequence."""
    learner = model.compiled()
    return learner, everything(learner, model.params(), model.states(), *model.sequences())


@pytest.fixture(scope="module")
def factored():
    """Another, by a rule whose traces are vectors."""
    learner = model.compiled("pp_prop", 1)
    return learner, gradients(learner, model.params(), model.states(), *model.sequences())


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_arrays_that_are_cut_over_the_batch(known, factored, kind):
    (learner, wanted), of = (known, everything) if kind is AxisType.Explicit else (factored, gradients)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    put = lambda tree, *spec: jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*spec)))  # noqa: E731
    with jax.set_mesh(mesh):
        states = {name: put(x, "data") if x.ndim else put(x) for name, x in model.states().items()}
        given = put(model.params()), states, *put(model.sequences(), None, "data")
        again = etir.compile(model.step, *given[:2], given[2][0], on_truncated="ignore")
        carry = learner.init(*given[:2])
        assert all(x.sharding.spec[0] == "data" for x in jax.tree.leaves(carry.traces) if x.ndim > 1)
        made = model.collectives(learner.grad(model.loss), given[0], carry, *given[2:])
        found = of(learner, *given)
    model.assert_same(found, wanted)
    assert {what for what, _ in made} == {"all-reduce"}
    assert again.certificate["Wh"] == known[0].certificate["Wh"]


@pytest.mark.parametrize("checked", [True, False])
def test_inside_shard_map(known, checked):
    learner = model.compiled(batch=1)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def local(params, xs, ys):
        found = everything(learner, params, _varying(model.states(1)), xs, ys)
        one = {name: found[name] for name in ("grads", "bptt", "step", "trained")}
        one["losses"] = jax.lax.psum(found["losses"], "data")
        return one, {name: found[name] for name in ("predicted", "window")}

    def unchecked(params, xs, ys):
        summed = optax.chain(optax.stateless(lambda grads, _: jax.lax.psum(grads, "data")), model.OPTIMIZER)
        carry = learner.init(params, model.states(1))
        grads = learner.grad(model.loss)(params, carry, xs, ys).grads
        trained = learner.train(model.loss, summed)(params, summed.init(params), carry, xs, ys)
        return {"grads": jax.lax.psum(grads, "data"), "trained": trained.params}, {}

    specs = {"in_specs": (whole, over_batch, over_batch), "out_specs": (whole, over_batch)}
    mapped = jax.shard_map(local if checked else unchecked, mesh=mesh, check_vma=checked, **specs)
    one, two = jax.jit(mapped)(model.params(), *model.sequences())
    model.assert_same(one | two, known[1])


def _varying(states):
    return {k: jax.lax.pcast(x, "data", to="varying") if x.ndim else x for k, x in states.items()}


def test_a_loss_that_communicates_inside_shard_map_is_refused():
    learner = model.compiled(batch=1)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def local(params, xs, ys):
        mean = lambda y, target: jax.lax.pmean(model.loss(y, target), "data")  # noqa: E731
        return learner.grad(mean)(params, learner.init(params, _varying(model.states(1))), xs, ys).grads

    mapped = jax.shard_map(local, mesh=mesh, in_specs=(whole, over_batch, over_batch), out_specs=whole)
    with pytest.raises(etir.EtirError, match="communicates over mesh axes"):
        jax.jit(mapped)(model.params(), *model.sequences())


@pytest.mark.parametrize("kind", [AxisType.Explicit, AxisType.Auto])
def test_shard(known, factored, kind):
    single, wanted = known if kind is AxisType.Explicit else factored
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind,) * 2)
    learner = etir.shard(single, mesh, batch="data", weights="model")
    with jax.set_mesh(mesh):
        model.assert_same(gradients(learner, model.params(), model.states(), *model.sequences()), wanted)
    after = learner.step(model.params(), learner.init(), model.sequences()[0][0])[0]
    of = learner.layout
    for x, axes in zip(jax.tree.leaves(after), (*of.states, *of.traces, *of.states), strict=True):
        assert x.sharding.is_equivalent_to(learner.layout.sharding(axes), x.ndim)


@pytest.mark.parametrize("kind", [AxisType.Explicit, pytest.param(AxisType.Auto, marks=pytest.mark.slow)])
def test_influence_matrices(kind):
    """Those of `rtrl`, cut over the batch, and over two axes: BPTT's gradients, no weight's influence gathered."""
    single, given = model.compiled("rtrl"), (model.params(), model.states(), *model.sequences())
    wanted = gradients(single, *given)
    exact = jax.grad(lambda p: model.loss(single.predict(p, given[1], given[2])[1], given[3]))(given[0])
    model.assert_same({"grads": exact}, wanted)
    line, plane = (jax.make_mesh(n, names, axis_types=(kind,) * len(n)) for n, names in _MESHES)
    put = lambda tree, *spec: jax.device_put(tree, NamedSharding(line, PartitionSpec(*spec)))  # noqa: E731
    with jax.set_mesh(line):
        states = {name: put(x, "data") if x.ndim else put(x) for name, x in given[1].items()}
        cut = put(given[0]), states, *put(given[2:], None, "data")
        carry = single.init(*cut[:2])
        model.assert_same(gradients(single, *cut), wanted)
        made = model.collectives(single.grad(model.loss), cut[0], carry, *cut[2:])
        gathered = {shape for what, shape in made if what != "all-reduce"}
        assert gathered <= {(model.UNITS, model.BATCH, model.UNITS)}, "more than a step's sensitivities"
    with jax.set_mesh(plane):
        sharded = etir.shard(single, plane, batch="data", weights="model")
        model.assert_same(gradients(sharded, *given), wanted)


_MESHES = (((8,), ("data",)), ((4, 2), ("data", "model")))


def test_gates_of_one_weight_are_cut_along_the_batch():
    """Their product spans four positions of the states, so no trace of it can be cut as those are."""

    def step(params, states, x):
        i, f, g, o = jnp.split(etir.matmul(x, params["w"]) + etir.matmul(states["h"], params["u"]), 4, -1)
        c = jax.nn.sigmoid(f) * states["c"] + jax.nn.sigmoid(i) * jnp.tanh(g)
        return {"h": jax.nn.sigmoid(o) * jnp.tanh(c), "c": c}, c

    keys, (xs, _) = jax.random.split(jax.random.key(2), 3), model.sequences()
    params = {"w": jax.random.normal(keys[0], (4, 32)), "u": jax.random.normal(keys[1], (8, 32))}
    states, ys = {k: jnp.zeros((8, 8)) for k in "hc"}, jax.random.normal(keys[2], (4, 8, 8))
    learner = etir.compile(step, params, states, xs[0], window=2, on_truncated="ignore")
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    cut = etir.shard(learner, mesh, batch="data", weights="model")
    assert set(cut.layout.states) == {("data", None)}
    assert {axes[0] for axes in cut.layout.traces} == {"data"}
    model.assert_same(gradients(cut, params, states, xs, ys), gradients(learner, params, states, xs, ys))
    sequences = cut.layout.put("time", (xs, ys))
    made = model.collectives(cut.grad(model.loss), cut.layout.put("params", params), cut.init(), *sequences)
    assert {what for what, _ in made} == {"all-reduce"}


def test_what_is_exchanged():
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    learner = etir.shard(model.compiled(window=1), mesh, batch="data", weights="model")
    params, carry, xs = learner.layout.put("params", model.params()), learner.init(), model.sequences()[0]
    stepped = model.collectives(learner.step, params, carry, learner.layout.put("now", xs[0]))
    assert sorted(stepped) == [("all-gather", (2, 16)), ("all-reduce", (2, 3))]
    found = model.collectives(learner.grad(model.loss), params, carry, *learner.layout.put("time", model.sequences()))
    pieces = {x.sharding.shard_shape(x.shape) for x in jax.tree.leaves(carry.traces) if x.ndim > 2}
    wholes = {x.shape for x in jax.tree.leaves(carry.traces)}
    assert not {shape for what, shape in found if what != "all-reduce"} & (pieces | wholes)
    sent = [int(np.prod(shape)) * 8 for _, shape in stepped]
    gradients = sum(x.nbytes for x in jax.tree.leaves(model.params())) / 2
    reverse = 2 * 16 * 8
    assert learner.cost().exchanged == sum(sent) + reverse + gradients
    assert learner.cost().held == sum(t.before.type.bytes for t in learner.transition.plan.traces) / 8


def test_shard_refuses_what_does_not_fit():
    mesh = jax.make_mesh((8,), ("data",))
    learner = model.compiled()
    with pytest.raises(etir.EtirError, match="batch='date', and the mesh has the axes 'data'"):
        etir.shard(learner, mesh, batch="date")
    with pytest.raises(etir.EtirError, match="a batch of 3 does not divide over the 8 devices"):
        etir.shard(model.compiled(batch=3), mesh, batch="data")
    with pytest.raises(etir.EtirError, match="of type NoneType for a mesh"):
        etir.shard(learner, None)


def test_a_run_that_is_cut_inside_windows():
    """Whole on each host and put on the mesh again, the carry goes on to the bit, and lies as it did."""
    kind = (AxisType.Explicit,) * 2
    learner = etir.shard(
        model.compiled(window=3), jax.make_mesh((2, 4), ("data", "model"), kind), batch="data", weights="model"
    )
    train, (xs, ys) = learner.train(model.loss, model.OPTIMIZER, resumable=True), model.sequences()
    begun = model.params(), model.OPTIMIZER.init(model.params()), learner.init()
    whole = now = train(*begun, xs, ys)[:3]
    for k, given in enumerate([begun, *[None] * (model.STEPS - 1)]):
        now = train(*(given or jax.tree.map(np.asarray, now)), xs[k : k + 1], ys[k : k + 1])[:3]
    assert whole[2].place == model.STEPS % 3 == 1
    jax.tree.map(np.testing.assert_array_equal, now, whole)
    assert jax.tree.map(lambda x: x.sharding, now) == jax.tree.map(lambda x: x.sharding, whole)
