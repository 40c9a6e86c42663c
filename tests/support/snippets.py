"""Programs in text, run as the file `model.py`, so that a test shows what is wrong and the whole message beside it."""

import linecache
import textwrap
from typing import Any

import jax
import jax.numpy as jnp

from etir import frontend
from etir.ir.diagnostics import EtirError


def run_program(source: str, **names: Any) -> dict[str, Any]:
    """The names that a program defines; it finds JAX, the state-based face and `names` already imported."""
    text = textwrap.dedent(source).strip("\n") + "\n"
    linecache.cache["model.py"] = (len(text), None, text.splitlines(keepends=True), "model.py")
    faces = {name: getattr(frontend, name) for name in frontend.__all__}
    namespace: dict[str, Any] = {"__name__": "model", "jax": jax, "jnp": jnp, **faces, **names}
    exec(compile(text, "model.py", "exec"), namespace)
    return namespace


def message_of(source: str) -> str:
    """The whole text of the EtirError that a program ends with."""
    try:
        run_program(source)
    except EtirError as fault:
        return str(fault)
    raise AssertionError("the program ended without an EtirError")


def expected(text: str) -> str:
    """A message as a test writes it: indented, between newlines."""
    return textwrap.dedent(text).strip("\n")
