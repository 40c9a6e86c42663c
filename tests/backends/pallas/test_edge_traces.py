"""Sites over the edges of a graph: for every way to write one, the pass and the product by rows are XLA's."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.sparse import BCOO

import etir
from etir.backends import Pallas, kernels
from etir.backends.backend import Choice
from etir.backends.folds.one_pass import Operands, Pass
from etir.backends.folds.pattern import Sweep
from etir.backends.folds.trace_pass import xla_pass
from etir.backends.pallas import Win
from etir.backends.pallas.target import takes_references
from etir.backends.picked import picked_sources
from etir.backends.reverse import stacked_product
from etir.backends.xla import Xla

pytest.importorskip("absl")
from etir.backends.pallas.edge_traces import as_edges, fault, product_fault, product_of_edges
from etir.backends.pallas.edges import Edges
from etir.backends.pallas.graph import Graph

BATCH, NEURONS, DEGREE, STEPS = 3, 6, 2, 12
RANDOM = np.random.default_rng(0)
SOURCES = RANDOM.integers(0, NEURONS, (NEURONS, DEGREE))
ENTRIES = jnp.asarray(np.stack([SOURCES.ravel(), np.repeat(np.arange(NEURONS), DEGREE)], 1))
"""Of each edge where it begins and where it leads."""


@dataclass(frozen=True)
class Rows(Xla):
    """The kernels' places taken by their definitions, which run everywhere."""

    name: ClassVar[str] = "rows"
    reads_picked: ClassVar[bool] = True

    def choose(self, sweep: Sweep) -> Choice:
        """By rows, where there are edges."""
        run = partial(as_edges, Edges.by_definition)
        reason = "not over edges" if sweep.picked is None else fault(sweep)
        return Choice(kernel="edges", reason=reason or "", run=None if reason else run)

    def choose_product(self, site: Any, picked: Any) -> Choice:
        """By rows."""
        run = lambda source, x, y: product_of_edges(Edges.by_definition, Graph(site, picked), x, y)  # noqa: E731
        reason = Graph(site, picked).fault()
        return Choice(kernel="edge-product", reason=reason or "", run=None if reason else run)


def leaky(product: Any, of_state: bool = True) -> Any:
    """Leaky units with an adaptation, fed over edges by what they, or others outside, send."""

    def step(params: Any, states: Any, x: Any) -> Any:
        y = product(jnp.tanh(states["v"]) if of_state else x, params["w"])
        v = 0.9 * states["v"] + y - 0.1 * states["a"] + x
        return {"v": v, "a": 0.8 * states["a"] + 0.1 * jnp.tanh(v)}, v

    return step


def rows(z: Any, w: Any) -> Any:
    return etir.einsum("bnd,nd->bn", z[:, SOURCES], w)


def matrix(z: Any, w: Any) -> Any:
    return etir.sparse_matmul(z, BCOO((w, ENTRIES), shape=(NEURONS, NEURONS)))


LAYOUTS: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {
    "rows": (leaky(rows), (NEURONS, DEGREE), (BATCH, NEURONS)),
    "rows of an input": (leaky(rows, of_state=False), (NEURONS, DEGREE), (BATCH, NEURONS)),
    "a matrix": (leaky(matrix), (NEURONS * DEGREE,), (BATCH, NEURONS)),
    "edges first": (
        leaky(lambda z, w: etir.einsum("bdn,dn->bn", z[:, SOURCES.T], w)),
        (DEGREE, NEURONS),
        (BATCH, NEURONS),
    ),
    "batch last": (leaky(lambda z, w: etir.einsum("ndb,nd->nb", z[SOURCES], w)), (NEURONS, DEGREE), (NEURONS, BATCH)),
    "two batch axes": (
        leaky(lambda z, w: etir.einsum("abnd,nd->ban", z[:, :, SOURCES], w).swapaxes(0, 1)),
        (NEURONS, DEGREE),
        (2, BATCH, NEURONS),
    ),
    "no batch": (leaky(lambda z, w: etir.einsum("nd,nd->n", z[SOURCES], w)), (NEURONS, DEGREE), (NEURONS,)),
    "one target": (
        leaky(lambda z, w: etir.einsum("be,e->b", z[:, SOURCES[:, 0]], w)[:, None] * jnp.arange(NEURONS)),
        (NEURONS,),
        (BATCH, NEURONS),
    ),
    "slots": (
        leaky(lambda z, w: (y := rows(z[:, :NEURONS], w), jnp.concatenate([y, 0.5 * y], -1))[1]),
        (NEURONS, DEGREE),
        (BATCH, 2 * NEURONS),
    ),
    "two uses": (
        leaky(lambda z, w: jnp.concatenate([rows(z[:, :NEURONS], w), 0.5 * rows(z[:, NEURONS:], 1 - w)], -1)),
        (NEURONS, DEGREE),
        (BATCH, 2 * NEURONS),
    ),
}


