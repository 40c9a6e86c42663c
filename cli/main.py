"""The command `irdump`: arguments in, exit status out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from ..ir.diagnostics import EtirError
from .commands import check, cost, explain, graph, show
from .console import warnings_as_lines

_COMMANDS = {"show": show, "graph": graph, "explain": explain, "cost": cost, "check": check}

_DESCRIPTION = """\
Look at what the compiler makes of a model: its transition, the label of every weight,
and whether the labels are true.

TARGET names a model or a saved transition:
  pkg.mod:attr, file.py:attr   attr is a module (or a function or class that makes one),
                               a tuple (step, params, states, *inputs) (or a function that
                               returns one), a Transition, or a Learner
  zoo:NAME                     a model of the zoo that comes with the package
  FILE.etir, FILE.txt, -       a transition that `irdump show` printed
"""

_EXAMPLES = """\
examples:
  irdump show zoo:lstm
  irdump show model.py:net --input 'f32[3]' --rule d_rtrl --window 16
  irdump graph zoo:two_layer_rnn -o net.svg
  irdump explain model.py:net 'cell.W*' --input 'f32[3]'
  irdump cost model.py:net --input 'f32[8,3]' --rule d_rtrl --window auto
  irdump check model.py:net --input 'f32[8,3]' --rule rtrl

exit status: 0 no label is a lie, 1 one is (check), 2 the command could not be carried out
"""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command, options anywhere among them. A mistake ends the program with the command's usage."""
    top, commands = _parsers()
    command = commands.get(arguments[0]) if arguments else None
    return command.parse_intermixed_args(arguments[1:]) if command else top.parse_args(arguments)


def _parsers() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the command line, and that of each command."""
    top = argparse.ArgumentParser(
        prog="irdump",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.run.__doc__)
        command.set_defaults(run=module.run)
        module.add_arguments(command)
    return top, commands.choices


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. A user's mistake is a diagnostic on standard error, and 2."""
    parsed = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        with warnings_as_lines():
            return parsed.run(parsed)
    except EtirError as mistake:
        sys.stderr.write(f"{mistake}\n")
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
