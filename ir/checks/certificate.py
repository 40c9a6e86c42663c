"""Rules about the certificate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..diagnostics import Diagnostic, nearest
from ..transition import Transition, Verdict
from .sheet import Sheet


def every_parameter_has_one_label(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """The certificate labels parameters, each once, and leaves out none that carries credit."""
    if t.certificate is None:
        return
    params = {param.path: param for param in t.params}
    counts = Counter(label.path for label in t.certificate)
    for path, param in params.items():
        if path not in counts and param.value.type.carries_credit:
            message = f"the certificate has no label for parameter '{path}'"
            line = f"param {sheet.name(param.value)}"
            yield sheet.finding("certificate-label", message, line=line, mark=f'"{path}"', loc=param.loc)
    for path, count in counts.items():
        line = f'"{path}"'
        if count > 1:
            message = f"the certificate labels '{path}' {count} times; wanted one label"
            yield sheet.finding("certificate-label", message, line=line, mark=line)
        if path not in params:
            close = nearest(path, params)
            help = f"did you mean '{close}'?" if close else None
            message = f"the certificate labels '{path}', which is no parameter"
            yield sheet.finding("certificate-label", message, line=line, mark=line, help=help)


def inexact_labels_have_reasons(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A label that is not exact says why."""
    for label in t.certificate or ():
        if label.label is not Verdict.EXACT and not label.reasons:
            message = f"the label of '{label.path}' is {label.label} and gives no reason"
            yield sheet.finding("certificate-label", message, line=f'"{label.path}"', mark=str(label.label))


def window_and_credit_are_known(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """Certificate and plan are for a window of at least one step, for full or the rule's own credit, and agree."""
    for noun, item in (("certificate", t.certificate), ("plan", t.plan)):
        if item is None:
            continue
        if item.window < 1:
            message = f"the {noun} is for a window of {item.window} steps; wanted at least one"
            yield sheet.finding("ir-settings", message, line=noun, mark=f"window={item.window}")
        if item.credit not in ("full", "rule"):
            message = f"the {noun} is for credit '{item.credit}'; wanted 'full' or 'rule'"
            yield sheet.finding("ir-settings", message, line=noun, mark=f"credit={item.credit}")
    if t.certificate is not None and t.plan is not None:
        settings = [f"{i.rule} window={i.window} credit={i.credit}" for i in (t.certificate, t.plan)]
        if settings[0] != settings[1]:
            message = f"the certificate is for {settings[0]}, but the plan is for {settings[1]}"
            yield sheet.finding("ir-settings", message, line="plan", mark=settings[1])
