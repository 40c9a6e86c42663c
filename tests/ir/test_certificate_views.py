"""What a certificate looks like: as text, for JSON, and as a page."""

import json

import pytest
from snippets import expected

from etir.ir.loc import Loc
from etir.ir.transition import Certificate, Label, Reason, Verdict

AT = Loc(file="/home/me/model.py", line=4, column=43)
CROSSED = Reason(text="recurrence of 'h' through matmul with 'U' (mixes positions) is dropped", loc=AT)
FACTORED = Reason(text="its trace is kept as a product of two vectors")
EXACT = Reason(text="every path from it to a hidden state is traced")
LABELS = (
    Label(path="U", label=Verdict.APPROXIMATE, rule="d_rtrl", reasons=(CROSSED,)),
    Label(path="V<1>", label=Verdict.APPROXIMATE, rule="d_rtrl", reasons=(CROSSED,)),
    Label(path="W", label=Verdict.APPROXIMATE, rule="pp_prop", reasons=(FACTORED, CROSSED), because="it fits"),
    Label(path="X", label=Verdict.APPROXIMATE, rule="pp_prop", reasons=(FACTORED, CROSSED), because="it fits"),
    Label(path="a", label=Verdict.EXACT, rule="d_rtrl", reasons=(EXACT,)),
    Label(path="b", label=Verdict.EXACT, rule="d_rtrl", reasons=(EXACT,)),
)
CERTIFICATE = Certificate(rule="auto", window=4, labels=LABELS)


def test_what_an_earlier_weight_has_all_of_is_said_once():
    assert str(CERTIFICATE) == expected("""
        weight  label        why
        U       approximate  recurrence of 'h' through matmul with 'U' (mixes positions) is dropped  (model.py:4:43)
        V<1>    approximate  as for U
        W       approximate  its trace is kept as a product of two vectors
                             also as for U
                             by choice: it fits
        X       approximate  as for W
                             by choice: it fits
        a       exact        every path from it to a hidden state is traced
        b       exact        every path from it to a hidden state is traced
    """)


def test_a_dictionary_goes_through_json():
    found = CERTIFICATE.to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["labels"][0] == {
        "path": "U",
        "label": "approximate",
        "rule": "d_rtrl",
        "because": "",
        "reasons": [{"text": CROSSED.text, "file": AT.file, "line": 4, "column": 43}],
    }
    assert (found["rule"], found["window"], found["credit"], len(found["labels"])) == ("auto", 4, "full", 6)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("recurrence of &#x27;h&#x27;", 2),  # alone, and beside another reason
        ("<code>U</code><br><code>V&lt;1&gt;</code>", 1),
        ("<code>a</code><br><code>b</code>", 1),
        ("<tr>", 4),
        ("by choice: it fits", 1),
        ("color:#9a6700'>approximate</b>", 2),
    ],
)
def test_weights_that_share_everything_share_a_row(text, times):
    assert CERTIFICATE._repr_html_().count(text) == times
