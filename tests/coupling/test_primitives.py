"""Coupling rules against dense Jacobians: what is non-zero at random points must be in the coupling."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from own_primitives import heaviside, own_primitive, self_transposed

from etir.coupling import Coupling
from etir.coupling.primitives import (
    Constants,
    declare_coupling,
    elementwise_coupling,
    equation_couplings,
    has_rule,
    jaxpr_couplings,
    without_rule,
)
from etir.ir.diagnostics import EtirError


def pattern(function, *shapes, points=8):
    """Where the Jacobian of each output by each argument is not zero, at any of some random points."""
    jacobian = jax.jacrev(lambda *args: jax.tree.leaves(function(*args)), argnums=tuple(range(len(shapes))))
    random = np.random.default_rng(0)
    rows = jax.jit(jax.vmap(jacobian))(*(random.normal(size=(points, *shape)) for shape in shapes))
    return [[(np.asarray(entry) != 0).any(0) for entry in row] for row in rows]


def couplings(function, *shapes):
    jaxpr = jax.make_jaxpr(lambda *args: jax.tree.leaves(function(*args)))(*map(jnp.zeros, shapes))
    assert list(without_rule(jaxpr)) == []
    return jaxpr_couplings(jaxpr)


def check(function, *shapes, exact=True):
    """The couplings hold every non-zero of the Jacobian, and nothing else where they are to be exact."""
    for expected_row, row in zip(pattern(function, *shapes), couplings(function, *shapes), strict=True):
        for expected, coupling in zip(expected_row, row, strict=True):
            dense = np.zeros_like(expected) if coupling is None else coupling.dense()
            assert dense.shape == expected.shape
            assert not np.any(expected & ~dense)
            assert not exact or np.array_equal(expected, dense)


INDICES = np.array([3, 0, -1, 2])

EXACT = {
    "add": (lambda x, y: jnp.tanh(x) * y + 2.0, (3, 4), (3, 4)),
    "scalar operand": (lambda x, s: x * s, (3, 4), ()),
    "clamp": (lambda x: lax.clamp(-5.0, x, 5.0), (4,)),
    "select": (lambda x: jnp.where(x > 0, x, 2 * x), (4,)),
    "complex": (lambda x, y: jnp.abs(lax.complex(x, y)), (4,), (4,)),
    "cast": (lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), (4,)),
    "broadcast": (lambda x: jnp.broadcast_to(x[:, None], (3, 4)), (3,)),
    "broadcast of size one": (lambda x: jnp.broadcast_to(x, (3, 4)), (3, 1)),
    "reshape": (lambda x: x.reshape(2, 6), (3, 4)),
    "squeeze": (lambda x: x.squeeze(1)[None], (3, 1, 4)),
    "transpose": (lambda x: x.transpose(2, 0, 1), (2, 3, 4)),
    "slice": (lambda x: x[1:, ::2], (3, 5)),
    "integer index": (lambda x: x[1], (3, 4)),
    "split": (lambda x: jnp.split(x, [1, 3], axis=1), (2, 5)),
    "concatenate": (lambda x, y: jnp.concatenate([x, y], 1), (2, 3), (2, 1)),
    "stack": (lambda x, y: jnp.stack([x, y], 1), (3,), (3,)),
    "unstack": (lambda x: jnp.unstack(x, axis=1), (2, 3)),
    "tile": (lambda x: jnp.tile(x, (2, 3)), (2, 3)),
    "repeat": (lambda x: jnp.repeat(x, 3, axis=0), (2, 2)),
    "pad": (lambda x: lax.pad(x, 0.0, [(1, -1, 1), (0, 2, 0)]), (3, 2)),
    "reverse": (lambda x: x[::-1], (3, 2)),
    "roll": (lambda x: jnp.roll(x, 2, axis=1), (2, 5)),
    "difference": (jnp.diff, (6,)),
    "stencil": (lambda x: jnp.roll(x, 1) + jnp.roll(x, -1) - 2 * x, (6,)),
    "stencil in two axes": (lambda x: jnp.roll(x, 1, 0) + jnp.roll(x, 1, 1), (4, 4)),
    "sum": (lambda x: x.sum(1), (3, 4)),
    "sum of products": (lambda x: (x**2).mean(), (3, 4)),
    "sum and itself": (lambda x: x.reshape(3, 4).sum(1, keepdims=True) + x.reshape(3, 4), (12,)),
    "dense blocks": (lambda x: (x.reshape(3, 2) - x.reshape(3, 2).mean(1, keepdims=True)).ravel(), (6,)),
    "matrix product": (lambda x, w: x @ w, (3, 4), (4, 2)),
    "batched product": (lambda x, w: jnp.einsum("bij,bjk->bik", x, w), (2, 3, 4), (2, 4, 2)),
    "product with the weight on the left": (lambda w, x: w @ x, (3, 4), (4,)),
    "outer product": (lambda x, y: jnp.outer(x, y), (3,), (4,)),
    "grouped product": (lambda x, w: jnp.einsum("bgi,gij->bgj", x, w), (2, 3, 2), (3, 2, 2)),
    "constant gather": (lambda x: x[INDICES], (4, 2)),
    "constant gather of the last axis": (lambda x: x[:, INDICES], (2, 4)),
    "take": (lambda x: jnp.take(x, INDICES, axis=1), (2, 4)),
    "gather of pairs": (lambda x: x[INDICES, np.array([0, 1, 1, 0])], (4, 2)),
    "batched gather": (lambda x: jnp.take_along_axis(x, np.array([[0, 2], [1, 1]]), axis=1), (2, 3)),
    "gather of slices": (lambda x: jax.vmap(lambda i: lax.dynamic_slice(x, (i,), (2,)))(jnp.array([0, 3, 1])), (5,)),
    "dynamic slice": (lambda x: lax.dynamic_slice(x, (1, 0), (2, 3)), (4, 3)),
    "dynamic slice beyond the end": (lambda x: lax.dynamic_slice(x, (9,), (2,)), (4,)),
    "scatter-add": (lambda x, y: x.at[np.array([2, 0])].add(y), (4, 2), (2, 2)),
    "segment sum": (lambda x: jax.ops.segment_sum(x, np.array([0, 1, 0, 2]), 3), (4,)),
    "pooling": (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 2), "VALID"), (2, 6)),
    "overlapping pooling": (lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (2,), "SAME"), (7,)),
    "average of neighbours": (lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "SAME"), (7,)),
    "convolution": (lambda x: lax.conv(x, jnp.ones((2, 3, 3)), (1,), "SAME"), (2, 3, 5)),
    "convolution by its kernel": (lambda w: lax.conv(jnp.ones((2, 3, 5)), w, (1,), "VALID"), (2, 3, 3)),
    "strided convolution": (lambda x: lax.conv(x, jnp.ones((2, 1, 2)), (2,), "VALID"), (1, 1, 6)),
    "dilated convolution": (
        lambda x: lax.conv_general_dilated(x, jnp.ones((2, 1, 2)), (1,), [(1, 0)], (2,), (2,)), (1, 1, 4)),
    "depthwise convolution": (
        lambda x: lax.conv_general_dilated(x, jnp.ones((4, 1, 3)), (1,), "SAME", feature_group_count=4), (1, 4, 5)),
    "norm": (lambda x: jnp.linalg.norm(x, axis=1), (2, 3)),
    "softmax": (jax.nn.softmax, (2, 4)),
    "relu": (jax.nn.relu, (6,)),
    "fourier transform": (lambda x: jnp.abs(jnp.fft.fft(x, axis=-1)), (2, 5)),
    "gamma": (lambda x: jax.random.gamma(jax.random.key(0), jnp.exp(x)), (3,)),
    "stop gradient": (lambda x: lax.stop_gradient(jnp.roll(x, 1)) * x, (4,)),
    "floor": (lambda x: jnp.floor(x) + x, (4,)),
    "remat": (jax.checkpoint(lambda x: jnp.roll(jnp.sin(x), 1)), (4,)),
    "jit": (jax.jit(lambda x: jnp.roll(x, 1)), (4,)),
    "switch": (lambda x: lax.cond(x.sum() > 0, lambda x: x, lambda x: jnp.flip(x), x), (4,)),
    "scan of rolls": (lambda x: lax.scan(lambda c, _: (jnp.roll(c, 1), None), x, length=3)[0], (8,)),
    "map": (lambda x: lax.map(lambda row: jnp.roll(row, 1), x), (3, 4)),
    "scan over slices": (lambda h, xs: lax.scan(lambda h, x: (jnp.sin(h) + x, None), h, xs)[0], (4,), (3, 4)),
    "scan with constants": (lambda c, h: lax.scan(lambda h, _: (h * c, None), h, length=3)[0], (4,), (4,)),
    "scan without carry on itself": (lambda h, xs: lax.scan(lambda h, x: (x, h), h, xs), (4,), (1, 4)),
    "linear solve": (
        lambda a, b: lax.custom_linear_solve(lambda x: x * (2 + a**2), b, lambda _, b: b / (2 + a**2), symmetric=True),
        (4,),
        (4,),
    ),
    "empty scan": (lambda h: lax.scan(lambda h, _: (jnp.roll(h, 1), None), h, length=0)[0], (4,)),
    "optimization barrier": (lambda x, y: lax.optimization_barrier((x, y)), (3,), (2,)),
    "vmap": (lambda x: jax.vmap(lambda row: row - row.mean())(x), (2, 3)),
}  # fmt: skip

SOUND = {
    "maximum": (lambda x: x.max(1), (3, 4)),
    "cumulative sum": (lambda x: jnp.cumsum(x, axis=1), (2, 4)),
    "cumulative product": (lambda x: jnp.cumprod(x, axis=0), (3, 2)),
    "cumulative logsumexp": (lambda x: lax.cumlogsumexp(x, axis=0, reverse=True), (3, 2)),
    "sort": (lambda x: jnp.sort(x, axis=1), (2, 4)),
    "sort by a key": (lambda x, y: lax.sort((x, y), num_keys=1), (4,), (4,)),
    "top k": (lambda x: lax.top_k(x, 2)[0], (2, 4)),
    "median": (jnp.median, (5,)),
    "gather by data": (lambda x: x[jnp.argsort(x)], (4,)),
    "gather of rows by data": (lambda x: x[jnp.argmax(x, axis=0)], (3, 2)),
    "scatter": (lambda x, y: x.at[np.array([2, 0])].set(y), (4, 2), (2, 2)),
    "scatter by data": (lambda x, y: x.at[jnp.argsort(x)[:2]].add(y), (4,), (2,)),
    "update of a slice": (lambda x, y: lax.dynamic_update_slice(x, y, (1, 0)), (4, 2), (2, 2)),
    "update by data": (lambda x, y: lax.dynamic_update_slice(x, y, (jnp.argmax(x[:, 0]), 0)), (4, 2), (2, 2)),
    "maximum pooling": (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2), (1, 2), "VALID"), (2, 6)),
    "gradient of pooling": (
        lambda x, g: jax.vjp(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2,), (2,), "VALID"), x)[1](g),
        (6,), (3,)),
    "loop": (lambda x: lax.fori_loop(0, 3, lambda _, c: jnp.roll(c, 1), x), (4,)),
    "scan with results": (lambda h, xs: lax.scan(lambda h, x: (jnp.roll(h, 1) + x, h * x), h, xs), (4,), (3, 4)),
    "layer norm": (lambda x: jax.nn.standardize(x), (2, 4)),
    "logsumexp": (lambda x: jax.nn.logsumexp(x, axis=0), (3, 2)),
    "solve": (lambda b: lax.linalg.triangular_solve(jnp.eye(2), b, left_side=True), (2, 3)),
    "cholesky": (lambda x: jnp.linalg.cholesky(x[:, :, None] * x[:, None, :] + 3 * jnp.eye(2)), (3, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_exact(name):
    function, *shapes = EXACT[name]
    check(function, *shapes)


@pytest.mark.parametrize("name", SOUND)
def test_sound(name):
    function, *shapes = SOUND[name]
    check(function, *shapes, exact=False)


def test_a_while_loop_is_sound():
    def function(x, c):
        return lax.while_loop(lambda s: s[1] < 3, lambda s: (jnp.roll(s[0], 1) * c, s[1] + 1), (x, 0))[0]

    values = jnp.arange(1.0, 7.0), jnp.arange(2.0, 8.0)
    expected = [np.asarray(entry) != 0 for entry in jax.jacfwd(function, argnums=(0, 1))(*values)]
    ((on_x, on_c),) = jaxpr_couplings(jax.make_jaxpr(function)(*values))
    assert not np.any(expected[0] & ~on_x.dense())
    assert not np.any(expected[1] & ~on_c.dense())


@jax.custom_jvp
def spike(v):
    return (v > 0).astype(v.dtype)


@spike.defjvp
def _(primals, tangents):
    return spike(primals[0]), tangents[0] / (1 + jnp.abs(primals[0])) ** 2


@jax.custom_vjp
def straight_through(v):
    return jnp.round(v)


straight_through.defvjp(lambda v: (jnp.round(v), None), lambda _, g: (g,))


@jax.custom_vjp
def normalised(v):
    return v


normalised.defvjp(lambda v: (v, None), lambda _, g: (g / jnp.linalg.norm(g),))


@jax.custom_vjp
def shifted(v, index, gain):
    return v[index] * gain


shifted.defvjp(
    lambda v, index, gain: (v[index] * gain, (index, gain)),
    lambda kept, g: (jnp.roll(g, 1) * kept[1], np.zeros(kept[0].shape, jax.dtypes.float0), None),
)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def two_results(x, width):
    return jnp.sign(x), jnp.roll(x, width)


@two_results.defjvp
def _(width, primals, tangents):
    return two_results(primals[0], width), (tangents[0], jnp.roll(tangents[0], width))


def texts(function, *shapes):
    return [[str(entry) for entry in row] for row in couplings(function, *shapes)]


def test_rules_of_derivatives_say_more_than_the_primal():
    assert texts(lambda v: (v > 0).astype(v.dtype), (4,)) == [["None"]]
    assert texts(jnp.round, (4,)) == [["None"]]
    assert texts(jnp.sign, (4,)) == [["None"]]
    assert texts(spike, (4,)) == [["[=]"]]
    assert texts(straight_through, (4,)) == [["[=]"]]
    assert texts(jax.jit(jax.checkpoint(lambda v: jnp.roll(spike(v), 1))), (4,)) == [["[-1,3]"]]


def test_a_backward_pass_that_normalises_mixes():
    assert texts(normalised, (4,)) == [["[*]"]]
    assert texts(jax.vmap(normalised), (3, 4)) == [["[=, *]"]]


def test_a_backward_pass_is_believed_and_not_the_primal():
    assert texts(lambda v, gain: shifted(v, jnp.array([1, 0, 2, 3]), gain), (4,), (4,)) == [["[-3,1]", "None"]]


def test_each_result_has_its_own_rule():
    assert texts(lambda x: two_results(x, 1), (4,)) == [["[=]"], ["[-1,3]"]]


def test_a_derivative_rule_that_refuses_couples_everything():
    @jax.custom_vjp
    def refusing(v):
        return v * 2

    def backward(_, g):
        raise ValueError("this has no gradient")

    refusing.defvjp(lambda v: (v * 2, None), backward)
    assert texts(refusing, (4,)) == [["[*]"]]


def test_empty_arrays():
    assert couplings(lambda x: jnp.concatenate([x[:0], x]), (3,))[0][0].is_identity
    assert couplings(lambda x: x[:0] * 2, (3,))[0][0].dense().shape == (0, 3)
    assert couplings(lambda x: jnp.roll(x, 1).sum(0), (0, 3)) == ((None,),)


def test_readable_texts():
    assert texts(lambda x: jnp.split(x, 3), (24,)) == [["[0]"], ["[8]"], ["[16]"]]
    assert texts(lambda x: jnp.pad(x, 1)[:-2] + jnp.pad(x, 1)[2:] + x, (8,)) == [["[-1..1]"]]
    assert texts(lambda x, w: jnp.tanh(x @ w), (2, 3), (3, 5)) == [["[=, *]", "[*, =]"]]


def equation(function, *shapes):
    return jax.make_jaxpr(function)(*map(jnp.zeros, shapes)).eqns[-1]


def test_operands_without_derivative_have_no_coupling():
    select = equation(lambda x, y: lax.select(x > y, x, y), (4,), (4,))
    assert [str(entry) for entry in equation_couplings(select)[0]] == ["None", "[=]", "[=]"]
    literal = equation(lambda x: x * 2.0, (4,))
    assert [str(entry) for entry in equation_couplings(literal)[0]] == ["[=]", "None"]
    integer = equation(lambda x: x.astype(jnp.int32), (4,))
    assert equation_couplings(integer) == ((None,),)


def test_the_sign_of_a_complex_number_is_its_direction():
    direction = jax.make_jaxpr(jnp.sign)(jnp.ones(4, complex)).eqns[-1]
    assert [str(entry) for entry in equation_couplings(direction)[0]] == ["[=]"]


def test_an_index_is_constant_only_in_its_jaxpr():
    jaxpr = jax.make_jaxpr(lambda x: x[INDICES])(jnp.zeros(4))
    assert str(equation_couplings(jaxpr.eqns[-1])[0][0]) == "[*]"
    assert str(equation_couplings(jaxpr.eqns[-1], Constants(jaxpr))[0][0]) == "[map:3;0;3..2]"


def test_an_index_that_is_an_argument_is_not_constant():
    jaxpr = jax.make_jaxpr(lambda x, i: x[i])(jnp.zeros(4), jnp.array([0, 1]))
    assert str(jaxpr_couplings(jaxpr)[0][0]) == "[*]"


def test_seeds_choose_what_is_followed():
    jaxpr = jax.make_jaxpr(lambda x, y: x * y)(jnp.zeros(4), jnp.zeros(4))
    assert [str(entry) for entry in jaxpr_couplings(jaxpr, seeds=[1])[0]] == ["None", "[=]"]


def test_a_primitive_without_rule_and_derivative_couples_everything_and_is_named():
    unknown = own_primitive("unheard_of", jnp.sin)
    jaxpr = jax.make_jaxpr(jax.jit(lambda x: unknown.bind(jnp.roll(x, 1))))(jnp.zeros(4))
    (eqn,) = without_rule(jaxpr)
    assert eqn.primitive is unknown
    assert not has_rule(eqn)
    assert str(jaxpr_couplings(jaxpr)[0][0]) == "[*]"


def text_of(primitive):
    return str(equation_couplings(equation(primitive.bind, (4,)))[0][0])


def test_a_primitive_without_rule_couples_what_its_derivative_couples():
    inner = own_primitive("inner", jnp.tanh, lambda t, x: jnp.roll(t * x, 1))
    outer = own_primitive("outer", jnp.tanh, lambda t, x: jax.jvp(inner.bind, (x,), (t,))[1] + t)
    assert [text_of(p) for p in (heaviside, inner, outer)] == ["[=]", "[-1,3]", "[-1..0,3]"]


def test_a_derivative_that_leads_back_to_its_primitive_couples_everything():
    assert text_of(self_transposed("reversal", lambda x: x[::-1])) == "[*]"


def test_the_name_of_one_of_jax_primitives_is_not_enough():
    assert text_of(own_primitive("floor", jnp.floor, lambda t, x: jnp.roll(t, 1))) == "[-1,3]"


def test_what_is_declared_of_a_primitive_is_believed():
    shuffle = self_transposed("shuffle", lambda x: x[::-1])
    declare_coupling(shuffle, lambda shapes, results, params: [[Coupling.reversed(shapes[0], [0])]])
    assert text_of(shuffle) == "[map:3..0]"
    declare_coupling(shuffle, elementwise_coupling)
    assert text_of(shuffle) == "[=]"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows of nothing; wanted 1 x 1 entries, results by operands"),
        ([[None, None]], "rows of 2; wanted 1 x 1 entries, results by operands"),
        ([[Coupling.identity((3,))]], "[3] to [3]; wanted [4] to [4] for operand 0 and result 0"),
    ],
)
def test_a_declared_coupling_must_fit(rows, message):
    odd = own_primitive("odd", jnp.sin)
    declare_coupling(odd, lambda *_: rows)
    with pytest.raises(EtirError) as raised:
        equation_couplings(equation(odd.bind, (4,)))
    (found,) = raised.value.diagnostics
    assert f"{found.message} [{found.code}]" == f"the coupling declared of 'odd' is {message} [coupling-shape]"


def test_chains_share_what_they_do_not_change():
    def chain(x, y):
        for _ in range(300):
            x = jnp.sin(x) + 1.0
        return x * y

    jaxpr = jax.make_jaxpr(chain)(jnp.zeros(4), jnp.zeros(4))
    assert [str(entry) for entry in jaxpr_couplings(jaxpr)[0]] == ["[=]", "[=]"]


UNARY = {
    "sin": lambda x: jnp.sin(x + 0.3),
    "roll": lambda x: jnp.roll(x, 1, axis=-1),
    "reverse": lambda x: jnp.flip(x, 0),
    "transpose": lambda x: x.T,
    "wide": lambda x: x.reshape(2, -1),
    "tall": lambda x: x.reshape(-1, 2),
    "flat": lambda x: x.ravel(),
    "softmax": lambda x: jax.nn.softmax(x, axis=-1),
    "centre": lambda x: x - x.mean(0, keepdims=True),
    "cumsum": lambda x: jnp.cumsum(x, axis=-1),
    "sort": lambda x: jnp.sort(x, axis=0),
    "gather": lambda x: x[..., np.arange(x.shape[-1])[::-2]].repeat(2, -1),
    "pool": lambda x: x.reshape(2, -1, 2).mean(-1).repeat(2, -1),
    "product": lambda x: x @ jnp.ones((x.shape[-1], 4)),
    "even": lambda x: jnp.concatenate([x[..., ::2], x[..., ::2]], -1),
    "mask": lambda x: x.at[..., 0].set(1.0),
    "spike": spike,
    "round": straight_through,
    "normalised": normalised,
    "scan": lambda x: lax.scan(lambda c, row: (c + row, c * row), x[0], x)[1],
}
EXACT_UNARY = ("sin", "roll", "reverse", "transpose", "wide", "tall", "flat", "spike", "round", "product")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(sorted(UNARY)), min_size=1, max_size=5), st.booleans())
def test_random_programs_are_sound(names, doubled):
    def program(x):
        for name in names:
            x = UNARY[name](x if x.ndim == 2 else x.reshape(-1, 2))
            if doubled and x.size == math.prod((4, 4)):
                x = x + jnp.roll(x.ravel(), 1).reshape(x.shape)
        return x

    check(program, (4, 4), exact=not doubled and all(name in EXACT_UNARY for name in names))
