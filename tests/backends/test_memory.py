"""The driver's memory: one copy of each trace, and the history of one fold, whatever the sequence's length."""

import jax
import jax.numpy as jnp
import optax
import pytest

import etir
from etir.backends.folds.schedule import FOLD

BATCH, INPUTS, HIDDEN = 8, 64, 256
TRACE = BATCH * (INPUTS + HIDDEN) * HIDDEN * 4
HISTORY = FOLD * BATCH * 4 * (INPUTS + HIDDEN + 7 * HIDDEN)
"""Bytes of a fold in float32: data, Jacobians, sensitivities, cotangents of the site and of the states that enter
windows, the same where they arrive, carried factors, and later credit."""

GRADIENT = 2 * (INPUTS + HIDDEN) * HIDDEN * 4
"""Bytes of the gradient that is added up, and of what is added to it."""


def step(params, states, x):
    data = jnp.concatenate([x, jnp.tanh(states["v"])], -1)
    leaks = jnp.linspace(0.85, 0.95, states["v"].shape[-1], dtype=states["v"].dtype)  # else all units' trace is one
    v = leaks * states["v"] + etir.matmul(data, params["w"])
    return {"v": v}, v


def loss(y, target):
    return jnp.sum((y - target) ** 2)


@pytest.mark.parametrize("window", [1, 16])
def test_a_donated_trace_is_advanced_in_place_in_memory_that_does_not_grow(window):
    params = {"w": jnp.full((INPUTS + HIDDEN, HIDDEN), 0.01, jnp.float32)}
    states = {"v": jnp.zeros((BATCH, HIDDEN), jnp.float32)}
    learner = etir.compile(step, params, states, jnp.zeros((BATCH, INPUTS), jnp.float32), window=window)
    carry = learner.init()

    def planned(length):
        xs = jax.ShapeDtypeStruct((length, BATCH, INPUTS), jnp.float32)
        ts = jax.ShapeDtypeStruct((length, BATCH, HIDDEN), jnp.float32)
        driver = learner.grad(loss)
        program = jax.jit(lambda c, x, t: driver(params, c, x, t), donate_argnums=0)
        return program.lower(carry, xs, ts).compile().memory_analysis()

    short, long = planned(2 * FOLD), planned(8 * FOLD)
    assert short.alias_size_in_bytes >= TRACE
    if window > 1:  # JAX 0.10 copies the trace where windows are single steps
        assert short.temp_size_in_bytes <= TRACE + HISTORY + GRADIENT
    assert long.temp_size_in_bytes <= short.temp_size_in_bytes * 1.01


@pytest.mark.parametrize("donated", [True, False])
def test_a_differentiated_step_copies_no_trace(donated):
    params = {"w": jnp.full((INPUTS + HIDDEN, HIDDEN), 0.01, jnp.float32)}
    states = {"v": jnp.zeros((BATCH, HIDDEN), jnp.float32)}
    x, target = jnp.zeros((BATCH, INPUTS), jnp.float32), jnp.ones((BATCH, HIDDEN), jnp.float32)
    learner = etir.compile(step, params, states, x)

    def call(params, carry):
        def one(params):
            after, y = learner.step(params, carry, x)
            return loss(y, target), after

        grads, carry = jax.grad(one, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), carry

    program = jax.jit(call, donate_argnums=1 if donated else ())
    planned = program.lower(params, learner.init()).compile().memory_analysis()
    assert planned.temp_size_in_bytes <= TRACE // 10


@pytest.mark.parametrize(
    ("rule", "backend", "window"),
    [("d_rtrl", "xla", 1), ("d_rtrl", "xla", 16), ("bptt", "xla", 16), ("d_rtrl", "reference", 16)],
)
def test_inputs_and_targets_are_read_where_they_lie_whatever_the_length(rule, backend, window):
    """No window and no fold divides these lengths: only the losses take memory that grows."""
    sizes, batch = 2, 4
    params, states = {"w": jnp.ones((2 * sizes, sizes))}, {"v": jnp.zeros((batch, sizes))}
    learner = etir.compile(
        step,
        params,
        states,
        jnp.zeros((batch, sizes)),
        rule=rule,
        backend=backend,
        window=window,
        on_truncated="ignore",
    )
    optimizer = optax.sgd(0.1)

    def planned(length):
        xs = jax.ShapeDtypeStruct((length, batch, sizes), params["w"].dtype)
        drive, train = jax.jit(learner.grad(loss)), jax.jit(learner.train(loss, optimizer))
        programs = (
            drive.lower(params, learner.init(), xs, xs),
            train.lower(params, optimizer.init(params), learner.init(), xs, xs),
        )
        return [program.compile().memory_analysis().temp_size_in_bytes for program in programs]

    # Equal folds and what is left: all the same but the number of folds.
    steps = 40 * FOLD
    for short, long in zip(planned(4 * FOLD - 3), planned(4 * FOLD - 3 + steps), strict=True):
        assert long - short <= 2 * steps * params["w"].dtype.itemsize


def test_a_length_that_nothing_divides_takes_no_more_memory():
    """The last fold is a shorter run of the same loop, whose arrays are those of all others."""
    params, states = {"w": jnp.ones((128, 64))}, {"v": jnp.zeros((4, 64))}
    learner = etir.compile(step, params, states, jnp.zeros((4, 64)), window=1)

    def planned(length):
        xs = jax.ShapeDtypeStruct((length, 4, 64), jnp.float32)
        program = jax.jit(learner.grad(loss)).lower(params, learner.init(), xs, xs)
        return program.compile().memory_analysis().temp_size_in_bytes

    assert planned(997) <= 1.1 * planned(1000)


