"""slice-regions: the prologue, the step that a learner runs, and the part that traces live in."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from snippets import expected
from stages import after, evaluated, lowered, operations, section

from etir.ir.transition import Region, Transition
from etir.passes import SliceRegions

TYPES = {"U": "f64[4,4]", "W": "f64[3,4]", "a": "f64[4]"}, {"h": "f64[4]", "n": "i32[]"}, "f64[3]"
STEP = """
def step(p, s, x):
    y = etir.matmul(x, jnp.sin(p["W"]))
    h = jnp.tanh(p["a"]) * s["h"] + jnp.tanh(y + HOLD(MIX))
    return {"h": h, "n": s["n"] + 1}, h.sum()

def both(h):
    return h * h.sum(), jnp.sin(h)

ruled = jax.custom_jvp(both)
ruled.defjvp(lambda at, by: jax.jvp(both, at, by))
"""
MIXES = {
    "a product": "s['h'] @ p['U']",
    "a site": "etir.matmul(s['h'], p['U'])",
    "a sum": "p['a'] * s['h'].sum()",
    "a mean of a site": "p['a'] * jnp.mean(y)",
    "one of two results": "TWO[0]) + (TWO[1]",
    "a loop": "jax.lax.fori_loop(0, 4, lambda k, h: h + jnp.roll(h, 1), s['h'])",
}


TWO = "ruled(s['h'])"


def sliced(mix: str, hold: str = "") -> Transition:
    source = STEP.replace("MIX", mix.replace("TWO[", "two[")).replace("HOLD", hold)
    source = source.replace("    h = ", f"    two = {TWO}\n    h = ") if "TWO" in mix else source
    return after(SliceRegions, lowered(source, *TYPES))


def drawn(region: Region, **known: Any) -> dict[str, Any]:
    """Values for the arguments of a region, random but for those that are known."""
    values = {}
    for k, value in enumerate(region.inputs):
        dtype, shape = np.dtype(value.type.dtype), value.type.shape
        random = 0.5 * jax.random.normal(jax.random.key(k), shape) if dtype.kind == "f" else jnp.ones(shape, dtype)
        values[f"{k}"] = known.get(value.hint, random)
    return values


def test_the_regions_in_text():
    assert section(sliced(MIXES["a product"]), "region", "weight", "site") == expected("""
        weight %U
        weight %W_p : f64[3,4] = prologue(%W)
        weight %a_p : f64[4] = prologue(%a)
        region @step(%U, %W, %a, %h, %n, %x) -> (%h1, %n1, %y)
        region @weights(%U, %W, %a) -> (%U, %W_p, %a_p)
        region @forward(%U, %W_p, %a_p, %h, %n, %x, %W_p1, %dy_W) -> (%h1, %n1, %y, %y_W, %r)
        region @hidden(%h, %y_W, %a_p, %r, %dy_W) -> (%h1)
        site %y_W : f64[4] = etp.dot(%x, %W_p) "i,ij->j" equation 1 held loc(model.py:2:9)
    """)


def test_what_is_in_each():
    regions = {region.name: operations(region) for region in sliced(MIXES["a product"]).regions}
    assert regions["weights"] == "sin tanh"
    assert regions["forward"] == "etp add mul dot_general add tanh add add reduce_sum"
    assert regions["hidden"] == "add mul add tanh add"


@pytest.mark.parametrize("mix", MIXES)
def test_the_weights_and_the_forward_step_are_the_step(mix: str):
    assert parts_are_the_whole(sliced(MIXES[mix]))


def parts_are_the_whole(transition: Transition) -> bool:
    """Whether the prologue and the forward region together compute what the step does."""
    values = drawn(transition.region("step"))
    _, results = forward(transition, list(values.values()))
    whole = evaluated(transition.region("step"), values)
    return all(np.allclose(a, b) for a, b in zip(whole, results, strict=False))


def forward(transition: Transition, arguments: list[Any]) -> tuple[list[Any], list[Any]]:
    """The arguments of the forward region at those of the step, shifts of zero last, and its results."""
    count = len(transition.params)
    weights = evaluated(transition.region("weights"), dict(enumerate(arguments[:count])))
    by_weight = dict(zip(transition.weights, weights, strict=True))
    of_sites = [by_weight[site.weight] for site in transition.sites]
    shifts = [jnp.zeros(site.output.type.shape) for site in transition.sites]
    given = [*weights, *arguments[count:], *of_sites, *shifts]
    return given, evaluated(transition.region("forward"), dict(enumerate(given)))


@pytest.mark.parametrize("mix", MIXES)
def test_the_derivative_of_the_hidden_region_is_the_steps_with_mixing_held(mix: str):
    """A dense Jacobian of the step in which the mixing operation's result is a constant."""
    held = sliced(MIXES[mix], "jax.lax.stop_gradient").region("step")
    values = drawn(held)
    old = next(key for key, value in zip(values, held.inputs, strict=True) if value.hint == "h")

    def step(h: Any) -> Any:
        return evaluated(held, values | {old: h})[0]

    transition = sliced(MIXES[mix])
    found = jax.jacobian(lambda h: hidden(transition, list(values.values()), h))(values[old])
    assert np.allclose(found, jax.jacobian(step)(values[old]))
    assert np.allclose(found, np.diag(np.diag(found)))


def hidden(transition: Transition, arguments: list[Any], h: Any) -> Any:
    """The hidden region at the values that the forward step records, with `h` for the old state."""
    (given, results), region, ends = (
        forward(transition, arguments),
        transition.region("hidden"),
        transition.region("forward"),
    )
    known = dict(zip(ends.inputs, given, strict=True)) | dict(zip(ends.outputs, results, strict=True))
    known = {value: jax.lax.stop_gradient(array) for value, array in known.items()}
    known[transition.hidden[0].before] = h
    return evaluated(region, {value: known[value] for value in region.inputs})[0]


@pytest.mark.parametrize("mix", MIXES)
def test_it_leaves_alone_what_it_made(mix: str):
    transition = sliced(MIXES[mix])
    assert SliceRegions().run(transition) is transition


@pytest.mark.parametrize(
    "after_value", ["jnp.zeros(4)", "s['h']", "p['a']", "jnp.tanh(p['a'])", "s['g']", "x"], ids=str
)
def test_new_states_that_no_operation_makes(after_value: str):
    source = (
        f"def step(p, s, x):\n    y = etir.scale(s['g'], p['a'])\n    return {{'g': y, 'h': {after_value}}}, (y, y)"
    )
    transition = after(SliceRegions, lowered(source, {"a": "f64[4]"}, {"g": "f64[4]", "h": "f64[4]"}, "f64[4]"))
    assert parts_are_the_whole(transition)
