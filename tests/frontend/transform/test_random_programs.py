"""Programs of reads and writes, drawn at random, under transforms in any nesting, against the same by hand.

A program is a list of instructions over three states; some instructions hold a program of their own, under a transform.
The state-based face runs it on `State` objects under `etir.transform`; by hand it is run on a tuple, in plain Python.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etir.frontend import HiddenState, ParamState, State, transform

NAMES = (0, 1, 2)
PARAM = 0
"""The place of the weight: read, never written."""

plain = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(NAMES[1:]), st.sampled_from(NAMES)),
    st.tuples(st.just("mul"), st.sampled_from(NAMES[1:]), st.sampled_from(NAMES)),
    st.tuples(st.just("sin"), st.sampled_from(NAMES[1:]), st.sampled_from(NAMES)),
    st.tuples(st.just("input"), st.sampled_from(NAMES[1:]), st.sampled_from(NAMES)),
    st.tuples(st.just("read"), st.sampled_from(NAMES), st.just(0)),
)
KINDS = ("jit", "remat", "scan", "cond", "grad", "vmap", "while", "jacobian")
programs = st.recursive(
    st.lists(plain, min_size=1, max_size=3).map(tuple),
    lambda inner: st.lists(
        st.one_of(plain, st.tuples(st.sampled_from(KINDS), inner, st.just(0))), min_size=1, max_size=3
    ).map(tuple),
    max_leaves=5,
)


def instruction(op: str, target: Any, source: Any, x: Any) -> Any:
    if op == "add":
        return target + 0.5 * source
    if op == "mul":
        return 0.5 * target * source
    return jnp.sin(source) if op == "sin" else target + x * source


Values = tuple[Any, ...]


def by_hand(program: Any, values: Values, x: Any) -> tuple[Values, Any]:
    """The states after a program, and what it returns."""
    y: Any = x
    for op, first, second in program:
        if op == "read":
            y = y + values[first]
        elif op in KINDS:
            values, out = NESTED[op](first, values, x)
            y = y + out
        else:
            new = instruction(op, values[first], values[second], x)
            values = tuple(new if k == first else old for k, old in enumerate(values))
    return values, y


def looped(program: Any, values: Values, xs: Any) -> tuple[Values, Any]:
    total: Any = 0.0
    for x in xs:
        values, y = by_hand(program, values, x)
        total = total + y
    return values, total


def differentiated(program: Any, values: Values, x: Any) -> tuple[Values, Any]:
    def of(weight: Any, x: Any) -> Any:
        after, y = by_hand(program, (weight, *values[1:]), x)
        return y, after

    (by_weight, by_x), after = jax.grad(of, argnums=(0, 1), has_aux=True)(values[PARAM], x)
    return (values[PARAM], *after[1:]), by_weight + by_x


def mapped(program: Any, values: Values, x: Any) -> tuple[Values, Any]:
    """Each sample by itself, from the same values; what they leave is averaged."""
    runs = [by_hand(program, values, each) for each in (x, 2 * x)]
    means = [sum(run[0][k] for run in runs) / 2 for k in NAMES[1:]]
    return (values[PARAM], *means), runs[0][1] + runs[1][1]


def chosen(program: Any, values: Values, x: Any) -> tuple[Values, Any]:
    return by_hand(program, values, x) if x > 0.5 else (values, x)


NESTED: dict[str, Callable[..., tuple[Values, Any]]] = {
    "jit": by_hand,
    "remat": by_hand,
    "scan": lambda program, values, x: looped(program, values, (x, -x)),
    "while": lambda program, values, x: looped(program, values, (x, x)),
    "cond": chosen,
    "grad": differentiated,
    "jacobian": differentiated,
    "vmap": mapped,
}


def stateful(program: Any, states: list[State], x: Any) -> Any:
    """What a program returns, its states written."""
    y: Any = x
    for op, first, second in program:
        if op == "read":
            y = y + states[first].value
        elif op in KINDS:
            y = y + _under(op, first, states, x)
        else:
            states[first].value = instruction(op, states[first].value, states[second].value, x)
    return y


def _under(op: str, program: Any, states: list[State], x: Any) -> Any:
    def call(x: Any) -> Any:
        return stateful(program, states, x)

    if op in ("jit", "remat"):
        return getattr(transform, op)(call)(x)
    if op == "scan":
        return transform.for_loop(call, jnp.stack([x, -x])).sum()
    if op == "while":
        turns = transform.while_loop(lambda at: at[0] < 2, lambda at: (at[0] + 1, at[1] + call(x)), (0, 0.0 * x))
        return turns[1]
    if op == "cond":
        return transform.cond(x > 0.5, call, lambda x: x, x)
    if op in ("grad", "jacobian"):
        by_weight, by_x = getattr(transform, op)(call, [states[PARAM]], argnums=0)(x)
        return by_weight[0] + by_x
    return _mapped(call, states, x)


def _mapped(call: Callable[[Any], Any], states: list[State], x: Any) -> Any:
    """Samples begin with copies of the states, and the states are left at the mean of what they come to."""
    own = states[1:]
    for state in own:
        state.value = jnp.stack([state.value, state.value])
    out = transform.vmap(call, in_states=own)(jnp.stack([x, 2 * x])).sum()
    for state in own:
        state.value = state.value.mean(0)
    return out


FIRST = (0.7, -0.4, 0.3)


def has(program: Any, kinds: tuple[str, ...]) -> bool:
    return any(op in kinds or (op in KINDS and has(first, kinds)) for op, first, _ in program)


def agree(found: Any, wanted: Any) -> bool:
    return bool(jnp.allclose(jnp.asarray(found), jnp.asarray(wanted), rtol=1e-9, atol=1e-12))


def checked(program: Any, wrap: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]) -> None:
    states: list[State] = [ParamState(FIRST[0]), HiddenState(FIRST[1]), State(FIRST[2])]
    values: Values = tuple(map(jnp.asarray, FIRST))
    call = wrap(lambda x: stateful(program, states, x))
    for x in (0.9, 0.2):  # twice: the second call finds the program that the first has left
        values, wanted = by_hand(program, values, jnp.asarray(x))
        found = call(jnp.asarray(x))
        assert agree(found, wanted)
        assert all(agree(state.value, value) for state, value in zip(states, values, strict=True))


def reverse_mode_of_while(program: Any) -> bool:
    """Whether a gradient is taken through a while loop, which JAX has not."""
    return any(
        has(first, ("while",)) if op in ("grad", "jacobian") else reverse_mode_of_while(first)
        for op, first, _ in program
        if op in KINDS
    )


@pytest.mark.parametrize("wrap", [lambda call: call, transform.jit, transform.remat])
@settings(max_examples=12)
@given(program=programs)
def test_a_random_program_is_the_functional_one(wrap: Any, program: Any):
    if not reverse_mode_of_while(program):
        checked(program, wrap)


DEEP = [
    (("jit", (("grad", (("vmap", (("scan", (("add", 1, 0), ("input", 2, 1), ("read", 2, 0)), 0),), 0),), 0),), 0),),
    (("vmap", (("jit", (("scan", (("grad", (("mul", 1, 0), ("read", 1, 0)), 0),), 0),), 0), ("sin", 2, 1)), 0),),
    (("scan", (("vmap", (("jit", (("grad", (("input", 1, 0), ("read", 1, 0)), 0),), 0),), 0),), 0), ("read", 1, 0)),
    (("grad", (("scan", (("jit", (("vmap", (("add", 2, 0), ("read", 2, 0)), 0),), 0),), 0),), 0),),
    (("while", (("cond", (("remat", (("jacobian", (("mul", 2, 0), ("read", 2, 0)), 0),), 0),), 0),), 0),),
]
"""Every one of jit, grad, vmap and scan inside every other, whatever is drawn."""


@pytest.mark.parametrize("program", DEEP)
def test_a_deep_nest_is_the_functional_one(program: Any):
    checked(program, transform.jit)


def test_a_lost_write_would_be_seen():
    states: list[State] = [ParamState(1.0), HiddenState(1.0), State(1.0)]
    stateful((("jit", (("add", 1, 0),), 0),), states, jnp.asarray(1.0))
    assert agree(states[1].value, 1.5)
    assert not agree(states[1].value, 1.0)
