"""The pass over a trace of edges at a fold's end, and the product of a site over edges, by kernel 3."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...coupling.primitives.picked import Picked
from ...ir.plan.placement import as_type_of
from ...ir.transition import Site
from ..folds.algebra import Passed
from ..folds.one_pass import Operands, Pass
from ..folds.pattern import Sweep
from ..folds.trace_pass import xla_pass
from ..picked import PickedSource
from .edges import ROOM, Edges
from .edges_block import THREADS
from .graph import Graph
from .target import TOO_OLD, on_gpu, takes_references

TYPES = ("float32", "bfloat16")
"""The element types that traces may have."""
LEAST = THREADS // 2
"""A row has at least so many numbers: of shorter ones most would be filled up with zeros."""


class EdgePass:
    """`trace_pass` by kernel 3, of folds of two steps or more; one step's pass is XLA's, which makes one of it too."""

    def __init__(self, interpreted: bool) -> None:
        """Say whether the kernel is interpreted where there is no GPU."""
        self.interpreted = interpreted

    def __call__(self, of: Pass, given: Operands) -> Passed:
        """The new trace, and the contraction of the old one."""
        given = given._replace(factors={k: x for k, x in given.factors.items() if k in given.held})
        kinds = {str(x.dtype) for x in given.held.values()}
        steps = min((x.shape[0] for x in given.factors.values()), default=0)
        small = steps < 2 or steps * graph_of(of.sweep).lanes_of(of.sweep.placement) < LEAST
        if of.members is not None or small or len(kinds) > 1 or kinds - set(TYPES):
            return xla_pass(of, given)

        def kernel(interpret: Any, given: Operands) -> Passed:
            return as_edges(partial(Edges.launch, interpret=interpret), of, given)

        return on_gpu(kernel, partial(xla_pass, of), self.interpreted, given)


class EdgeProduct:
    """`PickedSource.by_steps` by kernel 3; of a few numbers a row it is XLA's, which makes one pass of it too."""

    def __init__(self, interpreted: bool) -> None:
        """Say whether the kernel is interpreted where there is no GPU."""
        self.interpreted = interpreted

    def __call__(self, source: PickedSource, data: Any, cotangents: Any) -> Any:
        """The weight's cotangent."""
        graph = Graph(source.site, source.picked)
        if data.shape[0] * graph.size(graph.lanes) < LEAST:
            return source.by_steps(data, cotangents)

        def kernel(interpret: Any, data: Any, cotangents: Any) -> Any:
            return product_of_edges(partial(Edges.launch, interpret=interpret), graph, data, cotangents)

        return on_gpu(kernel, source.by_steps, self.interpreted, data, cotangents)


def graph_of(sweep: Sweep) -> Graph:
    """That of a sweep whose data are read where they are picked of."""
    assert sweep.picked is not None
    return Graph(sweep.site, sweep.picked.picked)


def fault(sweep: Sweep) -> str | None:
    """Why kernel 3 does not take a sweep; None where it does."""
    kinds = {trace.before.type.dtype for trace in sweep.traces} - set(TYPES)
    if sweep.couplings is not None:
        return "positions meet: its Jacobians are small matrices"
    if kinds:
        return f"its trace is of {', '.join(sorted(kinds))}; wanted float32 or bfloat16"
    if not sweep.factors:
        return "nothing feeds it"
    if sweep.placement.summed:
        return "its trace is a sum over an axis of the output"
    if (room := _largest(sweep).least_room) > ROOM:
        return f"a block of it takes {room >> 10} KiB of shared memory; there are {ROOM >> 10}"
    return None


def product_fault(site: Site, picked: Picked) -> str | None:
    """Why kernel 3 does not take a site's product; None where it does."""
    kinds = {site.output.type.dtype, site.weight.value.type.dtype} - set(TYPES)
    if not takes_references():
        return TOO_OLD
    if kinds:
        return f"its data are of {', '.join(sorted(kinds))}; wanted float32 or bfloat16"
    return Graph(site, picked).fault()


def outline(sweep: Sweep) -> str:
    """What is emitted for a sweep that the kernel takes."""
    plan, arrays = _largest(sweep), len(sweep.states)
    whole = f"{arrays} arrays of {plan.lanes}" if arrays > 1 else str(plan.lanes)
    return (
        f"{whole} x {plan.edges} edges of {sweep.traces[0].before.type.dtype}, in place, {plan.width} edges a block; "
        "data and sensitivities are read by rows where they lie, none is made for each edge; folds from 2 steps"
    )


def product_outline(site: Site, picked: Picked) -> str:
    """What is emitted for a product that the kernel takes."""
    graph = Graph(site, picked)
    sizes = [len(graph.source), picked.gather.invars[0].aval.shape[picked.axis], graph.size(graph.targets)]
    return "{} edges from {} sources to {} targets, both read by rows of all steps of a fold".format(*sizes)


def as_edges(
    launch: Callable[[Edges, list[Any], dict[str, Any]], tuple[list[Any], Any]], of: Pass, given: Operands
) -> Passed:
    """`trace_pass` by `launch`, which is given rows: `Edges.launch`, or `Edges.by_definition`."""
    graph, layout = graph_of(of.sweep), of.sweep.placement
    held, pairs, factors, data, credit = of.placed(given)
    places = list(held)
    plan = Edges(
        source=graph.source,
        target=graph.target,
        lanes=graph.lanes_of(layout),
        states=len(places),
        pairs=tuple((places.index(of), places.index(on)) for of, on in pairs),
        fed=tuple(places.index(k) for k in factors),
        steps=next(iter(factors.values())).shape[0],
        reads=credit is not None,
        dtype=str(held[places[0]].dtype),
    )
    arrays: dict[str, Any] = {
        "jacobians": [graph.at_targets(x, layout.output) for x in pairs.values()],
        "credit": [graph.at_targets(x, layout.output) for x in (credit or {}).values()],
        "sensitivities": [graph.at_targets(x, layout.output) for x in factors.values()],
        "data": graph.at_sources(data, layout.slots),
    }
    new, read = launch(plan, [x.reshape(plan.lanes, -1) for x in held.values()], arrays)
    shaped = {k: x.reshape(held[k].shape) for k, x in zip(held, new, strict=True)}
    weight = of.sweep.site.weight.value.type
    return shaped, None if read is None else as_type_of(read.reshape(weight.shape), weight.dtype)


def product_of_edges(launch: Callable[..., tuple[list[Any], Any]], graph: Graph, data: Any, cotangents: Any) -> Any:
    """A site's product by `launch`, which is given rows."""
    x, y = graph.at_sources(data), graph.at_targets(cotangents, graph.site.expression.output)
    plan = Edges(
        source=graph.source, target=graph.target, lanes=x.shape[1], states=0, pairs=(), fed=(0,), steps=x.shape[0],
        reads=True, dtype="float32",
    )  # fmt: skip
    _, read = launch(plan, [], {"jacobians": [], "credit": [], "sensitivities": [y], "data": x})
    weight = graph.site.weight.value.type
    return as_type_of(read.reshape(weight.shape), weight.dtype)


def _largest(sweep: Sweep) -> Edges:
    """The launch on all of a sweep's states that takes the most shared memory."""
    graph, places = graph_of(sweep), range(len(sweep.states))
    return Edges(
        source=graph.source,
        target=graph.target,
        lanes=graph.lanes_of(sweep.placement),
        states=len(places),
        pairs=tuple((of, on) for of in places for on in places),
        fed=tuple(places),
        steps=THREADS,
        reads=True,
        dtype=sweep.traces[0].before.type.dtype,
    )
