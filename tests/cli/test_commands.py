"""The subcommands: what they print, and with which status they end."""

import subprocess
import sys
from dataclasses import replace

import jax
import pytest

from etir.cli import check, main, options
from etir.ir.transition import Verdict

# show.


def test_show_has_three_stages(irdump):
    transition = irdump("show", "model.py:exact").out
    plan = irdump("show", "model.py:exact", "--rule", "d_rtrl", "--window", "4").out
    assert "certificate" not in transition
    assert "certificate d_rtrl window=4" in plan
    assert "plan d_rtrl window=4" in plan
    assert irdump("show", "model.py:exact", "--stage", "transition").out == transition
    assert irdump("show", "model.py:exact", "--stage", "plan", "--window", "4").out == plan


def test_show_names_the_arguments_of_a_jaxpr(irdump):
    out = irdump("show", "model.py:model", "--stage", "jaxpr").out
    assert out.splitlines()[:5] == ["# a  param U", "# b  param W", "# c  param out", "# d  state h", "# e  input x"]
    assert "tanh" in out


def test_show_of_a_saved_text_stops_where_its_programs_would_be_needed(irdump, here):
    (here / "saved.etir").write_text(irdump("show", "model.py:exact").out)
    help = "  help: name the model instead, as pkg.mod:attr or file.py:attr\n"
    assert irdump("show", "saved.etir", "--stage", "jaxpr").err == (
        f"error: 'saved.etir' holds no Jaxpr: it was read from text, which has only its digest [target-bodies]\n{help}"
    )
    assert irdump("show", "saved.etir", "--rule", "rtrl").err == (
        "error: cannot plan a rule for 'saved.etir': it is a transition without the program that it was made from "
        f"[target-bodies]\n{help}"
    )


@pytest.mark.parametrize("sites", ["explicit", "auto", "W", "W,out"])
def test_sites_can_be_chosen(irdump, sites):
    ran = irdump("show", "model.py:model", "--sites", sites)
    found = ran.out.count(" = etp.") + ran.out.count(" = use.")
    assert ran.status == 0
    assert found >= 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--rule", "rtr"), "error: there is no learning rule 'rtr' [unknown-rule]\n  help: did you mean 'rtrl'?\n"),
        (
            ("--rules", "V=rtrl"),
            "error: no parameter matches 'V', given in rules= [rule-path]\n  help: known: U, W, out\n",
        ),
        (
            ("--rules", "V"),
            "error: 'V' gives no rule to a weight [rules-form]\n  help: write --rules 'cell.Wr*=rtrl'\n",
        ),
        (
            ("--rule", "d_rtrl", "--window", "0"),
            "error: window=0; a window is at least one step long [window-size]\n",
        ),
    ],
)
def test_a_rule_that_cannot_be(irdump, arguments, text):
    ran = irdump("show", "model.py:model", *arguments)
    assert (ran.status, ran.out, ran.err) == (2, "", text)


# graph.


@pytest.mark.parametrize("suffix", ["svg", "dot", "png"])
def test_graph_writes_a_file_and_says_where(irdump, here, suffix):
    assert irdump("graph", "model.py:model", "-o", f"g.{suffix}") == (0, f"g.{suffix}\n", "")
    assert (here / f"g.{suffix}").stat().st_size > 100


def test_graph_of_a_saved_text_has_the_same_weights(irdump, here):
    (here / "saved.etir").write_text(irdump("show", "model.py:model", "--rule", "d_rtrl").out)
    irdump("graph", "saved.etir", "-o", "saved.dot")
    assert "<B>approximate</B>" in (here / "saved.dot").read_text()


def test_graph_refuses_a_format_before_it_does_any_work(irdump):
    assert irdump("graph", "model.py:nowhere", "-o", "g.jpg") == (
        2,
        "",
        "error: cannot tell the format of 'g.jpg' from '.jpg'; wanted one of .dot, .gv, .svg, .pdf, .png "
        "[graph-format]\n  help: did you mean '.png'?\n",
    )


# explain.


def test_explain_says_why_and_where(irdump, here):
    lines = (here / "model.py").read_text().splitlines()
    source = next(line.strip() for line in lines if line.startswith("    h = jnp.tanh("))
    place = f"model.py:{lines.index('    ' + source) + 1}"
    at_u = source.index("etir.matmul(states")
    carets = f"{' ' * at_u}{'^' * len(source[at_u:-1])}"
    assert irdump("explain", "model.py:model", "U").out == (
        "U  approximate  by d_rtrl, window 1, credit full\n"
        "  its trace carries credit across windows, but leaves out what is listed here\n"
        "  used by dot i,ij->j; reaches 'h' [=]\n"
        f"    {place}:{at_u + 5}\n"
        f"      {source}\n"
        f"      {carets}\n"
        "  - recurrence of 'h' through etir.matmul (mixes positions) is dropped\n"
        f"    {place}:{at_u + 5}\n"
        "  help: --rules 'U=rtrl' makes it exact, at the cost of a full trace\n"
    )


