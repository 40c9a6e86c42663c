"""Labels: what every rule says of a parameter, and that what it calls exact is BPTT's gradient."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from learners import EXACT, differing
from oracles import bptt, by_path, loss
from stages import array_type, labels, lowered, program

import etir

STEPS = 5

MIXING = """
def step(p, s, x):
    h = s["h"] * p["leak"] + jnp.tanh(etir.matmul(x, p["W"]) + s["h"] @ p["U"])
    return {"h": h}, h @ p["V"]
"""
MIXING_TYPES = {"W": "f32[3,4]", "U": "f32[4,4]", "V": "f32[4,2]", "leak": "f32[4]"}, {"h": "f32[4]"}, "f32[3]"


def test_plain_uses_and_recurrence_that_is_dropped():
    assert labels(etir.analyse(lowered(MIXING, *MIXING_TYPES))) == (
        '"U" truncated "used by a plain matmul, not by an ETP operation" loc(model.py:2:64)\n'
        '"V" exact "reaches no hidden state: its gradient needs no trace"\n'
        "\"W\" approximate \"recurrence of 'h' through matmul with 'U' (mixes positions) is dropped\""
        " loc(model.py:2:64)\n"
        '"leak" truncated "used by a plain mul, not by an ETP operation" loc(model.py:2:9)'
    )


def test_what_one_layer_sends_to_the_next_is_no_recurrence():
    source = """
    def step(p, s, x):
        g = 0.5 * s["g"] + etir.matmul(x, p["A"])
        h = 0.5 * s["h"] + etir.matmul(s["g"], p["B"])
        return {"g": g, "h": h}, h
    """
    types = {"A": "f32[3,4]", "B": "f32[4,5]"}, {"g": "f32[4]", "h": "f32[5]"}, "f32[3]"
    assert labels(etir.analyse(lowered(source, *types))) == (
        "\"A\" approximate \"path from 'g' to 'h' through etir.matmul with 'B' (mixes positions) is dropped\""
        " loc(model.py:3:24)\n"
        '"B" exact "every path from it to a hidden state is traced"'
    )


@pytest.mark.parametrize(
    ("update", "label"),
    [
        ("0.5 * s['h'] + y", '"W" exact "every path from it to a hidden state is traced"'),
        (
            "0.5 * s['h'] + y - jnp.mean(jnp.tanh(y))",
            '"W" approximate "also reaches \'h\' through reduce_sum (mixes positions)'
            ': its diagonal is kept, the off-diagonal part, rank one, is dropped" loc(model.py:3:28)',
        ),
        (
            "0.5 * s['h'] + y - jnp.mean(s['h'])",
            '"W" approximate "recurrence of \'h\' through reduce_sum (mixes positions)'
            ': its diagonal is kept, the off-diagonal part, rank one, is dropped" loc(model.py:3:28)',
        ),
        (
            "0.5 * s['h'] + jnp.sort(y)",
            '"W" truncated "reaches \'h\' only through sort (mixes positions)" loc(model.py:3:24)',
        ),
        (
            "0.5 * s['h'] + 0.3 * jnp.roll(s['h'], 1) + y",
            '"W" approximate "recurrence of \'h\' moves between positions [-1..0,3]"',
        ),
        (
            "0.5 * s['h'] + jax.lax.stop_gradient(y)",
            '"W" exact "its gradient is zero: stop_gradient cuts its way to the outputs" loc(model.py:3:24)',
        ),
        (
            "0.5 * s['h'] + jnp.round(y)",
            '"W" exact "its gradient is zero: it comes to the outputs through round, whose derivative is zero" '
            "loc(model.py:3:24)",
        ),
        ("jnp.where(s['h'].sum() > 0, s['h'], y)", '"W" exact "every path from it to a hidden state is traced"'),
        (
            "jax.lax.cond(s['h'].sum() > 0, jnp.sin, jnp.cos, s['h']) + y",
            '"W" exact "every path from it to a hidden state is traced"',
        ),
        (
            "jax.lax.cond(y.sum() > 0, jnp.sin, lambda a: jnp.roll(a, 1), s['h']) + y",
            '"W" approximate "recurrence of \'h\' moves between positions [-1..0,3]"',
        ),
    ],
)
def test_one_path_at_a_time(update: str, label: str):
    source = f"""
    def step(p, s, x):
        y = etir.matmul(x, p["W"])
        h = {update}
        return {{"h": h}}, h
    """
    assert labels(etir.analyse(lowered(source, {"W": "f32[3,4]"}, {"h": "f32[4]"}, "f32[3]"))) == label


def test_states_of_another_group():
    source = """
    def step(p, s, x):
        h = 0.5 * s["h"] + etir.matmul(x, p["W"])
        return {"h": h, "g": 0.5 * s["g"] + s["h"][::-1]}, h + s["g"]
    """
    types = {"W": "f32[3,4]"}, {"h": "f32[4]", "g": "f32[4]"}, "f32[3]"
    analysed = etir.analyse(lowered(source, *types))
    assert labels(analysed, rule=etir.rules.EProp(kappa=0)) == (
        "\"W\" approximate \"'h' feeds 'g', a state of another group\""
    )
    assert labels(analysed) == '"W" exact "every path from it to a hidden state is traced"'


BUFFERED = """
def step(p, s, x):
    h = 0.5 * s["h"] + {product} + s["line"]
    g = 0.5 * s["g"] + jnp.sort(s["h"])
    return {{"h": h, "g": g, "line": s["{written}"]}}, h
