"""The convolutional layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...ir.operations.convolution import conv
from .. import random
from ..module import Module
from ..state import ParamState
from . import faults


class Conv(Module):
    """A convolution of data `[batch?, *space, in_features]` by `etir.conv`, whose further options are `options`.

    `window` has a size for each of one to three dimensions. `w`, [*window, in_features / groups, out_features], is
    drawn from a normal distribution of variance one over its fan-in. Raises EtirError for another `window`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        window: Sequence[int],
        *,
        groups: int = 1,
        bias: bool = True,
        **options: Any,
    ) -> None:
        if not isinstance(window, Sequence) or not 1 <= len(window) <= 3:
            said = f"window={window!r}; wanted a size for each of one to three dimensions, such as (3, 3)"
            raise faults.layer_option(self, said)
        self.window, self.groups, self.options = tuple(window), groups, options
        shape = (*self.window, in_features // groups, out_features)
        self.w = ParamState(random.randn(*shape) / math.prod(shape[:-1]) ** 0.5)
        self.b = ParamState(jnp.zeros(out_features)) if bias else None

    def update(self, x: jax.Array) -> jax.Array:
        """The image of `x`, `[batch?, *space, out_features]`."""
        b = None if self.b is None else self.b.value
        return conv(x, self.w.value, b, groups=self.groups, **self.options)
