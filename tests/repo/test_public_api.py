"""A walk over everything public: it resolves, it is documented, it imports alone."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from tree import package_sources

from etir.frontend.adapters import LIBRARIES

MODULES = [name for name, _ in package_sources() if not name.endswith("__main__")]
ADAPTERS = {f"etir.frontend.adapters.{file}" for file in LIBRARIES.values()}
"""Each is imported when a model of its library is there."""
OPTIONAL = (
    "optax",
    "flax",
    "equinox",
    "haiku",
    "brainstate",
    "brainpy",
    "braintrace",
    "penzai",
    "spyx",
    "matplotlib",
    "orbax",
    "tqdm",
    "pygraphviz",
    "flatbuffers",
    "hypothesis",
)


def public_objects(module: ModuleType) -> Iterator[tuple[str, object]]:
    """The functions and classes that `module` defines under public names, and the public methods of those classes."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            yield name, value
        if inspect.isclass(value):
            for attribute, member in vars(value).items():
                if (
                    inspect.isfunction(member)
                    and not attribute.startswith("_")
                    and "<locals>" not in member.__qualname__
                ):
                    yield f"{name}.{attribute}", member


def own_docstring(value: object) -> str | None:
    """The docstring written for `value` itself: for a class, not the inherited one."""
    return vars(value).get("__doc__") if inspect.isclass(value) else getattr(value, "__doc__", None)


def undocumented(module: ModuleType) -> list[str]:
    """The public objects of `module` without a docstring; the signature that `dataclass` writes does not count."""
    return [
        f"{module.__name__}.{name}"
        for name, value in public_objects(module)
        if not (doc := own_docstring(value)) or doc.startswith(f"{name}(")
    ]


@pytest.mark.parametrize("name", MODULES)
def test_module_is_documented(name: str):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    assert undocumented(module) == []


def test_a_missing_docstring_is_found():
    module = ModuleType("m", "A module.")
    source = '''
from dataclasses import dataclass

@dataclass
class Bare:
    x: int

class Good:
    """Documented."""
    def method(self): ...

def f(): ...
def _private(): ...
'''
    exec(source, vars(module) | {"__name__": "m"}, namespace := {})
    vars(module).update({name: value for name, value in namespace.items() if name != "dataclass"})
    assert undocumented(module) == ["m.Bare", "m.Good.method", "m.f"]


@pytest.mark.parametrize("name", ["etir", "etir.nn", "etir.transform"])
def test_every_exported_name_resolves(name: str):
    module = importlib.import_module("etir")
    for part in name.split(".")[1:]:
        module = getattr(module, part)
    exported = list(module.__all__)
    assert exported == sorted(set(exported), key=exported.index), "a name is exported twice"
    assert [n for n in exported if not hasattr(module, n)] == []


def test_importing_etir_needs_no_extra():
    block = "\n".join(f"sys.modules[{name!r}] = None" for name in OPTIONAL)
    imports = "\n".join(f"import {name}" for name in MODULES if name not in ADAPTERS)
    script = f"import sys\n{block}\n{imports}\nprint(etir.__name__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("etir\n", "")


def imported_by(statement: str, *modules: str) -> list[str]:
    """Those of some modules that a fresh process has imported after a statement."""
    script = f"import sys\n{statement}\nprint(*(name for name in {modules!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    return done.stdout.split()


def test_importing_etir_imports_nothing_heavy():
    heavy = ("etir.api", "etir.backends", "etir.ir", "etir.passes", "etir.rules", "jax.extend", "jax.experimental")
    assert imported_by("import etir", *heavy, "networkx", "graphviz", "etir.frontend") == []
    assert imported_by("from etir import State", "etir.backends", "etir.passes", "etir.frontend") == ["etir.frontend"]


def test_compiling_imports_nothing_that_draws():
    assert imported_by("from etir import *", "networkx", "graphviz", "xml.sax", "etir.api") == ["etir.api"]


def test_names_come_from_where_the_type_checker_is_told():
    etir = importlib.import_module("etir")
    assert etir.__file__ is not None
    with open(etir.__file__) as file:
        block = next(node for node in ast.parse(file.read()).body if isinstance(node, ast.If))
    told = {a.name: n.module for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert vars(etir)["_HOME"] == told
    assert set(etir.__all__) == set(told)
    assert set(etir.__all__) <= set(dir(etir))


def test_a_name_that_is_none_is_refused_and_a_folder_is_a_name():
    script = "import etir; print(etir.passes.Pass.__name__, hasattr(etir, 'nothing'), hasattr(etir, '__wrapped__'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("Pass False False\n", "")
