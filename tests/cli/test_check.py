"""irdump check: a row a weight, and a lie found wherever one is."""

from dataclasses import replace

import jax
import pytest

from etir import api
from etir.ir.transition import Verdict


def test_check_prints_a_row_a_weight(irdump):
    ran = irdump("check", "model.py:model")
    head, noise, columns, *rows, last = ran.out.splitlines()
    assert (ran.status, ran.err) == (0, "")
    assert head == "model: d_rtrl, windows of 2, 12 steps, credit full; exact means within 1e-09 in float64"
    assert noise == "noise was added to constant parameters: W, out"
    assert columns == "weight  label        rule    error    verdict"
    assert [(row.split()[0], row.split()[1], row.split()[4]) for row in rows] == [
        ("U", "approximate", "holds"),
        ("W", "approximate", "holds"),
        ("out", "exact", "holds"),
    ]
    assert last == "every label holds"


@pytest.mark.parametrize("target", ["model.py:exact", "zoo:two_layer_leaky", "zoo:lru", "zoo:noisy_counter"])
def test_check_of_exact_rules_finds_exact_gradients(irdump, target):
    ran = irdump("check", target, "--rule", "rtrl", "--window", "3")
    assert ran.status == 0
    assert " approximate " not in ran.out


@pytest.mark.parametrize(
    "options", [("--credit", "rule"), ("--rules", "U=rtrl"), ("--backend", "reference"), ("--seed", "3")]
)
def test_check_takes_options(irdump, options):
    assert irdump("check", "model.py:model", *options).status == 0


def test_check_of_marked_steps(irdump, monkeypatch):
    """With inputs that drive the model as without marks; and what is not true is found."""
    marks = ("--mask", "step", "--reset", "step")
    ran = irdump("check", "zoo:lif_delta_vjp", *marks)
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "every label holds")
    _labelled(monkeypatch, Verdict.EXACT)
    ran = irdump("check", "model.py:model", *marks)
    assert (ran.status, ran.out.splitlines()[-1]) == (1, "1 of 3 labels is a lie")


def test_check_widens_a_model_in_single_precision(irdump):
    ran = irdump("check", "zoo:rnn_leaky")
    assert ran.status == 0
    assert "within 1e-09 in float64" in ran.out


def test_check_is_in_double_precision_whatever_the_model_sets(irdump):
    ran = irdump("check", "model.py:switches_double_precision_off")
    assert ran.status == 0
    assert "within 1e-09 in float64" in ran.out


def test_check_of_a_module_honours_the_kinds_of_its_states(irdump):
    ran = irdump("check", "model.py:Filtered", "--input", "f32[4]", "--rule", "rtrl")
    assert ran.status == 0
    assert "w       truncated  rtrl" in ran.out


def test_check_of_a_step_that_insists_on_single_precision_says_so(irdump):
    ran = irdump("check", "model.py:single")
    assert ran.status == 0
    assert "exact means within 0.0001 in the step's own precision, which is lower than float64" in ran.out


def test_check_of_truncated_weights_compares_the_windows(irdump):
    ran = irdump("check", "model.py:model", "--rule", "bptt", "--window", "3")
    assert ran.status == 0
    assert ran.out.count(" truncated ") == 2
    assert ran.out.splitlines()[-1] == "every label holds"


def test_check_of_a_silent_model_moves_it_to_where_it_has_gradients(irdump):
    ran = irdump("check", "model.py:silent")
    assert ran.status == 0
    assert ran.out.splitlines()[1] == "noise was added to constant parameters: W, out"
    assert ran.out.splitlines()[-1] == "every label holds"


def test_check_keeps_values_that_noise_would_break(irdump):
    ran = irdump("check", "model.py:fragile")
    assert ran.status == 0
    assert ran.out.splitlines()[1] == (
        "constant parameters keep their values, since with noise BPTT is not finite: W, tau"
    )
    assert ran.out.splitlines()[-1] == "every label holds"


@pytest.mark.parametrize(
    ("target", "last"),
    [
        ("ignores", "1 label holds; 1 of 2 not tested: its gradient is zero here"),
        ("only_ignores", "2 of 2 not tested: their gradients are zero here"),
    ],
)
def test_check_says_what_it_did_not_test(irdump, target, last):
    ran = irdump("check", f"model.py:{target}")
    rows = {row.split()[0]: row.split("  ")[-1].strip() for row in ran.out.splitlines()[3:-1]}
    assert ran.status == 0
    assert rows["V"] == "not tested: zero, as BPTT's"
    assert ran.out.splitlines()[-1] == last


