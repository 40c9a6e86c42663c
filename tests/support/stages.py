"""Steps in text, taken through the analysis as far as one pass, and the parts of a transition's text to compare."""

import re
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
from snippets import run_program

import etir
from etir.ir import jaxpr as jx
from etir.ir.step import Step
from etir.ir.transition import Region, Transition
from etir.passes import ANALYSIS, MarkSites, Pass, ingest

DTYPES = {"f64": "float64", "f32": "float32", "bf16": "bfloat16", "c64": "complex64", "c128": "complex128",
          "i32": "int32", "bool": "bool"}  # fmt: skip


def array_type(text: str) -> jax.ShapeDtypeStruct:
    """The type that a text such as `f32[3,4]` names."""
    dtype, sizes = text.removesuffix("]").split("[")
    return jax.ShapeDtypeStruct(tuple(int(size) for size in sizes.split(",") if size), DTYPES[dtype])


def lowered(source: str, params: Any, states: Any, *inputs: Any, buffers: tuple[str, ...] = ()) -> Step:
    """The step called `step` of a program in text, on arrays of types in text; its file is `model.py`."""
    types = jax.tree.map(array_type, (params, states, inputs))
    return etir.lower(program(source), types[0], types[1], *types[2], buffers=buffers)


def program(source: str) -> Any:
    """The function `step` of a program in text."""
    return run_program(source, etir=etir)["step"]


def before(kind: type[Pass], step: Step, sites: Any = "explicit") -> Transition:
    """The transition that a pass of the analysis is given."""
    return _through(ANALYSIS[: ANALYSIS.index(kind)], step, sites)


def after(kind: type[Pass], step: Step, sites: Any = "explicit") -> Transition:
    """The transition that a pass of the analysis makes."""
    return _through(ANALYSIS[: ANALYSIS.index(kind) + 1], step, sites)


def _through(kinds: tuple[type[Pass], ...], step: Step, sites: Any) -> Transition:
    transition = ingest(step)
    for kind in kinds:
        transition = (MarkSites(sites=sites) if kind is MarkSites else kind()).run(transition)
    return transition


def section(transition: Transition, *words: str) -> str:
    """The lines of a transition's text that begin with one of these words, and what stands inside them.

    Digests and numbers of equations depend on how JAX spells an operation: they are left out, as are runs of spaces.
    """
    kept, depth = [], 0
    for line in str(transition).splitlines():
        if depth or line.strip().startswith(words):
            depth += line.count("{") - line.count("}")
            indent = line[2 : len(line) - len(line.lstrip())]
            text = re.sub(r" +\d+ equations?, digest \w+", "", line.strip())
            kept.append(indent + re.sub(r" +", " ", text))
    return textwrap.dedent("\n".join(kept))


def operations(region: Region) -> str:
    """The operations of a region, in order."""
    return " ".join(eqn.primitive.name for eqn in jx.equations(region.body))


def labels(transition: Transition, rule: Any = "d_rtrl", **options: Any) -> str:
    """A certificate's lines, without its head."""
    text = section(etir.plan(transition, rule, **options), "certificate")
    return "\n".join(line.removeprefix("  ") for line in text.splitlines()[1:-1])


def evaluated(region: Region, values: dict[str, Any]) -> list[Any]:
    """The results of a region, whose arguments are given in order."""
    return jx.evaluate(region.body, [jnp.asarray(value) for value in values.values()])
