"""Golden files are rewritten on demand only, and the run that rewrites one fails."""

from pathlib import Path

import pytest
from golden_files import compare_with_golden


def test_the_same_text_passes(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one\n")
    compare_with_golden(tmp_path / "a.txt", "one", update=False)
    compare_with_golden(tmp_path / "a.txt", "one", update=True)


def test_another_text_fails_and_is_not_written(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one\n")
    with pytest.raises(AssertionError, match=r"golden a\.txt differs"):
        compare_with_golden(tmp_path / "a.txt", "two", update=False)
    assert (tmp_path / "a.txt").read_text() == "one\n"


def test_a_missing_file_fails_and_is_not_written(tmp_path: Path):
    with pytest.raises(AssertionError, match=r"golden a\.txt does not exist"):
        compare_with_golden(tmp_path / "a.txt", "two", update=False)
    assert list(tmp_path.iterdir()) == []


def test_an_update_writes_and_fails(tmp_path: Path):
    with pytest.raises(pytest.fail.Exception, match=r"golden a\.txt was rewritten"):
        compare_with_golden(tmp_path / "new" / "a.txt", "two", update=True)
    assert (tmp_path / "new" / "a.txt").read_text() == "two\n"
