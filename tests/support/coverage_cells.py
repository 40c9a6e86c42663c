"""Every weight operation in every construct under every rule: what the certificate says, or why it is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.sparse import BCOO

import etir
from etir.rules import RULES

UNITS, STEPS = 4, 5
RULE_NAMES = tuple(name for name in RULES if name != "auto")
SHORT = {"approximate": "approx", "truncated": "trunc"}
EDGES = jnp.array([[0, 1], [2, 1], [1, 3], [0, 2], [3, 0]])
Use = Callable[[Any, jax.Array], jax.Array]
"""`(weight, data of four units) -> four units`."""


def _conv(w: Any, x: jax.Array) -> jax.Array:
    return etir.conv(x[:, None], w, padding="SAME")[:, 0]


def _embed(w: Any, x: jax.Array) -> jax.Array:
    return etir.embed(w, (x[0] > 0).astype(int))


def _grouped(w: Any, x: jax.Array) -> jax.Array:
    return etir.einsum("gi,gij->gj", x.reshape(2, 2), w).reshape(-1)


def _sparse(w: Any, x: jax.Array) -> jax.Array:
    return etir.sparse_matmul(x, BCOO((w, EDGES), shape=(UNITS, UNITS)))


def _normalised(w: Any, x: jax.Array) -> jax.Array:
    """Weight normalisation (Salimans and Kingma 2016), then division by the largest singular value."""
    w = w / jnp.linalg.norm(w, axis=0)
    return etir.matmul(x, w / jnp.linalg.norm(w, ord=2))


def _layer_norm(w: Any, x: jax.Array) -> jax.Array:
    """Layer normalisation (Ba, Kiros and Hinton 2016) of what the weight makes."""
    return jax.nn.standardize(etir.matmul(x, w))


def _vmapped(w: Any, x: jax.Array) -> jax.Array:
    return jax.vmap(etir.matmul, (None, 0))(x, w).reshape(-1)


OPERATIONS: dict[str, tuple[Use, tuple[int, ...]]] = {
    "etir.matmul": (lambda w, x: etir.matmul(x, w), (UNITS, UNITS)),
    "etir.einsum of groups": (_grouped, (2, 2, 2)),
    "etir.matmul, normalised": (_normalised, (UNITS, UNITS)),
    "LayerNorm of etir.matmul": (_layer_norm, (UNITS, UNITS)),
    "etir.matmul, vmapped over": (_vmapped, (2, UNITS, 2)),
    "etir.scale": (lambda w, x: etir.scale(x, w), (UNITS,)),
    "etir.bias": (lambda w, x: etir.bias(x, w), (UNITS,)),
    "etir.conv": (_conv, (3, 1, 1)),
    "etir.embed": (_embed, (2, UNITS)),
    "etir.sparse_matmul": (_sparse, (len(EDGES),)),
}


def _leak(use: Use, w: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    return 0.8 * h + 0.2 * jnp.tanh(use(w, x))


def _cond(use: Use, w: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    return jax.lax.cond(x[1] > 0, lambda h: _leak(use, w, h, x), lambda h: 0.5 * h - use(w, x), h)


def _scan(use: Use, w: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda h, _: (_leak(use, w, h, x), None), h, length=3)[0]


def _own_derivative(use: Use, w: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    def leak(*of: Any) -> jax.Array:
        return _leak(use, *of)

    inner = jax.custom_vjp(leak)
    inner.defvjp(lambda *of: jax.vjp(leak, *of), lambda pull, bar: pull(bar))
    return inner(w, h, x)


def _descent(use: Use, w: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    return h - 0.1 * jax.grad(lambda h: jnp.sum(jnp.cosh(h) - h * use(w, x)))(h)


CONSTRUCTS: dict[str, Callable[..., jax.Array]] = {
    "as it is": _leak,
    "`jit`": lambda use, w, h, x: jax.jit(lambda *a: _leak(use, *a))(w, h, x),
    "`remat`": lambda use, w, h, x: jax.checkpoint(lambda *a: _leak(use, *a))(w, h, x),
    "`vmap`": lambda use, w, h, x: jax.vmap(lambda k: _leak(use, w, h, x * k))(jnp.arange(1.0, 3.0)).sum(0),
    "`cond`": _cond,
    "`scan`": _scan,
    "`fori_loop`": lambda use, w, h, x: jax.lax.fori_loop(0, 3, lambda _, h: _leak(use, w, h, x), h),
    "`while_loop`": lambda use, w, h, x: jax.lax.while_loop(
        lambda s: s[1] < 1, lambda s: (_leak(use, w, s[0], x), s[1] + x[0] ** 2 + 1), (h, 0.0)
    )[0],
    "`custom_vjp`": _own_derivative,
    "`grad`": _descent,
}


@dataclass(frozen=True)
class Model:
    """One operation in one construct, with a weight, and a sequence to learn."""

    step: Any
    params: Any
    states: Any
    xs: jax.Array


@cache
def model(operation: str, construct: str) -> Model:
    """The model of a cell."""
    use, shape = OPERATIONS[operation]
    inside = CONSTRUCTS[construct]

    def step(params: Any, states: Any, x: jax.Array) -> Any:
        h = inside(use, params["w"], states["h"], x)
        return {"h": h}, h

    keys = jax.random.split(jax.random.key(0))
    params = {"w": jax.random.normal(keys[0], shape)}
    return Model(step, params, {"h": jnp.full(UNITS, 0.3)}, jax.random.normal(keys[1], (STEPS, UNITS)))


def rules() -> tuple[str, ...]:
    """The names of the rules, in the order of the table."""
    return tuple(sorted(name for name in RULES if name not in ("auto",)))


@cache
def _analysed(operation: str, construct: str) -> tuple[Any, Any] | str:
    of = model(operation, construct)
    try:
        step = etir.lower(of.step, of.params, of.states, of.xs[0])
        return step, etir.analyse(step)
    except etir.EtirError as refusal:
        return refusal.diagnostics[0].code


@cache
def planned(operation: str, construct: str, rule: str) -> tuple[Any, Any] | str:
    """A planned transition and its step; the code of the error where the cell is refused."""
    found = _analysed(operation, construct)
    if isinstance(found, str):
        return found
    step, transition = found
    try:
        return etir.plan(transition, rule, window=2), step
    except etir.EtirError as refusal:
        return refusal.diagnostics[0].code


def cell(operation: str, construct: str, rule: str) -> str:
    """What the page says: a label, or a code."""
    found = planned(operation, construct, rule)
    return found if isinstance(found, str) else str(found[0].certificate["w"].label)


def page() -> str:
    """`docs/coverage.md`."""
    return "\n".join(_lines()) + "\n"


HEAD = """# Coverage

What the certificate says of a weight that is used by an operation (rows), inside a construct (tables), under a rule
(columns). The model is small: four units, `h' = 0.8 h + 0.2 tanh(op(x, w))`, no batch, three trips in the loops.
`exact`, `approx` and `trunc` are the labels; anything else is the code with which the model is refused
([errors](errors.md)). Operations of your own are as `etir.conv` is ([how](custom_operations.md)).

The page is generated. `tests/docs/test_coverage.py` compares it with the program, drives its cells, and compares every
`exact` gradient with backpropagation through time.
"""


def _lines() -> Iterator[str]:
    yield HEAD
    for construct in CONSTRUCTS:
        yield f"## {construct[:1].upper()}{construct[1:]}\n"
        yield "| | " + " | ".join(f"`{rule}`" for rule in RULE_NAMES) + " |"
        yield "|---" * (1 + len(RULE_NAMES)) + "|"
        for operation in OPERATIONS:
            cells = (SHORT.get(found := cell(operation, construct, rule), found) for rule in RULE_NAMES)
            yield f"| `{operation}` | " + " | ".join(cells) + " |"
        yield ""