def test_explain_of_everything_and_of_a_glob(irdump):
    every = irdump("explain", "model.py:model").out.split("\n\n")
    assert [paragraph.split()[:2] for paragraph in every] == [
        ["U", "approximate"],
        ["W", "approximate"],
        ["out", "exact"],
    ]
    assert irdump("explain", "model.py:model", "[UW]").out.rstrip("\n").split("\n\n") == every[:2]


def test_explain_of_a_saved_text_has_places_and_no_promises(irdump, here):
    live = irdump("explain", "model.py:model", "W").out
    (here / "saved.etir").write_text(irdump("show", "model.py:model", "--rule", "d_rtrl").out)
    saved = irdump("explain", "saved.etir", "W").out
    kept = [line for line in live.splitlines() if "^" not in line and "help:" not in line]
    assert [line for line in saved.splitlines() if "^" not in line] == kept
    (here / "model.py").unlink()
    assert "jnp.tanh" not in irdump("explain", "saved.etir", "W").out


def test_explain_offers_what_would_be_exact_and_nothing_else(irdump):
    assert "help" not in irdump("explain", "zoo:delay_buffer", "W").out
    assert "--rules 'U=rtrl'" in irdump("explain", "zoo:rnn_vanilla", "U").out


def test_explain_of_no_weight(irdump, here):
    assert irdump("explain", "model.py:model", "outt") == (
        2,
        "",
        "error: 'model' has no weight 'outt' [weight-path]\n  help: did you mean 'out'?\n",
    )
    (here / "saved.etir").write_text(irdump("show", "model.py:model").out)
    assert irdump("explain", "saved.etir").status == 2


# check.


def test_check_prints_a_row_a_weight(irdump):
    ran = irdump("check", "model.py:model")
    head, columns, *rows, last = ran.out.splitlines()
    assert (ran.status, ran.err) == (0, "")
    assert head == "model: d_rtrl, windows of 2, 12 steps, credit full; exact means within 1e-09 in float64"
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
    assert "w       approximate  rtrl" in ran.out


def test_check_of_a_step_that_insists_on_single_precision_says_so(irdump):
    ran = irdump("check", "model.py:single")
    assert ran.status == 0
    assert "exact means within 0.0001 in the step's own precision, which is lower than float64" in ran.out


def _labelled(label):
    """A plan whose certificate says `label` of everything, whatever is true."""
    plan = options.plan

    def lie(transition, chosen):
        planned = plan(transition, chosen)
        labels = tuple(replace(entry, label=label) for entry in planned.certificate)
        return replace(planned, certificate=replace(planned.certificate, labels=labels))

    return lie


def test_check_finds_a_label_that_lies(irdump, monkeypatch):
    monkeypatch.setattr(options, "plan", _labelled(Verdict.EXACT))
    ran = irdump("check", "model.py:model")
    verdicts = [row.split("  ")[-1].strip() for row in ran.out.splitlines()[2:-1]]
    assert ran.status == 1
    assert verdicts == ["LIE: not BPTT's gradient", "LIE: not BPTT's gradient", "holds"]
    assert ran.out.splitlines()[-1] == "2 of 3 labels are lies"


@pytest.mark.parametrize(
    ("spoil", "verdict"), [(lambda g: 0 * g, "LIE: zero, where BPTT's is not"), (lambda g: g / 0.0, "LIE: not finite")]
)
def test_check_finds_a_gradient_that_is_none(irdump, monkeypatch, spoil, verdict):
    emit = check.api.emit

    class Spoilt:
        def __init__(self, learner):
            self.init, self._learner = learner.init, learner

        def grad(self, loss):
            def run(*arguments):
                result = self._learner.grad(loss)(*arguments)
                return (
                    result._replace(grads=jax.tree.map(spoil, result.grads))
                    if hasattr(result, "_replace")
                    else replace(result, grads=jax.tree.map(spoil, result.grads))
                )

            return run

    monkeypatch.setattr(check.api, "emit", lambda *a, **k: Spoilt(emit(*a, **k)))
    monkeypatch.setattr(options, "plan", _labelled(Verdict.APPROXIMATE))
    ran = irdump("check", "model.py:exact")
    assert ran.status == 1
    assert verdict in ran.out
    assert ran.out.splitlines()[-1] == "1 of 1 labels is a lie"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("model.py:model", "--window", "20", "--steps", "10"),
            "error: 10 steps are one window of 20: no trace is used, so nothing can be checked [check-steps]\n"
            "  help: give --steps more than --window\n",
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


# The command line itself.


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as caught:
        main.main(["--help"])
    assert caught.value.code == 0
    assert "irdump check model.py:net --input 'f32[8,3]' --rule rtrl" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["show", "graph", "explain", "check"])
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main.main([command, "--help"])
    assert caught.value.code == 0
    assert "TARGET" in capsys.readouterr().out


def test_the_installed_command_ends_quietly_when_its_reader_leaves(here):
    command = f"{sys.executable} -m etir.cli.main show zoo:lstm --rule d_rtrl | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, cwd=here)
    assert done.stdout.startswith("transition @lstm")
    assert done.stderr == ""
