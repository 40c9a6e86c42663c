"""mark-sites: where weights meet the step, and plain uses that become sites."""

import jax.numpy as jnp
import numpy as np
import pytest
from snippets import expected
from stages import after, before, evaluated, lowered, operations, section

import etir
from etir.ir.diagnostics import EtirError, EtirWarning
from etir.passes import MarkSites

PARAMS = {"w": jnp.ones((3, 8)), "b": jnp.zeros(8), "leak": jnp.ones((1, 8))}


def step(params, states, x):
    h = states["h"] * params["leak"] + x @ params["w"] + params["b"]
    return {"h": h}, h


@pytest.mark.parametrize("batch", [(), (4,), (1,), (4, 2)])
def test_a_weight_that_is_repeated_along_the_batch_has_a_position_for_each_output(batch: tuple[int, ...]):
    """JAX adds `[1, 8]` to `[4, 8]` without a broadcast of its own."""
    params = PARAMS if batch else PARAMS | {"leak": jnp.ones(8)}
    lowered = etir.lower(step, params, {"h": jnp.zeros((*batch, 8))}, jnp.zeros((*batch, 3)))
    transition = etir.analyse(lowered, sites="auto")
    assert [site.output.type.shape for site in transition.sites] == [(*batch, 8)] * 3
    assert all(association.traced for association in transition.associations)
    assert {label.label for label in etir.plan(transition, "d_rtrl").certificate} == {"exact"}


def test_a_weight_that_is_concatenated_is_not_repeated():
    def joined(params, states, x):
        h = 0.5 * states["h"] + jnp.concatenate([x, params["b"]])
        return {"h": h}, h

    lowered = etir.lower(joined, {"b": jnp.ones((1, 8))}, {"h": jnp.zeros((4, 8))}, jnp.zeros((3, 8)))
    (site,) = etir.analyse(lowered, sites="auto").sites
    assert site.output.type.shape == (1, 8)


STEP = """
def step(p, s, x):
    h = s["h"] * p["leak"] + x @ p["W"] + jnp.concatenate([p["b"], x[:2]])
    return {"h": h}, h @ p["V"]
"""
TYPES = {"V": "f32[4,2]", "W": "f32[3,4]", "b": "f32[2]", "leak": "f32[4]"}, {"h": "f32[4]"}, "f32[3]"


@pytest.mark.parametrize(
    ("sites", "text", "body"),
    [
        ("explicit", "weight %V, %W, %b, %leak", "mul dot_general add slice concatenate add dot_general"),
        (
            ("W", "b*"),
            """
            weight %V, %W, %b, %leak
            site %y_W : f32[4] = etp.product(%x, %W) "a,ab->b" equation 1 held loc(model.py:2:30)
            site %y_b : f32[2] = etp.identity(%b) "a->a" equation 4 loc(model.py:2:43)
            """,
            "mul etp add slice etp concatenate add dot_general",
        ),
        (
            "auto",
            """
            weight %V, %W, %b, %leak
            site %y_leak : f32[4] = etp.identity(%leak) "a->a" equation 0 loc(model.py:2:9)
            site %y_W : f32[4] = etp.product(%x, %W) "a,ab->b" equation 2 held loc(model.py:2:30)
            site %y_b : f32[2] = etp.identity(%b) "a->a" equation 5 loc(model.py:2:43)
            site %y_V : f32[2] = etp.product(%x_V, %V) "a,ab->b" equation 8 held loc(model.py:3:22)
            """,
            "etp mul etp add slice etp concatenate add etp",
        ),
    ],
)
def test_plain_uses_are_marked_where_they_are_asked_for(sites, text: str, body: str):
    transition = after(MarkSites, lowered(STEP, *TYPES), sites)
    assert section(transition, "weight", "site") == expected(text)
    assert operations(transition.region("step")) == body


@pytest.mark.parametrize("sites", ["explicit", "auto", ("W",)])
def test_marking_changes_no_number(sites):
    step = lowered(STEP, *TYPES)
    values = {leaf.path: np.linspace(-1, 1, leaf.type.size, dtype="float32").reshape(leaf.type.shape)
              for leaf in (*step.params, *step.states, *step.inputs)}  # fmt: skip
    before_marking, marked = (evaluated(of(MarkSites, step, sites).region("step"), values) for of in (before, after))
    assert all(np.allclose(a, b) for a, b in zip(before_marking, marked, strict=True))


@pytest.mark.parametrize(
    ("use", "text"),
    [
        ("etir.matmul(x, p['W'])", '%x, %W) "i,ij->j" equation 1 held'),
        ("etir.matmul(p['W'].T, x)", '%x, %W_p) "i,ai->a" equation 2 held'),
        ("etir.einsum('ij,i->j', p['W'], x)", '%x, %W) "i,ij->j" equation 1 held'),
        ("etir.scale(x[:, None], p['W']).sum(0)", '%x_W, %W) "ab,ab->ab" equation 3'),
        ("etir.bias(x.sum(), p['W'][0])", '%W_p) "a->a" equation 4'),
        ("etir.matmul(x, etir.scale(p['W'], p['W']))", '%x, %W_p) "i,ij->j" equation 2 held'),
    ],
)
def test_the_weight_comes_last_wherever_it_stood(use: str, text: str):
    source = f"def step(p, s, x):\n    return {{'h': 0.5 * s['h'] + {use}}}, x"
    (line,) = section(after(MarkSites, lowered(source, *SMALL)), "site").splitlines()
    assert text in line


