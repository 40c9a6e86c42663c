"""The trained examples: each runs, tiny; what their pages say of them holds; and the pages show their files."""

import importlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "examples").glob("*.md"))
SMALL = {
    "actor_critic": ({"UNITS": 3, "MAZES": 2}, (50, 1)),
    "characters": ({"UNITS": 4, "READERS": 2, "STEPS": 16, "KINDS": 8}, (1, 2, 1)),
    "digits_spiking": ({"NEURONS": 4, "BATCH": 300}, (2, 1)),
    "drifting_stream": ({"UNITS": 4}, (1500, 1)),
}
"""Constants that are made small, and the arguments of `main` but the last."""


@pytest.fixture
def example(monkeypatch):
    """A function that gives an example, small; JAX as most users have it, in float32."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)

    def load(name, **constants):
        module = importlib.import_module(name)
        for constant, value in (SMALL[name][0] | constants).items():
            monkeypatch.setattr(module, constant, value)
        return module

    yield load
    jax.config.update("jax_enable_x64", before)


def short_text(module, monkeypatch):
    """The first two hundredths of the text."""
    whole = module.text_by_character(kinds=8)

    def short(kinds):
        assert kinds == 8
        train, test = ((x[:40], y[:40]) for x, y in (whole.train, whole.test))
        return whole._replace(train=train, test=test)

    monkeypatch.setattr(module, "text_by_character", short)


@pytest.mark.parametrize("name", SMALL)
def test_it_runs(name, example, tmp_path, capsys, monkeypatch):
    module = example(name)
    if name == "characters":
        short_text(module, monkeypatch)
    monkeypatch.setattr(module, "RULES", dict(list(module.RULES.items())[:1]))
    module.main(*SMALL[name][1], tmp_path)
    rows = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(rows) == 1 + len(module.RULES) + 2 * (name == "drifting_stream")
    assert "nan" not in " ".join(rows)
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def compiled(module, rule, states, x, params):
    step = getattr(module, "step", None) or module.agent
    return etir.compile(step, params, states, x, rule=rule, window=1, on_truncated="ignore")


def test_what_the_pages_say_of_labels(example):
    characters = example("characters")
    found = compiled(
        characters, "d_rtrl", characters.rest(2), jnp.zeros((2, 8)), characters.initial(jax.random.key(0))
    ).certificate
    assert {str(label.label) for label in found} == {"exact"}
    stream = example("drifting_stream")
    found = compiled(
        stream, "d_rtrl", {"h": jnp.zeros(4)}, jnp.zeros(20), stream.initial(jax.random.key(0))
    ).certificate
    assert {str(label.label) for label in found} == {"exact"}
    agent = example("actor_critic")
    found = compiled(agent, "rtrl", {"h": jnp.zeros(3)}, jnp.zeros(4), agent.initial(jax.random.key(0))).certificate
    assert {str(label.label) for label in found} == {"exact"}


def test_truncation_never_sees_the_features_that_count(example):
    """The gradient of the weights of the first five features is zero, to the last bit; by the trace it is not."""
    stream = example("drifting_stream")
    xs, targets, asked = stream.over_one_wire(*stream.stream(4, 0))
    params = stream.initial(jax.random.key(0))
    for rule, seen in (("bptt", False), ("d_rtrl", True)):
        learner = etir.compile(
            stream.step, params, {"h": jnp.zeros(4)}, xs[0], rule=rule, window=stream.WINDOW, on_truncated="ignore"
        )
        grads = learner.grad(stream.loss)(params, learner.init(), xs, targets, asked).grads
        assert bool(jnp.abs(grads["Wh"][:5]).max() > 0) is seen
        assert jnp.abs(grads["Wh"][5:10]).max() > 0


def test_the_stream_is_predicted_before_it_is_learnt(example):
    """The first hundred's error is that of the weights that it begins with, as far as they are the same."""
    stream = example("drifting_stream", CHUNK=1, WINDOW=10)
    features, answers = stream.stream(2, 0)
    xs, targets, _ = stream.over_one_wire(features, answers)
    params, h = stream.initial(jax.random.key(0)), {"h": jnp.zeros(4)}
    for x in xs[:10]:
        h, y = stream.step(params, h, x)
    assert abs(stream.learnt("d_rtrl", features, answers, 0)[0] - 5 * abs(float(y) - targets[9])) < 1e-4


def test_the_maze_is_the_one_that_is_described(example):
    maze = example("actor_critic")
    key, now = jax.random.key(0), maze.Maze(jnp.array(0), jnp.array(1), jnp.array(0))
    assert maze.seen(now).tolist() == [0, 1, 0, 1]
    now, reward, over = maze.moved(now, jnp.array(maze.LEFT), key)
    assert (int(now.place), round(float(reward), 6), bool(over)) == (0, -0.1, False)
    assert maze.seen(now).tolist() == [0, 0, 0, 1]  # the sign is shown once
    for _ in range(maze.LENGTH):
        now, reward, over = maze.moved(now, jnp.array(maze.FORWARD), key)
        assert (float(reward), bool(over)) == (0, False)
    assert maze.seen(now).tolist() == [0, 0, 1, 1]
    for action, prize in ((maze.RIGHT, 1), (maze.LEFT, -1)):
        new, reward, over = maze.moved(now, jnp.array(action), key)
        assert (float(reward), bool(over), int(new.place), int(new.age)) == (prize, True, 0, 0)
    tired = now._replace(place=jnp.array(3), age=jnp.array(3 * maze.LENGTH))
    assert bool(maze.moved(tired, jnp.array(maze.FORWARD), key)[2])


def test_batches_of_text_go_on_where_the_one_before_ends(example):
    characters = example("characters")
    numbers = np.arange(2 * 3 * 4).reshape(6, 4)  # rows of one text
    first, second, third = (xs for xs, _ in characters.readings((numbers, numbers), 2, 4))
    assert first.T.tolist() == [[0, 1, 2, 3], [12, 13, 14, 15]]
    assert second.T.tolist() == [[4, 5, 6, 7], [16, 17, 18, 19]]
    assert third.T.tolist() == [[8, 9, 10, 11], [20, 21, 22, 23]]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_a_page_shows_its_file(page):
    text, source = page.read_text(), (ROOT / "examples" / f"{page.stem}.py").read_text()
    shown = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert shown
    assert [block for block in shown if block.strip() not in source] == []
    links = [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "//" not in target]
    assert [target for target in links if not (page.parent / target).exists()] == []


def test_each_example_has_a_page():
    assert [page.stem for page in PAGES] == sorted(SMALL)
