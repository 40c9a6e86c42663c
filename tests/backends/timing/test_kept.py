"""The model of a device is measured once, kept, and measured again where the file is none."""

import json
import warnings
from dataclasses import replace

import pytest
from device_models import MOVES, MULTIPLIES, on_device  # noqa: F401 (a fixture)

from etir.backends.timing import device_model, keep_model, kept, model_path, read_model
from etir.ir.diagnostics import EtirWarning


@pytest.fixture
def measured(monkeypatch):
    """The names that were measured."""
    names = []

    def calibrate(name):
        names.append(name)
        return replace(MOVES, name=name)

    monkeypatch.setattr(kept, "calibrate", calibrate)
    return names


def test_a_kept_model_is_read_and_not_measured(on_device, measured):  # noqa: F811
    on_device(MULTIPLIES)
    assert device_model() == MULTIPLIES
    assert measured == []


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", json.dumps(MOVES.to_json() | {"launch": -1.0})])
def test_no_model_is_measured_and_then_kept(on_device, measured, text):  # noqa: F811
    if text is not None:
        on_device(MOVES)
        model_path().write_text(text)
    first = device_model()
    assert (device_model(), read_model(model_path()), len(measured)) == (first, first, 1)


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, measured):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert device_model().bandwidth == MOVES.bandwidth
    assert [(w.category, str(w.message)) for w in caught] == [
        (
            EtirWarning,
            f"warning: the measured model of this device could not be kept in '{tmp_path}/file/etir': Not a directory "
            "[cache-unwritable]\n"
            "  help: it is measured again in the next program; set XDG_CACHE_HOME to a folder that can be written",
        )
    ]


def test_a_model_is_written_whole(tmp_path):
    keep_model(tmp_path / "deep" / "model.json", MOVES)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["model.json"]
    assert read_model(tmp_path / "deep" / "model.json") == MOVES
