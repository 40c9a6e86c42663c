"""Products with weights in branches and loops: where they come to stand, and that nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO
from oracles import by_path, relative_error

import etir
from etir.ir import jaxpr as jx
from etir.ir.regions import STEP

I, N, T, DEPTH = 2, 3, 6, 3
MATRICES = {
    "W": (I, N),
    "V": (I, N),
    "U": (N, N),
    "a": (N,),
    "Ws": (DEPTH, I, N),
    "Us": (DEPTH, N, N),
    "as": (DEPTH, N),
    "V6": (6, N),
    "K": (I, 1, N),
    "E": (4,),
}
EDGES = jnp.array([[0, 1], [1, 2], [0, 0], [1, 1]])


def parameters(*names):
    keys = jax.random.split(jax.random.key(0), len(names))
    return {name: 0.5 * jax.random.normal(key, MATRICES[name]) for key, name in zip(keys, names, strict=True)}


def switch(p, h, x):
    taken = jnp.int32(2 * jnp.abs(x[0, 0]))
    first = lambda h: 0.5 * h + jnp.tanh(etir.matmul(x, p["W"]))  # noqa: E731
    second = lambda h: etir.scale(jnp.sin(etir.matmul(x, p["V"].T.T)) + h, p["a"])  # noqa: E731
    return jax.lax.switch(taken, [first, second, lambda h: 0.9 * h], h)


def chunk(p, h, x):
    """A network over several inputs as one step: the data of a product are slices of what is scanned over."""
    xs = jnp.arange(1.0, 4)[:, None, None] * x
    return jax.lax.scan(lambda h, x: (0.7 * h + jnp.tanh(etir.matmul(x, p["W"])), None), h, xs, reverse=True)[0]


def substeps(p, h, x):
    return jax.lax.fori_loop(0, 4, lambda _, h: 0.5 * h + jnp.tanh(etir.matmul(x, p["W"]) + etir.scale(h, p["a"])), h)


def nested(p, h, x):
    def trip(h, k):
        taken = lambda h: jax.lax.scan(lambda h, _: (0.5 * h + etir.matmul(x, p["W"]), None), h, length=2)[0]  # noqa: E731
        return jax.lax.cond(k % 2 == 0, jax.jit(taken), lambda h: etir.scale(h, p["a"]), h), None

    return jax.lax.scan(trip, h, jnp.arange(3))[0]


def parallel(p, h, x):
    """Layers side by side: a scan over stacked weights without a carry."""
    layer = lambda _, of: (None, 0.8 * of[2] + jnp.tanh(etir.matmul(x, of[0]) + etir.bias(0 * x[:, :1], of[1])))  # noqa: E731
    return jax.lax.scan(layer, None, (p["Ws"], p["as"], h))[1]


def deep(p, h, x):
    """Layers upon each other, element by element: a scan over stacked weights whose carry is what layers show."""

    def layer(below, of):
        h = 0.5 * of[1] + jnp.tanh(etir.scale(below, of[0]))
        return h, h

    return jax.lax.scan(layer, etir.matmul(x, p["W"]), (p["as"], h))[1]


def dense_layers(p, h, x):
    def layer(below, of):
        h = 0.5 * of[1] + jnp.tanh(etir.matmul(below, of[0]))
        return h, h

    return jax.lax.scan(layer, etir.matmul(x, p["W"]), (p["Us"], h))[1]


def dense_substeps(p, h, x):
    return jax.lax.fori_loop(0, 3, lambda _, h: 0.5 * h + jnp.tanh(etir.matmul(x, p["W"]) + etir.matmul(h, p["U"])), h)


def picked(p, h, x):
    """Layers by a counter: elements of stacks of weights, one of them used as it is."""
    layer = lambda k, z: z + jnp.tanh(etir.matmul(x, p["Ws"][k]) + etir.bias(0 * z, p["as"][2 - k]))  # noqa: E731
    return 0.7 * h + jax.lax.fori_loop(0, DEPTH, layer, jnp.zeros_like(h))


def own_derivative(p, h, x):
    @jax.custom_jvp
    def f(h, a):
        return jnp.tanh(etir.scale(h, a))

    f.defjvps(lambda t, y, h, a: t * a, lambda t, y, h, a: t * h)
    return f(h, p["a"]) + etir.matmul(x, p["W"])


def settled(p, h, x):
    drive = etir.matmul(x, p["W"]) + h
    return 0.7 * h + etir.transform.fixed_point(lambda u: 0.5 * jnp.tanh(drive + etir.scale(u, p["a"])), 0 * h)


def plain(p, h, x):
    """Convolutions, look-ups and products with sparse matrices that are written in JAX alone."""
    ids = (10 * jnp.abs(x[:, 0])).astype(int) % 6

    def trip(_, h):
        y = jax.lax.conv_general_dilated(x[..., None], p["K"], (1,), "VALID", dimension_numbers=("NHC", "HIO", "NHC"))
        return 0.5 * h + jnp.tanh(y[:, 0] + p["V6"][ids[0]] + sparse())

    sparse = jax.jit(lambda: x @ BCOO((p["E"], EDGES), shape=(I, N)))
    h = jax.lax.cond(x[0, 0] > 0, lambda h: 0.5 * h + jnp.tanh(p["V6"][ids]), lambda h: 0.9 * h - sparse(), h)
    return jax.lax.fori_loop(0, 3, trip, h)


EXACT = {
    "switch": (switch, ("W", "V", "a"), (4, N)),
    "chunk": (chunk, ("W",), (4, N)),
    "substeps": (substeps, ("W", "a"), (4, N)),
    "nested": (nested, ("W", "a"), (4, N)),
    "parallel": (parallel, ("Ws", "as"), (DEPTH, 4, N)),
    "deep": (deep, ("W", "as"), (DEPTH, 4, N)),
    "settled": (settled, ("W", "a"), (4, N)),
    "picked": (picked, ("Ws", "as"), (4, N)),
    "own_derivative": (own_derivative, ("W", "a"), (4, N)),
    "plain": (plain, ("K", "V6", "E"), (4, N)),
}


def step_of(inner):
    def step(params, states, x):
        h = inner(params, states["h"], x)
        return {"h": h}, h

    return step


def loss(y):
    return jnp.sum(jnp.sin(y) * jnp.cos(jnp.arange(y.size).reshape(y.shape)))


def bptt(step, params, states, xs):
    def total(params):
        def body(states, x):
            states, y = step(params, states, x)
            return states, loss(y)

        return jax.lax.scan(body, states, xs)[1].sum()

    return by_path(jax.grad(total)(params))


def problem(inner, names, shape):
    return step_of(inner), parameters(*names), {"h": jnp.zeros(shape)}, jax.random.normal(jax.random.key(1), (T, 4, I))


def errors(learner, params, xs, wanted):
    found = by_path(learner.grad(loss)(params, learner.init(), xs).grads)
    return {path: relative_error(found[path], wanted[path]) for path in wanted}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in ("nested", "parallel") else ()) for name in EXACT]
)
def test_what_is_moved_out_is_exact(name: str):
    inner, names, shape = EXACT[name]
    with jax.enable_x64(True):
        step, params, states, xs = problem(inner, names, shape)
        learner = etir.compile(step, params, states, xs[0], window=2, sites="auto" if name == "plain" else "explicit")
        assert {label.path: label.label for label in learner.certificate} == dict.fromkeys(names, "exact")
        assert max(errors(learner, params, xs, bptt(step, params, states, xs)).values()) < 1e-10


@pytest.mark.parametrize("backend", ["xla", "reference"])
def test_a_trace_is_the_sum_over_the_trips(backend: str):
    with jax.enable_x64(True):
        step, params, states, xs = problem(chunk, ("W",), (4, N))
        learner = etir.compile(step, params, states, xs[0], backend=backend)
        carry = learner.init()
        for x in xs[:2]:
            carry, _ = learner.step(params, carry, x)
        (trace,) = learner.traces(carry)
        after = lambda w: step({"W": w}, step({"W": w}, states, xs[0])[0], xs[1])[1]  # noqa: E731
        wanted = jnp.einsum("bjij->bij", jax.jacobian(after)(params["W"]))
        assert trace.shape == (4, I, N)
        assert relative_error(trace, wanted) < 1e-12


def test_a_trace_that_is_a_sum_flows_into_one_that_is_apart():
    def step(params, states, xs):
        y = etir.matmul(xs, params["W"])
        more = etir.matmul(jnp.sin(jnp.arange(36.0).reshape(3, 2, 6) * xs[0, 0, 0]), params["V6"])
        line = (0.9 * states["line"] + jnp.tanh(y) + more).at[0].add(jnp.sin(states["h"]))
        return {"h": 0.5 * states["h"] + y.sum(0), "line": line}, line

    with jax.enable_x64(True):
        params, states = parameters("W", "V6"), {"h": jnp.zeros((2, N)), "line": jnp.zeros((3, 2, N))}
        xs = jax.random.normal(jax.random.key(1), (T, 3, 2, I))
        learner = etir.compile(step, params, states, xs[0])
        assert {label.label for label in learner.certificate} == {"exact"}
        shapes = {trace.before.type.shape for trace in learner.transition.plan.traces}
        assert shapes == {(2, I, N), (2, 3, 2, I, N), (3, 2, 6, N)}
        assert max(errors(learner, params, xs, bptt(step, params, states, xs)).values()) < 1e-10


@pytest.mark.parametrize("reverse", [False, True])
def test_plain_elements_of_a_stack_are_exact(reverse: bool):
    def inside(p, h, x):
        def trip(carry, scale):
            k, z = carry
            return (k + 2, z * scale + jnp.sin(x @ p["V6"][jnp.stack([k, k + 1])] + p["V6"][k])), None

        return 0.7 * h + jax.lax.scan(trip, (0, 0 * h), jnp.arange(1.0, 4), reverse=reverse)[0][1]

    with jax.enable_x64(True):
        step, params, states, xs = problem(inside, ("V6",), (4, N))
        learner = etir.compile(step, params, states, xs[0], sites="auto")
        assert learner.certificate["V6"].label == "exact"
        assert max(errors(learner, params, xs, bptt(step, params, states, xs)).values()) < 1e-10


def test_what_crosses_trips_through_a_dense_product_is_said_and_can_be_bought():
    with jax.enable_x64(True):
        step, params, states, xs = problem(dense_substeps, ("W", "U"), (4, N))
        wanted = bptt(step, params, states, xs)
        plain = etir.compile(step, params, states, xs[0])
        assert {label.path: label.label for label in plain.certificate} == {"W": "approximate", "U": "approximate"}
        assert [str(reason) for reason in plain.certificate["W"].reasons] == [
            "also reaches 'h' through scan (mixes positions)",
            "recurrence of 'h' through scan (mixes positions) is dropped",
        ]
        assert min(errors(plain, params, xs, wanted).values()) > 1e-3
        whole = etir.compile(step, params, states, xs[0], window=T)
        assert max(errors(whole, params, xs, wanted).values()) < 1e-10
        bought = etir.compile(step, params, states, xs[0], rules={"*": "rtrl"})
        assert max(errors(bought, params, xs, wanted).values()) < 1e-10


def test_each_of_the_dense_layers_of_a_scan_has_its_trace():
    with jax.enable_x64(True):
        step, params, states, xs = problem(dense_layers, ("W", "Us"), (DEPTH, 4, N))
        learner = etir.compile(step, params, states, xs[0], window=T, on_truncated="ignore")
        assert learner.certificate["Us"].label == "approximate"
        assert (4, DEPTH, N, N) in [trace.before.type.shape for trace in learner.transition.plan.traces]
        assert max(errors(learner, params, xs, bptt(step, params, states, xs)).values()) < 1e-10


def test_what_is_not_a_number_in_a_branch_that_is_not_taken_harms_nothing():
    def step(params, states, x):
        bad = jnp.full((4, I), jnp.nan)
        taken = lambda h: 0.5 * h + etir.matmul(x, params["W"])  # noqa: E731
        h = jax.lax.cond(jnp.sum(x) < 1e6, taken, lambda h: h + jnp.log(etir.matmul(bad, params["V"])), states["h"])
        return {"h": h}, h

    params = parameters("W", "V")
    learner = etir.compile(step, params, {"h": jnp.zeros((4, N))}, jnp.ones((4, I)))
    params["V"] = jnp.full((I, N), jnp.nan)
    grads = learner.grad(loss)(params, learner.init(), jnp.ones((T, 4, I))).grads
    assert np.isfinite(grads["W"]).all()
    assert not np.any(grads["V"])


def test_a_run_that_is_cut_at_every_step_is_the_whole():
    step, params, states, xs = problem(*EXACT["switch"])
    learner = etir.compile(step, params, states, xs[0])
    whole, ys = learner.window(params, learner.init(), xs)
    carry, parts = learner.init(), []
    for x in xs:
        carry, y = learner.step(params, jax.tree.map(lambda a: jnp.asarray(np.asarray(a)), carry), x)
        parts.append(y)
    assert np.array_equal(parts, ys)
    assert np.array_equal(carry.states["h"], whole.states["h"])
    assert all(map(np.array_equal, learner.traces(carry), learner.traces(whole)))


def test_a_step_is_as_large_whatever_the_number_of_trips():
    def equations(length):
        inner = lambda p, h, x: jax.lax.fori_loop(0, length, lambda _, h: 0.5 * h + etir.matmul(x, p["W"]), h)  # noqa: E731
        step, params, states, xs = problem(inner, ("W",), (4, N))
        transition = etir.analyse(etir.lower(step, params, states, xs[0]))
        return len(jx.equations(transition.region(STEP).body)), [str(a.union) for a in transition.associations]

    assert equations(16) == equations(1000)
