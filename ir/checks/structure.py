"""Rules about parameters, states, regions and weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from .. import jaxpr as jx
from ..diagnostics import Diagnostic
from ..regions import MODEL
from ..transition import Region, Transition
from ..types import TensorType
from ..values import Value
from .sheet import Sheet


def paths_are_unique(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A path names one parameter, one state, one input or one output."""
    kinds: dict[str, Sequence[Any]] = {
        "parameters": t.params,
        "states": t.states,
        "inputs": t.inputs,
        "outputs": t.outputs,
    }
    for noun, items in kinds.items():
        last = {item.path: item.loc for item in items}
        for path, count in Counter(item.path for item in items).items():
            if count > 1:
                loc = last[path]
                yield sheet.finding("ir-path", f"{count} {noun} are called '{path}'; wanted one", loc=loc)


def arguments_are_distinct(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A value is at most one argument of the step: one parameter, one state's value before it, or one input."""
    roles: dict[Value, list[str]] = {}
    for noun, items in (("parameter", t.params), ("input", t.inputs)):
        for item in items:
            roles.setdefault(item.value, []).append(f"{noun} '{item.path}'")
    for state in t.states:
        roles.setdefault(state.before, []).append(f"state '{state.path}'")
    for value, found in roles.items():
        if len(found) > 1:
            message = f"{sheet.name(value)} is {' and '.join(found)}; wanted a value for each"
            yield sheet.finding("ir-argument", message, loc=value.loc)


def state_keeps_its_type(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A state is a loop carry: it must leave the step with the type that it entered with."""
    for state in t.states:
        before, after = state.before.type, state.after.type
        if before != after:
            yield sheet.finding(
                "state-type",
                f"state '{state.path}' enters the step as {before} but leaves as {after}",
                line=sheet.state_line(state),
                mark=f"{before} -> {after}",
                loc=state.after.loc or state.loc,
                help=_type_help(before, after),
            )


def _type_help(before: TensorType, after: TensorType) -> str:
    if before.shape != after.shape:
        return "return the state with the shape that it came with"
    return f"cast the update to {_element(before)}, or declare the state as {after}"


def _element(type_: TensorType) -> str:
    return str(type_).partition("[")[0]


def results_are_computed(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """What a state becomes and what the step gives back is an argument, or some region computes it."""
    if not t.regions:
        return
    known = known_values(t) | {value for region in t.regions for value in region.outputs}
    for state in t.states:
        if state.after not in known:
            name = sheet.name(state.after)
            message = f"state '{state.path}' becomes {name}, which no region computes"
            yield sheet.finding("ir-undefined", message, line=sheet.state_line(state), mark=name, loc=state.loc)
    for output in t.outputs:
        if output.value not in known:
            name = sheet.name(output.value)
            message = f"output '{output.path}' is {name}, which no region computes"
            yield sheet.finding("ir-undefined", message, line=f"output {name}", mark=name, loc=output.loc)


def known_values(t: Transition) -> set[Value]:
    """The values that regions may read: arguments, weights, and what goes into and comes out of sites."""
    arguments = [*(p.value for p in t.params), *(s.before for s in t.states), *(i.value for i in t.inputs)]
    at_sites = [v for site in t.sites for v in (site.data, site.output) if v is not None]
    return {*arguments, *(w.value for w in t.weights), *at_sites}


def regions_read_known_values(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A region reads arguments, weights, sites and other regions' results; its own arguments come last.

    These are what is given where derivatives are taken: a shift of a site's output or of a new state, or a weight of a
    site's own. A region that a plan has made for itself is a function of its own arguments alone, or such a slice.
    """
    known = known_values(t)
    shifted = {value.type for site in t.sites for value in (site.output, site.weight.value)}
    shifted |= {state.after.type for state in t.hidden}
    for region in t.regions:
        here = known.union(*(other.outputs for other in t.regions if other is not region))
        unknown = [value for value in region.inputs if value not in here]
        come_last = unknown == list(region.inputs[len(region.inputs) - len(unknown) :])
        if come_last and all(value.type in shifted for value in unknown):
            continue
        if len(unknown) == len(region.inputs) and region.name not in MODEL:
            continue
        names = ", ".join(map(sheet.name, unknown))
        message = f"region @{region.name} reads {names}, which nothing defines"
        line, mark = f"region @{region.name}({_first(region, sheet)}", sheet.name(unknown[0])
        yield sheet.finding("ir-undefined", message, line=line, mark=mark, loc=region.loc)


def _first(region: Region, sheet: Sheet) -> str:
    """The first operand of a region as its line has it."""
    return sheet.name(region.inputs[0]) + ("," if len(region.inputs) > 1 else ")")


def regions_fit_their_bodies(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """Regions have names of their own, and a body takes and gives the values of the signature."""
    for name, count in Counter(region.name for region in t.regions).items():
        if count > 1:
            yield sheet.finding("ir-region", f"{count} regions are called @{name}; wanted one")
    for region in t.regions:
        if region.body is None:
            continue
        if not jx.is_jaxpr(region.body):
            message = f"region @{region.name} has a {type(region.body).__name__} for a body; wanted a jaxpr"
            yield sheet.finding("ir-region", message, loc=region.loc)
            continue
        arguments = [jx.type_of(var) for var in jx.argument_vars(region.body)]
        results = [jx.type_of(atom) for atom in jx.outvars(region.body)]
        for verb, values, found in (("takes", region.inputs, arguments), ("gives", region.outputs, results)):
            wanted = [value.type for value in values]
            if wanted != found:
                message = f"region @{region.name} {verb} {_types(wanted)}, but its body {verb} {_types(found)}"
                yield sheet.finding("ir-region", message, loc=region.loc)


def _types(items: list[TensorType]) -> str:
    return f"({', '.join(map(str, items))})"


def weights_come_from_parameters(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A weight is a function of parameters of this transition, and there is one node for it."""
    for value, count in Counter(weight.value for weight in t.weights).items():
        if count > 1:
            yield sheet.finding("ir-weight", f"{count} weights are {sheet.name(value)}; wanted one", loc=value.loc)
    params = set(t.params)
    for weight in t.weights:
        strangers = [param.path for param in weight.params if param not in params]
        if strangers or not weight.params:
            found = f"'{strangers[0]}', which is no parameter of this transition" if strangers else "no parameter"
            name = sheet.name(weight.value)
            message = f"weight {name} is computed from {found}"
            yield sheet.finding("ir-weight", message, line=f"weight {name}", mark=name, loc=weight.loc)