def learner(name: str, backend: Any, **options: Any) -> tuple[Any, Any, Any]:
    """A learner, parameters and inputs."""
    step, weight, state = LAYOUTS[name]
    random = np.random.default_rng(1)
    params = {"w": jnp.asarray(random.normal(size=weight), jnp.float32)}
    xs = jnp.asarray(random.normal(size=(STEPS, *state)), jnp.float32)
    states = {key: jnp.zeros(state, jnp.float32) for key in "va"}
    return etir.compile(step, params, states, xs[0], backend=backend, on_truncated="ignore", **options), params, xs


def close(found: Any, wanted: Any) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(jnp.abs(b).max()))


def random_array(*shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_product_by_rows_is_the_product(name: str):
    sources = learner(name, Rows())[0]._engine.program.sources
    assert sources
    for site, source in sources.items():
        x, y = (random_array(4, *kind.type.shape) for kind in (source.data, site.output))
        close(source.cotangent(x, y), stacked_product(site, source.unfolded(x), y))
        close(source.by_steps(x, y), stacked_product(site, source.unfolded(x), y))


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "one target"])
def test_the_pass_by_rows_is_the_pass(name: str):
    (unit,) = learner(name, Rows())[0]._engine.program.sweeps.units
    for sweep in unit.sweeps:
        assert sweep.picked is not None
        assert sweep.data is not sweep.site.data
        group, array = sweep.placement.association.group.shape, random_array
        given = Operands(
            {k: array(*sweep.placement.shape) for k in sweep.states},
            {pair: array(*group) for pair in sweep.jacobians},
            {k: array(4, *sweep.placement.output_shape) for k in sweep.factors},
            array(4, *sweep.data.type.shape),
            {k: array(*group) for k in sweep.states},
        )
        of = Pass(unit.algebra, sweep)
        close(as_edges(Edges.by_definition, of, given), xla_pass(of, given))


@pytest.mark.parametrize(
    ("rule", "window"),
    [
        ("d_rtrl", 4),
        ("pp_prop", 1),
        pytest.param("d_rtrl", 1, marks=pytest.mark.slow),
        pytest.param("pp_prop", 4, marks=pytest.mark.slow),
        pytest.param("e_prop", 4, marks=pytest.mark.slow),
    ],
)
def test_a_learner_has_the_same_numbers(rule: str, window: int):
    def learned(backend: Any) -> Any:
        one, params, xs = learner("rows", backend, rule=rule, window=window)
        found = one.grad(lambda y: (y**2).sum())(params, one.init(), xs)
        return found.grads, one.traces(found.carry)

    close(learned(Rows()), learned("xla"))


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 4])
def test_windows_have_the_same_numbers(window: int):
    def learned(backend: Any) -> Any:
        one, params, xs = learner("rows", backend, window=window)

        def loss(params: Any) -> Any:
            carry, total = one.init(), 0.0
            for k in range(0, 2 * window, window):
                carry, y = one.window(params, carry, xs[k : k + window])
                total += (y**2).sum()
            return total

        return jax.jit(jax.grad(loss))(params)

    close(learned(Rows()), learned("xla"))


