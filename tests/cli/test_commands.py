"""irdump show, graph, explain: what they print, and with which status they end."""

import linecache

import pytest

# show.


def test_show_has_three_stages(irdump):
    transition = irdump("show", "model.py:exact").out
    plan = irdump("show", "model.py:exact", "--rule", "d_rtrl", "--window", "4").out
    assert "certificate" not in transition
    assert "certificate d_rtrl window=4" in plan
    assert "plan d_rtrl window=4" in plan
    assert irdump("show", "model.py:exact", "--stage", "transition").out == transition
    assert irdump("show", "model.py:exact", "--stage", "plan", "--window", "4").out == plan


def test_show_has_the_kernels_of_a_plan(irdump, here):
    shown = irdump("show", "model.py:exact", "--stage", "kernel", "--window", "4").out
    assert shown.splitlines()[0] == "kernels of d_rtrl window=4 by backend 'auto'"
    assert irdump("show", "model.py:exact", "--stage", "kernel", "--backend", "palas").err == (
        "error: there is no backend 'palas' [unknown-backend]\n  help: did you mean 'pallas'?\n"
    )
    (here / "saved.etir").write_text(irdump("show", "model.py:exact", "--rule", "d_rtrl").out)
    assert irdump("show", "saved.etir", "--stage", "kernel").err.startswith(
        "error: cannot show kernels for 'saved.etir'"
    )


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


# marks.


def test_steps_that_are_marked_are_shown(irdump):
    marks = ("--mask", "step", "--reset", "step")
    plan = irdump("show", "model.py:exact", "--rule", "pp_prop", *marks).out
    assert '  input  %mask  : bool[]  "mask"  mark\n  input  %reset : bool[]  "reset"  mark\n' in plan
    assert "%X_W_next     : f64[3] = select(mark=%mask, on=%X_W_next_moved, off=%X_W_begun)" in plan
    jaxpr = irdump("show", "model.py:exact", "--stage", "jaxpr", *marks).out
    assert [line.partition("  ")[2] for line in jaxpr.splitlines()[3:5]] == ["input mask", "input reset"]


@pytest.mark.parametrize(
    ("model", "mask", "text"),
    [
        (
            "model.py:exact",
            "samples",
            "error: mask='samples'; wanted one of 'step', 'sample', or None [unknown-option]",
        ),
        ("zoo:two_layer_leaky", "sample", "error: mask='sample' is for states whose first axis counts samples"),
    ],
)
def test_marks_that_cannot_be(irdump, model, mask, text):
    ran = irdump("explain", model, "--mask", mask)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(text)


def test_marks_come_before_a_transition_is_saved(irdump, here):
    (here / "saved.etir").write_text(irdump("show", "model.py:exact", "--mask", "step").out)
    assert irdump("show", "saved.etir").status == 0
    assert irdump("show", "saved.etir", "--mask", "step").err.startswith("error: cannot mark steps for 'saved.etir'")


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
        "  - recurrence of 'h' through etir.matmul with 'U' (mixes positions) is dropped\n"
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
    quoted = ("^", "jnp.tanh(", "help:")
    assert saved.splitlines() == [line for line in live.splitlines() if not any(mark in line for mark in quoted)]
    assert "model.py:" in saved


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


def test_explain_of_a_saved_text_quotes_no_other_file_of_that_name(irdump, here):
    (here / "saved.etir").write_text(irdump("show", "model.py:model", "--rule", "d_rtrl").out)
    (here / "model.py").write_text("another = 'file'\n" * 100)
    linecache.getline("model.py", 1)  # as good as known now
    assert "another" not in irdump("explain", "saved.etir").out
