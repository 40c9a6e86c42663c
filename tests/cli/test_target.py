"""What a TARGET may be, and what is said where it is something else."""

import io
import sys

import pytest

KINDS = (
    "  note: a TARGET is a module, a tuple (module, *inputs) or (step, params, states, *inputs), a Transition, "
    "a Learner, or makes one of them\n"
)


@pytest.mark.parametrize(
    "arguments",
    [
        ("model.py:model",),
        ("model:model",),
        ("./model.py:exact",),
        ("model.py:Nested.inner",),
        ("model.py:without_inputs", "--input", "f32[3]"),
        ("model.py:cell", "--input", "f32[4]"),
        ("model.py:Cell", "--input", "f32[4]"),
        ("zoo:lstm",),
    ],
)
def test_a_target_is_shown(irdump, arguments):
    ran = irdump("show", *arguments)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("transition @")
    assert ran.out.endswith("}\n")


def test_inputs_given_take_the_place_of_the_targets_own(irdump):
    assert 'input  %x : f32[3]  "x"' in irdump("show", "model.py:model", "--input", "f32[3]").out
    assert 'input  %x : f64[3]  "x"' in irdump("show", "model.py:model").out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("model.py",), "error: 'model.py' names no model [target-form]\n  help: say what in it: model.py:NAME\n"),
        (
            ("model",),
            "error: 'model' names no model [target-form]\n"
            "  help: write pkg.mod:attr, file.py:attr, zoo:NAME, or the path of a saved .etir or .txt\n",
        ),
        (
            ("modle.py:model",),
            "error: there is no file 'modle.py' [target-file]\n  help: did you mean 'model.py'?\n",
        ),
        (("elsewhere/x.py:model",), "error: there is no file 'elsewhere/x.py' [target-file]\n"),
        (("no_such_module:model",), "error: there is no module 'no_such_module' [target-module]\n"),
        (
            ("model.py:modle",),
            "error: 'model.py' has no attribute 'modle' [target-attribute]\n  help: did you mean 'model'?\n",
        ),
        (
            ("model.py:Nested.outer",),
            "error: 'model.py:Nested' has no attribute 'outer' [target-attribute]\n  help: known: inner\n",
        ),
        (("model.py:nothing",), f"error: 'nothing' is a NoneType, which is no model [target-kind]\n{KINDS}"),
        (("model.py:params",), f"error: 'params' is a dict, which is no model [target-kind]\n{KINDS}"),
        (
            ("model.py:step",),
            "error: 'step' cannot be called without arguments: it needs params, states, x [target-kind]\n"
            f"{KINDS}  help: add `def model(): return step, params, states, *inputs` to the file, and name that\n",
        ),
        (
            ("model.py:Sized",),
            "error: 'Sized' cannot be called without arguments: it needs n [target-kind]\n"
            f"{KINDS}  help: add `def model(): return Sized(...)` to the file, and name that\n",
        ),
        (
            ("model.py:cell",),
            "error: one step of 'cell' takes x, whose shapes are not known [target-inputs]\n"
            "  help: give the type of each, in order: --input TYPE, as in --input 'f32[8,16]'\n",
        ),
        (
            ("model.py:without_inputs",),
            "error: one step of 'without_inputs' takes x, whose shapes are not known [target-inputs]\n"
            "  help: give the type of each, in order: --input TYPE, as in --input 'f32[8,16]'\n",
        ),
        (
            ("zoo:lstn",),
            "error: the zoo has no model 'lstn' [target-zoo]\n  help: did you mean 'lstm'?\n",
        ),
        (
            ("zoo:gru",),
            "error: the zoo has no model 'gru' [target-zoo]\n  help: did you mean 'gru_reset_before' or "
            "'gru_reset_after' or 'gru_reset_before_fused' or 'gru_reset_after_fused'?\n",
        ),
        (
            ("model.py:model", "--input", "f33[3]"),
            "error: 'f33[3]' has an unknown element type 'f33' [input-type]\n  help: did you mean 'f32'?\n",
        ),
        (
            ("model.py:model", "--input", "3"),
            "error: '3' is not the type of an input [input-type]\n"
            "  help: write one as 'f32[8,16]', a scalar as 'f32[]'\n",
        ),
        (("nowhere.etir",), "error: cannot read 'nowhere.etir': No such file or directory [target-file]\n"),
    ],
)
def test_a_mistake_is_named(irdump, arguments, text):
    assert irdump("show", *arguments) == (2, "", text)


