"""irdump show: a model's Jaxpr, its transition, or the plan of a rule, as text."""

from __future__ import annotations

import argparse
from dataclasses import replace

from ..ir import jaxpr as jx
from ..ir.diagnostics import error
from ..ir.transition import Transition
from . import options

HELP = "print a model as text"
STAGES = ("jaxpr", "transition", "plan")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `show`."""
    options.add_target(parser)
    options.add_rule(parser)
    parser.add_argument(
        "--stage",
        choices=STAGES,
        help="the lowered step, what the analysis found, or the program of --rule (default: plan if --rule is given)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the stage that was asked for."""
    stage = arguments.stage or ("plan" if arguments.rule or arguments.rules else "transition")
    if stage == "plan":
        print(options.planned(arguments))
        return 0
    transition = options.analysed(arguments)
    print(_jaxpr(transition, arguments.target) if stage == "jaxpr" else _as_asked(transition, arguments))
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
    names = {id(p.value): f"param {p.path}" for p in transition.params}
    names |= {id(s.before): f"state {s.path}" for s in transition.states}
    names |= {id(i.value): f"input {i.path}" for i in transition.inputs}
    pairs = zip(jx.argument_vars(region.body), region.inputs, strict=True)
    head = [f"# {var} : {value.type}  {names.get(id(value), 'value')}" for var, value in pairs]
    return "\n".join([*head, str(region.body)])
