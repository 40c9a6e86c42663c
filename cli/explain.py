"""irdump explain: why weights have the labels that they have, with lines of the source."""

from __future__ import annotations

import argparse
import fnmatch
import textwrap
from collections.abc import Iterator

from ..ir.diagnostics import did_you_mean, error
from ..ir.loc import Loc
from ..ir.transition import Association, Label, Site, Transition, Verdict
from . import options
from .console import paint, width

HELP = "say why a weight has its label, with lines of the source"

_MEANS = {
    Verdict.EXACT: "its gradient, summed over windows, is that of BPTT over the whole sequence",
    Verdict.APPROXIMATE: "its trace carries credit across windows, but leaves out what is listed here",
    Verdict.TRUNCATED: "it has no trace: its credit reaches back to the start of the window",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `explain`."""
    options.add_target(parser)
    parser.add_argument("path", nargs="?", metavar="PATH", help="the weight, or a glob of paths (default: all weights)")
    options.add_rule(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print one paragraph a weight."""
    transition = options.planned(arguments)
    print("\n\n".join("\n".join(_paragraph(transition, label)) for label in _asked(transition, arguments.path)))
    return 0


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


def _paragraph(transition: Transition, label: Label) -> Iterator[str]:
    certificate = transition.certificate
    assert certificate is not None
    title = f"{paint(label.path, 'bold')}  {paint(label.label, label.label)}"
    yield f"{title}  by {label.rule}, window {certificate.window}, credit {certificate.credit}"
    yield from _wrapped(_MEANS[label.label], "  ")
    uses = [site for site in transition.sites if label.path in site.weight.paths]
    for site in uses:
        yield from _use(transition, site)
    if not uses:
        yield "  no ETP operation uses it"
    for reason in label.reasons:
        yield from _wrapped(str(reason), "  - ")
        yield from _source(reason.loc, "    ")
    if label.label is not Verdict.EXACT and label.rule != "rtrl":
        yield f"  help: --rules '{label.path}=rtrl' makes it exact, at the cost of a full trace"


def _use(transition: Transition, site: Site) -> Iterator[str]:
    reached = [_reach(a) for a in transition.associations if a.site is site]
    yield from _wrapped(
        f"used by {site.operation} {site.expression}{'; ' if reached else ''}{'; '.join(reached)}", "  "
    )
    yield from _source(site.loc, "    ")


def _reach(association: Association) -> str:
    group = association.group
    pairs = zip(group.states, association.couplings, strict=True)
    reached = [f"'{state.path}' {coupling}" for state, coupling in pairs if coupling is not None]
    crossings = ", ".join(dict.fromkeys(f"{c.operation}, which {c.why}" for c in association.through))
    ways = [*(["reaches " + ", ".join(reached)] if reached else [])]
    if crossings:
        ways.append(f"{'also ' if reached else ''}reaches group #{group.index} through {crossings}")
    return ", ".join(ways)


def _source(loc: Loc | None, indent: str) -> Iterator[str]:
    """The place, and the line itself with carets under what is meant, where the file can be read."""
    if loc is None:
        return
    yield f"{indent}{paint(f'{loc}:', 'faint')}"
    line = loc.source_line()
    if line is None:
        return
    text = line.lstrip()
    yield f"{indent}  {text}"
    if loc.column is not None:
        start = loc.column - 1 - (len(line) - len(text))
        end = min(loc.end_column - 1 - (len(line) - len(text)) if loc.end_column else len(text), len(text))
        if 0 <= start < end:
            yield f"{indent}  {' ' * start}{paint('^' * (end - start), 'bad')}"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width(), initial_indent=indent, subsequent_indent=" " * len(indent), break_on_hyphens=False
    )
