"""The work in a traced program: kernels after fusion, what each computes and moves, and how often it runs.

XLA joins element-wise operations into the kernels that need their results. So a kernel here is an array that has to be
there (what a product, a loop or the program's end reads), with all that is computed on the way to it from arrays that
are there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ...ir import jaxpr as jx
from ..fusion import FUSED, INLINED, NOTHING, SAME, SERIES, SLICES
from .products import Product, product_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One kernel, or the passage from one iteration of a loop to the next."""

    bytes: tuple[tuple[float, float], ...] = ()
    """Pairs of bytes that are moved while it computes, and the bytes of the whole array that they lie in."""
    apart: tuple[tuple[float, float], ...] = ()
    """The same of bytes that are moved before or after."""
    flops: float = 0.0
    """Operations of a product of matrices."""
    smallest: float = 1.0
    """The smallest dimension of that product."""
    dtype: str = "float32"
    """The element type of that product."""
    elements: float = 0.0
    """Element-wise operations."""
    series: float = 0.0
    """Element-wise operations that take a series: `exp`, `tanh`."""
    rewritten: float = 0.0
    """Bytes of an array of which a slice is written, where one of it is read as well."""
    launches: int = 1
    iterations: int = 0


Pieces: TypeAlias = list[tuple[float, Piece]]
"""Pieces, and how often each runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a program does."""

    pieces: Pieces
    fresh: float
    """Bytes of the arrays that it makes, those of a loop's body once."""


@dataclass(eq=False, slots=True)
class Array:
    """An array in a program: its size, and the bytes of the whole that it is cut from."""

    size: int
    bytes: float
    whole: float
    literal: bool = False

    @classmethod
    def of(cls, atom: Any, whole: float | None = None) -> Array:
        """That of an operand or a result."""
        kind = jx.type_of(atom)
        try:
            own = float(kind.bytes)
        except (TypeError, ValueError):  # a token, a key
            own = 8.0 * kind.size
        return cls(kind.size, own, own if whole is None else whole, jx.is_literal(atom))


@dataclass(eq=False, slots=True)
class Node:
    """An equation, the calls around it inlined."""

    eqn: Any
    name: str
    operands: list[Array]
    results: list[Array]
    product: Product | None

    @property
    def size(self) -> int:
        """Numbers in its results."""
        return sum(array.size for array in self.results)

    @property
    def fuses(self) -> bool:
        """Whether it is computed where it is read."""
        outer = self.product is not None and self.product.outer
        return self.name in FUSED or self.name in SERIES or outer

    @property
    def reduces(self) -> bool:
        """Whether it ends a kernel, and takes part in one."""
        return self.name.startswith(("reduce_", "arg")) and self.name != "reduce_precision"


def work_of(jaxpr: Any) -> Work:
    """The work in a closed jaxpr. A `while` that does not count up to a known number is counted as one trip."""
    body = _Body(jaxpr, [Array.of(v) for v in jx.all_invars(jaxpr)])
    return Work(pieces=body.work(), fresh=body.fresh)


