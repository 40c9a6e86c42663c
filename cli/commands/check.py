"""irdump check: the certificate against BPTT, in numbers."""

from __future__ import annotations

import argparse
import textwrap

import jax

from ... import api
from ...judgement import HEAD, Outcome, check_learner, check_values, program_of
from ...program import in_float64
from .. import options
from ..console import printing_aside, table, width

HELP = "compare every weight's gradient with BPTT, and tell whether its label is true"

_STYLES = {Outcome.HOLDS: "good", Outcome.LIE: "bad", Outcome.UNTESTED: None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `check`."""
    options.add_target(parser)
    options.add_rule(parser, window=2)
    parser.add_argument(
        "--steps", type=int, metavar="T", help="length of the sequence (default: at least three windows)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random inputs and the random loss")
    parser.add_argument(
        "--backend", default="auto", metavar="NAME", help="auto, pallas, reference, xla (default: auto)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print one line a weight; the exit status is 1 where a label is a lie."""
    chosen = options.read(arguments)
    given = options.program(arguments, "check gradients")
    check_values(given)
    jax.config.update("jax_enable_x64", True)  # now, since a library that the model imports may have switched it off
    options.lower(given)
    with printing_aside():
        program = in_float64(given)
    step = options.lower(program, chosen)
    learner = api.emit(options.plan(options.analyse(step, chosen), chosen), arguments.backend, signature=step)
    with printing_aside():
        if chosen.marks:
            program, learner = program_of(learner, program.draw)
        found = check_learner(program, learner, steps=arguments.steps, seed=arguments.seed)
    print(found.title)
    if found.note:
        print(textwrap.fill(found.note, width(), break_on_hyphens=False))
    rows, styles = [finding.cells for finding in found], [_STYLES[finding.outcome] for finding in found]
    print(table(HEAD, rows, columns=width(), styles=styles))
    print(found.conclusion)
    return 0 if found.holds else 1
