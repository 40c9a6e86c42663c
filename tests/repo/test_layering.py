"""Imports go downwards only, and private JAX is never touched."""

import pytest
from imports import layering_faults
from tree import package_sources


def test_the_package_keeps_its_layers():
    faults = [
        fault
        for module, file in package_sources()
        for fault in layering_faults(file.read_text(), module, is_package=file.name == "__init__.py")
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("etir.ir.x", "from ..passes import manager", "etir.ir.x:1 imports etir.passes.manager, above its layer"),
        ("etir.passes.x", "import etir", "etir.passes.x:1 imports etir, above its layer"),
        ("etir.zoo.x", "from ..api import f", "etir.zoo.x:1 imports etir.api.f, above its layer"),
        ("etir.coupling.x", "from ..ir import loc", "etir.coupling.x:1 imports etir.ir.loc, above its layer"),
        (
            "etir.ir.x",
            "from ..coupling.primitives import RULES",
            "etir.ir.x:1 imports etir.coupling.primitives.RULES, above its layer",
        ),
        ("etir.backends.x", "from .. import cli", "etir.backends.x:1 imports etir.cli, above its layer"),
        ("etir.backends.x", "from ..passes import x", "etir.backends.x:1 imports etir.passes.x, above its layer"),
        ("etir.api", "import ir.loc", "etir.api:1 imports ir.loc from the repository's root, not from the package"),
        ("etir.api", "def f():\n    from jax._src import core", "etir.api:2 imports private jax._src.core"),
        (
            "etir.passes.x",
            "from jax import extend",
            "etir.passes.x:1 imports jax.extend, which only ir/jaxpr.py and the weight operations may",
        ),
    ],
)
def test_a_fault_is_found(module: str, source: str, fault: str):
    assert layering_faults(source, module) == [fault]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("etir.ir.jaxpr", "from jax.extend import core\nfrom .loc import Loc"),
        ("etir.ir.weight_operations", "import jax.extend.core"),
        ("etir.backends.xla.emit", "from ...ir import plan\nfrom ..reference import emit\nimport jax"),
        ("etir.ir.x", "from ..coupling import Coupling"),
        ("etir.coupling.primitives.x", "from .. import Coupling\nfrom ...ir import jaxpr"),
        ("etir.cli.main", "from ..api import compile\nfrom .. import __version__"),
        ("etir.api", "from .backends import xla\nfrom . import ir"),
    ],
)
def test_a_downward_import_is_allowed(module: str, source: str):
    assert layering_faults(source, module) == []


def test_a_package_resolves_its_imports_from_itself():
    assert layering_faults("from .state import State", "etir.frontend", is_package=True) == []
    assert layering_faults("from ..passes import x", "etir.ir", is_package=True) != []
