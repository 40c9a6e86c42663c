"""What can be wrong with a model or with the options of `compile`, and the whole text of what is said."""

import pytest
from snippets import expected, message_of

HEAD = """\
import etir
from etir import matmul
W, h, x = jnp.eye(3), jnp.zeros(3), jnp.ones(3)
params, states = {"cell": {"w": W}}, {"h": h}
def step(params, states, x):
    h = 0.9 * states["h"] + matmul(x, params["cell"]["w"])
    return {"h": h}, h
"""
"""A case begins on the eighth line."""

CASES = {
    "element type": (
        """
        etir.compile(step, params, {"h": h.astype(jnp.bfloat16)}, x)
        """,
        """
        model.py:5: error: state 'h' enters the step as bf16[3] but leaves as f64[3] [state-type]
          def step(params, states, x):
          help: cast the update to bf16, or declare the state as f64[3]
        """,
    ),
    "shape": (
        """
        def wide(params, states, x):
            return {"h": jnp.concatenate([states["h"], matmul(x, params["cell"]["w"])])}, None
        etir.compile(wide, params, states, x)
        """,
        """
        model.py:8: error: state 'h' enters the step as f64[3] but leaves as f64[6] [state-type]
          def wide(params, states, x):
          help: return an update of shape [3], or declare the state as f64[6]
        """,
    ),
    "two states at once": (
        """
        def halves(params, states, x):
            y = matmul(x, params["w"])
            return {"a": y.astype(jnp.float32), "b": (states["b"][0], y[:1])}, y
        etir.compile(halves, {"w": W}, {"a": h, "b": (h, h)}, x)
        """,
        """
        model.py:8: error: state 'a' enters the step as f64[3] but leaves as f32[3] [state-type]
          def halves(params, states, x):
          help: cast the update to f64, or declare the state as f32[3]
        model.py:8: error: state 'b.1' enters the step as f64[3] but leaves as f64[1] [state-type]
          def halves(params, states, x):
          help: return an update of shape [3], or declare the state as f64[1]
        """,
    ),
    "structure": (
        """
        def renamed(params, states, x):
            return {"g": states["h"] + matmul(x, params["cell"]["w"])}, None
        etir.compile(renamed, params, states, x)
        """,
        """
        model.py:8: error: the step returns its states in another structure than it was given [state-structure]
          def renamed(params, states, x):
          note: state 'h' is not returned
          note: 'g' is returned but is no state
          help: return every state, in the same containers
        """,
    ),
    "containers": (
        """
        def listed(params, states, x):
            return [states[0] + matmul(x, params["cell"]["w"])], None
        etir.compile(listed, params, (h,), x)
        """,
        """
        model.py:8: error: the step returns its states in another structure than it was given [state-structure]
          def listed(params, states, x):
          note: given PyTreeDef((*,)), returned PyTreeDef([*])
          help: return every state, in the same containers
        """,
    ),
    "no pair": (
        """
        def alone(params, states, x):
            return matmul(x, params["cell"]["w"])
        etir.compile(alone, params, states, x)
        """,
        """
        model.py:8: error: the step returned f64[3]; wanted the pair (new_states, outputs) [step-result]
          def alone(params, states, x):
          help: return the new states first, in the structure of the old ones, then the outputs (None for none)
        """,
    ),
    "three results": (
        """
        def three(params, states, x):
            return states, x, x
        etir.compile(three, params, states, x)
        """,
        """
        model.py:8: error: the step returned 3 values; wanted the pair (new_states, outputs) [step-result]
          def three(params, states, x):
          help: return the new states first, in the structure of the old ones, then the outputs (None for none)
        """,
    ),
    "input missing": (
        """
        etir.compile(step, params, states)
        """,
        """
        model.py:5: error: 'step(params, states, x)' does not take the 2 example values given [step-arguments]
          def step(params, states, x):
          note: missing a required argument: 'x'
          help: call it as (step, params, states, *inputs), with an example of every input that the step takes
        """,
    ),
    "input too many": (
        """
        etir.compile(step, params, states, x, x)
        """,
        """
        model.py:5: error: 'step(params, states, x)' does not take the 4 example values given [step-arguments]
          def step(params, states, x):
          note: too many positional arguments
          help: call it as (step, params, states, *inputs), with an example of every input that the step takes
        """,
    ),
    "nothing given": (
        """
        etir.compile(step)
        """,
        """
        error: 'step' was given without parameters and states [step-arguments]
          help: call it as (step, params, states, *inputs) for a plain function, or as (module, *inputs)
        """,
    ),
    "a class": (
        """
        class Cell(etir.Module):
            def __init__(self):
                self.w = etir.ParamState(W)
        etir.compile(Cell, x)
        """,
        """
        error: the class 'Cell' was given; wanted a module, which is an instance of it [step-arguments]
          help: make one first: Cell(...)
        """,
    ),
    "a stage left out": (
        """
        etir.plan(etir.lower(step, params, states, x))
        """,
        """
        error: etir.plan was given something of type Step; wanted a Transition [stage-argument]
          help: make it with etir.analyse(etir.lower(...))
        """,
    ),
    "no function": (
        """
        etir.compile(3, params, states, x)
        """,
        """
        error: the step is of type int; wanted a function [step-arguments]
          help: call it as (step, params, states, *inputs), with an example of every input that the step takes
        """,
    ),
    "module without its input": (
        """
        class Cell(etir.Module):
            def __init__(self):
                self.w = etir.ParamState(W)
                self.h = etir.HiddenState(h)
            def update(self, x):
                self.h.value = 0.9 * self.h.value + matmul(x, self.w.value)
        etir.compile(Cell())
        """,
        """
        model.py:12: error: 'update(x)' does not take the 0 example values given [step-arguments]
          def update(self, x):
          note: missing a required argument: 'x'
          help: call it as (module, *inputs), with an example of every input
        """,
    ),
    "no array": (
        """
        etir.compile(step, {"cell": {"w": W, "act": "tanh"}, "f": jnp.tanh}, states, x)
        """,
        """
        error: parameter 'cell.act' is of type str; wanted an array or a number [leaf-type]
          help: keep what is no number out of the trees: close over it, or make it static with functools.partial
        error: parameter 'f' is of type PjitFunction; wanted an array or a number [leaf-type]
          help: keep what is no number out of the trees: close over it, or make it static with functools.partial
        """,
    ),
    "integer states": (
        """
        def count(params, states, x):
            return {"n": states["n"] + 1}, matmul(x, params["cell"]["w"])
        etir.compile(count, params, {"n": jnp.array(0)}, x)
        """,
        """
        model.py:8: error: step 'count' has no hidden state, so there is nothing to learn online [no-hidden-state]
          def count(params, states, x):
          note: state 'n' is i64[]: only floating and complex states carry credit
          help: give the step a state of floating or complex type that it reads and returns
        """,
    ),
    "no states": (
        """
        def memoryless(params, states, x):
            return {}, matmul(x, params["cell"]["w"])
        etir.compile(memoryless, params, {}, x)
        """,
        """
        model.py:8: error: step 'memoryless' has no hidden state, so there is nothing to learn online [no-hidden-state]
          def memoryless(params, states, x):
          note: it has no state at all
          help: give the step a state of floating or complex type that it reads and returns
        """,
    ),
    "no site": (
        """
        def f(params, states, x):
            return {"h": jnp.tanh(states["h"] @ params["cell"]["w"] + x)}, None
        etir.compile(f, params, states, x)
        """,
        """
        model.py:8: error: step 'f' uses no weight through an ETP operation, so 'd_rtrl' has nothing to trace [no-site]
          def f(params, states, x):
          help: write etir.matmul(h, w) where the weight should learn online, or pass sites='auto'
        """,
    ),
    "rule": (
        """
        etir.compile(step, params, states, x, rule="d_rtlr")
        """,
        """
        error: there is no learning rule 'd_rtlr' [unknown-rule]
          help: did you mean 'd_rtrl'?
        """,
    ),
    "rule of another kind": (
        """
        etir.compile(step, params, states, x, rule=3)
        """,
        """
        error: the learning rule is of type int; wanted a name or a Rule [unknown-rule]
          help: known: auto, bptt, cascade, d_rtrl, dni, e_prop, kf_rtrl, ottt, pp_prop, rflo, rtrl, snap, three_factor, uoro
        """,  # noqa: E501 (a message has no line breaks of its own)
    ),
    "rules": (
        """
        etir.compile(step, params, states, x, rules={"w": "rtrl", "cell.*": "rtlr"})
        """,
        """
        error: there is no learning rule 'rtlr' [unknown-rule]
          help: did you mean 'rtrl'?
        error: no parameter matches 'w', given in rules= [rule-path]
          help: did you mean 'cell.w'?
        """,
    ),
    "rules in a list": (
        """
        etir.compile(step, params, states, x, rules=["rtrl"])
        """,
        """
        error: rules= is of type list; wanted a mapping from globs of parameter paths to rules [rules-form]
          help: write rules={'cell.w': 'rtrl'}
        """,
    ),
    "backend": (
        """
        etir.compile(step, params, states, x, backend="refrence")
        """,
        """
        error: there is no backend 'refrence' [unknown-backend]
          help: did you mean 'reference'?
        """,
    ),
    "credit and window": (
        """
        etir.compile(step, params, states, x, credit="fully", window=0)
        """,
        """
        error: window=0; a window is at least one step long [window-size]
        error: credit='fully'; wanted 'full' or 'rule' [unknown-credit]
        """,
    ),
    "a window by a name": (
        """
        etir.compile(step, params, states, x, window="atuo")
        """,
        """
        error: window='atuo'; wanted a number of steps, as an int, or 'auto' [window-size]
          help: did you mean 'auto'?
        """,
    ),
    "a window as a text": (
        """
        etir.compile(step, params, states, x, window="16")
        """,
        """
        error: window='16'; wanted a number of steps, as an int, or 'auto' [window-size]
          help: pass window=16
        """,
    ),
    "half a window": (
        """
        etir.compile(step, params, states, x, window=2.5)
        """,
        """
        error: window=2.5; wanted a number of steps, as an int [window-size]
        """,
    ),
    "sites": (
        """
        etir.compile(step, params, states, x, sites="atuo")
        """,
        """
        error: no parameter matches 'atuo', given as sites= [site-path]
          help: did you mean 'auto'?
        """,
    ),
    "a traced weight that reaches memory through another": (
        """
        def step(params, states, x):
            y = etir.matmul(jnp.tanh(etir.matmul(x, params["A"])), params["B"])
            h = 0.5 * states["h"] + y
            return {"h": h}, h
        params, states, x = {"A": jnp.ones((3, 4)), "B": jnp.ones((4, 5))}, {"h": jnp.zeros(5)}, jnp.ones(3)
        etir.compile(step, params, states, x, on_truncated="error")
        """,
        """
        model.py:9:9: error: 'A' has no trace under 'd_rtrl': its credit ends where the window begins [truncated-weight]
          y = etir.matmul(jnp.tanh(etir.matmul(x, params["A"])), params["B"])
              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: reaches 'h' only through etir.matmul with 'B' (mixes positions)
          help: choose another rule for it, as rules={'A': 'rtrl'}, or pass on_truncated='ignore'
        """,
    ),
    "on_truncated": (
        """
        etir.compile(step, params, states, x, on_truncated="warning")
        """,
        """
        error: on_truncated='warning'; wanted 'warn', 'error' or 'ignore' [unknown-option]
        """,
    ),
    "trace_dtype": (
        """
        etir.compile(step, params, states, x, trace_dtype=jnp.int32)
        """,
        """
        error: trace_dtype='int32'; wanted a floating-point element type [trace-dtype]
          help: pass jnp.float32 or jnp.bfloat16
        """,
    ),
    "weight written": (
        """
        class Cell(etir.Module):
            def __init__(self):
                self.w = etir.ParamState(W)
                self.h = etir.HiddenState(h)
            def update(self, x):
                self.w.value = 0.9 * self.w.value
                self.h.value = self.h.value + matmul(x, self.w.value)
        etir.compile(Cell(), x)
        """,
        """
        model.py:13:9: error: weight 'w' is written in the step, which must hold weights still [weight-written]
          self.w.value = 0.9 * self.w.value
          ^^^^^^^^^^^^
          note: model.py:10:18: weight 'w' is declared here
          help: train weights outside the model; declare what the step writes as a HiddenState or a State
        """,
    ),
    "weight closed over": (
        """
        M = jnp.arange(9.0).reshape(3, 3)
        def closed(params, states, x):
            return {"h": matmul(states["h"], M) + matmul(x, params["cell"]["w"])}, None
        etir.compile(closed, params, states, x)
        """,
        """
        model.py:10:18: error: no operand of this operation (dot) is made of parameters alone [site-without-weight]
          return {"h": matmul(states["h"], M) + matmul(x, params["cell"]["w"])}, None
                       ^^^^^^^^^^^^^^^^^^^^^^
          note: an operand is a constant f64[3,3]: was the weight closed over?
          help: pass the weight in params; for a product of two computed arrays use the plain operation
        """,
    ),
    "not finite": (
        """
        etir.compile(step, {"cell": {"w": W.at[0].set(jnp.nan)}}, {"h": h.at[1].set(jnp.inf)}, x)
        """,
        """
        error: parameter 'cell.w' is not finite: 3 NaN of 9 elements [not-finite]
          help: begin with finite numbers: every gradient that depends on these would be NaN
        error: state 'h' is not finite: 1 infinite of 3 elements [not-finite]
          help: begin with finite numbers: every gradient that depends on these would be NaN
        """,
    ),
    "not finite in a module": (
        """
        class Cell(etir.Module):
            def __init__(self):
                self.w = etir.ParamState(W.at[0, 0].set(jnp.nan))
                self.h = etir.HiddenState(h)
            def update(self, x):
                self.h.value = 0.9 * self.h.value + matmul(x, self.w.value)
        etir.compile(Cell(), x)
        """,
        """
        error: parameter 'w' is not finite: 1 NaN of 9 elements [not-finite]
          help: begin with finite numbers: every gradient that depends on these would be NaN
        """,
    ),
    "sizes of a product": (
        """
        etir.compile(step, {"cell": {"w": jnp.ones((4, 3))}}, states, x)
        """,
        """
        model.py:6:29: error: etir.matmul of shapes (3,) and (4, 3): axis 'i' of 'i,ij->j' has size 3 in one operand and 4 in the other [operand-shape]
          h = 0.9 * states["h"] + matmul(x, params["cell"]["w"])
                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        """,  # noqa: E501
    ),
    "product with a scalar": (
        """
        y = matmul(x, 2.0)
        """,
        """
        model.py:8:5: error: etir.matmul got operands of 1 and 0 axes [matmul-rank]
          y = matmul(x, 2.0)
              ^^^^^^^^^^^^^^
          help: spell the product with etir.einsum, or use etir.scale for a scalar
        """,
    ),
    "scale that does not broadcast": (
        """
        y = etir.scale(x, jnp.ones(4))
        """,
        """
        model.py:8:5: error: etir.scale of shapes (3,) and (4,), which do not broadcast together [operand-shape]
          y = etir.scale(x, jnp.ones(4))
              ^^^^^^^^^^^^^^^^^^^^^^^^^^
        """,
    ),
    "einsum without a result": (
        """
        y = etir.einsum("i,ij", x, W)
        """,
        """
        model.py:8:5: error: 'i,ij' does not describe 2 operands and a result [expression-form]
          y = etir.einsum("i,ij", x, W)
              ^^^^^^^^^^^^^^^^^^^^^^^^^
          help: write one term for each operand and an explicit result, as in '...i,ij->...j'
        """,
    ),
    "einsum of another rank": (
        """
        y = etir.einsum("ki,ij->kj", x, W)
        """,
        """
        model.py:8:5: error: 'ki' in 'ki,ij->kj' names 2 axes, but the operand has 1 [expression-form]
          y = etir.einsum("ki,ij->kj", x, W)
              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        """,
    ),
    "integer state with a floating-point update": (
        """
        def leak(params, states, x):
            return {"h": 0.9 * states["h"] + matmul(x, params["cell"]["w"])}, None
        etir.compile(leak, params, {"h": jnp.zeros(3, jnp.int32)}, x)
        """,
        """
        model.py:8: error: state 'h' enters the step as i32[3] but leaves as f64[3] [state-type]
          def leak(params, states, x):
          help: declare the state as f64[3]: only floating and complex states carry credit
        """,
    ),
    "custom pass": (
        """
        etir.analyse(etir.lower(step, params, states, x), after={"discover-state": etir.PassManager()})
        """,
        """
        error: no pass 'discover-state' to come after [unknown-pass]
          help: did you mean 'discover-states'?
        """,
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.each
def test_what_is_said(name: str):
    program, message = CASES[name]
    assert message_of(HEAD + expected(program)) == expected(message)
