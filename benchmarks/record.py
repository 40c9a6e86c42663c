"""What the suite writes down: one record for each figure, as text and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .harness import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A figure of one program in one case.

    `metric` says what `value` is: "time" and "compile" are ratios to the program `against`, "error" is a relative
    distance of gradients, "exponent" a slope on log-log axes, "accuracy" a share. `spread` is half the distance between
    the quartiles. `most` and `least` are bounds that the project holds itself to; without them nothing is promised.
    """

    case: str
    program: str
    metric: str
    value: float
    against: str | None = None
    spread: float | None = None
    most: float | None = None
    least: float | None = None
    error: float | None = None
    """The relative distance of this program's gradient from the reference named in `error_from`."""
    error_from: str | None = None
    milliseconds: float | None = None
    temp_bytes: int | None = None
    compile_seconds: float | None = None
    bandwidth_share: float | None = None
    """The share of the machine's copy bandwidth that the least traffic of the algorithm takes."""
    note: str = ""

    @property
    def verdict(self) -> str:
        """`held`, `LOST` or, where nothing is promised, nothing."""
        if self.most is None and self.least is None:
            return ""
        high = self.most is not None and not self.value <= self.most
        low = self.least is not None and not self.value >= self.least
        return "LOST" if high or low else "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What one program's ratio is held to; `same` is how far its gradient may be from that of `Row.same_as`."""

    most: float | None = None
    least: float | None = None


def time_records(
    case: str, rows: Sequence[Row], *, bounds: dict[str, Bound] | None = None, bandwidth: float | None = None
) -> list[Record]:
    """One record for each row of an interleaved run: the ratio of its time to the first row's."""
    first = rows[0].name
    records: list[Record] = []
    for row in rows:
        bound = (bounds or {}).get(row.name, Bound())
        near = row.distance_from_first if row.distance_from_same is None else row.distance_from_same
        share = row.bytes_per_step / (row.ms_per_step * 1e-3) / bandwidth if bandwidth and row.bytes_per_step else None
        records.append(
            Record(
                case=case,
                program=row.name,
                metric="time",
                value=row.ratio,
                against=first,
                spread=row.spread,
                most=bound.most,
                least=bound.least,
                error=near,
                error_from=row.same_as or first,
                milliseconds=row.ms_per_step,
                temp_bytes=row.temp_bytes,
                compile_seconds=row.compile_seconds,
                bandwidth_share=share,
            )
        )
    return records


def table(records: Iterable[Record]) -> str:
    """The records as text, one line each, a heading for each case."""
    head = ("", "metric", "value", "bound", "ms/step", "temp MiB", "compile s", "of copy", "gradient")
    lines: list[tuple[str, ...] | str] = []
    case = None
    for record in records:
        if record.case != case:
            case = record.case
            lines += ["", case, head]
        lines.append(_cells(record))
    rows = [line for line in lines if isinstance(line, tuple)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))] if rows else []
    return "\n".join(
        line if isinstance(line, str) else "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(record: Record) -> tuple[str, ...]:
    def shown(value: float | None, form: str, scale: float = 1.0) -> str:
        return "" if value is None or math.isnan(value) else format(value * scale, form)

    spread = f" +- {record.spread:.2g}" if record.spread else ""
    bounds = [f"{sign} {b:g}" for sign, b in (("<=", record.most), (">=", record.least)) if b is not None]
    gradient = shown(record.error, ".1e") and f"{shown(record.error, '.1e')} from {record.error_from}"
    return (
        f"  {record.program}",
        record.metric + (f" x {record.against}" if record.against and record.against != record.program else ""),
        format(record.value, ".3g") + spread,
        " ".join([record.verdict, *bounds]),
        shown(record.milliseconds, ".4g"),
        shown(record.temp_bytes, ".1f", 2**-20),
        shown(record.compile_seconds, ".2f"),
        shown(record.bandwidth_share, ".0%"),
        " ".join(filter(None, [gradient, record.note])),
    )


def write(path: Path, machine: dict[str, object], suite: str, records: Sequence[Record]) -> None:
    """Write a run as JSON: `{"machine": ..., "suite": ..., "records": [...]}`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"machine": machine, "suite": suite, "records": [asdict(r) | {"verdict": r.verdict} for r in records]}
    path.write_text(json.dumps(found, indent=1) + "\n")
