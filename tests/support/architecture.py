"""The rooms of the package and who imports whom, read from the source; and the picture of it."""

import ast
from collections.abc import Iterator
from functools import cache
from xml.sax.saxutils import escape

import networkx as nx
from imports import imported_modules, layer_of
from tree import package_sources

PURPOSE = {
    "coupling": "which positions depend on which",
    "ir": "transitions and plans: data, text, verifier",
    "coupling.primitives": "couplings of JAX's primitives",
    "frontend": "from models to steps",
    "zoo": "models that tests and docs share",
    "rules": "learning rules: they write plans",
    "view": "graphs and pictures",
    "passes": "analyse, plan, certify",
    "backends": "run plans: the engine, XLA, reference",
    "training": "fit: epochs, batches, callbacks",
    "cli": "the command irdump",
    "instruments": "hidden states and traces, seen",
    "etir": "the face: compile and its four stages",
}
"""One line for each room, as the picture shows it."""

WIDTH, HEIGHT, ROW, GAP, MARGIN = 240, 46, 96, 28, 20


def room_of(module: str) -> str:
    """The room that a module is in; `etir` for the face."""
    room = layer_of(module)
    return room if room in PURPOSE else "etir"


@cache
def rooms() -> nx.DiGraph:
    """An arrow from each room to every room that it imports."""
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(PURPOSE)
    for module, file in package_sources():
        for _, name in imported_modules(file.read_text(), module, is_package=file.name == "__init__.py"):
            if name.split(".")[0] == "etir" and room_of(module) != room_of(name):
                graph.add_edge(room_of(module), room_of(name))
    return graph


@cache
def files() -> nx.DiGraph:
    """An arrow from each file to every file that it imports when it runs; imports for annotations are left out."""
    sources = dict(package_sources())
    graph: nx.DiGraph = nx.DiGraph()
    for module, file in sources.items():
        for name in _imported_at_run_time(file.read_text(), module, file.name == "__init__.py"):
            target = name if name in sources else name.rpartition(".")[0]
            if target in sources and target != module:
                graph.add_edge(module, target)
    return graph


def _imported_at_run_time(source: str, module: str, is_package: bool) -> Iterator[str]:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    for _, name in imported_modules(ast.unparse(ast.fix_missing_locations(tree)), module, is_package=is_package):
        yield name


def picture() -> str:
    """The rooms as SVG, a row for each level: arrows lead from a room to those that it imports, shortcuts left out."""
    graph = nx.transitive_reduction(rooms())
    rows = list(reversed(list(nx.topological_generations(graph.reverse()))))
    widest = max(len(row) for row in rows)
    width = 2 * MARGIN + widest * (WIDTH + GAP) - GAP
    place: dict[str, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + GAP) + GAP) / 2
        for k, room in enumerate(sorted(row)):
            place[room] = left + k * (WIDTH + GAP), MARGIN + level * ROW
    height = 2 * MARGIN + (len(rows) - 1) * ROW + HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#667"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for upper, lower in sorted(graph.edges):
        (x, y), (u, v) = place[upper], place[lower]
        lines.append(
            f'<path d="M{x + WIDTH / 2:g} {y + HEIGHT:g} L{u + WIDTH / 2:g} {v:g}" stroke="#667" fill="none" '
            'marker-end="url(#tip)"/>'
        )
    for room, (x, y) in sorted(place.items()):
        lines += [
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#eef3fb" stroke="#446"/>',
            f'<text x="{x + WIDTH / 2:g}" y="{y + 19:g}" text-anchor="middle" font-size="14" font-weight="bold">'
            f"{escape(room)}</text>",
            f'<text x="{x + WIDTH / 2:g}" y="{y + 36:g}" text-anchor="middle" font-size="11" fill="#333">'
            f"{escape(PURPOSE[room])}</text>",
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
