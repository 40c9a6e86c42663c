"""Every zoo model as a native module is the same model as its plain step, and learns the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import EXACT, cells_first, compiled, driver, labels_of, marks
from oracles import bptt, by_path, relative_error
from problems import bptt_gradients, problem

import etir
from etir import ShortTermState, functionalise, zoo
from etir.ir.step import leaf_paths

NAMES = [case.name for case in zoo.ALL]
NATIVE = [case.name for case in zoo.ALL if case.module]


def module_of(name: str):
    return zoo.case(name).build_module(jax.random.key(0), dtype=jnp.float64)


def plain_path(name: str, path: str) -> str:
    """The plain function's path of a module's parameter; they differ where the module has sub-modules by gate."""
    if name != "gru_reset_before" or "." not in path:
        return path
    gate, _, kind = path.partition(".")
    return kind + {"candidate": "h"}.get(gate, gate)


def renamed(name: str, tree) -> dict[str, np.ndarray]:
    return {plain_path(name, path): np.asarray(leaf) for path, leaf in leaf_paths(tree, "")}


@pytest.mark.parametrize("name", cells_first(NAMES))
def test_a_module_is_the_same_model(name: str):
    of, model = problem(name), functionalise(module_of(name), *problem(name).model.inputs)
    assert sorted(renamed(name, model.params)) == sorted(by_path(of.model.params))
    grads = renamed(name, _gradients(model, of))
    errors = {path: relative_error(grads[path], wanted) for path, wanted in bptt_gradients(name).items()}
    assert max(errors.values()) < 1e-12


def _gradients(model, of):
    """BPTT's gradients of a functionalised module, in the tree of its parameters."""
    found = bptt(model.step, model.params, model.states, of.xs, of.ts).grads
    return jax.tree.unflatten(jax.tree.structure(model.params), list(found.values()))


@pytest.mark.parametrize("name", NAMES)
def test_declared_buffers_are_short_term_states(name: str):
    assert sorted(module_of(name).states(ShortTermState)) == sorted(zoo.case(name).buffers)


@pytest.mark.parametrize("name", [pytest.param(n, marks=marks(n in NATIVE)) for n in NAMES])
def test_a_module_learns_as_its_plain_step_does(name: str):
    of = problem(name)
    plain = compiled(of, "d_rtrl", 2)
    native = etir.compile(
        module_of(name), *of.model.inputs, rule="d_rtrl", window=2, on_truncated="ignore", sites=of.case.sites
    )
    model = functionalise(module_of(name), *of.model.inputs)

    one, _, _ = driver(plain)(*of.arguments)
    other, _, _ = driver(native)(model.params, model.states, *of.arguments[2:])
    one, other = by_path(one), renamed(name, other)
    assert all(relative_error(other[path], grad) < EXACT for path, grad in one.items())
    assert {plain_path(name, path): label for path, label in labels_of(native).items()} == labels_of(plain)
