"""The example inputs of a step, from their types."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ..ir.diagnostics import did_you_mean, error
from ..ir.types import TensorType

_ELEMENTS = ("f64", "f32", "f16", "bf16", "c64", "c128", "bool", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")


def parse_inputs(texts: Sequence[str]) -> tuple[jax.ShapeDtypeStruct, ...]:
    """The inputs of one step, from texts such as `f32[8,16]`; EtirError where one is no type."""
    return tuple(_parse(text) for text in texts)


def _parse(text: str) -> jax.ShapeDtypeStruct:
    element = text.partition("[")[0].strip()
    try:
        found = TensorType.parse(text)
    except ValueError:
        raise error(
            "input-type", f"'{text}' is not the type of an input", help="write one as 'f32[8,16]', a scalar as 'f32[]'"
        ) from None
    try:
        return jax.ShapeDtypeStruct(found.shape, jnp.dtype(found.dtype))
    except TypeError:
        raise error(
            "input-type", f"'{text}' has an unknown element type '{element}'", help=did_you_mean(element, _ELEMENTS)
        ) from None
