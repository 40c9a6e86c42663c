"""Rules about sites: the uses of weights."""

from __future__ import annotations

from collections.abc import Iterator

from ..diagnostics import Diagnostic
from ..transition import Site, Transition
from ..values import Value
from .sheet import Sheet


def sites_use_weights(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A site uses a weight of the transition, and is the only one with its output."""
    outputs: set[Value] = set()
    weights = set(t.weights)
    for site in t.sites:
        if site.weight not in weights:
            weight = sheet.name(site.weight.value)
            message = f"site {sheet.name(site.output)} uses {weight}, which is no weight of this transition"
            yield sheet.finding("ir-weight", message, line=sheet.site_line(site), mark=weight, loc=site.loc)
        if site.output in outputs:
            name = sheet.name(site.output)
            message = f"two sites compute {name}; wanted a value for each"
            yield sheet.finding("ir-defined-twice", message, line=sheet.site_line(site), mark=name, loc=site.loc)
        outputs.add(site.output)


def sites_stand_in_the_step(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A site is one equation of the step, each another."""
    counts = [region.equations for region in t.regions if region.name == "step"]
    places: dict[int, Site] = {}
    for site in t.sites:
        mark = f"equation {site.equation}"
        if counts and not 0 <= site.equation < counts[0]:
            message = f"site {sheet.name(site.output)} is equation {site.equation} of a step that has {counts[0]}"
            yield sheet.finding("site-equation", message, line=sheet.site_line(site), mark=mark, loc=site.loc)
        other = places.setdefault(site.equation, site)
        if other is not site:
            both = f"{sheet.name(other.output)} and {sheet.name(site.output)}"
            message = f"sites {both} are both equation {site.equation}"
            yield sheet.finding("site-equation", message, line=sheet.site_line(site), mark=mark, loc=site.loc)


def expressions_fit_their_operands(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """An index expression has one term for each operand, one label for each axis, and one size for each label."""
    for site in t.sites:
        fault = _expression_fault(site, sheet)
        if fault is not None:
            line, mark = sheet.site_line(site), f'"{site.expression}"'
            yield sheet.finding("site-expression", fault, line=line, mark=mark, loc=site.loc)


def _expression_fault(site: Site, sheet: Sheet) -> str | None:
    operands = [site.weight.value] if site.data is None else [site.data, site.weight.value]
    expression = site.expression
    if len(expression.operands) != len(operands):
        name, wanted = sheet.name(site.output), len(expression.operands)
        return f"'{expression}' is for {wanted} operands, but site {name} has {len(operands)}"
    sizes: dict[str, int] = {}
    for term, value in zip((*expression.operands, expression.output), (*operands, site.output), strict=True):
        shape = value.type.shape
        if len(term) != len(shape):
            return f"'{term}' in '{expression}' names {len(term)} axes, but {sheet.typed(value)} has {len(shape)}"
        for label, size in zip(term, shape, strict=True):
            if sizes.setdefault(label, size) != size:
                return f"axis '{label}' of '{expression}' has size {sizes[label]}, but {size} in {sheet.typed(value)}"
    return None
