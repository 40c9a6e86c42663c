"""Wrong arguments, and the whole text of what is said about them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import loss
from structures import STRUCTURES

import etir

OF = STRUCTURES["current_to_voltage"]
LEARNER = etir.compile(OF.step, OF.params, OF.states, OF.xs[0], window=2)
CARRY = LEARNER.init()
GRAD = LEARNER.grad(loss)


def two_inputs(params, states, x, gate):
    h = 0.5 * states + etir.matmul(x, params) * gate
    return h, h


PAIR = etir.compile(two_inputs, OF.params["W"], jnp.ones(4), OF.xs[0], jnp.ones(4))


def refusal(call, *args) -> str:
    with pytest.raises(etir.EtirError) as refused:
        call(*args)
    return str(refused.value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: LEARNER.init({"W": OF.params["W"]}),
            """error: the params have another structure than at compile [argument-structure]
  note: found W
  note: wanted V, W""",
        ),
        (
            lambda: LEARNER.init(states=[OF.states]),
            """error: the states have another structure than at compile [argument-structure]
  note: found 0.i, 0.v
  note: wanted i, v""",
        ),
        (
            lambda: LEARNER.step(OF.params, CARRY),
            """error: the inputs have another structure than at compile [argument-structure]
  note: found nothing
  note: wanted x""",
        ),
        (
            lambda: PAIR.window(OF.params["W"], PAIR.init(), OF.xs),
            """error: the inputs have another structure than at compile [argument-structure]
  note: found x
  note: wanted 0, 1
  help: xs is a tuple of 2""",
        ),
        (
            lambda: PAIR.window((OF.params["W"],), PAIR.init(), (OF.xs, OF.xs)),
            """error: the params have another structure than at compile [argument-structure]
  note: found 0
  note: wanted param""",
        ),
        (
            lambda: LEARNER.step("weights", CARRY, OF.xs[0]),
            """error: the params have another structure than at compile [argument-structure]
  note: found param
  note: wanted V, W""",
        ),
        (
            lambda: LEARNER.step({"V": jnp.ones((3, 4)), "W": jnp.ones((3, 5))}, CARRY, OF.xs[0]),
            """error: 'W' is f64[3,5]; the learner was compiled for f64[3,4] [argument-type]
  help: compile again for other shapes; use jax.vmap for a batch""",
        ),
        (
            lambda: LEARNER.init({"V": jnp.ones(3), "W": jnp.ones((3, 4), int)}),
            """error: 'V' is f64[3]; the learner was compiled for f64[3,4] [argument-type]
  help: compile again for other shapes; use jax.vmap for a batch
error: 'W' is i64[3,4]; the learner was compiled for f64[3,4] [argument-type]
  help: convert it to f64""",
        ),
        (
            lambda: LEARNER.step(OF.params, CARRY, OF.xs),
            """error: 'x' is f64[6,3]; the learner was compiled for f64[3] [argument-type]
  help: compile again for other shapes; use jax.vmap for a batch""",
        ),
        (
            lambda: LEARNER.window(OF.params, CARRY, OF.xs[0]),
            """error: 'x' is f64[3]; wanted f64[3] with a leading time axis [argument-type]
  help: stack the steps of a sequence; learner.step takes a single one""",
        ),
        (
            lambda: LEARNER.window(OF.params, CARRY, jnp.ones((6, 5))),
            """error: a step of 'x' is f64[5]; the learner was compiled for f64[3] [argument-type]
  help: compile again for other shapes; use jax.vmap for a batch""",
        ),
        (
            lambda: LEARNER.window(OF.params, CARRY, OF.xs * 1j),
            """error: a step of 'x' is c128[3]; the learner was compiled for f64[3] [argument-type]
  help: convert it to f64""",
        ),
        (
            lambda: GRAD(OF.params, CARRY, OF.xs, OF.ts[:4]),
            """error: inputs and targets have different lengths [sequence-length]
  note: input 'x' has 6 steps
  note: target 0 has 4 steps
  help: every leaf of xs and of the targets needs the same leading time axis""",
        ),
        (
            lambda: GRAD(OF.params, CARRY, OF.xs, {"a": OF.ts, "b": 1.0}),
            """error: inputs and targets have different lengths [sequence-length]
  note: input 'x' has 6 steps
  note: target 0.a has 6 steps
  note: target 0.b has no time axis
  help: every leaf of xs and of the targets needs the same leading time axis""",
        ),
        (
            lambda: LEARNER.window(OF.params, CARRY, OF.xs[:0]),
            """error: the sequence has no steps [sequence-length]
  note: input 'x' has 0 steps""",
        ),
        (
            lambda: LEARNER.step(OF.params, CARRY.states, OF.xs[0]),
            """error: the carry is a dict; wanted a pair of states and traces [argument-carry]
  help: begin with learner.init(), and hand on what each call returns""",
        ),
        (
            lambda: PAIR.step(OF.params["W"], (jnp.ones(4), CARRY.traces), OF.xs[0], jnp.ones(4)),
            """error: the carry holds other traces than this learner's [argument-carry]
  note: found f64[3,4], f64[3,4], f64[3,4]
  note: wanted f64[3,4]
  help: begin with this learner's own init(): traces depend on the rule, the backend and trace_dtype""",
        ),
        (
            lambda: LEARNER.grad(lambda y, t: y - t)(OF.params, CARRY, OF.xs, OF.ts),
            """error: the loss of a step is f64[4]; wanted a floating-point scalar [loss-type]
  help: sum or average over everything but time, which reduction= is for""",
        ),
        (
            lambda: LEARNER.grad(lambda y, t: (loss(y, t), y, t))(OF.params, CARRY, OF.xs, OF.ts),
            """error: the loss of a step returned 3 values; wanted a scalar, or a pair of it and the rest [loss-type]
  help: put everything but the scalar into one tuple or dictionary""",
        ),
        (
            lambda: LEARNER.grad(lambda y, t: None)(OF.params, CARRY, OF.xs, OF.ts),
            "error: the loss of a step is a NoneType; wanted a floating-point scalar [loss-type]",
        ),
        (
            lambda: LEARNER.grad(lambda y, t: (loss(y, t), {"of": "y"}))(OF.params, CARRY, OF.xs, OF.ts),
            "error: the loss of a step has beside it a str; wanted arrays and numbers [loss-type]",
        ),
        (
            lambda: LEARNER.grad(loss, reduction="max"),
            "error: reduction='max'; wanted 'sum' or 'mean' [unknown-reduction]",
        ),
    ],
)
@pytest.mark.each
def test_what_is_said(call, text: str):
    assert refusal(call) == text


