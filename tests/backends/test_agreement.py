"""I5 on awkward dependences: every backend gives the reference's numbers, by its driver and through its window."""

import jax
import pytest
from oracles import by_path, loss, relative_error
from structures import STRUCTURES

import etir

VARIANTS = {
    "d_rtrl": {"rule": "d_rtrl"},
    "pp_prop": {"rule": "pp_prop"},
    "rtrl": {"rule": "rtrl"},
    "per-step": {"rule": "d_rtrl", "credit": "rule"},
}
WINDOWS = (2, 5, 1)


def gradients(name: str, window: int, backend: str, **options):
    """By the driver, cut in two where no fold ends, and by differentiating `window`."""
    of = STRUCTURES[name]
    learner = etir.compile(
        of.step, of.params, of.states, of.xs[0], window=window, backend=backend, on_truncated="ignore", **options
    )
    drive = learner.grad(loss)

    @jax.jit
    def run(params, xs, ts):
        first = drive(params, learner.init(), xs[:4], ts[:4])
        second = drive(params, first.carry, xs[4:], ts[4:])
        through = jax.grad(lambda p: loss(learner.window(p, learner.init(), xs[:4])[1], ts[:4]))(params)
        return {"driver": jax.tree.map(jax.numpy.add, first.grads, second.grads), "window": through}

    return by_path(run(of.params, of.xs, of.ts))


def differing(name: str, window: int, **options):
    found, wanted = (gradients(name, window, backend, **options) for backend in ("xla", "reference"))
    return {path: error for path in wanted if not (error := relative_error(found[path], wanted[path])) < 1e-12}


QUICK = {
    "pp_prop": ("two_maps", "complex_neighbours", "rows_that_meet"),
    "rtrl": ("complex_scale", "shared_weight"),
    "per-step": ("products_of_neighbours", "two_shapes"),
}
"""Where other rules than d_rtrl are tried; the rest is slow."""


def variants():
    for k, name in enumerate(STRUCTURES):
        for v, variant in enumerate(VARIANTS):
            quick = name in QUICK.get(variant, STRUCTURES)
            yield pytest.param(name, variant, WINDOWS[(k + v) % 3], marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("name", "variant", "window"), list(variants()))
def test_backends_agree(name: str, variant: str, window: int):
    assert differing(name, window, **VARIANTS[variant]) == {}


def test_backends_agree_on_a_mixture_of_rules():
    assert differing("current_to_voltage", 2, rule="d_rtrl", rules={"V": "rtrl"}) == {}
    assert differing("complex_scale", 2, rule="pp_prop", rules={"nu": "rtrl", "B": "d_rtrl", "C": "bptt"}) == {}


def test_backends_agree_where_sites_are_found():
    options = {"sites": "auto", "rule": "d_rtrl"}
    assert differing("complex_state_of_real_site", 2, **options) == {}


def test_backends_agree_on_credit_through_a_buffer():
    assert differing("buffered", 2, rule="rtrl", buffers=("line",)) == {}


@pytest.mark.parametrize(
    ("name", "dtype", "precision"), [("two_maps", "bfloat16", 1e-2), ("complex_scale", "float32", 1e-6)]
)
def test_a_trace_of_few_bits_is_the_same_trace(name: str, dtype: str, precision: float):
    """The two backends round at different places, by no more than the element type's precision."""
    wide = gradients(name, 2, "xla", rule="d_rtrl")
    for backend in ("xla", "reference"):
        narrow = gradients(name, 2, backend, rule="d_rtrl", trace_dtype=dtype)
        errors = [relative_error(narrow[path], wide[path]) for path in wide]
        assert 0 < max(errors) < precision
