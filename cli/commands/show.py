"""irdump show: a model's Jaxpr, its transition, the plan of a rule, or the kernels that run it, as text."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace

from ...backends import kernels
from ...ir.diagnostics import error
from ...ir.transition import Region, Transition
from .. import options

HELP = "print a model as text"
STAGES = ("jaxpr", "transition", "plan", "kernel")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `show`."""
    options.add_target(parser)
    options.add_rule(parser)
    parser.add_argument(
        "--stage",
        choices=STAGES,
        help="the lowered step, what the analysis found, the program of --rule, or the kernels that run it "
        "(default: plan if --rule is given)",
    )
    parser.add_argument(
        "--backend", default="auto", metavar="NAME", help="for kernels: auto, pallas, reference, xla (default: auto)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the stage that was asked for."""
    stage = arguments.stage or ("plan" if arguments.rule or arguments.rules else "transition")
    if stage == "plan":
        text = str(options.planned(arguments))
    elif stage == "kernel":
        planned = options.planned(arguments)
        if not options.has_bodies(planned):
            raise options.no_bodies(arguments.target, "show kernels")
        text = kernels(planned, arguments.backend)
    else:
        transition = options.analysed(arguments)
        text = _jaxpr(transition, arguments.target) if stage == "jaxpr" else str(_as_asked(transition, arguments))
    print(text.rstrip("\n"))
    return 0


def _as_asked(transition: Transition, arguments: argparse.Namespace) -> Transition:
    """All of a saved transition, unless only its analysis was asked for."""
    return replace(transition, plan=None, certificate=None) if arguments.stage == "transition" else transition


def _jaxpr(transition: Transition, target: str) -> str:
    region = next((region for region in transition.regions if region.name == "step"), None)
    if region is None or region.body is None:
        raise error(
            "target-bodies",
            f"'{target}' holds no Jaxpr: it was read from text, which has only its digest",
            help="name the model instead, as pkg.mod:attr or file.py:attr",
        )
    text = str(region.body)
    return "\n".join([*_arguments(transition, region, text), text])


def _arguments(transition: Transition, region: Region, text: str) -> list[str]:
    """A comment for each argument of the printed Jaxpr: its letter there, and what it is."""
    what = {id(p.value): f"param {p.path}" for p in transition.params}
    what |= {id(s.before): f"state {s.path}" for s in transition.states}
    what |= {id(i.value): f"input {i.path}" for i in transition.inputs}
    letters = re.findall(r"(\w+):", text.partition(" let")[0].partition(";")[2])
    if len(letters) != len(region.inputs):
        letters = [f"argument {k}" for k in range(len(region.inputs))]
    width = max(map(len, letters), default=0)
    return [f"# {a:<{width}}  {what[id(v)]}" for a, v in zip(letters, region.inputs, strict=True) if id(v) in what]
