"""Models of devices that nobody has: nothing is measured in tests."""

from dataclasses import replace
from pathlib import Path

import pytest

from etir.backends.timing import DeviceModel, keep_model, model_path

FREE = 1e30

MULTIPLIES = DeviceModel(
    name="a device that multiplies",
    bandwidth=((1.0, FREE),),
    fresh=((1.0, FREE),),
    thin={"float32": 2e6},
    thick={"float32": 2e6},
    element=1 / FREE,
    series=1 / FREE,
    launch=1 / FREE,
    call=1 / FREE,
    rewriting=0.0,
    iteration=1 / FREE,
)
"""Only products take time: an operation in float32 half a microsecond, in float64 a whole one."""

MOVES = replace(
    MULTIPLIES, name="a device that moves", bandwidth=((1.0, 1e9),), thin={"float32": FREE}, thick={"float32": FREE}
)
"""Only bytes take time: a nanosecond each."""


@pytest.fixture
def on_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Makes a model that of JAX's default device, as its cache has it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return lambda model: keep_model(model_path(), model)
