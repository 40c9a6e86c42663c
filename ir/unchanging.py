"""Along which axes a jaxpr's values, and their derivatives, are one and the same, whatever its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from . import jaxpr as jx

Axes: TypeAlias = frozenset[int]
"""Axes of an array along which it does not change. One along which it has one position is always among them."""

LINEAR = frozenset({"add", "add_any", "convert_element_type", "copy", "copy_p", "neg", "sub"})
"""Element-wise operations whose derivative is one number."""
CHOSEN = frozenset({"reduce_max", "reduce_min", "reduce_prod"})
"""Operations that are in `ARRANGED`, but whose derivative is another at other values."""
PRODUCTS = frozenset({"dot_general", "etp product", "mul"})
"""Operations that are linear in each operand."""
OWN_RULES = frozenset({"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"})
"""Calls of a body whose derivative is another's."""
ELEMENTWISE = LINEAR | frozenset({
    "abs", "acos", "acosh", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "clamp", "cos",
    "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt",
    "integer_pow", "is_finite", "le", "lgamma", "log", "log1p", "log2", "logistic", "lt", "max", "min", "mul", "ne",
    "not", "or", "pow", "rem", "round", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square",
    "stop_gradient", "tan", "tanh", "xor",
})  # fmt: skip
"""Operations that are the same function of their operands at every position."""


class Unchanging:
    """What is known of one jaxpr's values. Of what is not known it is said that it changes."""

    def __init__(self, body: Any, known: Sequence[Axes] | None = None) -> None:
        """Prepare; of the arguments it may be `known` along which axes they do not change."""
        self.arguments, self.results = jx.argument_vars(body), jx.outvars(body)
        self.producers = jx.Producers(body)
        self.known: dict[Any, Axes] = {} if known is None else dict(zip(self.arguments, known, strict=True))

    def value(self, atom: Any) -> Axes:
        """The axes along which a value does not change."""
        for eqn in self.producers.reaching([atom]):
            if any(var not in self.known for var in eqn.outvars):
                own = [self._known(x) for x in eqn.invars]
                self.known.update(zip(eqn.outvars, self._values(eqn, own), strict=True))
        return self._known(atom)

    def derivative(self, atom: Any, by: Any) -> Axes:
        """Those along which the sum of a value's derivatives by all of an argument's positions does not change.

        That is the diagonal where each position depends on that of the same index alone.
        """
        return self._tangent(atom, {by: every(by)})

    def _tangent(self, atom: Any, given: Mapping[Any, Axes]) -> Axes:
        """Those of a value's tangent, from those of some arguments'; all where it has none."""
        self.value(atom)
        moved = dict(given)
        for eqn in self.producers.reaching([atom]):
            own = [None if jx.is_literal(x) else moved.get(x) for x in eqn.invars]
            if any(axes is not None for axes in own):
                found = zip(eqn.outvars, self._pushed(eqn, own), strict=True)
                moved |= {var: axes | single(var) for var, axes in found}
        return every(atom) if jx.is_literal(atom) else moved.get(atom, every(atom))

    def _known(self, atom: Any) -> Axes:
        return single(atom) if jx.is_literal(atom) else self.known.get(atom, single(atom)) | single(atom)

    def _values(self, eqn: jx.Equation, own: list[Axes]) -> list[Axes]:
        """Those of an equation's results."""
        name = _named(eqn)
        if name in ELEMENTWISE:
            return [_common(eqn.outvars[0], eqn.invars, own)]
        if name in ARRANGED:
            return [ARRANGED[name](eqn, own)]
        if name == "iota":
            return [every(eqn.outvars[0]) - {eqn.params["dimension"]}]
        bodies = list(jx.sub_jaxprs(eqn)) if jx.callee(eqn) is not None or name in OWN_RULES else []
        if bodies and len(jx.argument_vars(bodies[0])) == len(eqn.invars):
            inner = Unchanging(bodies[0], own)
            return [inner.value(atom) for atom in inner.results]
        return [single(var) for var in eqn.outvars]

    def _pushed(self, eqn: jx.Equation, own: list[Axes | None]) -> list[Axes]:
        """Those of an equation's results' tangents, from those of its operands, `None` for one without."""
        body = jx.callee(eqn)
        if body is not None and len(jx.argument_vars(body)) == len(eqn.invars):
            inner = Unchanging(body, [self._known(x) for x in eqn.invars])
            pairs = zip(inner.arguments, own, strict=True)
            given = {var: axes for var, axes in pairs if axes is not None}
            return [inner._tangent(atom, given) for atom in inner.results]
        return [self._of_one(eqn, own)] if len(eqn.outvars) == 1 else [single(var) for var in eqn.outvars]

    def _of_one(self, eqn: jx.Equation, own: list[Axes | None]) -> Axes:
        """`_pushed` of an equation with one result, and no body."""
        name, out = _named(eqn), eqn.outvars[0]
        values, moved = [self._known(x) for x in eqn.invars], [k for k, axes in enumerate(own) if axes is not None]
        tangents = [every(x) if axes is None else axes for x, axes in zip(eqn.invars, own, strict=True)]
        if name in PRODUCTS:
            rule = ARRANGED.get(name, lambda eqn, axes: _common(out, eqn.invars, axes))
            terms = [rule(eqn, [tangents[j] if j == k else values[j] for j in range(len(own))]) for k in moved]
            return frozenset.intersection(*terms)
        if name == "div" and moved == [0]:
            return _common(out, eqn.invars, [tangents[0], values[1]])
        if name in LINEAR or (name == "select_n" and moved[0] > 0):
            fixed = [values[0], *tangents[1:]] if name == "select_n" else tangents
            return _common(out, eqn.invars, fixed)
        if name in ELEMENTWISE:
            return _common(out, [*eqn.invars, *eqn.invars], [*values, *tangents])
        if name in CHOSEN:
            return ARRANGED[name](eqn, values) & ARRANGED[name](eqn, tangents)
        return ARRANGED[name](eqn, tangents) if name in ARRANGED else single(out)