def test_an_exception_of_the_targets_own_comes_with_its_lines(irdump, here):
    ran = irdump("show", "model.py:raises")
    assert (ran.status, ran.out) == (2, "")
    lines = (here / "model.py").read_text().splitlines()
    call, raised = (
        lines.index("    return helper()") + 1,
        lines.index('    raise ValueError("no weights\\nto be found")') + 1,
    )
    assert ran.err == (
        "error: 'raises' raised ValueError: no weights [target-raised]\n"
        f"  note: model.py:{call}: in raises: return helper()\n"
        f'  note: model.py:{raised}: in helper: raise ValueError("no weights\\nto be found")\n'
    )


def test_an_exit_of_the_targets_own_is_no_exit_of_the_command(irdump):
    ran = irdump("show", "model.py:leaves")
    assert ran.status == 2
    assert ran.err.startswith("error: 'leaves' raised SystemExit: 3 [target-raised]\n")


def test_a_step_that_fails_comes_with_its_lines(irdump):
    ran = irdump("show", "model.py:wrong_shape")
    first, note = ran.err.splitlines()
    assert ran.status == 2
    assert first.startswith("error: the step of 'wrong_shape' raised TypeError: dot_general requires contracting")
    assert note.endswith(
        '(lambda p, s, x: ({"h": s["h"] + x @ p["W"]}, x)), {"W": jnp.ones((3, 4))}, states, jnp.zeros(5)'
    )


def test_a_step_that_cannot_be_lowered_is_a_diagnostic(irdump):
    ran = irdump("show", "model.py:drifts")
    assert ran.status == 2
    assert "error: state 'h' enters the step as f64[4] but leaves as bf16[4] [state-type]" in ran.err


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "def f(:\n",
            "error: 'broken.py' cannot be imported: SyntaxError: invalid syntax [target-raised]\n"
            "  note: broken.py:1: def f(:\n",
        ),
        (
            "zero = 0\n\nvalue = 1 / zero\n",
            "error: 'broken.py' cannot be imported: ZeroDivisionError: division by zero [target-raised]\n"
            "  note: broken.py:3: in <module>: value = 1 / zero\n",
        ),
        (
            "import not_a_module_at_all\n",
            "error: 'broken.py' cannot be imported: ModuleNotFoundError: No module named 'not_a_module_at_all' "
            "[target-raised]\n  note: broken.py:1: in <module>: import not_a_module_at_all\n",
        ),
    ],
)
def test_a_file_that_cannot_be_imported(irdump, here, source, text):
    (here / "broken.py").write_text(source)
    ran = irdump("show", "broken.py:value")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == text


def test_a_file_that_is_no_text_is_named(irdump, here):
    (here / "odd.etir").write_bytes(b"\xff\xfe\x00")
    assert irdump("show", "odd.etir") == (2, "", "error: cannot read 'odd.etir': it is not text [target-file]\n")


def test_a_saved_transition_is_read_from_a_file_and_from_standard_input(irdump, here, monkeypatch):
    text = irdump("show", "model.py:model", "--rule", "d_rtrl").out
    (here / "saved.etir").write_text(text)
    assert irdump("show", "saved.etir") == (0, text, "")
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert irdump("show", "-") == (0, text, "")


def test_a_saved_transition_with_a_mistake_has_a_place(irdump, here):
    (here / "saved.etir").write_text('transition @t {\n  parm %w : f32[3]  "w"\n}\n')
    ran = irdump("show", "saved.etir")
    assert ran.status == 2
    assert ran.err.startswith("saved.etir:2:3: error: ")


def test_a_transition_and_a_learner_are_targets(irdump, here):
    (here / "more.py").write_text(
        "import etir\nfrom model import exact\n"
        "transition = etir.analyse(etir.lower(*exact))\n"
        "learner = etir.compile(*exact, rule='pp_prop', window=3)\n"
    )
    assert irdump("show", "more.py:transition").out.startswith("transition @leaky")
    assert "certificate pp_prop window=3" in irdump("show", "more.py:learner").out
