"""The embedding layer."""

from __future__ import annotations

import jax

from ...ir.operations.lookup import embed
from .. import random
from ..module import Module
from ..state import ParamState


class Embedding(Module):
    """`table[ids]` by `etir.embed`; `table`, of shape [size, features], is drawn from a normal distribution."""

    def __init__(self, size: int, features: int) -> None:
        self.table = ParamState(random.randn(size, features))

    def update(self, ids: jax.Array) -> jax.Array:
        """The rows of these integers, `[*ids, features]`."""
        return embed(self.table.value, ids)
