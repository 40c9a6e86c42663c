"""Compiling for an H200 that is not there, and what a compiled program says of itself."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

TARGET = Path(__file__).parent / "h200_target_config.txtpb"
FREE = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "while", "conditional", "call"}
"""Instructions that move nothing."""


def compiled(function: Callable[..., Any], *arguments: Any, donated: tuple[int, ...] = ()) -> Any:
    """The function compiled for arguments of the given shapes."""
    topology = topologies.get_topology_desc("1x1x1", "cuda", target_config=TARGET.read_text(), topology="1x1x1")
    sharding = NamedSharding(Mesh(np.array(topology.devices).reshape(1), ("x",)), PartitionSpec())
    shaped = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments)
    return jax.jit(function, donate_argnums=donated).lower(*shaped).compile()


def peak(program: Any) -> int:
    """Bytes that are held at once: arguments, results that are none of them, and temporaries."""
    plan = program.memory_analysis()
    fresh = plan.output_size_in_bytes - plan.alias_size_in_bytes
    return plan.argument_size_in_bytes + fresh + plan.temp_size_in_bytes


def passes(program: Any, shape: str) -> list[str]:
    """The operations outside fusions that read or write an array of this shape, as `f32[64,512,512]`."""
    text, found, runs = program.as_text(), list[str](), False
    loops = set(re.findall(r"body=(%[\w.-]+)", text))
    for line in text.splitlines():
        if line.endswith("{"):
            runs = line.startswith("ENTRY") or line.split(" ")[0] in loops
        match = re.search(r" = (.*?) ([a-z][\w-]*)\(", line)
        if match and runs and shape in line and match[2] not in FREE:
            found.append(match[2])
    return found