def test_check_of_a_weight_that_no_window_sees(irdump):
    ran = irdump("check", "model.py:late", "--rule", "bptt", "--window", "1")
    assert ran.status == 0
    assert "holds: zero, since no window sees it" in ran.out


def _labelled(monkeypatch, label):
    """Learners whose certificate says `label` of everything, whatever is true."""
    emit = api.emit

    def lie(*arguments, **options):
        learner = emit(*arguments, **options)
        labels = tuple(replace(entry, label=label) for entry in learner.certificate)
        certificate = replace(learner.certificate, labels=labels)
        learner.transition = replace(learner.transition, certificate=certificate)
        return learner

    monkeypatch.setattr(api, "emit", lie)


def test_check_finds_a_label_that_lies(irdump, monkeypatch):
    _labelled(monkeypatch, Verdict.EXACT)
    ran = irdump("check", "model.py:model")
    verdicts = [row.split("  ")[-1].strip() for row in ran.out.splitlines()[3:-1]]
    assert ran.status == 1
    assert verdicts == ["LIE: not BPTT's gradient", "LIE: not BPTT's gradient", "holds"]
    assert ran.out.splitlines()[-1] == "2 of 3 labels are lies"


def test_check_finds_a_label_that_is_modest_without_reason(irdump, monkeypatch):
    _labelled(monkeypatch, Verdict.TRUNCATED)
    ran = irdump("check", "model.py:model")
    assert ran.status == 1
    assert ran.out.count("LIE: not the sum of BPTT's in each window") == 2
    assert ran.out.splitlines()[-1] == "2 of 3 labels are lies"


def _spoil(monkeypatch, spoil):
    """Gradients of learners that are passed through `spoil`."""
    emit = api.emit

    class Spoilt:
        def __init__(self, learner):
            self.init, self._learner = learner.init, learner
            self.certificate, self.window_size = learner.certificate, learner.window_size
            self.transition = learner.transition

        def grad(self, loss):
            def run(*arguments):
                result = self._learner.grad(loss)(*arguments)
                return result._replace(grads=jax.tree.map(spoil, result.grads))

            return run

    monkeypatch.setattr(api, "emit", lambda *a, **k: Spoilt(emit(*a, **k)))


@pytest.mark.parametrize(
    ("spoil", "verdict"),
    [
        (lambda g: 0 * g, "LIE: zero, where BPTT's is not"),
        (lambda g: g / 0.0, "LIE: not finite"),
        (lambda g: 2 * g, "LIE: not BPTT's in one window alone"),
    ],
)
def test_check_finds_a_gradient_that_is_wrong_under_a_label_that_promises_little(irdump, monkeypatch, spoil, verdict):
    _labelled(monkeypatch, Verdict.APPROXIMATE)
    _spoil(monkeypatch, spoil)
    ran = irdump("check", "model.py:exact")
    assert ran.status == 1
    assert verdict in ran.out
    assert ran.out.splitlines()[-1] == "1 of 1 labels is a lie"


def test_check_of_the_rules_own_credit_has_no_statement_about_windows(irdump, monkeypatch):
    _labelled(monkeypatch, Verdict.APPROXIMATE)
    _spoil(monkeypatch, lambda g: 2 * g)
    assert irdump("check", "model.py:exact", "--credit", "rule").status == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("model.py:overflows",),
            "error: BPTT of 'overflows' over 12 steps is not finite, so there is nothing to compare with "
            "[check-finite]\n  help: try another seed, or fewer steps\n",
        ),
        (
            ("model.py:only_shapes",),
            "error: 'only_shapes' has only shapes where parameters and states should be, so it cannot be run "
            "[check-values]\n  help: give arrays in their place\n",
        ),
        (
            ("model.py:model", "--window", "20", "--steps", "10"),
            "error: 10 steps are one window of 20: no trace is used, so nothing can be checked [check-steps]\n"
            "  help: give more steps than a window has\n",
        ),
        (
            ("saved.etir",),
            "error: cannot check gradients for 'saved.etir': it is a transition without the program that it was made "
            "from [target-bodies]\n  help: name the model instead, as pkg.mod:attr or file.py:attr\n",
        ),
        (
            ("model.py:counts", "--rule", "rtrl"),
            "error: no output of 'counts' is of floating or complex type, so there is no gradient to check "
            "[check-outputs]\n  help: return from the step what a loss would read\n",
        ),
    ],
)
def test_check_refuses_what_it_cannot_check(irdump, here, arguments, text):
    (here / "saved.etir").write_text(irdump("show", "model.py:model").out)
    assert irdump("check", *arguments) == (2, "", text)