class _Body:
    """One jaxpr on arrays that lie somewhere, calls in it inlined."""

    def __init__(self, jaxpr: Any, arguments: Sequence[Array], wholes: Sequence[float | None] = ()) -> None:
        self.nodes: list[Node] = []
        self.fresh = 0.0
        self.kept: set[int] = set()
        """The arrays that have to be there."""
        results = self._inlined(jaxpr, arguments)
        self.maker = {id(array): node for node in self.nodes for array in node.results}
        for array, whole in zip(results, wholes, strict=False):
            if whole is not None:
                array.whole = whole
        self._drop_dead(results)
        self._keep(results)
        self.copied = [a for a, whole in zip(results, wholes, strict=False) if whole and id(a) not in self.maker]

    def _inlined(self, jaxpr: Any, arguments: Sequence[Array]) -> list[Array]:
        """Add the nodes of a jaxpr; returns its results."""
        at: dict[Any, Array] = dict(zip(jx.all_invars(jaxpr), arguments, strict=True))

        def read(atom: Any) -> Array:
            return Array.of(atom) if jx.is_literal(atom) else at[atom]

        for eqn in jx.equations(jaxpr):
            operands, name = [read(atom) for atom in eqn.invars], eqn.primitive.name
            body = jx.callee(eqn) or (next(jx.sub_jaxprs(eqn), None) if name in INLINED else None)
            if body is not None:
                results = self._inlined(body, [*_constants(body), *operands])
            elif name in SAME:
                results = operands
                self.kept.update(id(array) for array in operands if name == "optimization_barrier")
            else:
                results = [Array.of(v) for v in eqn.outvars]
                self.nodes.append(Node(eqn, name, operands, results, product_of(eqn)))
            at.update(zip(eqn.outvars, results, strict=False))
        return [read(atom) for atom in jx.outvars(jaxpr)]

    def _drop_dead(self, results: Iterable[Array]) -> None:
        needed, live = {id(array) for array in results}, list[Node]()
        for node in reversed(self.nodes):
            if any(id(array) in needed for array in node.results):
                live.append(node)
                needed.update(id(array) for array in node.operands)
        self.nodes = live[::-1]

    def _keep(self, results: Iterable[Array]) -> None:
        """Find the arrays that have to be there: what leaves, what no fused operation reads, series read twice."""
        readers: dict[int, int] = {}
        self.kept.update(map(id, results))
        for node in self.nodes:
            within = node.fuses or node.reduces
            for k, array in enumerate(node.operands):
                readers[id(array)] = readers.get(id(array), 0) + 1
                if not within and not (node.name == "dynamic_update_slice" and k):
                    self.kept.add(id(array))
        for node in self.nodes:
            if node.name in SERIES:
                self.kept.update(id(array) for array in node.results if readers.get(id(array), 0) > 1)

    def work(self) -> Pieces:
        """The pieces of every node that is a kernel, in program order."""
        found = [piece for node in self.nodes for piece in self._of(node)]
        return found + [(1.0, Piece(bytes=((a.bytes, a.whole), (a.bytes, a.whole)))) for a in self.copied]

    def _of(self, node: Node) -> Iterator[tuple[float, Piece]]:
        if node.name in _NESTED:
            yield from _NESTED[node.name](self, node)
        elif node.name == "dynamic_update_slice":
            yield 1.0, self._update(node)
        elif node.fuses:
            kept = [array for array in node.results if id(array) in self.kept]
            if kept and node.size > 1:
                yield 1.0, self._made([node], kept)
        elif node.reduces:
            yield 1.0, self._made([node], node.results)
        else:
            self.fresh += sum(array.bytes for array in node.results)
            yield 1.0, _opaque(node) if node.product is None else _multiplied(node, node.product)

    def _made(self, nodes: list[Node], results: list[Array]) -> Piece:
        self.fresh += sum(array.bytes for array in results)
        return self._kernel(nodes, results)

    def _update(self, node: Node) -> Piece:
        """A slice written into an array that is there: what makes the slice, and its bytes."""
        slot = node.operands[1]
        node.results[0].whole = node.operands[0].whole
        written = Array(slot.size, slot.bytes, node.operands[0].whole)
        maker = self.maker.get(id(slot))
        inside = maker is not None and maker.fuses and id(slot) not in self.kept
        found = self._kernel([maker] if inside and maker else [], [written], () if inside else [slot])
        base = node.operands[0]
        read = any(base is array for other in self.nodes if other is not node for array in other.operands)
        return replace(found, rewritten=base.bytes) if read else found

    def _kernel(self, nodes: list[Node], results: Iterable[Array], leaves: Iterable[Array] = ()) -> Piece:
        """The kernel that ends with some nodes: fused operations back to arrays that are there."""
        seen, elements, series = set[int](), 0.0, 0.0
        moved = [(array.bytes, array.whole) for array in results]
        moved += [(array.bytes, array.whole) for array in leaves if array.size > 1 and not array.literal]
        stack, first = list(nodes), set(map(id, nodes))
        while stack:
            node = stack.pop()
            size = max(node.size, *(a.size for a in node.operands)) if node.reduces else node.size
            elements += 0 if node.name in NOTHING or node.name in SERIES else size
            series += size if node.name in SERIES else 0
            for array in node.operands:
                if id(array) in seen or array.literal or array.size <= 1:
                    continue
                seen.add(id(array))
                maker = self.maker.get(id(array))
                if maker is not None and maker.fuses and id(array) not in self.kept:
                    if id(maker) not in first:
                        stack.append(maker)
                elif node.name in SLICES:
                    moved.append((node.results[0].bytes, array.whole))
                else:
                    moved.append((array.bytes, array.whole))
        return Piece(bytes=tuple(moved), elements=elements, series=series)


