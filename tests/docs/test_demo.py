"""The demo: its argument holds in numbers, and it runs."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir

ROOT = Path(__file__).parents[2]


@pytest.fixture
def task(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import recall

    return recall


@pytest.fixture
def model(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import gru

    return gru


def test_every_query_comes_a_window_or_more_after_its_cue(task):
    stream = task.stream(jax.random.key(0), 3)
    cued = np.asarray(stream.inputs[..., : task.SYMBOLS].sum(-1))
    for cues, queries in zip(cued.T, np.asarray(stream.queries).T, strict=True):
        shown, asked = np.flatnonzero(cues), np.flatnonzero(queries)
        assert len(shown) == len(asked) == 3
        assert (asked - shown >= task.WINDOW).all()
        assert (shown[1:] > asked[:-1]).all()


def test_only_a_trace_gives_the_cue_a_gradient(task, model):
    """The proof in `recall.py`: reverse mode inside windows gives the cue's weights zero, to the last bit."""
    start = model.initial_params(
        jax.random.key(0), inputs=task.CHANNELS, units=5, outputs=task.SYMBOLS, cues=task.SYMBOLS, longest=task.LONGEST
    )
    params = jax.tree.map(jnp.asarray, start)
    stream = task.stream(jax.random.key(1), 1)
    largest = {}
    for rule in ("bptt", "d_rtrl"):
        states = jax.tree.map(lambda x: x.astype(params["W"].dtype), model.initial_states(task.STREAMS, 5))
        learner = etir.compile(model.gru, params, states, stream.inputs[0], rule=rule, window=task.WINDOW)
        grads = learner.grad(task.loss)(params, learner.init(), *stream).grads
        largest[rule] = float(jnp.abs(grads["W"][: task.SYMBOLS]).max())
        assert float(jnp.abs(grads["U"]).max()) > 0
    assert largest["bptt"] == 0
    assert largest["d_rtrl"] > 1e-4


@pytest.mark.slow
def test_the_demo_runs(tmp_path: Path):
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--trials", "20", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True, cwd=tmp_path)
    assert "transition @gru" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} >= {"gru.svg", "gru.txt", "learning_curves.png"}
