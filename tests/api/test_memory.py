"""A budget for what traces hold: how it is written, whose it is, and what is refused."""

import math

import jax
import jax.numpy as jnp
import pytest

import etir
from etir.memory import budget

UNITS = 8


def step(params, states, x):
    h = 0.9 * states["h"] + jnp.tanh(etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"]))
    return {"h": h}, h @ params["readout"]


def model(units, inputs=UNITS):
    sizes = {"W": (inputs, units), "U": (units, units), "readout": (units, 1)}
    params = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in sizes.items()}
    return (
        step,
        params,
        {"h": jax.ShapeDtypeStruct((units,), jnp.float32)},
        jax.ShapeDtypeStruct((inputs,), jnp.float32),
    )


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (1000, 1000),
        ("2GiB", 2 * 2**30),
        ("1.5 MB", 1_500_000),
        ("12 kB", 12_000),
        ("64", 64),
        (math.inf, math.inf),
        (0, 0),
    ],
)
def test_a_budget_is_a_number_or_a_text(given, wanted):
    assert budget(given).bytes == wanted


@pytest.mark.parametrize("given", ["2 gigs", "GiB", -1, True, "", b"2"])
def test_anything_else_is_no_budget(given):
    with pytest.raises(etir.EtirError) as refused:
        budget(given)
    assert str(refused.value) == (
        f"error: memory={given!r}; wanted a number of bytes [memory-size]\n"
        "  help: write an int, or a text with a unit: '2GiB', '500 MB'"
    )


def refusal(**options):
    with pytest.raises(etir.EtirError) as refused:
        etir.compile(*model(UNITS), rule="rtrl", on_truncated="ignore", **options)
    return str(refused.value).splitlines()


def test_traces_that_exceed_the_budget_are_refused():
    assert refusal(memory="2kB") == [
        "error: the traces of rule 'rtrl' would hold 4.1 kB; the budget is 2 kB, given by memory= [memory-exceeded]",
        "  note: 'W on h', f32[8,8,8], holds 2.05 kB",
        "  note: 'U on h', f32[8,8,8], holds 2.05 kB",
        "  help: rule='auto' fits, in 512 B: 2 of 3 weights by d_rtrl, 1 of 3 weights by bptt;"
        " memory= moves the budget",
    ]


def test_shorter_traces_weigh_less():
    etir.compile(*model(UNITS), rule="rtrl", memory=2048, trace_dtype=jnp.bfloat16)
    assert "2.05 kB; the budget is 2.05 kB" in refusal(memory=2047, trace_dtype=jnp.bfloat16)[0]


def test_the_memory_that_is_there_is_the_default():
    """Hundreds of gigabytes; no array is made to find that out."""
    with pytest.raises(etir.EtirError, match=r"'rtrl' would hold .* [GT]B; the budget is .*, the memory of"):
        etir.compile(*model(4096, 8), rule="rtrl")


def test_no_bound():
    etir.plan(etir.analyse(etir.lower(*model(UNITS))), "rtrl", memory=math.inf)


def test_a_weight_that_nothing_fits_is_warned_of():
    params = {"W": jnp.ones((3, 4), jnp.float32)}
    given = lambda p, s, x: ({"h": s["h"] + etir.matmul(x, p["W"])}, s["h"]), params, {"h": jnp.zeros(4)}, jnp.ones(3)
    with pytest.warns(etir.EtirWarning) as warned:
        etir.compile(*given, rule="auto", memory=10)
    assert str(warned[0].message) == (
        "warning: 'W' has no trace under 'bptt': its credit ends where the window begins [truncated-weight]\n"
        "  note: bptt holds nothing; pp_prop would hold 56 B, more than is left of 10 B\n"
        "  note: bptt carries no trace: credit ends where the window begins\n"
        "  help: give it more memory=, or a rule of its own in rules=, or pass on_truncated='ignore'"
    )
