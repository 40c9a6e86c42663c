"""A certificate as text, as a dictionary for JSON, and as a page; what several weights share is said once."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .transition import Certificate, Label, Reason

COLOURS = {"exact": "#2a7d3f", "approximate": "#9a6700", "truncated": "#b3261e", "frozen": "#57606a"}
"""The colour of each label."""


def as_text(certificate: Certificate) -> str:
    """A table: weight, label, why. Reasons that an earlier weight has all of are not said again."""
    labels = certificate.labels
    width = max(len(path) for path in ("weight", *(label.path for label in labels)))
    lines = [f"{'weight':<{width}}  label        why"]
    for k, label in enumerate(labels):
        why = _why(label, labels[:k]) or [""]
        lines.append(f"{label.path:<{width}}  {label.label:<11}  {why[0]}".rstrip())
        lines += [f"{'':<{width}}  {'':<11}  {text}" for text in why[1:]]
    return "\n".join(lines)


def _why(label: Label, before: Sequence[Label]) -> list[str]:
    """The lines of one label: its reasons, those of an earlier label by that label's name, and its rule's choice."""
    own, told = set(label.reasons), [other for other in before if _is_worth_naming(other)]
    known = max((o for o in told if own.issuperset(o.reasons)), key=lambda o: len(o.reasons), default=None)
    shared = set(known.reasons) if known is not None else set[Any]()
    lines = [_line(reason) for reason in label.reasons if reason not in shared]
    if known is not None:
        lines.append(f"{'also ' if lines else ''}as for {known.path}")
    return [*lines, *([f"by choice: {label.because}"] if label.because else [])]


def _is_worth_naming(label: Label) -> bool:
    """An exact label has one short reason, which says what the label means: it is no shorter by another's name."""
    return label.label != "exact" and bool(label.reasons)


def _line(reason: Reason) -> str:
    return f"{reason}  ({reason.loc})" if reason.loc else str(reason)


def as_dict(certificate: Certificate) -> dict[str, Any]:
    """Rule, window, credit and labels as strings, numbers, lists and dictionaries, which JSON can hold."""
    return {
        "rule": certificate.rule,
        "window": certificate.window,
        "credit": certificate.credit,
        "labels": [
            {
                "path": label.path,
                "label": str(label.label),
                "rule": label.rule,
                "because": label.because,
                "reasons": [_reason(reason) for reason in label.reasons],
            }
            for label in certificate.labels
        ],
    }


def _reason(reason: Reason) -> dict[str, Any]:
    loc = reason.loc
    place = {"file": loc.file, "line": loc.line, "column": loc.column} if loc is not None else {}
    return {"text": reason.text} | place


def as_html(certificate: Certificate) -> str:
    """A table for a notebook: the weights that share label, rule and reasons are one row."""
    rows: dict[tuple[Any, ...], list[Label]] = {}
    for label in certificate.labels:
        rows.setdefault((label.label, label.rule, label.reasons, label.because), []).append(label)
    title = f"{certificate.rule}, windows of {certificate.window}, credit {certificate.credit}"
    head = "".join(f"<th style='text-align:left'>{name}</th>" for name in ("weight", "label", "rule", "why"))
    body = "".join(_row(labels) for labels in rows.values())
    return f"<div>{html.escape(title)}</div><table><tr>{head}</tr>{body}</table>"


def _row(labels: Sequence[Label]) -> str:
    label = labels[0]
    paths = "<br>".join(f"<code>{html.escape(each.path)}</code>" for each in labels)
    why = [_html_line(reason) for reason in label.reasons]
    why += [f"<span style='color:#777'>by choice: {html.escape(label.because)}</span>"] if label.because else []
    cells = [
        paths,
        f"<b style='color:{COLOURS[label.label]}'>{label.label}</b>",
        html.escape(label.rule),
        "<br>".join(why),
    ]
    inside = "".join(f"<td style='text-align:left;vertical-align:top'>{cell}</td>" for cell in cells)
    return f"<tr>{inside}</tr>"


def _html_line(reason: Reason) -> str:
    place = f" <span style='color:#777'>{html.escape(str(reason.loc))}</span>" if reason.loc else ""
    return f"{html.escape(reason.text)}{place}"
