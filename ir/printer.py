"""The text of a transition, also of a broken one: what is missing prints as `<missing>`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any

from .layout import WIDEST_COLUMN, align, wrap
from .names import MISSING, Names, declared_values, nodes, present, undeclared_values, values_of
from .plan_printer import plan_lines
from .text import loc_cell, quote, type_text, word
from .transition import Transition

INDENT = "  "


def render(transition: Transition, names: Names | None = None) -> str:
    """The text of a transition; `parse` reads it back."""
    names = Names() if names is None else names
    for value in values_of(transition):
        names[value]
    t = transition
    sections = [
        [*_readable(_declarations, t, names), *_readable(_undeclared, t, names)],
        _readable(_regions, t, names),
        _readable(_sites, t, names),
        *(_readable(_group, t.associations, group, names) for group in nodes(t.groups)),
        _readable(_stray_associations, t, names),
        _readable(_open_scope, t.open, names),
        _readable(_certificate, t.certificate),
        _readable(plan_lines, t.plan, nodes(t.params), names),
    ]
    body = "\n\n".join("\n".join(INDENT + line for line in section) for section in sections if section)
    head = f"transition @{word(transition.name)}{loc_cell(transition)} {{"
    return f"{head}\n{body}\n}}\n" if body else f"{head}\n}}\n"


def _readable(section: Callable[..., list[str]], *arguments: Any) -> list[str]:
    """The lines of a section; one line in their place where a field holds something that no text can show.

    Whatever fails here is the transition's fault, which the verifier will describe: the other sections still print.
    """
    try:
        return section(*arguments)
    except (AttributeError, TypeError, ValueError, IndexError) as failure:
        return [f"<broken{section.__name__.replace('_', ' ')}: {failure}>"]


def isomorphic(left: Transition, right: Transition) -> bool:
    """Whether two transitions are the same but for hints and what the text leaves out: regions compare by digest."""
    return render(left, Names(numbered=True)) == render(right, Names(numbered=True))


def _declarations(t: Transition, names: Names) -> list[str]:
    return [
        *align([_declaration("param  ", node, names) for node in nodes(t.params)]),
        *align([_state(node, names) for node in nodes(t.states)]),
        *align([_declaration("input  ", node, names) for node in nodes(t.inputs)]),
        *align([_declaration("output ", node, names) for node in nodes(t.outputs)]),
        *_weights(t, names),
    ]


def _declaration(keyword: str, node: Any, names: Names) -> list[str]:
    value = getattr(node, "value", None)
    said = "".join(f"  {word}" for word in ("frozen", "mark") if getattr(node, word, False))
    return [keyword + names[value], f" : {type_text(value)}", f"  {_path(node)}{said}", loc_cell(node)]


def _path(node: Any) -> str:
    path = getattr(node, "path", None)
    return MISSING if path is None else quote(str(path))


def _state(node: Any, names: Names) -> list[str]:
    before, after = getattr(node, "before", None), getattr(node, "after", None)
    types = dict.fromkeys([type_text(before), type_text(after)])
    kind = getattr(node, "kind", None)
    return [
        f"state  {names[before]} -> {names[after]}",
        f" : {' -> '.join(types)}",
        f"  {kind.value if isinstance(kind, Enum) else MISSING} ",
        _path(node),
        loc_cell(node),
    ]


def _weights(t: Transition, names: Names) -> Iterator[str]:
    """One line for each weight that is computed; weights that are parameters share lines."""
    plain: list[str] = []
    for node in nodes(t.weights):
        params = nodes(getattr(node, "params", None))
        value = getattr(node, "value", None)
        if len(params) == 1 and value is getattr(params[0], "value", None) and node.loc is None:
            plain.append(names[value])
            continue
        yield from _plain_weights(plain)
        plain = []
        source = ", ".join(names[getattr(param, "value", None)] for param in params)
        yield f"weight {names[value]} : {type_text(value)} = prologue({source}){loc_cell(node)}"
    yield from _plain_weights(plain)


def _plain_weights(items: Sequence[str]) -> list[str]:
    return wrap("weight ", items, "") if items else []


def _undeclared(t: Transition, names: Names) -> list[str]:
    """Values that are only referred to, those of one type together."""
    declared = set(present(declared_values(t)))
    by_type: dict[str, dict[str, None]] = {}
    for value in present(undeclared_values(t)):
        if value not in declared:
            by_type.setdefault(type_text(value), {})[names[value]] = None
    return [line for text, items in by_type.items() for line in wrap("value  ", list(items), f" : {text}")]


def _regions(t: Transition, names: Names) -> list[str]:
    blocks: list[list[str]] = []
    notes: list[str] = []
    for node in nodes(t.regions):
        outputs = ", ".join(names[value] for value in nodes(node.outputs))
        inputs = [names[value] for value in nodes(node.inputs)]
        blocks.append(_signature(f"region @{word(node.name)}(", inputs, f") -> ({outputs})"))
        count = f"{node.equations} equation{'' if node.equations == 1 else 's'}"
        notes.append(f"  {count}, digest {node.digest}{loc_cell(node)}")
    last = align([[block[-1], note] for block, note in zip(blocks, notes, strict=True)])
    return [line for block, end in zip(blocks, last, strict=True) for line in [*block[:-1], end]]


def _signature(head: str, inputs: list[str], tail: str) -> list[str]:
    """A region's signature; where it is long, the results go on a line of their own."""
    short = head + ", ".join(inputs) + tail
    if len(short) <= WIDEST_COLUMN:
        return [short]
    outputs = tail.removeprefix(") -> (").removesuffix(")").split(", ")
    return [*wrap(head, inputs, ")"), *wrap("-> (", outputs, ")", indent=INDENT)]


