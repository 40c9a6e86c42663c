"""The type of a value: an element type and a shape, written `f32[8,16]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

_SHORT = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
    "complex64": "c64", "complex128": "c128", "bool": "bool",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
}  # fmt: skip
_LONG = {short: long for long, short in _SHORT.items()}
_TEXT = re.compile(r"([^\[\]\s]+)\[([\d,\s]*)\]")


@dataclass(frozen=True, slots=True)
class TensorType:
    """An element type, by NumPy's name, and a shape of concrete sizes."""

    dtype: str
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{_SHORT.get(self.dtype, self.dtype)}[{','.join(map(str, self.shape))}]"

    @classmethod
    def parse(cls, text: str) -> TensorType:
        """The type written as `text`, such as `f32[8,16]`; ValueError where it is none."""
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"not a tensor type: {text!r}; write one as f32[8,16]")
        shape = tuple(int(size) for size in match[2].split(",") if size.strip())
        return cls(_LONG.get(match[1], match[1]), shape)

    @classmethod
    def of(cls, value: Any) -> TensorType:
        """The type of an array, or of anything else with a shape and a dtype."""
        return cls(str(value.dtype), tuple(value.shape))

    @property
    def size(self) -> int:
        """How many elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_complex(self) -> bool:
        """Whether the elements are complex numbers."""
        return self.dtype in ("complex64", "complex128")

    @property
    def carries_credit(self) -> bool:
        """Whether a derivative can pass through a value of this type: real or complex floating point."""
        return self.is_complex or self.dtype.startswith(("float", "bfloat"))

    @property
    def is_narrow(self) -> bool:
        """Whether its derivatives would have fewer than sixteen bits, in which JAX neither mixes nor adds numbers."""
        return self.carries_credit and jax.numpy.finfo(self.dtype).bits < 16

    @property
    def bytes(self) -> int:
        """Bytes held by one value; an extended element type (a PRNG key) counts as eight bytes an element."""
        try:
            return self.size * jax.numpy.dtype(self.dtype).itemsize
        except TypeError:
            return self.size * 8
