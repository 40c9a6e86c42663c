"""The adapters by name, for models that want to be told how they are called: `etir.from_nnx` and its like."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from .adapted import Adapted


def from_nnx(
    model: Any, *, carry: Any = None, method: str | Callable[..., Any] | None = None, wrt: Any = None, **options: Any
) -> Adapted:
    """A flax.nnx module as `etir.compile` takes it, in the mode (`model.train()`, `model.eval()`) that it is in now.

    One step is `model(*inputs, **options)`, or `model.method(...)`; a function as `method` is called with the model
    first. States are the module's Variables, random streams included, that `wrt` does not choose: the learned ones
    (`nnx.Param` by default, any filter of nnx). An `nnx.RNNCellBase` is called with a carry first, and returns the new
    one and its output; it begins as `initialize_carry` makes it for the batch of x. With `carry`, so is any module.
    Raises EtirError for anything that takes no such step.
    """
    return _adapter("nnx").adapt(model, carry=carry, method=method, wrt=wrt, **options)


def _adapter(name: str) -> Any:
    """The file of a library, which imports it."""
    return importlib.import_module(f".{name}", __package__)