def test_an_exact_one_is_bptt():
    one, params, xs = learner("rows of an input", Rows(), window=2)
    assert one.certificate["w"].label == "exact"

    def loss(params: Any) -> Any:
        states = {key: jnp.zeros(xs.shape[1:], xs.dtype) for key in "va"}
        return (jax.lax.scan(lambda s, x: LAYOUTS["rows of an input"][0](params, s, x), states, xs)[1] ** 2).sum()

    close(one.grad(lambda y: (y**2).sum())(params, one.init(), xs).grads, jax.grad(loss)(params))


def test_no_history_has_an_entry_for_each_edge():
    engine = learner("rows", Rows(), window=4)[0]._engine
    edges = BATCH * NEURONS * DEGREE
    assert {v.type.size for v in engine.windows.kept} == {BATCH * NEURONS}
    assert edges in {v.type.size for v in learner("rows", "xla", window=4)[0]._engine.windows.kept}


@pytest.mark.parametrize(
    ("product", "weight", "reason"),
    [
        (lambda z, w: etir.einsum("bn,n->bn", z[:, SOURCES[:, 0]], w), (NEURONS,), "its output has an entry"),
        (
            lambda z, w: etir.einsum("bnd,ndm->bm", z[:, SOURCES], w),
            (NEURONS, DEGREE, NEURONS),
            "what its data are picked by has not the axes of its weight",
        ),
    ],
)
def test_what_is_no_graph_says_why(product: Any, weight: Any, reason: str):
    states, x = {key: jnp.zeros((BATCH, NEURONS)) for key in "va"}, jnp.zeros((BATCH, NEURONS))
    lowered = etir.lower(leaky(product), {"w": jnp.zeros(weight)}, states, x)
    (source,) = picked_sources(etir.plan(etir.analyse(lowered), "d_rtrl", 2), Rows()).values()
    assert source.choice.run is None
    assert source.choice.reason.startswith(reason)


def test_the_text_says_what_edges_got_and_why():
    transition = learner("rows", "xla", window=2)[0].transition
    lines = kernels(transition, "pallas").splitlines()
    own = {line.split("  ")[0]: line.split("  ", 1)[1].split() for line in lines[2:] if not line.startswith(" ")}
    if not takes_references():
        assert own["product of w"][0] == "xla"
        return
    assert [own[what][0] for what in ("w on a, w on v", "product of w")] == ["edges", "edge-product"]
    assert "12 edges from 6 sources to 6 targets" in lines[-1]
    won = Win(kernel="edges", card="a card", ratio=1.3, from_bytes=0)
    assert "product of w     xla" in kernels(transition, Pallas(forced=False, wins=(won,)))


def test_auto_has_no_kernel_for_edges_without_a_win():
    text = kernels(learner("rows", "xla", window=2)[0].transition, "auto")
    assert "w on a, w on v   xla     no win of a kernel is on record" in text


def test_a_product_of_other_types_is_left_to_xla():
    step, weight, state = LAYOUTS["rows"]
    params, states = {"w": jnp.zeros(weight, jnp.float16)}, {key: jnp.zeros(state, jnp.float16) for key in "va"}
    transition = etir.plan(etir.analyse(etir.lower(step, params, states, states["v"])), "d_rtrl", 2)
    for source in picked_sources(transition, Rows()).values():
        found = product_fault(source.site, source.picked)
        assert found is not None
        assert not takes_references() or found == "its data are of float16; wanted float32 or bfloat16"


@pytest.mark.slow
@pytest.mark.skipif(not takes_references(), reason="this JAX interprets no kernels for a GPU")
@pytest.mark.parametrize("rule", ["d_rtrl", "pp_prop"])
def test_a_learner_with_the_kernels_has_the_same_numbers(rule: str):
    def learned(backend: str) -> Any:
        one, params, xs = learner("rows", backend, rule=rule, window=4)
        found = one.grad(lambda y: (y**2).sum())(params, one.init(), jnp.tile(xs, (4, 1, 1)))
        return found.grads, one.traces(found.carry)

    close(learned("pallas"), learned("xla"))
