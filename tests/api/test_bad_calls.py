"""What can be wrong with the calls of a learner, beside shapes and types, and the whole text of what is said."""

import pytest
from snippets import expected, message_of

HEAD = """\
import etir
from etir import matmul
W, h, x = jnp.eye(3), jnp.zeros(3), jnp.ones(3)
params, states = {"cell": {"w": W}}, {"h": h}
def step(params, states, x):
    h = 0.9 * states["h"] + matmul(x, params["cell"]["w"])
    return {"h": h}, h
"""
"""A case begins on the eighth line."""

CASES = {
    "carry and optimiser's state swapped": (
        """
        import optax
        learner, optimizer = etir.compile(step, params, states, x), optax.adam(1e-3)
        train = learner.train(lambda y: y.sum(), optimizer)
        train(params, learner.init(), optimizer.init(params), jnp.ones((10, 3)))
        """,
        """
        error: the carry was given as the optimiser's state, and something else as the carry: they are swapped [argument-order]
          help: train takes (params, opt_state, carry, xs, *targets)
        """,  # noqa: E501
    ),
    "inputs of another batch": (
        """
        def gated(params, states, x, gate):
            return {"h": 0.9 * states["h"] + gate * matmul(x, params["cell"]["w"])}, None
        learner = etir.compile(gated, params, {"h": jnp.zeros((4, 3))}, jnp.ones((4, 3)), jnp.ones((4, 1)))
        learner.window(params, learner.init(), (jnp.ones((10, 8, 3)), jnp.ones((10, 8, 1))))
        """,
        """
        error: '0' and '1' have 8 rows; the learner was compiled for 4 [argument-batch]
          help: if these are batches, compile again with one of that size, or compile for a sample and jax.vmap the learner
        """,  # noqa: E501
    ),
    "states of another batch, where first values are learned": (
        """
        def many(params, states, x):
            return [0.9 * h + matmul(x, params["cell"]["w"]) for h in states], None
        learner = etir.compile(many, params, [jnp.zeros((4, 3))] * 5, jnp.ones((4, 3)), initial="0")
        learner.init(states=[jnp.zeros((1, 3))] * 5)
        """,
        """
        error: '0' and 4 more have 1 row; the learner was compiled for 4 [argument-batch]
          help: if these are batches, compile again with one of that size, or compile for a sample and jax.vmap the learner
        """,  # noqa: E501
    ),
    "not finite at init": (
        """
        learner = etir.compile(step, params, states, x)
        learner.init({"cell": {"w": W / 0}}, {"h": h - jnp.inf})
        """,
        """
        error: parameter 'cell.w' is not finite: 6 NaN and 3 infinite of 9 elements [not-finite]
          help: begin with finite numbers: every gradient that depends on these would be NaN
        error: state 'h' is not finite: 3 infinite of 3 elements [not-finite]
          help: begin with finite numbers: every gradient that depends on these would be NaN
        """,
    ),
    "reduction": (
        """
        learner = etir.compile(step, params, states, x, window=4)
        xs, ts = jnp.ones((10, 3)), jnp.ones((10, 3))
        def loss(y, target):
            return jnp.sum((y - target) ** 2)
        learner.grad(loss, reduction="avg")
        """,
        """
        error: reduction='avg'; wanted 'sum' or 'mean' [unknown-reduction]
        """,
    ),
    "target missing": (
        """
        learner = etir.compile(step, params, states, x, window=4)
        xs, ts = jnp.ones((10, 3)), jnp.ones((10, 3))
        def loss(y, target):
            return jnp.sum((y - target) ** 2)
        learner.grad(loss)(params, learner.init(), xs)
        """,
        """
        model.py:10: error: the loss takes (y, target), which does not fit the outputs and 0 targets [loss-arguments]
          def loss(y, target):
          note: missing a required argument: 'target'
          help: call it with (params, carry, xs, *targets): a target for each argument of the loss after the first
        """,
    ),
    "target too many": (
        """
        learner = etir.compile(step, params, states, x, window=4)
        xs, ts = jnp.ones((10, 3)), jnp.ones((10, 3))
        def loss(y, target):
            return jnp.sum((y - target) ** 2)
        learner.grad(loss)(params, learner.init(), xs, ts, ts)
        """,
        """
        model.py:10: error: the loss takes (y, target), which does not fit the outputs and 2 targets [loss-arguments]
          def loss(y, target):
          note: too many positional arguments
          help: call it with (params, carry, xs, *targets): a target for each argument of the loss after the first
        """,
    ),
    "tuple of one input": (
        """
        learner = etir.compile(step, params, states, x, window=4)
        xs, ts = jnp.ones((10, 3)), jnp.ones((10, 3))
        def loss(y, target):
            return jnp.sum((y - target) ** 2)
        learner.grad(loss)(params, learner.init(), (xs,), ts)
        """,
        """
        error: the inputs have another structure than at compile [argument-structure]
          note: found 0
          note: wanted x
          help: the step takes a single input, so drop the tuple: give the array itself
        """,
    ),
    "list of numbers": (
        """
        learner = etir.compile(step, params, states, x, window=4)
        xs, ts = jnp.ones((10, 3)), jnp.ones((10, 3))
        def loss(y, target):
            return jnp.sum((y - target) ** 2)
        learner.grad(loss)(params, learner.init(), [[1.0, 2.0, 3.0]] * 9, ts)
        """,
        """
        error: the inputs have another structure than at compile [argument-structure]
          note: found 0.0, 0.1, 0.2, 1.0, 1.1, 1.2, 2.0, 2.1, 2.2, 3.0, 3.1, 3.2 and 15 more
          note: wanted x
          help: make an array of the list, with jnp.asarray
        """,
    ),
    "loss is none": (
        """
        learner = etir.compile(step, params, states, x, window=4)
        xs, ts = jnp.ones((10, 3)), jnp.ones((10, 3))
        def loss(y, target):
            return jnp.sum((y - target) ** 2)
        learner.grad(params)
        """,
        """
        error: the loss is of type dict; wanted a function (outputs, *target) [loss-type]
          help: the gradient is taken in two calls: learner.grad(loss)(params, carry, xs, *targets)
        """,
    ),
    "loss of a vector": (
        """
        learner = etir.compile(step, params, states, x, window=4)
        xs, ts = jnp.ones((10, 3)), jnp.ones((10, 3))
        def loss(y, target):
            return jnp.sum((y - target) ** 2)
        learner.grad(lambda y, target: y - target)(params, learner.init(), xs, ts)
        """,
        """
        error: the loss of a step is f64[3]; wanted a floating-point scalar [loss-type]
          help: sum or average over everything but time, which reduction= is for
        """,
    ),
    "optimiser": (
        """
        learner = etir.compile(step, params, states, x, window=4)
        xs, ts = jnp.ones((10, 3)), jnp.ones((10, 3))
        def loss(y, target):
            return jnp.sum((y - target) ** 2)
        learner.train(loss, 1e-3)
        """,
        """
        error: the optimiser is of type float; wanted an object with optax's update() [optimizer-type]
          help: for example learner.train(loss, optax.adam(1e-3))
        """,
    ),
    "target missing in training": (
        """
        import optax
        learner = etir.compile(step, params, states, x)
        def loss(y, target):
            return jnp.sum((y - target) ** 2)
        sgd = optax.sgd(0.1)
        learner.train(loss, sgd)(params, sgd.init(params), learner.init(), jnp.ones((10, 3)))
        """,
        """
        model.py:10: error: the loss takes (y, target), which does not fit the outputs and 0 targets [loss-arguments]
          def loss(y, target):
          note: missing a required argument: 'target'
          help: call it with (params, opt_state, carry, xs, *targets): a target for each argument of the loss after the first
        """,  # noqa: E501
    ),
    "state of another optimiser": (
        """
        import optax
        learner = etir.compile(step, params, states, x)
        sgd = optax.sgd(0.1)
        learner.train(jnp.sum, sgd)(params, params, learner.init(), jnp.ones((10, 3)))
        """,
        """
        error: the optimiser's state is not what its init(params) gives [argument-opt-state]
          note: found PyTreeDef({'cell': {'w': *}})
          note: wanted PyTreeDef((CustomNode(namedtuple[EmptyState], []), CustomNode(namedtuple[EmptyState], [])))
          help: train takes (params, opt_state, carry, xs, *targets); begin with optimizer.init(params)
        """,
    ),
    "init of the optimiser not called": (
        """
        from optax import GradientTransformation
        learner = etir.compile(step, params, states, x)
        plain = GradientTransformation(lambda params: (), lambda grads, state, params=None: (grads, state))
        learner.train(jnp.sum, plain)(params, print, learner.init(), jnp.ones((10, 3)))
        """,
        """
        error: the optimiser's state is not what its init(params) gives [argument-opt-state]
          note: found PyTreeDef(*)
          note: wanted PyTreeDef(())
          help: train takes (params, opt_state, carry, xs, *targets); begin with optimizer.init(params)
        """,
    ),
    "shapes alone": (
        """
        learner = etir.compile(step, jax.eval_shape(lambda: params), states, x)
        learner.params
        """,
        """
        error: the learner was compiled for shapes alone, so it knows no initial parameters [parameters-missing]
          help: give them: learner.init(params, states)
        """,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.each
def test_what_is_said(name: str):
    program, message = CASES[name]
    assert message_of(HEAD + expected(program)) == expected(message)