def test_a_sequence_needs_something_with_a_length():
    def still(params, states):
        h = 0.5 * states + etir.scale(states, params)
        return h, h

    learner = etir.compile(still, jnp.ones(4), jnp.ones(4))
    assert refusal(learner.grad(jnp.sum), jnp.ones(4), learner.init(), ()) == (
        "error: neither inputs nor targets say how long the sequence is [sequence-length]\n"
        "  help: give targets with a time axis"
    )


def test_other_precisions_and_weak_types_are_converted():
    carry, y = LEARNER.step(
        OF.params, LEARNER.init(states={"i": np.zeros(4, np.float32), "v": OF.states["v"]}), OF.xs[0]
    )
    assert (carry.states["i"].dtype, y.dtype) == (jnp.float64, jnp.float64)


def test_arguments_are_looked_at_once_for_all_that_are_alike(monkeypatch: pytest.MonkeyPatch):
    LEARNER.step(OF.params, CARRY, OF.xs[0])
    monkeypatch.delattr("etir.backends.arguments.Arguments.params")
    LEARNER.step(OF.params, CARRY, 2 * OF.xs[0])
    with pytest.raises(AttributeError):
        LEARNER.step(OF.params, CARRY, np.zeros(3, np.float32))


def test_backends_and_trace_types_are_known():
    def compiled(**options):
        return etir.compile(OF.step, OF.params, OF.states, OF.xs[0], **options)

    assert refusal(lambda: compiled(backend="xls")) == (
        "error: there is no backend 'xls' [unknown-backend]\n  help: did you mean 'xla'?"
    )
    assert refusal(lambda: compiled(trace_dtype=jnp.int32)) == (
        "error: trace_dtype='int32'; wanted a floating-point element type [trace-dtype]\n"
        "  help: pass jnp.float32 or jnp.bfloat16"
    )


def test_the_per_step_form_stands_alone():
    def compiled(**options):
        return etir.compile(OF.step, OF.params, OF.states, OF.xs[0], credit="rule", **options)

    assert refusal(lambda: compiled(rules={"V": "rtrl"})) == (
        "error: credit='rule' is the per-step form of 'd_rtrl'; 'V' learns by 'rtrl', which has none [credit-rules]\n"
        "  help: pass credit='full', which drops strictly less, or give every parameter the same rule"
    )
    alone = compiled(rule="rtrl")
    assert {label.label for label in alone.certificate} == {"exact"}
    assert alone.transition.plan.at_window[0].region == "forward"


@pytest.mark.parametrize(
    ("key", "found"),
    [(0, "int"), (jnp.float32(1.0), "float32[]"), (jax.random.split(jax.random.key(0), 3), "key<fry>[3]")],
)
def test_a_key_is_a_key(key, found):
    assert refusal(lambda: LEARNER.init(key=key)) == (
        f"error: the key given to learner.init is {found}; wanted one PRNG key [key-type]\n"
        "  help: pass jax.random.key(0); jax.vmap over keys gives independent estimates"
    )
