"""The instruments: what they print, collect, check and write."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from ir_examples import gru
from toy_passes import KNOWN, Breaks, Copy, Crash, DropOutputs, Options, Refuse, Rename

from etir.ir.diagnostics import EtirError
from etir.ir.parser import parse
from etir.ir.printer import render
from etir.ir.transition import Transition
from etir.passes.instruments import (
    CrashReproducer,
    DumpDirectory,
    PrintIR,
    SameObject,
    Timing,
    VerifyEach,
    reproducer_pipeline,
)
from etir.passes.manager import PassManager
from etir.passes.pipeline_text import parse_pipeline


def tiny() -> Transition:
    return replace(
        gru(), loc=None, params=(), regions=(), weights=(), sites=(), groups=(), associations=(), certificate=None
    )


TINY = (
    "transition @gru {\n"
    '  state  %h -> %h1 : f32[8]  hidden "cell.h"  loc(cells.py:20:9)\n'
    '  input  %x : f32[3]  "x"\n'
    '  output %y : f32[8]  "y"\n'
    "}\n"
)


def printed(**options: Any) -> str:
    stream = io.StringIO()
    instrument = PrintIR(stream=stream, **options)
    PassManager((Rename("gru"), DropOutputs()), (instrument,)).run(tiny())
    return stream.getvalue()


def test_print_before_and_after():
    assert printed(before=True, only=["rename"]) == f"// before rename{{to=gru}}\n{TINY}\n"
    without = TINY.replace('  output %y : f32[8]  "y"\n', "")
    assert printed(after=True) == f"// after rename{{to=gru}}\n{TINY}\n// after drop-outputs\n{without}\n"


def test_print_what_changed():
    assert printed(changed=True) == (
        "// changed by drop-outputs\n"
        "@@ -1,5 +1,4 @@\n"
        " transition @gru {\n"
        '   state  %h -> %h1 : f32[8]  hidden "cell.h"  loc(cells.py:20:9)\n'
        '   input  %x : f32[3]  "x"\n'
        '-  output %y : f32[8]  "y"\n'
        " }\n"
    )


def test_print_a_change_that_the_text_does_not_show():
    stream = io.StringIO()
    PassManager((Copy(),), (PrintIR(changed=True, stream=stream),)).run(tiny())
    assert stream.getvalue() == "// changed by copy\n(the same text)\n"


def test_print_goes_to_standard_error(capsys: pytest.CaptureFixture[str]):
    PassManager((DropOutputs(),), (PrintIR(before=True),)).run(tiny())
    assert capsys.readouterr() == ("", f"// before drop-outputs\n{TINY}\n")


def test_timing_collects_and_reports():
    stream = io.StringIO()
    timing = Timing(stream)
    with pytest.raises(RuntimeError):
        PassManager((Rename("a"), Crash(), DropOutputs()), (timing,)).run(tiny())
    assert [name for name, _ in timing.records] == ["rename", "crash (failed)"]
    assert all(seconds >= 0 for _, seconds in timing.records)
    line = r"{}\s+\d+\.\d{{4}} s  [ \d.]+ %\n"
    expected = "".join(line.format(name) for name in ("rename", r"crash \(failed\)", "total"))
    assert re.fullmatch(expected, stream.getvalue())


def test_timing_reports_on_request():
    timing = Timing()
    assert timing.report() == "total     0.0000 s    0.0 %"
    timing.records = [("a", 1.0), ("long-name", 3.0)]
    assert timing.report() == (
        "a             1.0000 s   25.0 %\nlong-name     3.0000 s   75.0 %\ntotal         4.0000 s  100.0 %"
    )


def test_verify_each_names_the_pass():
    with pytest.raises(EtirError) as failure:
        PassManager((Rename("a"), Breaks()), (VerifyEach(),)).run(gru())
    first = failure.value.diagnostics[0]
    assert str(first) == (
        "cells.py:41:18: error: site %yz uses %Wz, which is no weight of this transition [ir-weight]\n"
        '  site %yz : f32[8] = etp.dot(%xh, %Wz)  "i,ij->j"  equation 1  held  loc(cells.py:41:18)\n'
        "                                   ^^^\n"
        "  note: found after pass 'breaks'"
    )
    assert len(failure.value.diagnostics) == 3


def test_verify_each_is_content_with_a_good_pass():
    assert PassManager((Rename("a"), Rename("a")), (VerifyEach(),)).run(gru()).name == "a"


def test_a_new_object_that_says_the_same_is_flagged():
    with pytest.raises(EtirError) as failure:
        PassManager((Rename("gru"), Copy()), (SameObject(),)).run(gru())
    assert str(failure.value) == (
        "error: pass 'copy' changed nothing, but returned a new transition [pass-contract]\n"
        "  help: return the transition that `run` was given where there is nothing to do"
    )
    assert PassManager((Rename("a"),), (SameObject(),)).run(gru()).name == "a"


def test_every_stage_is_dumped(tmp_path: Path):
    manager = PassManager((Rename("a"), DropOutputs()), (DumpDirectory(tmp_path / "stages"),))
    for _ in range(2):
        made = manager.run(gru())
    files = sorted((tmp_path / "stages").iterdir())
    assert [file.name for file in files] == ["00-input.txt", "01-rename.txt", "02-drop-outputs.txt"]
    assert files[0].read_text() == render(gru())
    assert files[2].read_text() == render(made)


def crashed(path: Path, transition: Transition) -> tuple[str, RuntimeError]:
    passes = (Rename("a"), Crash(), Options(text="x y"))
    with pytest.raises(RuntimeError) as failure:
        PassManager(passes, (CrashReproducer(path),)).run(transition)
    return path.read_text(), failure.value


def test_a_crash_leaves_a_reproducer(tmp_path: Path):
    path = tmp_path / "new" / "crash.txt"
    text, failure = crashed(path, tiny())
    head, tail = text.split("// Traceback", 1)
    assert head == (
        f'// RuntimeError: it fell over\n// pipeline: crash,options{{text="x y"}}\n\n{TINY.replace("@gru", "@a")}\n'
    )
    assert tail.rstrip().endswith("// RuntimeError: it fell over")
    assert failure.__notes__ == [f"pass 'crash' crashed; a reproducer is in {path}"]


def test_a_reproducer_is_its_own_input(tmp_path: Path):
    path = tmp_path / "crash.txt"
    text, _ = crashed(path, gru())
    passes = parse_pipeline(reproducer_pipeline(text), KNOWN)
    assert passes == [Crash(), Options(text="x y")]
    assert render(parse(text)) == render(replace(gru(), name="a"))
    with pytest.raises(RuntimeError, match="it fell over"):
        PassManager(tuple(passes)).run(parse(text))


def test_a_reproducer_shows_the_bodies_of_regions(tmp_path: Path):
    body = jax.make_jaxpr(jnp.tanh)(1.0)
    regions = (replace(gru().regions[0], name="tail", body=body),)
    text, _ = crashed(tmp_path / "crash.txt", replace(tiny(), regions=regions))
    assert "// region @tail:\n// { lambda ; a:" in text
    parse(text)


def test_an_option_without_a_text_does_not_stop_a_reproducer(tmp_path: Path):
    path = tmp_path / "crash.txt"
    with pytest.raises(RuntimeError):
        PassManager((Crash(), Options(odd=3j)), (CrashReproducer(path),)).run(tiny())
    assert reproducer_pipeline(path.read_text()) == "crash,options"


def test_a_mistake_of_the_user_leaves_no_reproducer(tmp_path: Path):
    path = tmp_path / "crash.txt"
    with pytest.raises(EtirError):
        PassManager((Refuse(),), (CrashReproducer(path),)).run(tiny())
    assert not path.exists()


def test_another_text_is_no_reproducer():
    with pytest.raises(ValueError, match="not a reproducer"):
        reproducer_pipeline(render(gru()))
