"""Options that subcommands share, and what they make of a target."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import api
from ..frontend.marks import checked_marks
from ..ir.diagnostics import error
from ..ir.marks import MARKS
from ..ir.step import Step
from ..ir.transition import Transition
from ..reports import refuse_unmarked
from . import importing
from .arrays import parse_inputs
from .console import printing_aside
from .target import Program, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a model is to be analysed and learnt."""

    inputs: tuple[Any, ...]
    sites: str | list[str] | None
    frozen: list[str]
    marks: dict[str, str]
    rule: str
    rules: dict[str, str]
    window: int | str
    credit: str
    memory: str | None


def add_target(parser: argparse.ArgumentParser) -> None:
    """The model, and what one step of it takes."""
    parser.add_argument(
        "target", metavar="TARGET", help="pkg.mod:attr, file.py:attr, zoo:NAME, or a saved .etir or .txt"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="TYPE",
        help="an input of one step, as 'f32[8,16]'; once for each",
    )
    parser.add_argument(
        "--sites",
        metavar="explicit|auto|GLOBS",
        help="which weights are traced: those in ETP operations, every linear use, or paths (default: auto for "
        "modules of other libraries, else explicit)",
    )
    parser.add_argument("--frozen", metavar="GLOBS", help="weights that do not learn, by path, as 'base.*'")
    for name, what in (("mask", "if it counts"), ("reset", "if a sequence begins with it")):
        parser.add_argument(
            f"--{name}", metavar="step|sample", help=f"each step, or each sample of it, is told {what} (default: not)"
        )


def add_rule(parser: argparse.ArgumentParser, *, window: int = 1) -> None:
    """The learning rule."""
    parser.add_argument("--rule", metavar="RULE", help="the learning rule (default: d_rtrl)")
    parser.add_argument(
        "--window", type=_window, default=window, metavar="K", help=f"steps a window, or 'auto' (default: {window})"
    )
    parser.add_argument(
        "--rules",
        action="append",
        default=[],
        metavar="GLOB=RULE",
        help="another rule for some weights, as 'cell.Wr*=rtrl'; may be repeated",
    )
    parser.add_argument(
        "--credit", default="full", choices=("full", "rule"), help="credit inside windows (default: full)"
    )
    parser.add_argument(
        "--memory", metavar="SIZE", help="what the traces may hold, as '2GiB': what --rule auto spends (default: all)"
    )


def _window(text: str) -> int | str:
    """A number where it is one; the planner says what else it may be."""
    return int(text) if text.strip().removeprefix("-").isdecimal() else text


def read(arguments: argparse.Namespace) -> Options:
    """The options among parsed arguments; EtirError where a text makes no sense."""
    sites = arguments.sites
    return Options(
        inputs=parse_inputs(arguments.input),
        sites=sites if sites in (None, "explicit", "auto") else sites.split(","),
        frozen=[glob for glob in (arguments.frozen or "").split(",") if glob],
        marks=checked_marks(**{name: getattr(arguments, name) for name in MARKS}),
        rule=getattr(arguments, "rule", None) or "d_rtrl",
        rules=_rules(getattr(arguments, "rules", ())),
        window=getattr(arguments, "window", 1),
        credit=getattr(arguments, "credit", "full"),
        memory=getattr(arguments, "memory", None),
    )


def _rules(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text for joined in texts for text in joined.split(",")]
    for text in pairs:
        if not all(part.strip() for part in text.partition("=")):
            raise error("rules-form", f"'{text}' gives no rule to a weight", help="write --rules 'cell.Wr*=rtrl'")
    return {glob.strip(): rule.strip() for glob, _, rule in (text.partition("=") for text in pairs)}


def analysed(arguments: argparse.Namespace) -> Transition:
    """The target as a transition, analysed but not planned unless it was saved so."""
    loaded, options = _loaded(arguments)
    return analyse(lower(loaded, options), options) if isinstance(loaded, Program) else loaded


def _loaded(arguments: argparse.Namespace) -> tuple[Program | Transition, Options]:
    """What the target is, and the options; EtirError where marks are asked for of what has been lowered before."""
    options = read(arguments)
    loaded = load(arguments.target, options.inputs)
    if options.marks and not isinstance(loaded, Program):
        raise no_bodies(arguments.target, "mark steps")
    return loaded, options


@printing_aside()
def lower(program: Program, options: Options | None = None) -> Step:
    """The step of a model, as a Jaxpr; with the marks of the options."""
    marks = {} if options is None else options.marks
    step = importing.call(lambda: _lower(program, marks), f"the step of '{program.name}'")
    return replace(step, name=program.name)


def _lower(program: Program, marks: Mapping[str, Any]) -> Step:
    if program.module is not None:
        module = replace(program.module, params=program.params, states=program.states)
        return api.lower(module, *program.inputs, **marks)
    return api.lower(program.step, program.params, program.states, *program.inputs, buffers=program.buffers, **marks)


def analyse(step: Step, options: Options) -> Transition:
    """The transition of a model's step, analysed as its rules want it."""
    return api.analyse_for(step, options.sites, options.rule, options.rules, options.frozen)


def planned(arguments: argparse.Namespace) -> Transition:
    """The target as a transition with certificate and plan; one that has them keeps them if no rule is asked for."""
    loaded, options = _loaded(arguments)
    if isinstance(loaded, Program):
        return plan(analyse(lower(loaded, options), options), options)
    if loaded.certificate is not None and arguments.rule is None:
        return loaded
    if not has_bodies(loaded):
        raise no_bodies(arguments.target, "plan a rule")
    return plan(loaded, options)


def plan(transition: Transition, options: Options) -> Transition:
    """The transition with the certificate and the plan of a learning rule; EtirError where marks cannot hold it."""
    own: dict[str, Any] = {"rules": options.rules, "credit": options.credit, "memory": options.memory}
    planned = api.plan(transition, options.rule, options.window, **own)
    refuse_unmarked(planned)
    return planned


def has_bodies(transition: Transition) -> bool:
    """Whether the programs of a transition are there; not so where it was read from text."""
    return bool(transition.regions) and all(region.body is not None for region in transition.regions)


def program(arguments: argparse.Namespace, what_for: str) -> Program:
    """The target as a model that can be run; EtirError where it is only a transition."""
    loaded = load(arguments.target, read(arguments).inputs)
    if not isinstance(loaded, Program):
        raise no_bodies(arguments.target, what_for)
    return loaded


def no_bodies(target: str, what_for: str) -> Exception:
    """The EtirError for a transition without the program that something is wanted of."""
    return error(
        "target-bodies",
        f"cannot {what_for} for '{target}': it is a transition without the program that it was made from",
        help="name the model instead, as pkg.mod:attr or file.py:attr",
    )
