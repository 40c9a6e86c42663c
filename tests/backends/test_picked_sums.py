"""Products of picked data term by term: the same numbers, and the same derivatives, as of all that is picked."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import by_path, loss, relative_error

import etir
from etir.backends.folds.algebra import Algebra
from etir.backends.picked_sums import PickedSum, picked_sums, term_by_term
from etir.coupling.primitives import picks
from etir.ir import jaxpr as jx

NEURONS, DEGREE, BATCH, STEPS = 6, 19, 3, 7
DRAW = np.random.default_rng(0)
SOURCES = DRAW.integers(0, NEURONS, (NEURONS, DEGREE))
OF_TWO = DRAW.integers(0, NEURONS, (NEURONS, 2, 5))
Z, W = DRAW.normal(size=(BATCH, NEURONS)), DRAW.normal(size=(NEURONS, DEGREE))


@pytest.fixture(autouse=True)
def all_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picks, "LARGE", 0)
    monkeypatch.setattr(Algebra, "in_place_from", 0)


def traced(function: Any, *operands: Any) -> tuple[Any, list[PickedSum]]:
    """The body of a function term by term, and the products that are made so."""
    body, _ = jx.trace(function, *map(jnp.asarray, operands))
    return term_by_term(body), [found for found, _ in picked_sums(body).values()]


CASES = {
    "a batch": (lambda z, w: etir.einsum("bnd,nd->bn", z[:, SOURCES], w), Z, W),
    "a batch behind": (lambda z, w: etir.einsum("ndb,nd->nb", z[SOURCES], w), Z.T, W),
    "the weight transposed": (lambda z, w: etir.einsum("bnd,dn->nb", z[:, SOURCES], w), Z, W.T),
    "two axes summed": (
        lambda z, w: etir.einsum("abnde,nde->abn", z[..., OF_TWO], w),
        DRAW.normal(size=(2, BATCH, NEURONS)),
        DRAW.normal(size=(NEURONS, 2, 5)),
    ),
    "no batch": (lambda z, w: etir.einsum("nd,nd->n", z[SOURCES], w), Z[0], W),
    "complex": (lambda z, w: etir.einsum("bnd,nd->bn", z[:, SOURCES], w), Z + 1j * Z[::-1], W - 2j * W),
}


@pytest.mark.parametrize("case", CASES)
def test_numbers_and_derivatives_are_the_same(case: str):
    function, z, w = CASES[case]
    body, (summed,) = traced(function, z, w)
    run = lambda *given: jx.evaluate(body, given)[0]  # noqa: E731
    (whole, pull), (found, pulled) = jax.vjp(function, jnp.asarray(z), w), jax.vjp(run, jnp.asarray(z), w)
    assert relative_error(found, whole) < 1e-14
    bar = jnp.asarray(DRAW.normal(size=whole.shape), whole.dtype)
    assert [relative_error(a, b) < 1e-14 for a, b in zip(pulled(bar), pull(bar), strict=True)] == [True] * 2
    # What other platforms run.
    for one, other in zip(summed._by_definition(jnp.asarray(z), jnp.asarray(w), bar), pull(bar), strict=True):
        assert relative_error(one, other) < 1e-14


def test_narrow_numbers_are_added_up_as_wider_ones():
    function = lambda z, w: etir.einsum("bnd,nd->bn", z[:, SOURCES], w)  # noqa: E731
    z, w = (jnp.asarray(x, jnp.bfloat16) for x in (Z, W))
    body, _ = traced(function, z, w)
    (found,) = jx.evaluate(body, [z, w])
    wide = function(z.astype(jnp.float32), w.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, wide.astype(jnp.bfloat16))


def test_of_few_terms_all_places_are_known_before_xla_compiles():
    body, _ = traced(lambda z, w: etir.einsum("bnd,nd->bn", z[:, SOURCES[:, :8]], w), Z, W[:, :8])
    assert "dynamic_slice" not in str(jax.make_jaxpr(lambda z, w: jx.evaluate(body, [z, w]))(Z, W[:, :8]))


@pytest.mark.parametrize(
    "function",
    [
        lambda z, w: etir.einsum("bnd,nd->bnd", z[:, SOURCES], w),
        lambda z, w: etir.einsum("bnd,dk->bnk", z[:, SOURCES], w.T),
        lambda z, w: etir.einsum("bnd,nd->n", z[:, SOURCES], w),
    ],
    ids=["an entry for each edge", "an axis of the weight's own", "a sum over what is kept"],
)
def test_other_products_stay(function: Any):
    body, _ = jx.trace(function, jnp.asarray(Z), jnp.asarray(W))
    assert term_by_term(body) is body


def step(params: Any, states: Any, x: Any) -> Any:
    z = jnp.tanh(states["v"] - 0.3 * states["a"])
    v = 0.9 * states["v"] - 0.4 * z + etir.einsum("bnd,nd->bn", z[:, SOURCES], params["w"]) + x
    return {"v": v, "a": 0.8 * states["a"] + z}, v


@pytest.mark.parametrize(("rule", "window"), [("d_rtrl", 1), ("d_rtrl", 3), ("snap", 2), ("d_rtrl", STEPS)])
def test_a_learner_term_by_term_is_the_reference(rule: str, window: int):
    params, states = {"w": jnp.asarray(W / 4)}, {k: jnp.asarray(Z) for k in "va"}
    xs, ts = DRAW.normal(size=(2, STEPS, BATCH, NEURONS))
    found: list[Any] = []
    for backend in ("reference", "xla"):
        learner = etir.compile(
            step, params, states, xs[0], rule=rule, window=window, sites="auto", backend=backend, on_truncated="ignore"
        )
        driver = learner.grad(loss, reduction="sum")
        first = driver(params, learner.init(params, states), xs[:4], ts[:4])
        second = driver(params, first.carry, xs[4:], ts[4:])
        found.append([by_path(first.grads), by_path(second.grads), first.losses, second.losses])
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        assert relative_error(one, other) < 1e-13
