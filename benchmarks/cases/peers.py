"""braintrace on the same models, each library by its own driver; an optional opponent."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from ..harness import Row, compare
from ..record import Bound, Record, time_records
from ..suite import Case, Settings

FORMS = ("rule", "full")
MISSING = "not run: braintrace is not installed (pip install -e '.[peers]')"


def _sequences(settings: Settings) -> Sequence[Record]:
    """`pp_prop` at window 1, held to its form of credit."""
    if find_spec("braintrace") is None:
        return [Record(case="pp_prop beside braintrace", program="-", metric="time", value=float("nan"), note=MISSING)]
    from .. import peers

    records: list[Record] = []
    steps, n = settings.size(512, 32), settings.size(512, 64)
    for of in peers.cases(n, 16, steps):
        for credit, most in zip(FORMS, (1.0, 1.4), strict=True):
            rows = compare(peers.sequence_programs(of, credit), steps=steps, rounds=settings.rounds)
            title = f"pp_prop, {credit}, beside braintrace, {of.name}, B=16, T={steps}"
            records += _beside(title, rows, settings.most(most))
    return records


def _calls(settings: Settings) -> Sequence[Record]:
    """One jitted call a step, gradient and update, everything donated."""
    if find_spec("braintrace") is None:
        return [Record(case="a step beside braintrace", program="-", metric="time", value=float("nan"), note=MISSING)]
    from .. import peers

    records: list[Record] = []
    for batch in (16, 1):
        of = peers.cases(settings.size(512, 64), batch, peers.WARM + 1)[0]
        for rule in ("d_rtrl", "pp_prop"):
            for credit in FORMS:
                rows = compare(peers.step_programs(of, rule, credit), steps=1, rounds=settings.rounds * 5)
                most = settings.most(0.25) if rule == "d_rtrl" else None
                records += _beside(f"a step, {rule}, {credit}, beside braintrace, {of.name}, B={batch}", rows, most)
    return records


def _beside(title: str, rows: Sequence[Row], most: float | None) -> list[Record]:
    bounds = {row.name: Bound(most=most) for row in rows if row.name == "etir"}
    return time_records(title, rows, bounds=bounds)


CASES = (
    Case("peers, sequences", _sequences, about="pp_prop over a sequence beside braintrace's and by hand"),
    Case("peers, calls", _calls, about="one step a call beside braintrace's and by hand"),
)
