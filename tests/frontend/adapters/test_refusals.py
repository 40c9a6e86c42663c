"""What is said of models of other libraries that cannot be taken: the library, what was found, the right call."""

import pytest
from snippets import expected, message_of

HEADS = {
    "nnx": """\
import etir
from flax import linen, nnx
cell, x = nnx.GRUCell(3, 4, rngs=nnx.Rngs(0)), jnp.ones((2, 3), "float32")
""",
    "linen": """\
import etir
from flax import linen, nnx
cell, x, key = linen.GRUCell(4), jnp.ones((2, 3), "float32"), jax.random.key(0)
variables = cell.init(key, jnp.zeros((2, 4)), x)
""",
    "haiku": """\
import etir
import haiku as hk
x, key = jnp.ones((2, 3), "float32"), jax.random.key(0)
""",
}

CASES = {
    "nnx, a sequence": (
        "etir.compile(nnx.RNN(cell), x)",
        """
        error: flax.nnx: the model is an nnx.RNN, which runs over a whole sequence; wanted one step [model-sequence]
          help: give the cell: etir.compile(rnn.cell, x), with the x of one step; the learner runs over the sequence
        """,
    ),
    "nnx, a sequence inside": (
        """
        class Net(nnx.Module):
            def __init__(self):
                self.rnn = nnx.RNN(cell)
            def __call__(self, x):
                return self.rnn(x)
        etir.compile(Net(), jnp.ones((2, 5, 3), "float32"))
        """,
        """
        error: flax.nnx: 'Net' has an nnx.RNN inside, which runs over a whole sequence; wanted one step [model-sequence]
          help: give the cell: etir.compile(rnn.cell, x), with the x of one step; the learner runs over the sequence
        """,
    ),
    "nnx, a class": (
        "etir.compile(nnx.GRUCell, x)",
        """
        error: flax.nnx: the class 'GRUCell' was given where an nnx.Module is wanted [model-kind]
          help: etir.compile(model, x), with an nnx.Module that is called as model(x) and takes one step
        """,
    ),
    "nnx, of another library": (
        "etir.from_nnx(linen.GRUCell(4))",
        """
        error: flax.nnx: 'GRUCell' of flax.linen was given where an nnx.Module is wanted [model-kind]
          help: use etir.from_linen
        """,
    ),
    "nnx, no input": (
        "etir.compile(cell)",
        """
        error: flax.nnx: no input was given to 'GRUCell(carry, inputs)' [step-arguments]
          note: missing a required argument: 'inputs'
          help: give an example of every input of one step
        """,
    ),
    "nnx, no state": (
        "etir.compile(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), x)",
        """
        error: flax.nnx: 'Linear' keeps no state from one step to the next, so there is nothing to learn online [model-stateless]
          help: keep the state in an nnx.Variable that the step writes; or pass it by hand, as model(carry, x) -> (carry, y): etir.compile(etir.from_nnx(model, carry=jnp.zeros(...)), x)
        """,  # noqa: E501
    ),
    "nnx, a state that the call makes": (
        """
        class Net(nnx.Module):
            def __call__(self, x):
                self.v = nnx.Variable(x)
                return x
        etir.compile(Net(), x)
        """,
        """
        error: flax.nnx: one step makes the states 'v', which were not there before [model-uninitialised]
          help: make them in __init__, or call the model once before compiling it
        """,
    ),
    "nnx, a weight that the step writes": (
        """
        class Net(nnx.Module):
            def __init__(self):
                self.w, self.v = nnx.Param(jnp.ones(3)), nnx.Variable(jnp.zeros(3))
            def __call__(self, x):
                self.v[...] += self.w[...] * x
                self.w[...] *= 0.9
                return self.v[...]
        etir.compile(Net(), jnp.ones(3))
        """,
        """
        error: flax.nnx: the step writes 'w', which must be held still [weight-written]
          help: write what changes by itself to an nnx.Variable of another type, or leave it out of wrt=
        """,
    ),
    "nnx, a number that the step counts up": (
        """
        class Net(nnx.Module):
            def __init__(self):
                self.v, self.count = nnx.Variable(jnp.zeros(3)), 0
            def __call__(self, x):
                self.count += 1
                self.v[...] += self.count * x
                return self.v[...]
        etir.compile(Net(), jnp.ones(3))
        """,
        """
        error: flax.nnx: the step changes 'count', and its first value would be compiled in [attribute-written]
          help: keep it in an nnx.Variable; where it only settles at the first call, call the model once beforehand
        """,
    ),
    "nnx, one result where two are wanted": (
        """
        class Net(nnx.Module):
            def __call__(self, h, x):
                return cell(h, x)[0]
        etir.compile(etir.from_nnx(Net(), carry=jnp.zeros((2, 4))), x)
        """,
        """
        error: flax.nnx: 'Net' returned one array [model-kind]
          help: return the new carry and the output: carry, y
        """,
    ),
    "nnx, no such method": (
        "etir.compile(etir.from_nnx(cell, method='stp'), x)",
        """
        error: flax.nnx: 'GRUCell' has no method 'stp' [model-kind]
          help: name the one that takes a step: method='step'
        """,
    ),
    "nnx, a state without a value": (
        """
        class Net(nnx.Module):
            def __init__(self):
                self.h = nnx.Variable(None)
            def __call__(self, x):
                h = self.h.get_value()
                self.h.set_value(x if h is None else 0.9 * h + x)
                return x
        etir.compile(Net(), x)
        """,
        """
        error: flax.nnx: one step makes the states 'h', which were not there before [model-uninitialised]
          help: make them in __init__, or call the model once before compiling it
        """,
    ),
    "nnx, a model inside jit": (
        "etir.compile(nnx.jit(nnx.Linear(3, 4, rngs=nnx.Rngs(0))), x)",
        """
        error: flax.nnx: 'Linear' was given inside a function; wanted the model itself [step-arguments]
          help: etir.compile(model, x), with no jit or method around it: learners are compiled
        """,
    ),
    "nnx, a method": (
        "etir.compile(cell.__call__, x)",
        """
        error: flax.nnx: 'GRUCell' was given inside a function; wanted the model itself [step-arguments]
          help: etir.compile(model, x), with no jit or method around it: learners are compiled
        """,
    ),
    "nnx, a carry of another size": (
        """
        class Net(nnx.Module):
            def __call__(self, h, x):
                return cell(h, x)
        etir.compile(etir.from_nnx(Net(), carry=jnp.zeros((2, 9), "float32")), x)
        """,
        """
        model.py:6:16: error: flax.nnx: 'Net' fails on the example input f32[2,3] [model-call]
          return cell(h, x)
                 ^^^^^^^^^^
          note: TypeError: dot_general requires contracting dimensions to have the same shape, got (9,) and (4,).
          note: its states are carry f32[2,9]
          help: run the model on these by itself; inputs, and states passed by hand, have the sizes it was made for
        """,
    ),
    "linen, without variables": (
        "etir.compile(cell, x)",
        """
        error: flax.linen: 'GRUCell' was given without its variables [model-uninitialised]
          help: variables = module.init(key, ...); etir.compile(module, variables, x)
        """,
    ),
    "linen, the parameters alone": (
        "etir.compile(cell, variables['params'], x)",
        """
        error: flax.linen: 'GRUCell' lacks variables: Tried to access "kernel" from collection "params" in "/ir" but the collection is empty [model-uninitialised]
          help: give the whole of what module.init returned, {'params': ...}
        """,  # noqa: E501
    ),
    "linen, a sequence": (
        "etir.compile(linen.RNN(cell), variables, x)",
        """
        error: flax.linen: the module is a linen.RNN, which runs over a whole sequence; wanted one step [model-sequence]
          help: give the cell and its variables, with the x of one step; the learner runs over the sequence
        """,
    ),
    "linen, random numbers without a key": (
        """
        class Net(linen.Module):
            @linen.compact
            def __call__(self, h, x):
                h = 0.9 * h + linen.Dropout(0.5, deterministic=False)(linen.Dense(4)(x))
                return h, h
        net, h = Net(), jnp.zeros((2, 4), "float32")
        variables = net.init({"params": key, "dropout": key}, h, x)
        etir.compile(etir.from_linen(net, variables, carry=h), x)
        """,
        """
        error: flax.linen: 'Net' draws random numbers without a key: Dropout_0 needs PRNG for "dropout" [model-uninitialised]
          help: give it a key for each stream: etir.from_linen(module, variables, rngs={"dropout": jax.random.key(0)})
        """,  # noqa: E501
    ),
    "linen, a carry that is not given": (
        """
        class Net(linen.Module):
            def __call__(self, h, x):
                return h + x, h
        etir.compile(Net(), {"params": {}}, x)
        """,
        """
        error: flax.linen: the input given does not fit 'Net(h, x)' [step-arguments]
          note: missing a required argument: 'x'
          help: give an example of every input of one step; states that are passed by hand are given as etir.from_linen(..., carry=...)
        """,  # noqa: E501
    ),
    "linen, one result where two are wanted": (
        """
        class Net(linen.Module):
            def __call__(self, h, x):
                return h + x
        etir.compile(etir.from_linen(Net(), {}, carry=jnp.zeros((2, 3))), x)
        """,
        """
        error: flax.linen: 'Net' returned one array [model-kind]
          help: return the new carry and the output: carry, y
        """,
    ),
    "haiku, one result where two are wanted": (
        """
        net = hk.transform(lambda x, state: hk.VanillaRNN(3)(x, state)[1])
        etir.compile(net, net.init(key, x, x), x)
        """,
        """
        error: haiku: 'model' returned one array [model-kind]
          help: return the output and the new state: y, state
        """,
    ),
    "haiku, an input of another width": (
        """
        net = hk.transform(lambda x, state: hk.VanillaRNN(4)(x, state))
        etir.compile(net, net.init(key, x, jnp.zeros((2, 4))), x[:, :2])
        """,
        """
        model.py:5:1: error: haiku: 'model' fails on the example input f32[2,2] [model-call]
          etir.compile(net, net.init(key, x, jnp.zeros((2, 4))), x[:, :2])
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: ValueError: 'vanilla_rnn/linear/w' with retrieved shape (3, 4) does not match shape=[2, 4] dtype=dtype('float32')
          help: run the model on these by itself; inputs, and states passed by hand, have the sizes it was made for
        """,  # noqa: E501
    ),
    "haiku, without parameters": (
        "etir.compile(hk.transform(lambda x, state: hk.GRU(4)(x, state)), x)",
        """
        error: haiku: the transformed function was given without its parameters [model-uninitialised]
          help: {call}
        """,
    ),
    "haiku, its function apply": (
        """
        core = hk.transform(lambda x, state: hk.GRU(4)(x, state))
        state = jnp.zeros((2, 4))
        etir.compile(jax.jit(core.apply), core.init(key, x, state), state, x)
        """,
        """
        error: haiku: its function 'apply_fn' was given; wanted the model itself [step-arguments]
          help: etir.compile(transformed, params[, state], x), with no jit or method around it: learners are compiled
        """,
    ),
    "haiku, without its state": (
        "etir.compile(hk.transform_with_state(lambda x: x), {}, x)",
        """
        error: haiku: hk.transform_with_state's result was given without its state [model-uninitialised]
          help: {call}
        """,
    ),
    "haiku, a class": (
        "etir.compile(hk.GRU, x)",
        """
        error: haiku: the class 'GRU' was given where the result of hk.transform is wanted [model-kind]
          help: {call}
        """,
    ),
    "haiku, a sequence": (
        """
        def net(x):
            return hk.dynamic_unroll(hk.VanillaRNN(4), x, hk.VanillaRNN(4).initial_state(2))
        net, xs = hk.transform(net), jnp.ones((5, 2, 3), "float32")
        etir.compile(net, net.init(key, xs), xs)
        """,
        """
        error: haiku: 'model' keeps no state from one step to the next, so there is nothing to learn online [model-stateless]
          help: keep the state with hk.set_state and transform with hk.transform_with_state; or take one core's step, as hk.transform(lambda x, state: core(x, state)), where hk.dynamic_unroll runs over a whole sequence
        """,  # noqa: E501
    ),
    "haiku, a state that nobody can begin": (
        """
        net = hk.transform(lambda x, state: (state[0] + x, state))
        etir.compile(net, {}, x)
        """,
        """
        error: haiku: the function takes a state that no hk.RNNCore in it says how to begin [model-uninitialised]
          help: give it: etir.compile(etir.from_haiku(transformed, params, carry=core.initial_state(batch)), x)
        """,
    ),
    "haiku, random numbers without a key": (
        """
        net = hk.transform(lambda x, state: hk.VanillaRNN(4)(hk.dropout(hk.next_rng_key(), 0.5, x), state))
        etir.compile(net, net.init(key, x, jnp.zeros((2, 4))), x)
        """,
        """
        error: haiku: the function draws random numbers without a key [model-uninitialised]
          help: give it a key: etir.from_haiku(transformed, params, rng=jax.random.key(0))
        """,
    ),
}

HAIKU_CALL = (
    "model = hk.transform(lambda x, state: core(x, state)) or hk.transform_with_state(lambda x: ...), "
    "params = model.init(key, ...), and etir.compile(model, params, x) or etir.compile(model, params, state, x)"
)


@pytest.mark.parametrize("case", CASES)
def test_what_is_said(case: str):
    source, text = CASES[case]
    wanted = expected(text).replace("{call}", HAIKU_CALL)
    assert message_of(HEADS[case.partition(",")[0]] + expected(source)) == wanted
