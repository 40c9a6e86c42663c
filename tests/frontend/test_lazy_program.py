"""A program like those that the state-based face grew from: states whose shapes are found at the first call."""

import jax.numpy as jnp

from etir import frontend as brainstate


class Trace(brainstate.nn.Module):
    """A layer that copies the shape of its first input, and replaces one axis by its number of neurons."""

    def __init__(self, num_neurons, dim=-1):
        self.dim = dim
        self.trace = brainstate.HiddenState(lazy=lambda x: jnp.zeros(self.shape_for(x.shape, num_neurons), x.dtype))

    def shape_for(self, shape, num_neurons):
        axis = self.dim % len(shape)
        return (*shape[:axis], num_neurons, *shape[axis + 1 :])

    def update(self, x):
        self.trace.value = 0.9 * self.trace.ensure(x) + x
        return self.trace.value


def test_sequences_of_different_batches():
    """`zero_states` between sequences, `detach_states` between steps, `save_states` and `load_states` to resume."""
    model = brainstate.nn.Sequential(Trace(32, dim=-3), jnp.tanh)
    for batch in (2, 5):
        brainstate.nn.zero_states(model)
        for _ in range(3):
            out = model(jnp.ones((batch, 32, 4, 4)))
            brainstate.nn.detach_states(model)
        assert out.shape == (batch, 32, 4, 4)
    saved = brainstate.nn.save_states(model)
    after = model(jnp.ones((5, 32, 4, 4)))
    brainstate.nn.zero_states(model)
    brainstate.nn.load_states(model, saved, strict=False)
    assert jnp.array_equal(model(jnp.ones((5, 32, 4, 4))), after)
