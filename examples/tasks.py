"""Real data that packages ship, as sequences with labels: scikit-learn's, aeon's, and a text that comes with Python."""

from __future__ import annotations

import pydoc_data.topics
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Task(NamedTuple):
    """Sequences [samples, T, inputs] in float32; integer labels: [samples], or [samples, T] for one at every step."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: int

    @property
    def every_step(self) -> bool:
        """Whether each step has a label of its own; else the last step is scored."""
        return self.train[1].ndim == 2


def _digits(shape: tuple[int, int]) -> Task:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    sequences = (images / 8 - 1).astype(np.float32).reshape(len(images), *shape)
    train_x, test_x, train_y, test_y = train_test_split(sequences, labels, test_size=0.2, random_state=0)
    return Task((train_x, train_y), (test_x, test_y), 10)


def digits_by_row() -> Task:
    """1,797 images of 8 by 8 pixels, a row a step."""
    return _digits((8, 8))


def digits_by_pixel() -> Task:
    """The same, a pixel a step: 64 steps."""
    return _digits((64, 1))


def _archive(load: Any) -> Task:
    """A problem of the UCR or UEA archive that aeon ships, each channel brought to mean 0 and deviation 1."""
    parts = [load(split=split) for split in ("train", "test")]
    names = sorted({str(label) for _, labels in parts for label in labels})
    longest = max(np.asarray(s).shape[-1] for series, _ in parts for s in series)
    arrays: list[tuple[np.ndarray, np.ndarray]] = []
    for series, labels in parts:
        # Short ones begin later: the last step, which is scored, is data.
        padded = [np.pad(np.asarray(s), ((0, 0), (longest - np.asarray(s).shape[-1], 0))).T for s in series]
        arrays.append((np.asarray(padded, np.float32), np.asarray([names.index(str(label)) for label in labels])))
    mean, deviation = arrays[0][0].mean((0, 1)), arrays[0][0].std((0, 1)) + 1e-6
    train, test = [((xs - mean) / deviation, labels) for xs, labels in arrays]
    return Task(train, test, len(names))


def japanese_vowels() -> Task:
    """270 and 370 utterances of two vowels by nine speakers, twelve coefficients a frame, up to 29 frames."""
    from aeon.datasets import load_japanese_vowels

    return _archive(load_japanese_vowels)


def basic_motions() -> Task:
    """40 and 40 recordings of a watch, four activities, six channels, 100 steps."""
    from aeon.datasets import load_basic_motions

    return _archive(load_basic_motions)


def gun_point() -> Task:
    """50 and 150 tracks of a hand, with and without a gun, 150 steps (UCR)."""
    from aeon.datasets import load_gunpoint

    return _archive(load_gunpoint)


def text_by_character(length: int = 64, kinds: int = 64) -> Task:
    """Python's own help texts, the next character to be told at every step; the last tenth is held out."""
    text = "".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))
    letters, counts = np.unique(list(text), return_counts=True)
    common = letters[np.argsort(-counts)][: kinds - 1]
    index = {letter: i for i, letter in enumerate(common)}
    codes = np.asarray([index.get(letter, kinds - 1) for letter in text])
    rows = codes[: (len(codes) - 1) // length * length].reshape(-1, length)
    following = codes[1 : rows.size + 1].reshape(rows.shape)
    cut = len(rows) * 9 // 10
    hot = np.eye(kinds, dtype=np.float32)
    return Task((hot[rows[:cut]], following[:cut]), (hot[rows[cut:]], following[cut:]), kinds)


TASKS: dict[str, Callable[[], Task]] = {
    "digits by row": digits_by_row,
    "digits by pixel": digits_by_pixel,
    "JapaneseVowels": japanese_vowels,
    "BasicMotions": basic_motions,
    "GunPoint": gun_point,
    "text by character": text_by_character,
}
