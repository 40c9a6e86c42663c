"""irdump graph: a model as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...view import write_graph
from ...view.write import check_suffix
from .. import options

HELP = "draw a model: which weights reach which states, and with which label"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `graph`."""
    options.add_target(parser)
    options.add_rule(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="where to: .svg, .png, .pdf, .dot or .gv")


def run(arguments: argparse.Namespace) -> int:
    """Write the picture, and say where."""
    path = Path(arguments.output)
    check_suffix(path)
    write_graph(options.planned(arguments), path)
    print(path)
    return 0
