"""irdump cost: a row a weight, the predicted time in parts, the window and the fold with their reasons."""

import json

import pytest
from device_models import MOVES, MULTIPLIES

from etir.backends.timing import kept


@pytest.fixture(autouse=True)
def device(here, monkeypatch):
    """Files with models; none may be measured."""
    (here / "device.json").write_text(json.dumps(MULTIPLIES.to_json()))
    (here / "moves.json").write_text(json.dumps(MOVES.to_json()))
    monkeypatch.delattr(kept, "calibrate")


def test_cost_of_a_plan(irdump):
    ran = irdump("cost", "model.py:batched", "--window", "4", "--rules", "U=rtrl", "--device", "device.json")
    assert (ran.status, ran.err) == (0, "")
    assert (
        ran.out
        == """\
batched: d_rtrl, window 4, credit full, backend xla; a step takes
weight  held     flops   read   written  label
U       1.02 kB  1.16 k  256 B  256 B    exact
W       0 B      74      48 B   48 B     approximate
total   1.02 kB  1.23 k  304 B  304 B
predicted on a device that multiplies: 1.17 ms a step of the gradient
  forward  144 us
  reverse  240 us
  traces  783 us
window 4: as asked for
fold 128: the pass over traces is cheap by then, and the history is small
"""
    )


def test_cost_of_marked_steps(irdump):
    """What holds the traces is in it: choices, which are done for several weights at once or for one."""
    marks = ("--mask", "sample", "--reset", "sample")
    ran = irdump("cost", "model.py:batched", "--rule", "pp_prop", *marks, "--device", "device.json")
    assert (ran.status, ran.err) == (0, "")
    assert (
        ran.out
        == """\
batched: pp_prop, window 1, credit full, backend xla; a step takes
weight     held   flops  read   written  label
W          112 B  106    112 B  112 B    approximate
U          128 B  120    128 B  128 B    approximate
(several)  0 B    16     0 B    0 B
total      240 B  242    240 B  240 B
predicted on a device that multiplies: 496 us a step of the gradient
  forward  144 us
  reverse  240 us
  traces  112 us
window 1: as asked for
fold 16: no trace is passed over; products are done together
"""
    )


def test_cost_says_why_the_window_was_chosen(irdump, here, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(here))
    kept.keep_model(kept.model_path(), MOVES)
    *_, window, _ = irdump("cost", "model.py:exact", "--window", "auto").out.splitlines()
    assert "a step predicted on a device that moves; 1 would take" in window


def test_cost_of_what_cannot_be(irdump, here):
    (here / "saved.etir").write_text(irdump("show", "model.py:exact", "--rule", "d_rtrl").out)
    assert irdump("cost", "saved.etir").err == (
        "error: cannot predict times for 'saved.etir': it is a transition without the program that it was made from "
        "[target-bodies]\n"
        "  help: name the model instead, as pkg.mod:attr or file.py:attr\n"
    )
    assert irdump("cost", "model.py:exact", "--device", "model.py").err == (
        "error: 'model.py' holds no model of a device [device-model]\n"
        "  help: give a file that etir has written to $XDG_CACHE_HOME/etir, or leave --device out\n"
    )
