"""Every page runs as it is: its Python, in order, as one program; the output it shows; and its `irdump` lines."""

import contextlib
import io
import linecache
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import brainstate
import jax
import pytest

from etir.cli.main import main as irdump

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))]
NEWEST_ONLY = ("docs/from_braintrace.md",)
"""Pages of libraries that need a newer Python than the first leg has."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the number of its first line."""

    language: str
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    language, start, lines = None, 0, list[str]()
    for number, line in enumerate(page.splitlines(), 1):
        fence = re.match(r"\s*```(\w*)\s*$", line)
        if fence and language is None:
            language, start, lines = fence[1], number + 1, []
        elif fence and language is not None:
            yield Block(language, "\n".join(lines), start)
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"the block that begins at line {start} has no end"


def run(block: Block, namespace: dict[str, object]) -> str:
    """What a Python block prints, run as the file `model.py`, as a reader would save it."""
    text = block.text + "\n"
    linecache.cache["model.py"] = (len(text), None, text.splitlines(keepends=True), "model.py")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(text, "model.py", "exec"), namespace)
    return printed.getvalue()


def stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def wrong(page: str) -> list[str]:
    """Where the output that a page shows, in a `text` block right after a Python block, is not what is printed."""
    namespace: dict[str, object] = {"__name__": "model"}
    found, printed = list[str](), None
    for block in blocks(page):
        if block.language == "python":
            printed = run(block, namespace)
        elif block.language == "text" and printed is not None:
            if stripped(block.text) != stripped(printed):
                found.append(f"line {block.line} shows\n{block.text}\nbut the program prints\n{printed}")
            printed = None
        else:
            printed = None
    return found


@pytest.fixture
def as_users_run():
    """JAX's own defaults, and brainstate's: most users compute in float32."""
    before, precision = jax.config.jax_enable_x64, brainstate.environ.get_precision()
    brainstate.environ.set(precision=32)
    jax.config.update("jax_enable_x64", False)
    yield
    brainstate.environ.set(precision=precision)
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize(
    "name", [pytest.param(page, marks=[pytest.mark.second_leg] * (page in NEWEST_ONLY)) for page in PAGES]
)
def test_python_runs_and_prints_what_it_shows(name: str, as_users_run, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert wrong((ROOT / name).read_text()) == []


def test_each_block_of_the_readme_stands_alone(as_users_run, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks((ROOT / "README.md").read_text()):
        if block.language == "python":
            run(block, {"__name__": "model"})


IRDUMP = [
    (name, line)
    for name in PAGES
    for block in blocks((ROOT / name).read_text())
    if block.language == "sh"
    for line in block.text.splitlines()
    if line.startswith("irdump ")
]


@pytest.mark.parametrize(("name", "line"), IRDUMP)
def test_irdump_lines_run(name: str, line: str, as_users_run, tmp_path: Path, monkeypatch, capsys):
    first = next(block for block in blocks((ROOT / name).read_text()) if block.language == "python")
    (tmp_path / "model.py").write_text(first.text + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert irdump(shlex.split(line, comments=True)[1:]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text())
    local = [target for target in targets if not re.match(r"\w+:", target)]
    assert [target for target in local if not ((ROOT / name).parent / target).exists()] == []


def test_a_false_output_is_found():
    page = "```python\nprint(1)\n```\n\n```text\n2\n```\n"
    assert wrong(page) == ["line 6 shows\n2\nbut the program prints\n1\n"]
    assert wrong(page.replace("2", "1")) == []
