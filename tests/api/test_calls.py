"""What the entry points take and return, beside what the backends' own tests check."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from snippets import expected, run_program

import etir
from etir.ir import StateKind
from etir.passes import ANALYSIS

TYPES = ("bfloat16", "float16", "float32", "float64", "complex64", "complex128")


def step(params, states, x):
    h = params["leak"] * states["h"] + etir.matmul(x, params["w"])
    return {"h": h.astype(states["h"].dtype)}, h


def example(dtype="float64"):
    params = {"w": np.full((2, 3), 0.25, dtype), "leak": np.full((), 0.5, dtype)}
    return params, {"h": np.zeros(3, dtype)}, np.ones(2, dtype)


def squared(y, target):
    return jnp.sum(jnp.abs(y - target) ** 2).astype(jnp.float32)


def kinds(tree):
    return [(x.shape, x.dtype, x.weak_type) for x in map(jnp.asarray, jax.tree.leaves(tree))]


@pytest.mark.filterwarnings("ignore::etir.EtirWarning")
@pytest.mark.parametrize("dtype", TYPES)
def test_every_element_type_is_kept_call_after_call(dtype: str):
    learner = etir.compile(step, *example(dtype), window=3)
    gradient = learner.grad(squared)
    xs = np.ones((7, 2), dtype)
    first = gradient(learner.params, learner.init(), xs, xs[:, :1])
    second = gradient(learner.params, first.carry, xs, xs[:, :1])
    assert kinds(first.carry) == kinds(second.carry) == kinds(learner.init())
    assert [str(g.dtype) for g in first.grads.values()] == [dtype] * 2
    assert np.isfinite(second.losses).all()
    carry, _ = learner.step(learner.params, first.carry, xs[0])
    assert kinds(carry) == kinds(first.carry)


def test_numbers_are_arrays():
    """A Python number as a state would otherwise change its type at the second step."""

    def leaky(w, h, x):
        h = 0.5 * h + etir.scale(x, w)
        return h, h

    learner = etir.compile(leaky, 0.5, 0.0, 1.0)
    carry, _ = learner.step(0.5, learner.init(), 1.0)
    carry, y = learner.step(0.5, carry, 2)
    assert (float(y), kinds(carry)) == (1.25, kinds(learner.init()))
    result = learner.grad(lambda y: y)(0.5, learner.init(), jnp.ones(2))
    assert float(result.grads) == 1 + 1.5


def test_a_window_that_does_not_divide_the_sequence():
    params, states, x = example()
    xs = np.linspace(-1, 1, 14).reshape(7, 2)
    whole, short = (etir.compile(step, params, states, x, rules={"leak": "rtrl"}, window=window) for window in (7, 3))
    wanted, found = (learner.grad(lambda y: jnp.sum(y**2))(params, learner.init(), xs) for learner in (whole, short))
    np.testing.assert_allclose(found.losses, wanted.losses, rtol=1e-12)
    for path, grad in wanted.grads.items():
        np.testing.assert_allclose(found.grads[path], grad, rtol=1e-10)


def test_a_module_is_learnt_with_the_values_that_it_was_compiled_with():
    class Cell(etir.Module):
        def __init__(self):
            self.w = etir.ParamState(jnp.full((2, 3), 0.5))
            self.h = etir.HiddenState(jnp.zeros(3))

        def update(self, x):
            self.h.value = 0.5 * self.h.value + etir.matmul(x, self.w.value)
            return self.h.value

    learner = etir.compile(Cell(), jnp.ones(2))
    result = learner.grad(squared)(learner.params, learner.init(), jnp.ones((4, 2)), jnp.ones((4, 3)))
    assert result.grads["w"].shape == (2, 3)
    assert kinds(learner.states) == kinds({"h": jnp.zeros(3)})
    loc = learner.transition.loc
    assert (Path(loc.file).name, loc.source_line().strip()) == ("test_calls.py", "def update(self, x):")


@pytest.mark.filterwarnings("ignore::etir.EtirWarning")
def test_a_certificate_knows_what_was_meant():
    params, states, x = example()

    def nested(params, states, x):
        return step(params["cell"], states, x)

    certificate = etir.compile(nested, {"cell": params}, states, x).certificate
    assert str(certificate["cell.w"].reasons[0]) == "every path from it to a hidden state is traced"
    with pytest.raises(KeyError, match=r"no label for 'w'; did you mean 'cell.w'\?"):
        certificate["w"]
    with pytest.raises(KeyError, match=r"no label for 'v'; known: cell.leak, cell.w"):
        certificate["v"]


def test_a_constant_that_looks_like_a_weight():
    with pytest.warns(etir.EtirWarning) as warned:
        run_program("""
            import etir
            M = jnp.arange(16.0).reshape(4, 4)
            def step(params, states, x):
                return states @ M + etir.matmul(x, params), None
            etir.compile(step, jnp.eye(4), jnp.ones(4), jnp.ones(4))
        """)
    assert str(warned[0].message) == expected("""
        model.py:4:12: warning: the step closes over a constant f64[4,4]; if it is a weight, it gets no gradient and no label [closed-over-weight]
          return states @ M + etir.matmul(x, params), None
                 ^^^^^^^^^^
          help: pass it in params; or, if it is fixed on purpose, in the inputs or in the states
    """)  # noqa: E501
    assert (warned[0].filename, warned[0].lineno) == ("model.py", 5)


def test_one_glob_of_buffers_may_stand_alone():
    params, states, x = example()
    alone, listed = (etir.lower(step, params, states, x, buffers=globs) for globs in ("h*", ["h*"]))
    assert [leaf.declared for leaf in alone.states] == [leaf.declared for leaf in listed.states] == ["buffer"]


@pytest.mark.parametrize(
    ("constant", "use", "warns"),
    [
        ("jnp.ones((4, 4))", "states @ M", True),
        ("jnp.zeros((4, 4))", "jnp.einsum('i,ij->j', states, M)", True),
        ("jnp.eye(4)", "jax.jit(lambda s: s @ M)(states)", True),
        ("jnp.full((4, 4), 0.5)", "jax.jit(lambda s: jax.lax.map(lambda v: v * M, s))(states)[0, 0]", True),
        ("jnp.tril(jnp.ones((4, 4)))", "states @ (M * params)", False),
        ("jnp.ones((4, 4), bool)", "states @ jnp.where(M, params, 0.0)", False),
        ("jnp.ones((3, 4))", "M[0] * states", False),
    ],
)
def test_zeros_and_ones_are_weights_where_products_are_summed(constant: str, use: str, warns: bool):
    program = f"""
        import etir
        M = {constant}
        def step(params, states, x):
            return {use} + etir.matmul(x, params), None
        etir.compile(step, jnp.full((4, 4), 2.0), jnp.ones(4), jnp.ones(4), on_truncated="ignore")
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run_program(program)
    assert any("[closed-over-weight]" in str(w.message) for w in warned) == warns


