"""Layers in a learner: every weight, bias included, is traced where sites are explicit."""

import jax.numpy as jnp

import etir
from etir.frontend import HiddenState, nn, random


class Model(nn.Module):
    """Two leaky states: one fed by tokens and by numbers, one by images."""

    def __init__(self) -> None:
        self.tokens, self.numbers = nn.Embedding(7, 4), nn.Linear(3, 4)
        self.images = nn.Conv(2, 4, (3, 3), groups=2, strides=2, padding="VALID")
        self.plain = nn.Linear(3, 4, product=jnp.matmul)
        self.h, self.v = HiddenState(jnp.zeros((2, 4))), HiddenState(jnp.zeros((2, 2, 2, 4)))

    def update(self, ids, x, image):
        self.h.value = 0.9 * self.h.value + self.tokens(ids) + self.numbers(x) + self.plain(x)
        self.v.value = 0.9 * self.v.value + self.images(image)
        return self.h.value + self.v.value.sum((1, 2))


def test_they_are_traced_by_default():
    random.seed(0)
    model = Model()
    found = etir.analyse(etir.lower(model, jnp.zeros(2, int), jnp.ones((2, 3)), jnp.ones((2, 5, 5, 2))))
    assert {path: site.operation for site in found.sites for path in site.weight.paths} == {
        "tokens.table": "embed",
        "numbers.w": "dot",
        "numbers.b": "identity",
        "images.w": "conv",
        "images.b": "identity",
    }
    labels = {label.path: str(label.label) for label in etir.plan(found, "d_rtrl").certificate}
    assert labels == dict.fromkeys(labels, "exact") | {"plain.w": "truncated", "plain.b": "truncated"}