"""
LINE = "credit through 'line', declared not hidden, is dropped"


@pytest.mark.parametrize(
    ("product", "written", "rule", "label", "reasons"),
    [
        ("etir.matmul(x, p['W'])", "h", "d_rtrl", "approximate", 1),
        ("etir.matmul(x, p['W'])", "g", "d_rtrl", "approximate", 2),
        ("etir.matmul(x, p['W'])", "h", "rtrl", "approximate", 1),
        ("etir.matmul(x, p['W'])", "g", "rtrl", "approximate", 1),
        ("x @ p['W']", "h", "rtrl", "approximate", 1),
        ("x @ p['W']", "g", "rtrl", "approximate", 1),
        ("x @ p['W']", "h", "bptt", "truncated", 1),
    ],
)
def test_credit_that_leaves_through_a_buffer(product: str, written: str, rule: str, label: str, reasons: int):
    """However many steps, and whatever operations, lie between the parameter and the buffer."""
    states = {"h": "f32[4]", "g": "f32[4]", "line": "f32[4]"}
    source = BUFFERED.format(product=product, written=written)
    transition = etir.analyse(lowered(source, {"W": "f32[3,4]"}, states, "f32[3]", buffers=("line",)))
    entry = etir.plan(transition, rule).certificate["W"]
    assert (str(entry.label), len(entry.reasons)) == (label, reasons)
    assert (rule == "bptt") != (LINE in [str(reason) for reason in entry.reasons])


def test_a_buffer_that_nothing_reads_loses_no_credit():
    source = """
    def step(p, s, x):
        h = 0.5 * s["h"] + etir.matmul(x, p["W"])
        return {"h": h, "seen": h}, h
    """
    types = {"W": "f32[3,4]"}, {"h": "f32[4]", "seen": "f32[4]"}, "f32[3]"
    transition = etir.analyse(lowered(source, *types, buffers=("seen",)))
    assert labels(transition) == '"W" exact "every path from it to a hidden state is traced"'


@pytest.mark.parametrize(("read", "label"), [("0", "exact"), ("s['other'].sum()", "approximate")])
def test_buffers_that_only_feed_each_other_lose_no_credit_until_something_else_reads_them(read: str, label: str):
    """Running statistics, as batch normalisation keeps them."""
    source = f"""
    def step(p, s, x):
        z = etir.matmul(x, p["W"])
        mean = 0.9 * s["mean"] + 0.1 * z
        return {{"h": 0.5 * s["h"] + z, "mean": mean, "other": s["mean"] + s["other"]}}, s["h"] + {read}
    """
    states = {"h": "f32[4]", "mean": "f32[4]", "other": "f32[4]"}
    transition = etir.analyse(lowered(source, {"W": "f32[3,4]"}, states, "f32[3]", buffers=("mean", "other")))
    assert labels(transition).split()[1] == label


HOSTILE = {
    "a weight that is a state's new value": (
        'return {"h": 0.5 * s["h"] * s["g"] + etir.bias(jnp.sin(x @ jnp.ones((3, 4))), p["b"]), "g": p["b"]}, s["h"]',
        {"b": "approximate"},
    ),
    "a function of a weight that is a state's new value": (
        'h = 0.5 * s["h"] * s["g"] + etir.matmul(x, p["W"]); return {"h": h, "g": jnp.tanh(p["W"][0])}, h',
        {"W": "approximate"},
    ),
    "states that are swapped": (
        'return {"h": s["g"] * 0.9, "g": s["h"] + jnp.tanh(etir.matmul(x, p["W"]))}, s["h"] * s["g"]',
        {"W": "exact"},
    ),
    "a state that is passed through": (
        'h = s["h"] * jnp.cos(s["g"]) + etir.matmul(x, p["W"]); return {"h": h, "g": s["g"]}, h',
        {"W": "exact"},
    ),
    "two states with one new value": (
        'h = s["h"] * jnp.cos(s["g"]) + etir.matmul(x, p["W"]); return {"h": h, "g": h}, h',
        {"W": "exact"},
    ),
    "two states of what is new alone": (
        'v = jnp.tanh(etir.matmul(x, p["W"])); return {"h": v, "g": v}, s["h"] * jnp.sin(s["g"])',
        {"W": "exact"},
    ),
    "a state that only outputs read": (
        'h = 0.5 * s["h"] + etir.matmul(x, p["W"])\n    g = 0.9 * s["g"] + etir.scale(h, p["b"])\n'
        '    return {"h": h, "g": g}, s["g"]',
        {"W": "exact", "b": "exact"},
    ),
    "a weight of two sites and a transpose": (
        'h = 0.5 * s["h"] * jnp.cos(etir.matmul(x, p["W"])) + etir.matmul(x, p["W"] ** 2)\n'
        '    return {"h": h, "g": s["g"]}, h * (h @ p["W"].T).sum()',
        {"W": "exact"},
    ),
    "a weight of a site and a plain product": (
        'h = 0.5 * s["h"] * jnp.cos(x @ p["W"]) + etir.matmul(x, p["W"]); return {"h": h, "g": s["g"]}, h',
        {"W": "approximate"},
    ),
    "a weight that reaches another site": (
        'y = etir.matmul(x, p["W"])\n    h = 0.5 * s["h"] + y + etir.matmul(jnp.tanh(y), p["U"])\n'
        '    return {"h": h, "g": s["g"]}, h',
        {"W": "approximate", "U": "exact"},
    ),
    "a layer above": (
        'h = 0.5 * s["h"] + etir.matmul(x, p["W"]); g = 0.5 * s["g"] + etir.matmul(s["h"], p["U"])\n'
        '    return {"h": h, "g": g}, g',
        {"W": "approximate", "U": "exact"},
    ),
    "a branch with two results, one of them mixed": (
        'y = etir.matmul(x, p["W"])\n'
        '    a, b = jax.lax.cond(x[0] > 0, lambda h: (0.5 * h, h * h.sum()), lambda h: (jnp.sin(h), h), s["h"])\n'
        '    h = a + b + y; return {"h": h, "g": s["g"]}, h',
        {"W": "approximate"},
    ),
    "jit, remat and a surrogate": (
        'f = jax.jit(jax.checkpoint(jax.jit(lambda a: jax.nn.relu(0.3 * a) + 0.5 * a)))\n'
        '    h = f(s["h"]) + jax.jit(etir.matmul)(x, p["W"]); return {"h": h, "g": s["g"]}, h',
        {"W": "exact"},
    ),
    "labels of a product that one operand has": (
        'y = etir.einsum("i,jk->i", s["h"], p["U"]) + etir.einsum("ik,ij->j", jnp.outer(x, x), p["W"])\n'
        '    return {"h": 0.5 * s["h"] + y, "g": s["g"]}, y',
        {"W": "exact", "U": "exact"},
    ),
    "a product of two weights": (
        'h = 0.5 * s["h"] + etir.matmul(x, etir.matmul(p["W"], p["U"])); return {"h": h, "g": s["g"]}, h',
        {"W": "exact", "U": "exact"},
    ),
}  # fmt: skip

COMPLEX = {
    "a scan": "jax.lax.scan(lambda z, _: (0.9 * jnp.conj(z), None), s['h'], None, length=1)[0]",
    "a branch": "jax.lax.cond(x[0] > 100, lambda z: z, lambda z: 0.7j * jnp.conj(z), s['h'])",
    "a derivative rule": "conjugate(s['h'])",
    "an operation": "0.9 * jnp.conj(s['h'])",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_exact_is_bptt(name: str):
    body, wanted = HOSTILE[name]
    states = {"h": "f64[4]", "g": "f64[4]"}
    params = {path: {"W": "f64[3,4]", "U": "f64[4,4]", "b": "f64[4]"}[path] for path in wanted}
    assert verdicts(f"def step(p, s, x):\n    {body}", params, states) == wanted


@pytest.mark.parametrize("where", COMPLEX)
def test_a_conjugate_is_found_wherever_it_hides(where: str):
    source = f"""
    @jax.custom_jvp
    def conjugate(z):
        return 0.9 * jnp.conj(z)

    conjugate.defjvp(lambda z, dz: (conjugate(*z), 0.9 * jnp.conj(dz[0])))

    def step(p, s, x):
        h = {COMPLEX[where]} + etir.matmul(x, p["W"]) * (1 + 0.5j)
        return {{"h": h}}, h.real + 2 * h.imag
    """
    assert verdicts(source, {"W": "f64[3,4]"}, {"h": "c128[4]"}) == {"W": "approximate"}


def test_a_complex_branch_and_loop_without_conjugates_are_followed():
    source = """
    def step(p, s, x):
        z = jax.lax.cond(x[0] > 0, jnp.sin, lambda z: 0.7j * z, s["h"])
        z = jax.lax.scan(lambda z, _: (0.9 * z, None), z, None, length=2)[0]
        h = z + etir.matmul(x, p["W"]) * (1 + 0.5j)
        return {"h": h}, h.real + 2 * h.imag
    """
    assert verdicts(source, {"W": "f64[3,4]"}, {"h": "c128[4]"}) == {"W": "exact"}


def verdicts(source: str, params: dict[str, str], states: dict[str, str]) -> dict[str, str]:
    """The labels under D-RTRL; those that are `exact` have BPTT's gradients, and those that are not have other ones."""
    step = program(source)
    p, s = drawn(params, 1), drawn(states, 2)
    xs, ts = drawn({"xs": f"f64[{STEPS},3]", "ts": f"f64[{STEPS},4]"}, 3).values()
    learner = etir.compile(step, p, s, xs[0], on_truncated="ignore")
    grads = learner.grad(loss, reduction="sum")(p, learner.init(p, s), xs, ts).grads
    wrong = differing(by_path(grads), bptt(step, p, s, (xs,), ts).grads, EXACT)
    found = {entry.path: str(entry.label) for entry in learner.certificate}
    assert {path for path, label in found.items() if label != "exact"} == set(wrong)
    return found


def drawn(types: dict[str, str], seed: int) -> Any:
    """Random arrays of these types."""
    keys = jax.random.split(jax.random.key(seed), len(types))
    kinds = {name: array_type(text) for name, text in types.items()}
    return {
        name: 0.5 * jax.random.normal(key, kind.shape, jnp.dtype(kind.dtype))
        for key, (name, kind) in zip(keys, kinds.items(), strict=True)
    }