def _named(eqn: jx.Equation) -> str:
    """The name of an equation's operation; "etp product" for a site's product."""
    is_product = eqn.primitive.name == "etp" and eqn.params["name"] == "product"
    return "etp product" if is_product else eqn.primitive.name


def every(atom: Any) -> Axes:
    """All axes."""
    return frozenset(range(len(jx.shape_of(atom))))


def single(atom: Any) -> Axes:
    """The axes of one position."""
    return frozenset(k for k, size in enumerate(jx.shape_of(atom)) if size == 1)


def _common(out: Any, operands: Sequence[Any], axes: Sequence[Axes]) -> Axes:
    """Those of a result that depends on all operands position by position."""
    pairs = zip(operands, axes, strict=True)
    of = [every(out) if not jx.shape_of(x) else own if _alike(x, out) else single(out) for x, own in pairs]
    return frozenset.intersection(every(out), *of)


def _alike(x: Any, out: Any) -> bool:
    return len(jx.shape_of(x)) == len(jx.shape_of(out))


def _broadcast(eqn: jx.Equation, own: list[Axes]) -> Axes:
    into = eqn.params["broadcast_dimensions"]
    return every(eqn.outvars[0]) - {axis for k, axis in enumerate(into) if k not in own[0]}


def _transposed(eqn: jx.Equation, own: list[Axes]) -> Axes:
    return frozenset(k for k, axis in enumerate(eqn.params["permutation"]) if axis in own[0])


def _reshaped(eqn: jx.Equation, own: list[Axes]) -> Axes:
    """Only axes of one position may come or go: what is cut or joined otherwise changes."""
    old, new = jx.shape_of(eqn.invars[0]), jx.shape_of(eqn.outvars[0])
    if own[0] == every(eqn.invars[0]):
        return every(eqn.outvars[0])
    from_, onto = ([k for k, size in enumerate(shape) if size != 1] for shape in (old, new))
    if [old[k] for k in from_] != [new[k] for k in onto]:
        return single(eqn.outvars[0])
    return single(eqn.outvars[0]) | {b for a, b in zip(from_, onto, strict=True) if a in own[0]}


def _reduced(eqn: jx.Equation, own: list[Axes]) -> Axes:
    left = [k for k in range(len(jx.shape_of(eqn.invars[0]))) if k not in eqn.params["axes"]]
    return frozenset(k for k, axis in enumerate(left) if axis in own[0])


def _joined(eqn: jx.Equation, own: list[Axes]) -> Axes:
    return frozenset.intersection(*own) - {eqn.params["dimension"]}


def _padded(eqn: jx.Equation, own: list[Axes]) -> Axes:
    return own[0] - {k for k, widths in enumerate(eqn.params["padding_config"]) if any(widths)}


def _same(eqn: jx.Equation, own: list[Axes]) -> Axes:
    del eqn
    return own[0]


def _contracted(eqn: jx.Equation, own: list[Axes]) -> Axes:
    """A product's axes: those of both operands, then each one's own."""
    contracted, batch = eqn.params["dimension_numbers"]
    found = [all(axes[side] in own[side] for side in (0, 1)) for axes in zip(*batch, strict=True)]
    for side, x in enumerate(eqn.invars):
        taken = {*contracted[side], *batch[side]}
        found += [axis in own[side] for axis in range(len(jx.shape_of(x))) if axis not in taken]
    return frozenset(k for k, unchanging in enumerate(found) if unchanging)


def _product(eqn: jx.Equation, own: list[Axes]) -> Axes:
    """A site's product: along a label it does not change where no operand with that label does."""
    expression = eqn.params["expression"]
    pairs = list(zip(expression.operands, own, strict=True))
    return frozenset(
        k
        for k, label in enumerate(expression.output)
        if all(labels.index(label) in axes for labels, axes in pairs if label in labels)
    )


ARRANGED: dict[str, Callable[[jx.Equation, list[Axes]], Axes]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _joined,
    "dot_general": _contracted,
    "etp product": _product,
    "pad": _padded,
    "reshape": _reshaped,
    "rev": _same,
    "slice": _same,
    "squeeze": _reshaped,
    "transpose": _transposed,
    **dict.fromkeys(["reduce_sum", *CHOSEN], _reduced),
}
"""Operations that only move, repeat or add up what they are given."""
