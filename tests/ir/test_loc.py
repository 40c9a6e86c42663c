"""Places in the user's source: of a traced equation, of the line that calls, and of a warning."""

import jax
import pytest
from snippets import run_program

from etir.ir import jaxpr as jx
from etir.ir.diagnostics import Diagnostic, EtirWarning, warn
from etir.ir.loc import Loc, calling_line


def traced(source: str) -> Loc | None:
    """The place of the last equation of a function `f` of one number."""
    *_, last = jx.equations(jax.make_jaxpr(run_program(source)["f"])(1.0))
    return jx.location(last)


@pytest.mark.parametrize(
    ("source", "excerpt"),
    [
        ("def f(x):\n    return jnp.sin(x) * 2", "  return jnp.sin(x) * 2\n         ^^^^^^^^^^^^^^"),
        ("def f(x):\n    return jnp.sin(\n        x)", "  return jnp.sin(\n         ^^^^^^^^"),
        ("def f(x):\n    return jnp.sin(\n        x,\n    )", "  return jnp.sin(\n         ^^^^^^^^"),
    ],
)
def test_carets_of_an_equation_stay_under_its_first_line(source: str, excerpt: str):
    finding = Diagnostic(code="x-y", message="wrong", loc=traced(source))
    assert str(finding) == f"model.py:2:12: error: wrong [x-y]\n{excerpt}"


@pytest.mark.parametrize(
    ("source", "excerpt"),
    [
        ("found = here()", "  found = here()\n          ^^^^^^"),
        ("found = here(\n)", "  found = here(\n          ^^^^^"),
    ],
)
def test_carets_of_a_call_stay_under_its_first_line(source: str, excerpt: str):
    finding = Diagnostic(code="x-y", message="wrong", loc=run_program(source, here=calling_line)["found"])
    assert str(finding) == f"model.py:1:9: error: wrong [x-y]\n{excerpt}"


@pytest.mark.parametrize(
    ("module", "is_the_users"),
    [
        ("model", True),
        ("jaxtyping", True),
        ("etir.zoo.own", True),
        ("etir.frontend.own", False),
        ("jax._src.api", False),
        ("functools", False),
        ("contextlib", False),
    ],
)
def test_a_warning_and_a_location_pass_the_same_frames(module: str, is_the_users: bool):
    finding = Diagnostic(code="x-y", message="odd", severity="warning")
    names = {"warn": warn, "here": calling_line, "finding": finding}
    with pytest.warns(EtirWarning) as caught:
        found = run_program("warn(finding); found = here()", __name__=module, **names)["found"]
    (warning,) = caught
    assert (warning.filename, warning.lineno) == (found.file, found.line)
    assert (found.file == "model.py") == is_the_users