SMALL = {"W": "f32[3,4]"}, {"h": "f32[4]"}, "f32[3]"


@pytest.mark.parametrize("use", ["x @ p['W']", "etir.matmul(x, p['W'])", "jnp.ones(4, 'float32')"])
@pytest.mark.parametrize("sites", ["explicit", "auto"])
def test_it_leaves_alone_what_it_made(use: str, sites: str):
    transition = after(MarkSites, lowered(f"def step(p, s, x):\n    return {{'h': s['h'] + {use}}}, x", *SMALL), sites)
    assert MarkSites(sites=sites).run(transition) is transition


@pytest.mark.parametrize(
    ("use", "note"),
    [
        ("etir.matmul(x, s['h'][:, None] * jnp.ones((1, 4), 'float32'))", ""),
        ("etir.matmul(x, W)", "\n  note: an operand is a constant f32[3,4]: was the weight closed over?"),
        ("etir.matmul(x, x[:, None] + p['V'][:, 0])", "\n  note: an operand is made of parameter 'V' and of data"),
    ],
)
def test_an_operation_without_a_weight(use: str, note: str):
    source = (
        f"W = jnp.zeros((3, 4), 'float32')\ndef step(p, s, x):\n    y = {use}\n    return {{'h': s['h']}}, y @ p['V']"
    )
    with pytest.raises(EtirError) as failure:
        after(MarkSites, lowered(source, {"V": "f32[4,2]"}, {"h": "f32[3]"}, "f32[3]"))
    assert str(failure.value) == (
        "model.py:3:9: error: no operand of this operation (dot) is made of parameters alone "
        f"[site-without-weight]\n  y = {use}\n      {'^' * len(use)}{note}\n"
        "  help: pass the weight in params; for a product of two computed arrays use the plain operation"
    )


@pytest.mark.parametrize(
    ("use", "site"),
    [
        ("etir.matmul(x, p['W'][i])", 'etp.gather(%x_W, %W) "a,abc->bc"'),
        ("etir.einsum('bi,bij->j', jnp.stack([x, x]), p['W'][jnp.stack([i, 4 - i])])", '%W) "ab,bcd->acd"'),
        ("etir.conv(x[:, None], p['W'][i][..., None, :], padding='SAME').sum(0)", 'etp.gather(%x_W, %W) "a,abc->bc"'),
        ("etir.matmul(x, p['W'][0] / jnp.abs(x).sum())", 'etp.identity(%W_p) "ab->ab"'),
        ("etir.matmul(x, x[:, None] * p['W'][0])", 'etp.identity(%W_p) "ab->ab"'),
    ],
)
def test_of_a_weight_that_data_pick_or_scale_the_site_is_where_they_do(use: str, site: str):
    """The parameter is asked for by the operation that uses what is picked; another use of it is no site."""
    source = f"def step(p, s, i, x):\n    y = {use} + x @ p['W'][0]\n    return {{'h': 0.5 * s['h'] + y}}, x"
    types = {"W": "f32[5,3,4]"}, {"h": "f32[4]"}, "i32[]", "f32[3]"
    (line,) = section(after(MarkSites, lowered(source, *types)), "site").splitlines()
    assert site in line


def test_a_weight_that_is_closed_over_is_warned_of():
    source = """
    W = jnp.linspace(-1.0, 1.0, 16).reshape(4, 4)

    def step(p, s, x):
        return {"h": jnp.tanh(s["h"] @ W) + p["b"]}, x
    """
    with pytest.warns(EtirWarning) as warnings:
        lowered(source, {"b": "f64[4]"}, {"h": "f64[4]"}, "f64[3]")
    assert str(warnings[0].message) == expected("""
        model.py:4:27: warning: the step closes over a constant f64[4,4]; if it is a weight, it gets no gradient and no label [closed-over-weight]
          return {"h": jnp.tanh(s["h"] @ W) + p["b"]}, x
                                ^^^^^^^^^^
          help: pass it in params; or, if it is fixed on purpose, in the inputs or in the states
    """)  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        (
            "leek",
            "error: no parameter matches 'leek', given as sites= [site-path]\n  help: did you mean 'leak'?",
        ),
        (
            ("W", "cell.*", "Q"),
            "error: no parameter matches 'cell.*', given as sites= [site-path]\n"
            "  help: known: V, W, auto, b, explicit, leak\n"
            "error: no parameter matches 'Q', given as sites= [site-path]\n"
            "  help: known: V, W, auto, b, explicit, leak",
        ),
    ],
)
def test_a_glob_that_matches_nothing(sites, message: str):
    with pytest.raises(EtirError) as failure:
        after(MarkSites, lowered(STEP, *TYPES), sites)
    assert str(failure.value) == message