def _multiplied(node: Node, product: Product) -> Piece:
    """A product of matrices, which reads while it computes."""
    turned = [a for a, is_turned in zip(node.operands, product.turned, strict=False) if is_turned]
    apart = (*turned, *turned, *node.results)
    return Piece(
        bytes=tuple((a.bytes, a.whole) for a in node.operands),
        apart=tuple((a.bytes, a.whole) for a in apart),
        flops=2.0 * node.size * product.summed,
        smallest=product.smallest,
        dtype=jx.dtype_of(node.eqn.outvars[0]),
    )


def _opaque(node: Node) -> Piece:
    """An operation that nothing is known of: it reads what it is given, at most as much as a gather does."""
    most = 2 * sum(array.bytes for array in node.results) if node.name == "gather" else None
    read = [(a.bytes if most is None else min(a.bytes, most), a.whole) for a in node.operands if a.size > 1]
    own = [(a.bytes, a.whole) for a in node.results]
    size = max((a.size for a in node.operands[2:]), default=0) if node.name.startswith("scatter") else node.size
    return Piece(bytes=(*read, *own), series=float(size))


def _scan(outer: _Body, node: Node) -> Pieces:
    consts, carry, _ = jx.scan_split(node.eqn)
    body, length = node.eqn.params["jaxpr"], float(node.eqn.params["length"])
    variables = jx.all_invars(body)[len(jx.consts_of(body)) :]
    given = [
        given if k < consts else Array.of(var, given.whole)
        for k, (given, var) in enumerate(zip(node.operands, variables, strict=True))
    ]
    stacked = node.results[carry:]
    outer.fresh += sum(array.bytes for array in stacked)
    return _repeated(outer, body, given, [*[None] * carry, *(array.whole for array in stacked)], length)


def _while(outer: _Body, node: Node) -> Pieces:
    body, skipped = node.eqn.params["body_jaxpr"], node.eqn.params["cond_nconsts"]
    return _repeated(outer, body, node.operands[skipped:], (), _trips(node.eqn))


_STEPS = {"lt": "add", "gt": "sub"}
"""By what one counts as long as a counter is less, or greater, than a number."""


def _trips(eqn: Any) -> float:
    """How often the body of a `while` runs that counts to a number, as `count_up` or `count_down` does; else one."""
    cond, body = eqn.params["cond_jaxpr"], eqn.params["body_jaxpr"]
    until: Any = jx.Producers(cond).producer(jx.outvars(cond)[0])
    if until is None or until.primitive.name not in _STEPS or not jx.is_literal(until.invars[1]):
        return 1.0
    counters = jx.argument_vars(cond)[eqn.params["cond_nconsts"] :]
    if until.invars[0] not in counters:
        return 1.0
    place = counters.index(until.invars[0])
    before, after = jx.argument_vars(body)[eqn.params["body_nconsts"] :][place], jx.outvars(body)[place]
    step: Any = None if jx.is_literal(after) else jx.Producers(body).producer(after)
    start = eqn.invars[eqn.params["cond_nconsts"] + eqn.params["body_nconsts"] + place]
    if step is None or step.primitive.name != _STEPS[until.primitive.name] or step.invars[0] is not before:
        return 1.0
    if not jx.is_literal(start) or not jx.is_literal(step.invars[1]) or step.invars[1].val != 1:
        return 1.0
    turns = float(until.invars[1].val) - float(start.val)
    return max(0.0, turns if until.primitive.name == "lt" else -turns)


def _repeated(outer: _Body, jaxpr: Any, given: Sequence[Array], wholes: Sequence[float | None], times: float) -> Pieces:
    body = _Body(jaxpr, [*_constants(jaxpr), *given], wholes)
    pieces = [(times * n, piece) for n, piece in body.work()]
    outer.fresh += body.fresh
    return [*pieces, (times, Piece(launches=0, iterations=1))]


def _cond(outer: _Body, node: Node) -> Pieces:
    """The branch with the most work, by the bytes that it moves."""
    bodies = [_Body(body, [*_constants(body), *node.operands[1:]]) for body in node.eqn.params["branches"]]
    found = [(body.work(), body.fresh) for body in bodies]
    work, fresh = max(found, key=lambda of: sum(n * sum(b for b, _ in piece.bytes) for n, piece in of[0]))
    outer.fresh += fresh
    return work


def _constants(jaxpr: Any) -> list[Array]:
    return [Array.of(var) for var in jx.all_invars(jaxpr)[: len(jx.consts_of(jaxpr))]]


_NESTED = {"scan": _scan, "while": _while, "cond": _cond}
