"""Which values of Python a step changed."""

import functools

import haiku as hk
import jax
import jax.numpy as jnp
import pytest

import etir
from etir.frontend.attributes import changed_values, plain_values


def test_what_is_changed_added_or_taken_away_and_no_nan_that_stayed():
    nan = float("nan")
    before = plain_values([(("a", 0), 1), (("rate",), nan), (("gone",), None), (("list",), [1, {"a": 2}])])
    after = plain_values([(("a", 0), 2), (("rate",), nan), (("new",), "x"), (("list",), [1, {"a": 3}])])
    assert before == {"a.0": 1, "rate": nan, "gone": None, "list.0": 1, "list.1.a": 2}
    assert changed_values(before, after) == ["a.0", "gone", "list.1.a", "new"]


RATE = [1, 2]


def counting(kind: str):
    """A step that counts in Python, in one of several places, beside one that only notes that it is traced."""
    count, log, table = 0, [0], {"n": 0, "empty": None}
    noted: list[object] = []

    def step(params, states, x):
        nonlocal count
        noted.append(kind)
        if kind == "count":
            count += 1
        if kind == "log.0":
            log[0] += 1
        if kind == "table.n":
            table["n"] += 1
        if kind == "RATE.1":
            RATE[1] += 1
        h = 0.9 * states["h"] + etir.matmul(x, params["w"]) * (1 + count + log[0] + table["n"] + RATE[1])
        return {"h": h}, h

    return step


GIVEN = {"w": jnp.ones((2, 3))}, {"h": jnp.zeros(3)}, jnp.ones(2)


@pytest.mark.parametrize("kind", ["count", "log.0", "table.n", "RATE.1", None])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, lambda f: functools.partial(f)])
def test_a_step_that_counts_in_variables_outside_it_is_refused(kind, wrap):
    step = wrap(counting(kind))
    if kind is None:
        etir.lower(step, *GIVEN)
        return
    with pytest.raises(etir.EtirError, match=rf"the step changes '{kind}', which is .* \[attribute-written\]"):
        etir.lower(step, *GIVEN)


def test_a_function_of_haiku_that_counts_is_refused():
    count = 0

    def model(x, state):
        nonlocal count
        count += 1
        h = hk.Linear(3)(x) + 0.9 * state * count
        return h, h

    net, x = hk.transform(model), jnp.ones((2, 3))
    params = net.init(jax.random.key(0), x, x)
    with pytest.raises(etir.EtirError, match=r"the step changes 'count'"):
        etir.compile(etir.from_haiku(net, params, carry=x), x)


def settling(kind: str):
    """A step with a flag that it sets at its first call; the flag changes the program where `kind` says so."""
    built, latest = False, {"name": "none"}

    def step(params, states, x):
        nonlocal built
        first, built = not built, True
        if kind == "toggled":
            latest["name"] = "odd" if latest["name"] == "even" else "even"
        scale = 2.0 if kind == "used" and first else 1.0
        h = 0.9 * states["h"] + scale * etir.matmul(x, params["w"])
        return {"h": h}, h

    return step


def test_a_flag_that_is_set_once_and_changes_nothing_is_no_count():
    etir.lower(settling("built"), *GIVEN)


@pytest.mark.parametrize(("kind", "named"), [("used", "'built'"), ("toggled", "'built', 'latest.name'")])
def test_a_flag_that_changes_the_step_or_goes_on_changing_is_refused(kind, named):
    with pytest.raises(etir.EtirError, match=rf"the step changes {named}, which is .* \[attribute-written\]"):
        etir.lower(settling(kind), *GIVEN)
