"""irdump explain: why weights have the labels that they have, with lines of the source."""

from __future__ import annotations

import argparse
import fnmatch
import math
import textwrap
from collections.abc import Iterator

from ... import api
from ...ir.diagnostics import did_you_mean, error
from ...ir.loc import Loc
from ...ir.transition import Association, Label, Site, Transition, Verdict
from .. import options
from ..console import paint, width

HELP = "say why a weight has its label, with lines of the source"

_MEANS = {
    Verdict.EXACT: "its gradient, summed over windows, is that of BPTT over the whole sequence",
    Verdict.APPROXIMATE: "its trace carries credit across windows, but leaves out what is listed here",
    Verdict.TRUNCATED: "it has no trace: its credit reaches back to the start of the window",
    Verdict.FROZEN: "it does not learn: there is no gradient of it",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `explain`."""
    options.add_target(parser)
    parser.add_argument("path", nargs="?", metavar="PATH", help="the weight, or a glob of paths (default: all weights)")
    options.add_rule(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print one paragraph a weight."""
    transition = options.planned(arguments)
    asked = _asked(transition, arguments.path)
    curable = _exact_under_rtrl(transition) if any(label.label is not Verdict.EXACT for label in asked) else frozenset()
    print("\n\n".join("\n".join(_Paragraph(transition, label).lines(curable)) for label in asked))
    return 0


def _exact_under_rtrl(transition: Transition) -> frozenset[str]:
    """The weights that exact RTRL would make exact; none where the transition's program is absent."""
    if not options.has_bodies(transition):
        return frozenset()
    certificate = api.plan(transition, "rtrl", memory=math.inf).certificate
    return frozenset(label.path for label in certificate or () if label.label is Verdict.EXACT)


def _asked(transition: Transition, path: str | None) -> list[Label]:
    labels = list(transition.certificate or ())
    if not labels:
        raise error(
            "no-certificate", f"transition '{transition.name}' has no certificate, so there is nothing to explain"
        )
    if path is None:
        return labels
    found = [label for label in labels if fnmatch.fnmatchcase(label.path, path)]
    if not found:
        paths = [label.path for label in labels]
        raise error("weight-path", f"'{transition.name}' has no weight '{path}'", help=did_you_mean(path, paths))
    return found


class _Paragraph:
    """What is said about one weight. A line of source is shown once, and then only named."""

    def __init__(self, transition: Transition, label: Label) -> None:
        self.transition = transition
        self.label = label
        self.shown: set[Loc] = set()

    def lines(self, curable: frozenset[str]) -> Iterator[str]:
        transition, label, certificate = self.transition, self.label, self.transition.certificate
        assert certificate is not None
        title = f"{paint(label.path, 'bold')}  {paint(label.label, label.label)}"
        yield f"{title}  by {label.rule}, window {certificate.window}, credit {certificate.credit}"
        yield from _wrapped(_MEANS[label.label], "  ")
        if label.because:
            yield from _wrapped(f"chosen by {certificate.rule}: {label.because}", "  ")
        uses = [site for site in transition.sites if label.path in site.weight.paths]
        for site in uses:
            yield from self._use(site)
        if not uses and label.label is not Verdict.FROZEN:
            yield "  no ETP operation uses it"
        for reason in label.reasons:
            yield from _wrapped(str(reason), "  - ")
            yield from self._source(reason.loc, "    ")
        if label.label is not Verdict.EXACT and label.path in curable:
            yield f"  help: --rules '{label.path}=rtrl' makes it exact, at the cost of a full trace"

    def _use(self, site: Site) -> Iterator[str]:
        reached = "; ".join(_reach(a) for a in self.transition.associations if a.site is site)
        yield from _wrapped(f"used by {site.operation} {site.expression}{'; ' if reached else ''}{reached}", "  ")
        yield from self._source(site.loc, "    ")

    def _source(self, loc: Loc | None, indent: str) -> Iterator[str]:
        """The place, and the line itself with carets under what is meant; not of a transition that was read from text.

        Such a one has only the file's name, and any file of that name may be another, or have changed.
        """
        if loc is None:
            return
        yield f"{indent}{paint(str(loc), 'faint')}"
        line = loc.source_line() if options.has_bodies(self.transition) else None
        if line is None or loc in self.shown:
            return
        self.shown.add(loc)
        yield f"{indent}  {line.lstrip()}"
        start, end = _columns(loc, line)
        if start < end:
            yield f"{indent}  {' ' * start}{paint('^' * (end - start), 'bad')}"


def _columns(loc: Loc, line: str) -> tuple[int, int]:
    """Where the carets go under a line without its indentation; empty where the location has no column in it."""
    indent = len(line) - len(line.lstrip())
    if loc.column is None or loc.column - 1 < indent:
        return 0, 0
    end = loc.end_column - 1 if loc.end_column else len(line)
    return loc.column - 1 - indent, min(end, len(line)) - indent


def _reach(association: Association) -> str:
    group = association.group
    pairs = zip(group.states, association.couplings, strict=True)
    reached = [f"'{state.path}' {coupling}" for state, coupling in pairs if coupling is not None]
    crossings = ", ".join(dict.fromkeys(f"{c.operation}, which {c.why}" for c in association.through))
    ways = [*(["reaches " + ", ".join(reached)] if reached else [])]
    if crossings:
        ways.append(f"{'also ' if reached else ''}reaches group #{group.index} through {crossings}")
    return ", ".join(ways)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width(), initial_indent=indent, subsequent_indent=" " * len(indent), break_on_hyphens=False
    )
