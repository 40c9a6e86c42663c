"""The model of this device: measured once, and kept in the user's cache."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp

from ...ir.diagnostics import Diagnostic, warn
from .calibration import calibrate
from .device import DeviceModel

_VERSION = 2
"""Of the file's form, and of what is measured."""


def device_model() -> DeviceModel:
    """The model of JAX's default device: from the cache, or measured and put there. It takes a few seconds once."""
    path = model_path()
    found = read_model(path)
    if found is None:
        with jax.ensure_compile_time_eval():  # whatever is being traced around this
            found = calibrate(device_name())
        keep_model(path, found)
    return found


def device_name() -> str:
    """What the device is, for people."""
    device = jax.devices()[0]
    return f"{device.device_kind}, {_cores()} cores" if device.platform == "cpu" else device.device_kind


def model_path() -> Path:
    """Where the model of JAX's default device is kept: another file for another device, jax, or set of cores."""
    device = jax.devices()[0]
    wide = jnp.result_type(float)
    key = f"{device.platform}-{device.device_kind}-{_cores()}-jax{jax.__version__}-{wide}-v{_VERSION}"
    return _folder() / f"device-{re.sub(r'[^A-Za-z0-9.]+', '-', key)}.json"


def read_model(path: Path) -> DeviceModel | None:
    """The model in a file; None where there is none that can be read."""
    try:
        return DeviceModel.from_json(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def keep_model(path: Path, model: DeviceModel) -> None:
    """Write a model, whole or not at all. Warns where that is not possible: it will be measured again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(json.dumps(model.to_json(), indent=1) + "\n")
        os.replace(file.name, path)
    except OSError as refused:
        finding = Diagnostic(
            code="cache-unwritable",
            severity="warning",
            message=f"the measured model of this device could not be kept in '{path.parent}': {refused.strerror}",
            help="it is measured again in the next program; set XDG_CACHE_HOME to a folder that can be written",
        )
        warn(finding)


def _folder() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "etir"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