def _sites(t: Transition, names: Names) -> list[str]:
    return align([_site(node, names) for node in nodes(t.sites)])


def _site(node: Any, names: Names) -> list[str]:
    operands = [] if node.data is None else [names[node.data]]
    operands.append(names[getattr(node.weight, "value", None)])
    return [
        f"site {names[node.output]}",
        f" : {type_text(node.output)}",
        f" = etp.{word(node.operation)}({', '.join(operands)})",
        f"  {MISSING if node.expression is None else quote(str(node.expression))}",
        f"  equation {node.equation}",
        "  held" if node.held else "",
        loc_cell(node),
    ]


def _open_scope(scope: Any, names: Names) -> list[str]:
    """The block of what is seen with nothing held; none where no rule has asked for it."""
    if scope is None:
        return []
    inside = [line for group in nodes(scope.groups) for line in _group(scope.associations, group, names)]
    return ["open {", *(INDENT + line for line in inside), "}"]


def _group(associations: Any, group: Any, names: Names) -> list[str]:
    shape = ",".join(map(str, nodes(group.shape)))
    head = f"group #{group.index} [{_states(group.states, names)}] shape [{shape}]{loc_cell(group)} {{"
    jacobian = [*_dependences("jacobian", group.jacobian, names), *_dependences("inflow", group.inflow, names)]
    inside = [a for a in nodes(associations) if getattr(a, "group", None) is group]
    return [head, *(INDENT + line for line in [*align(jacobian), *_associations(inside, names)]), "}"]


def _dependences(word: str, dependences: Any, names: Names) -> list[list[str]]:
    return [
        [f"{word} {_states((d.of,), names)}", f" <- {_states((d.on,), names)}", f" : {d.coupling}"]
        for d in nodes(dependences)
    ]


def _states(states: Any, names: Names) -> str:
    return ", ".join(names[getattr(state, "before", None)] for state in nodes(states))


def _associations(associations: Sequence[Any], names: Names, where: str = "") -> list[str]:
    lines = align([_association(node, names, where) for node in associations])
    return [
        text
        for node, line in zip(associations, lines, strict=True)
        for text in [line, *(INDENT + crossing for crossing in align([_crossing(c) for c in nodes(node.through)]))]
    ]


def _association(node: Any, names: Names, where: str) -> list[str]:
    site = node.site
    weight = getattr(getattr(site, "weight", None), "value", None)
    couplings = ", ".join("none" if coupling is None else str(coupling) for coupling in nodes(node.couplings))
    return [
        f"associate {names[weight]}",
        f" at {names[getattr(site, 'output', None)]}{where}",
        f" : {couplings or MISSING}",
        "  traced" if node.traced else "  untraced",
        "" if loc_cell(node) == loc_cell(site) else loc_cell(node),
    ]


def _crossing(node: Any) -> list[str]:
    return [f"through {word(node.operation)}", f" {quote(str(node.why))}", loc_cell(node)]


def _stray_associations(t: Transition, names: Names) -> list[str]:
    """Associations of groups that the transition does not have: an invalid transition, but not an unreadable one."""
    strays = [a for a in nodes(t.associations) if all(a.group is not group for group in nodes(t.groups))]
    return _associations(strays, names, " of an unknown group")


def _certificate(certificate: Any) -> list[str]:
    if certificate is None:
        return []
    rows = [row for label in nodes(certificate.labels) for row in _label(label, certificate.rule)]
    settings = f"window={certificate.window} credit={word(certificate.credit)}"
    return [f"certificate {word(certificate.rule)} {settings} {{", *(INDENT + line for line in align(rows)), "}"]


def _label(label: Any, rule: str) -> list[list[str]]:
    by = "" if label.rule == rule else f"  by {word(label.rule)}"
    reasons = [[f"  {quote(str(reason.text))}", loc_cell(reason)] for reason in nodes(label.reasons)] or [["", ""]]
    more = [*reasons[1:], *([[f"  because {quote(str(label.because))}", ""]] if label.because else [])]
    first = [_path(label), f"  {MISSING if label.label is None else label.label}", by, *reasons[0]]
    return [first, *(["", "", "", *cells] for cells in more)]
