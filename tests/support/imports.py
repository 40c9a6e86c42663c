"""The imports of a source file, as absolute module names, and the layering that they must keep."""

import ast
from collections.abc import Iterator

# What each layer may import, itself included. The face (etir, etir.api), the command line and the instruments compose
# them all. A folder that stands higher than the room it is in is a layer of its own, named by its path.
ALLOWED = {
    "coupling": {"coupling"},
    "ir": {"coupling", "ir"},
    "coupling.primitives": {"coupling", "ir", "coupling.primitives"},
    "view": {"coupling", "ir", "view"},
    "frontend": {"ir", "frontend"},
    "zoo": {"ir", "frontend", "zoo"},
    "rules": {"coupling", "ir", "rules"},
    "passes": {"coupling", "ir", "coupling.primitives", "rules", "passes"},
    "backends": {"coupling", "ir", "coupling.primitives", "view", "backends"},
    "training": {"ir", "backends", "training"},
}
ROOMS = {*(layer.partition(".")[0] for layer in ALLOWED), "cli", "instruments"}
MAY_IMPORT_JAX_EXTEND = ("etir.ir.jaxpr", "etir.ir.weight_operations", "etir.ir.operations.call")


def imported_modules(source: str, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Each import of `source` as (line, absolute name); `from a import b` gives `a.b`, since `b` may be a module."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((node.lineno, ".".join([*start, alias.name])) for alias in node.names)


def layer_of(module: str) -> str:
    """The layer that holds `module`, a name under `etir`: that of the innermost folder that is one."""
    first, second, *_ = [*module.split(".")[1:], "", ""]
    return f"{first}.{second}" if f"{first}.{second}" in ALLOWED else first


def layering_faults(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What `source`, being `module`, imports and must not, one sentence each."""
    layer = layer_of(module)
    faults: list[str] = []
    for line, name in imported_modules(source, module, is_package=is_package):
        here = f"{module}:{line}"
        head = name.partition(".")[0]
        if head == "etir" and layer in ALLOWED and layer_of(name) not in ALLOWED[layer]:
            faults.append(f"{here} imports {name}, above its layer")
        if head in ROOMS:
            faults.append(f"{here} imports {name} from the repository's root, not from the package")
        if name.startswith("jax._src"):
            faults.append(f"{here} imports private {name}")
        if name.startswith("jax.extend") and not module.startswith(MAY_IMPORT_JAX_EXTEND):
            faults.append(f"{here} imports {name}, which only ir/jaxpr.py and the weight operations may")
    return faults
