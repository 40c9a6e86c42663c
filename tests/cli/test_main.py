"""The command line itself: help, usage, and what goes to which stream."""

import subprocess
import sys

import pytest

from etir.cli import main


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


def test_positionals_and_options_stand_in_any_order(irdump):
    wanted = irdump("explain", "model.py:model", "U", "--window", "3").out
    assert wanted.startswith("U  approximate  by d_rtrl, window 3")
    assert irdump("explain", "model.py:model", "--window", "3", "U").out == wanted
    assert irdump("explain", "--window", "3", "model.py:model", "U").out == wanted
    assert irdump("show", "--stage", "transition", "zoo:lru", "--sites", "auto").status == 0
    assert irdump("graph", "-o", "g.dot", "zoo:lru").status == 0
    assert irdump("check", "--steps", "4", "model.py:exact", "--seed", "1").status == 0


@pytest.mark.parametrize(
    ("arguments", "usage", "mistake"),
    [
        (["explain", "zoo:lru", "a", "b"], "usage: irdump explain [-h]", "unrecognized arguments: b"),
        (["show", "--staeg", "plan", "zoo:lru"], "usage: irdump show [-h]", "unrecognized arguments: --staeg"),
        (["check"], "usage: irdump check [-h]", "the following arguments are required: TARGET"),
        (["graph", "zoo:lru"], "usage: irdump graph [-h]", "the following arguments are required: -o/--output"),
        (["shwo"], "usage: irdump [-h] COMMAND", "argument COMMAND: invalid choice: 'shwo'"),
        ([], "usage: irdump [-h] COMMAND", "the following arguments are required: COMMAND"),
    ],
)
def test_a_mistake_on_the_command_line_comes_with_the_usage_of_its_command(capsys, arguments, usage, mistake):
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    err = capsys.readouterr().err
    assert caught.value.code == 2
    assert err.startswith(usage)
    assert mistake in err


@pytest.mark.parametrize("command", ["show", "explain", "check"])
def test_what_a_target_prints_goes_to_standard_error(irdump, here, command):
    source = (here / "model.py").read_text()
    quiet = irdump(command, "model.py:exact").out.replace("exact", "talks")
    (here / "talkative.py").write_text(f"{source}\nprint('the module is imported')\n")
    ran = irdump(command, "talkative.py:talks")
    said = ran.err.splitlines()
    assert ran.status == 0
    assert said[:3] == ["the module is imported", "the function is called", "the step is called"]
    assert "is called" not in ran.out
    assert ran.out.count("\n") == quiet.count("\n")


def test_what_a_talkative_target_shows_can_be_read_again(irdump, here):
    (here / "saved.etir").write_text(irdump("show", "model.py:talks").out)
    assert irdump("show", "saved.etir").status == 0


def test_the_installed_command_ends_quietly_when_its_reader_leaves(here):
    command = f"{sys.executable} -m etir.cli.main show zoo:lstm --rule d_rtrl | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, cwd=here)
    assert done.stdout.startswith("transition @lstm")
    assert done.stderr == ""
