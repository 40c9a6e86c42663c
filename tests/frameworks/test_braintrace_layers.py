"""braintrace's layers in front of a leaky one: each weight is exact, and equal to backpropagation."""

import jax.numpy as jnp
import pytest
from peer_models import in_float64

import etir

braintrace = pytest.importorskip("braintrace", reason="braintrace is not installed on this leg")
import brainstate  # noqa: E402

LAYERS = {
    "Linear": (lambda: braintrace.nn.Linear(3, 4), (3,), (4,)),
    "SignedWLinear": (lambda: braintrace.nn.SignedWLinear(3, 4), (3,), (4,)),
    "ScaledWSLinear": (lambda: braintrace.nn.ScaledWSLinear(3, 4), (3,), (4,)),
    "LoRA": (lambda: braintrace.nn.LoRA(3, 2, 4), (3,), (4,)),
    "GroupedLinear": (lambda: braintrace.nn.GroupedLinear(2, 3, 4), (2, 3), (2, 4)),
    "Conv1d": (lambda: braintrace.nn.Conv1d((6, 2), 4, 3), (6, 2), (6, 4)),
    "Conv2d": (lambda: braintrace.nn.Conv2d((4, 4, 2), 3, 3), (4, 4, 2), (4, 4, 3)),
}


class Leaky(brainstate.nn.Module):
    def __init__(self, layer, shape):
        super().__init__()
        self.layer, self.h = layer, brainstate.HiddenState(jnp.zeros((2, *shape)))

    def update(self, x):
        self.h.value = 0.9 * self.h.value + jnp.tanh(self.layer(x))
        return self.h.value


@pytest.mark.second_leg
@pytest.mark.parametrize(
    "name", ["LoRA", *(pytest.param(name, marks=pytest.mark.slow) for name in LAYERS if name != "LoRA")]
)
def test_each_layer_is_exact(name: str):
    make, inputs, outputs = LAYERS[name]
    brainstate.random.seed(0)
    checked = etir.check(in_float64(Leaky(make(), outputs)), jnp.zeros((2, *inputs)))
    assert checked.holds
    assert {str(found.label.label) for found in checked} == {"exact"}
