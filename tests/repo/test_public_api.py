"""A walk over everything public: it resolves, it is documented, it imports alone."""

import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from tree import package_sources

MODULES = [name for name, _ in package_sources() if not name.endswith("__main__")]
OPTIONAL = (
    "optax",
    "flax",
    "equinox",
    "haiku",
    "brainstate",
    "matplotlib",
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
    imports = "\n".join(f"import {name}" for name in MODULES)
    script = f"import sys\n{block}\n{imports}\nprint(etir.__name__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("etir\n", "")
