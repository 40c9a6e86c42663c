"""Look-ups: which uses of a table are, and what learners make of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import differing
from oracles import bptt, by_path, loss

import etir

ROWS, FEATURES, BATCH, STEPS = 700, 4, 3, 37
IDS = jax.random.randint(jax.random.key(0), (STEPS, BATCH), -3, 9) * 70
PARAMS = {"table": jax.random.normal(jax.random.key(1), (ROWS, FEATURES))}

FORMS: dict[str, Any] = {
    "embed": etir.embed,
    "index": lambda table, ids: table[ids],
    "take": lambda table, ids: jnp.take(table, ids, axis=0),
    "along the second axis": lambda table, ids: jnp.take(table.T, ids, axis=1).T,
    "vmapped": jax.vmap(lambda table, i: table[i], (None, 0)),
    "vmapped embed": jax.vmap(etir.embed, (None, 0)),
    "one": lambda table, ids: jnp.stack([table[ids[0]], table[ids[1]], etir.embed(table, ids[2])]),
}


def model(look_up: Any) -> Any:
    def step(params: Any, states: Any, ids: Any) -> Any:
        h = 0.8 * states["h"] + jnp.tanh(look_up(params["table"], ids))
        return {"h": h}, h

    return step, PARAMS, {"h": jnp.zeros((BATCH, FEATURES))}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_look_up_is_a_site(form: str):
    look_up = FORMS[form]
    found = etir.analyse(etir.lower(*model(look_up), IDS[0]), sites="auto")
    names = {"embed": ["embed"], "vmapped embed": ["embed"], "one": ["gather", "gather", "embed"]}
    assert [site.operation for site in found.sites] == names.get(form, ["gather"])
    for site in found.sites:  # one-hot data, the table whole
        assert (site.data.type.shape[-1], site.weight.value.type.size) == (ROWS, ROWS * FEATURES)


def outcome(rule: str, backend: str) -> Any:
    """Labels and gradients of a sequence that goes on where another has ended."""
    step, params, states = model(etir.embed)
    learner = etir.compile(step, params, states, IDS[0], rule=rule, window=3, backend=backend)
    ts = jnp.zeros((STEPS, BATCH, FEATURES))
    carry = learner.window(params, learner.init(), IDS[:5])[0]
    found = learner.grad(loss, reduction="sum")(params, carry, IDS, ts)
    again = learner.grad(loss, reduction="sum")(params, found.carry, IDS, ts)
    return str(learner.certificate["table"].label), by_path(again.grads)


def test_filtered_indices_are_filtered_one_hot_data():
    label, found = outcome("pp_prop", "xla")
    assert label == "approximate"
    assert differing(found, outcome("pp_prop", "reference")[1]) == {}


@pytest.mark.parametrize("form", ["take", "vmapped embed"])
def test_d_rtrl_is_bptt(form: str):
    step, params, states = model(FORMS[form])
    ids, ts = IDS[:7] % 700, jnp.zeros((7, BATCH, FEATURES))
    learner = etir.compile(step, params, states, ids[0], rule="d_rtrl", window=2, sites="auto")
    found = learner.grad(loss, reduction="sum")(params, learner.init(), ids, ts)
    assert differing(by_path(found.grads), bptt(step, params, states, (ids,), ts).grads) == {}
    assert str(learner.certificate["table"].label) == "exact"


def test_what_an_index_beyond_the_table_gives_is_kept():
    def filled(table: Any, ids: Any) -> Any:
        return table.at[ids].get(mode="fill", fill_value=0.5)

    step, params, states = model(filled)
    ids, ts = IDS[:4].at[1, 0].set(ROWS), jnp.zeros((4, BATCH, FEATURES))
    learner = etir.compile(step, params, states, ids[0], rule="d_rtrl", window=2, sites="auto")
    found = learner.grad(loss, reduction="sum")(params, learner.init(), ids, ts)
    truth = bptt(step, params, states, (ids,), ts)
    assert differing(by_path(found.grads), truth.grads) == {}
    np.testing.assert_allclose(found.losses, truth.losses, rtol=1e-12)
    assert str(learner.certificate["table"].label) == "exact"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint32", "uint64"])
def test_indices_of_any_integer_type_count_from_either_end(dtype: str):
    ids = np.array([3, -1 if dtype == "int8" else 120], dtype)
    np.testing.assert_array_equal(etir.embed(PARAMS["table"], ids), PARAMS["table"][np.array(ids, int)])
