"""Which values of Python a step changed."""

from etir.frontend.attributes import changed_values, plain_values


def test_what_is_changed_added_or_taken_away_and_no_nan_that_stayed():
    nan = float("nan")
    before = plain_values([(("a", 0), 1), (("rate",), nan), (("gone",), None), (("array",), [1])])
    after = plain_values([(("a", 0), 2), (("rate",), nan), (("new",), "x")])
    assert before == {"a.0": 1, "rate": nan, "gone": None}
    assert changed_values(before, after) == ["a.0", "gone", "new"]