def test_numbers_that_are_not_known_yet_are_let_pass():
    params, states, x = example()
    learner = etir.compile(step, params, states, x, on_truncated="ignore")
    carry = jax.jit(lambda h: learner.init(params, {"h": h}))(jnp.full(3, jnp.nan))
    assert np.isnan(carry.states["h"]).all()


@pytest.mark.filterwarnings("ignore::etir.EtirWarning")
def test_a_buffer_may_begin_with_anything():
    def delayed(params, states, x):
        new, y = step(params, {"h": states["h"]}, x)
        return {**new, "line": jnp.where(jnp.isnan(states["line"]), 0, y)}, y

    params, states, x = example()
    learner = etir.compile(delayed, params, {**states, "line": np.full(3, np.nan)}, x, buffers=["line"])
    assert np.isnan(learner.init().states["line"]).all()


@dataclass(frozen=True)
class Forget(etir.Pass):
    """Declare every state not hidden."""

    name: ClassVar[str] = "forget"

    def run(self, transition):
        return replace(transition, states=tuple(replace(s, kind=StateKind.BUFFER) for s in transition.states))


def test_passes_of_ones_own():
    lowered = etir.lower(step, *example())
    plain = etir.analyse(lowered)
    assert [group.shape for group in plain.groups] == [(3,)]
    assert etir.analyse(lowered, after={"discover-states": Forget()}).groups == ()
    assert str(etir.analyse(lowered, passes=[kind() for kind in ANALYSIS])) == str(plain)
    assert etir.analyse(lowered, passes=[Forget()], after={"forget": Forget()}).groups == ()


def test_graphs_and_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    learner = etir.compile(step, *example(), on_truncated="ignore")
    learner.show_graph()
    shown = capsys.readouterr().out
    assert shown.startswith("step: 1 hidden group, d_rtrl, window 1\n")
    etir.show_graph(learner)
    assert capsys.readouterr().out == shown
    learner.show_graph(tmp_path / "one.dot")
    assert etir.write_graph(learner, tmp_path / "two.dot") == tmp_path / "two.dot"
    assert (tmp_path / "one.dot").read_text() == (tmp_path / "two.dot").read_text()
    assert capsys.readouterr().out == ""
    assert str(learner.cost()) == "flops 16, read 16 B, written 16 B, held 16 B"


def test_a_step_may_print_and_prints_once(capfd: pytest.CaptureFixture[str]):
    def talkative(params, states, x):
        jax.debug.print("x is {}", x[0])
        return step(params, states, x)

    params, states, x = example()
    learner = etir.compile(talkative, params, states, x, window=2, on_truncated="ignore")
    xs = jnp.arange(3.0)[:, None] * jnp.ones_like(x)
    learner.grad(lambda y: jnp.sum(y**2))(params, learner.init(), xs)
    jax.effects_barrier()
    assert sorted(capfd.readouterr().out.splitlines()) == ["x is 0.0", "x is 1.0", "x is 2.0"]  # JAX keeps no order


def test_what_a_loss_raises_says_which_arrays_it_was_given():
    def wrong(y, target):
        return jnp.dot(y, target)

    learner = etir.compile(step, *example(), on_truncated="ignore")
    with pytest.raises(TypeError) as raised:
        learner.grad(wrong)(learner.params, learner.init(), jnp.ones((4, 2)), jnp.ones((4, 7)))
    assert "the loss of one step was called with outputs f64[3]; target 0 f64[7]" in raised.value.__notes__