@pytest.mark.parametrize("window", [1, 16])
def test_a_trace_that_is_held_in_half_the_bits_halves_what_is_held_beside_it(window):
    params = {"w": jnp.full((INPUTS + HIDDEN, HIDDEN), 0.01, jnp.float32)}
    states, x = {"v": jnp.zeros((BATCH, HIDDEN), jnp.float32)}, jnp.zeros((BATCH, INPUTS), jnp.float32)

    def planned(dtype):
        learner = etir.compile(step, params, states, x, window=window, trace_dtype=dtype)
        xs, ts = (jax.ShapeDtypeStruct((4 * FOLD, BATCH, size), jnp.float32) for size in (INPUTS, HIDDEN))
        program = jax.jit(learner.grad(loss), donate_argnums=1).lower(params, learner.init(), xs, ts)
        return program.compile().memory_analysis().temp_size_in_bytes - GRADIENT

    assert planned(jnp.bfloat16) <= 0.55 * planned(jnp.float32)


@pytest.mark.parametrize("hidden", [160, HIDDEN])
def test_a_trace_that_is_held_in_half_the_bits_is_not_converted_whole(hidden):
    params = {"w": jnp.full((INPUTS + hidden, hidden), 0.01, jnp.float32)}
    states = {"v": jnp.zeros((BATCH, hidden), jnp.float32)}
    xs, ts = (jnp.ones((8, BATCH, size), jnp.float32) for size in (INPUTS, hidden))
    learner = etir.compile(step, params, states, xs[0], trace_dtype=jnp.bfloat16)
    optimizer = optax.sgd(0.1)

    def call(params, carry):
        def one(params):
            after, y = learner.step(params, carry, xs[0])
            return loss(y, ts[0]), after

        return jax.grad(one, has_aux=True)(params)

    train = jax.jit(learner.train(loss, optimizer), donate_argnums=2)
    programs = (
        jax.jit(call, donate_argnums=1).lower(params, learner.init()),
        train.lower(params, optimizer.init(params), learner.init(), xs, ts),
    )
    for program in programs:
        assert program.compile().memory_analysis().temp_size_in_bytes <= 2 * 2 * (INPUTS + hidden) * hidden * 4


def test_filtered_data_of_a_look_up_take_a_vector_of_indices_and_the_rows_of_a_window():
    rows, features, batch, window, steps = 10_000, 128, 16, 16, 64
    params = {"table": jnp.full((rows, features), 0.01, jnp.float32)}
    states = {"h": jnp.zeros((batch, features), jnp.float32)}
    ids, ts = jnp.zeros((steps, batch), jnp.int32), jnp.zeros((steps, batch, features), jnp.float32)

    def leaky(params, states, ids):
        h = 0.9 * states["h"] + etir.embed(params["table"], ids)
        return {"h": h}, h

    @jax.grad
    def bptt(params, states, ids, ts):
        def body(states, at):
            states, y = leaky(params, states, at[0])
            return states, loss(y, at[1])

        return jax.lax.scan(body, states, (ids, ts))[1].sum()

    learner = etir.compile(leaky, params, states, ids[0], rule="pp_prop", window=window)
    programs = [
        (bptt, (params, states, ids, ts)),
        (learner.grad(loss), (params, learner.init(), ids, ts)),
    ]
    offline, online = (jax.jit(f).lower(*args).compile().memory_analysis() for f, args in programs)
    indices, touched = 4 * batch * 180, 4 * window * batch * features
    assert online.temp_size_in_bytes - offline.temp_size_in_bytes <= touched + 2 * indices
    assert online.output_size_in_bytes - offline.output_size_in_bytes <= indices + 3 * 4 * batch * features + 1024
    assert [trace.nbytes for trace in jax.tree.leaves(learner.init().traces)] == [indices, 4 * batch * features]


@pytest.mark.parametrize("gathered", [True, False], ids=["data of edges", "products of edges"])
def test_a_fold_keeps_no_long_history_of_edges(gathered):
    """What a step leaves of the edges is as large as their trace: a long fold of it would be many traces."""
    neurons, degree, batch, steps = 512, 16, 16, 64
    sources = jax.random.randint(jax.random.key(0), (neurons, degree), 0, neurons)

    def step(params, states, x):
        spikes = jnp.tanh(states["v"])[:, sources]
        current = etir.einsum("bnd,nd->bn", spikes, params["w"]) if gathered else jnp.sum(spikes * params["w"], -1)
        return {"v": 0.9 * states["v"] + current + x}, states["v"]

    params = {"w": jnp.full((neurons, degree), 0.01, jnp.float32)}
    states, x = {"v": jnp.zeros((batch, neurons), jnp.float32)}, jnp.zeros((batch, neurons), jnp.float32)
    sites = "explicit" if gathered else "auto"
    learner = etir.compile(step, params, states, x, sites=sites, on_truncated="ignore")
    xs = jax.ShapeDtypeStruct((steps, batch, neurons), jnp.float32)
    program = jax.jit(learner.grad(loss)).lower(params, learner.init(), xs, xs).compile()
    assert program.memory_analysis().temp_size_in_bytes <= 16 * batch * neurons * degree * 4
