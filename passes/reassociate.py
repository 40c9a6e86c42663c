"""reassociate: parameters meet parameters before they meet data."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..ir import jaxpr as jx
from ..ir.expression import LABELS, Expression
from ..ir.regions import STEP, make_region, with_regions
from ..ir.transition import Param, Transition
from .analyses.products import product_expression
from .analyses.prologue import find_prologue
from .base import Pass
from .canonicalise import without_dead_equations
from .hoisting import hoisted, named_by

TERMS = 4
"""A product is written as at most so many."""


@dataclass(frozen=True)
class Reassociate(Pass):
    """Write a product whose data are linear in other parameters as a product with a weight made of both.

    What feeds a dense product would have to be followed through it; the same number from a weight that is a function
    of parameters alone needs no more than that product's own trace. Only products that lead to a state are rewritten,
    those in branches and loops after they were moved outside.

    Before: `(mu * x) @ W`, `(x @ A) @ B`.  After: `x @ (mu[:, None] * W)`, `x @ (A @ B)`.
    """

    name: ClassVar[str] = "reassociate"

    params: tuple[str, ...] = ()
    """Globs of the parameters that are to be taken out of the data of products."""
    marked: tuple[str, ...] = ()
    """Globs of those that are to be where they enter by ETP operations, and meet weights in such, alone."""

    def run(self, transition: Transition) -> Transition:
        """The transition with another `step` region, where a product is of that kind."""
        region = transition.region(STEP)
        if not (self.params or self.marked) or transition.weights:
            return transition
        wanted = named_by(transition.params, self.params)
        outside = hoisted(region.body, len(transition.params), wanted, transition.frozen_places)
        body = _Rewriting(outside, transition, self.params, self.marked).run()
        if body is outside:
            return transition
        return with_regions(transition, make_region(STEP, body, region.inputs, region.outputs))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """A summand `einsum(x, a -> axes of the whole)`: an array that is no parameter, and a function of parameters."""

    x: Any
    x_labels: str
    a: Any = None
    a_labels: str = ""


class _Rewriting:
    """One run over the equations, which remembers of what products of data and parameters each value is a sum."""

    def __init__(self, body: Any, transition: Transition, globs: Sequence[str], marked: Sequence[str]) -> None:
        self.body = body
        self.prologue = find_prologue(body, len(transition.params), transition.frozen_places)
        self.plain = self._matching(transition, globs)
        """What is taken out by whatever operation it enters."""
        self.selected = self._matching(transition, (*globs, *marked))
        eqns = jx.equations(body)
        states = jx.outvars(body)[: len(transition.states)]
        self.wanted = {id(eqn) for eqn in jx.reaching(eqns, states)}
        self.inside = {id(eqn) for k, eqn in enumerate(eqns) if k in self.prologue.equations}
        self.producers = jx.Producers(body)
        self.values: dict[Any, Any] = {}
        self.terms: dict[Any, list[_Term]] = {}
        self.changed = False

    def _matching(self, transition: Transition, globs: Sequence[str]) -> set[Any]:
        """The functions of parameters that learn and match globs, and of frozen ones."""
        return {
            var
            for var, reached in self.prologue.params_of.items()
            if all(any(fnmatch.fnmatchcase(p.path, glob) for glob in globs) for p in _learning(transition, reached))
            and jx.type_of(var).carries_credit
        }

    def run(self) -> Any:
        """The body rewritten; itself where nothing was."""
        new = jx.retrace(self.body, self._hook)
        return without_dead_equations(new) if self.changed else self.body

    def _hook(self, eqn: Any, operands: list[Any]) -> list[Any] | None:
        self.values.update((a, v) for a, v in zip(eqn.invars, operands, strict=True) if not jx.is_literal(a))
        if id(eqn) in self.inside:
            return None
        with jx.made_by(eqn):
            expression = product_expression(eqn)
            if expression is not None:
                return self._product(eqn, expression, operands)
            if eqn.primitive.name == "split":
                self._split(eqn)
                return None
            found = self._linear(eqn, operands)
        if found is not None and any(t.a is not None for t in found) and len(found) <= TERMS:
            self.terms[eqn.outvars[0]] = found
        return None

    def _is_chosen(self, atom: Any, other: Any, *, marked: bool) -> bool:
        """Whether a factor is to meet parameters: a frozen one where the other factor is linear in some that learn."""
        if jx.is_literal(atom) or atom not in (self.selected if marked else self.plain):
            return False
        return self.prologue.learns(atom) or (not jx.is_literal(other) and other in self.terms)

    # Products

    def _product(self, eqn: Any, expression: Expression, operands: list[Any]) -> list[Any] | None:
        chosen = [
            self._is_chosen(a, eqn.invars[1 - k], marked=eqn.primitive.name == "etp") for k, a in enumerate(eqn.invars)
        ]
        from_params = [not jx.is_literal(a) and a in self.prologue.params_of for a in eqn.invars]
        if sum(from_params) != 1 or not any(chosen):
            return None
        place = chosen.index(True)
        weight, labels = operands[place], expression.operands[place]
        data, of_data = eqn.invars[1 - place], expression.operands[1 - place]
        terms = [self._labelled(t, of_data, expression) for t in self._terms(data, operands[1 - place])]
        terms = [_composed(t, weight, labels, expression.output) for t in terms]
        var = eqn.outvars[0]
        if len(terms) <= TERMS:
            self.terms[var] = [_relabelled(t, expression.output) for t in terms]
        if data not in self.terms or id(eqn) not in self.wanted or len(terms) > TERMS:
            return None
        self.changed = True
        results = [_evaluated(eqn, t, expression.output) for t in terms]
        total = results[0]
        for result in results[1:]:
            total = total + result
        return [total.astype(var.aval.dtype)]

    def _terms(self, atom: Any, value: Any) -> list[_Term]:
        rank = jnp.ndim(value)
        plain = [_Term(x=value, x_labels=LABELS[:rank])]
        return plain if jx.is_literal(atom) else self.terms.get(atom, plain)

    def _labelled(self, term: _Term, labels: str, expression: Expression) -> _Term:
        """A term over a product's own labels: those of the whole are renamed, those summed within made new."""
        used = set("".join((*expression.operands, expression.output)))
        fresh = iter(label for label in LABELS if label not in used)
        of: dict[str, str] = dict(zip(LABELS, labels, strict=False))
        for label in term.x_labels + term.a_labels:
            if label not in of or LABELS.index(label) >= len(labels):
                of[label] = next(fresh)
        return _renamed(term, of)

    # What is linear in data that are linear in parameters

    def _linear(self, eqn: Any, operands: list[Any]) -> list[_Term] | None:
        name = eqn.primitive.name
        known = [not jx.is_literal(a) and a in self.terms for a in eqn.invars]
        if name == "mul":
            return self._scaled(eqn, operands)
        if name == "neg" and known[0]:
            return [replace(t, x=-t.x) for t in self._terms(eqn.invars[0], operands[0])]
        if name in ("add", "sub", "add_any") and any(known):
            shapes = {jnp.shape(v) for v in operands}
            if len(shapes) != 1:
                return None
            left, right = (self._terms(a, v) for a, v in zip(eqn.invars, operands, strict=True))
            return [*left, *(replace(t, x=-t.x) if name == "sub" else t for t in right)]
        if name == "slice" and known[0] and set(eqn.params["strides"] or (1,)) == {1}:
            ends = list(zip(eqn.params["start_indices"], eqn.params["limit_indices"], strict=True))
            return [_sliced(t, dict(enumerate(ends))) for t in self._terms(eqn.invars[0], operands[0])]
        return None

    def _split(self, eqn: Any) -> None:
        """Each part of what is cut up is the parts' sum."""
        start = 0
        for var, size in zip(eqn.outvars, eqn.params["sizes"], strict=True):
            if eqn.invars[0] in self.terms:
                ends = {eqn.params["axis"]: (start, start + size)}
                self.terms[var] = [_sliced(t, ends) for t in self.terms[eqn.invars[0]]]
            start += size

    def _scaled(self, eqn: Any, operands: list[Any]) -> list[_Term] | None:
        """A product, element by element, with a vector of parameters, or with data that have every axis."""
        rank = len(jx.shape_of(eqn.outvars[0]))
        for place in (0, 1):
            factor, other = eqn.invars[place], eqn.invars[1 - place]
            whole = jx.shape_of(eqn.outvars[0])
            if jx.is_literal(other) or jx.shape_of(other) != whole:
                continue
            if jx.is_literal(factor):
                return [replace(t, x=t.x * operands[place]) for t in self._terms(other, operands[1 - place])]
            found = None
            if self._is_chosen(factor, other, marked=False):
                found = self._factor(factor, operands[place], whole)
            if found is not None:
                value, labels = found
                terms = self._terms(other, operands[1 - place])
                return [_times(t, value, labels) for t in terms]
            if other in self.terms and factor not in self.prologue.params_of:
                terms = self.terms[other]
                if all(t.x_labels == LABELS[:rank] for t in terms) and jx.shape_of(factor) == jx.shape_of(other):
                    return [replace(t, x=t.x * operands[place]) for t in terms]
        return None

    def _factor(self, atom: Any, value: Any, whole: tuple[int, ...]) -> tuple[Any, str] | None:
        """A function of selected parameters, before it was repeated along axes, and the labels of its axes."""
        made = self.producers.producer(atom)
        if made is not None and made.primitive.name == "broadcast_in_dim" and made.invars[0] in self.values:
            axes, small = made.params["broadcast_dimensions"], self.values[made.invars[0]]
            shape = jx.shape_of(made.invars[0])
            if all(shape[k] == jx.shape_of(atom)[axis] for k, axis in enumerate(axes)):
                return small, "".join(LABELS[axis] for axis in axes)
        if jnp.ndim(value) != len(whole):
            return None
        repeated = [axis for axis, size in enumerate(jnp.shape(value)) if size != whole[axis]]
        kept = "".join(LABELS[axis] for axis in range(len(whole)) if axis not in repeated)
        return jnp.squeeze(value, repeated), kept


def _learning(transition: Transition, places: Sequence[int]) -> list[Param]:
    return [transition.params[k] for k in places if not transition.params[k].frozen]


def _times(term: _Term, value: Any, labels: str) -> _Term:
    if term.a is None:
        return replace(term, a=value, a_labels=labels)
    union = "".join(dict.fromkeys(term.a_labels + labels))
    return replace(term, a=jnp.einsum(f"{term.a_labels},{labels}->{union}", term.a, value), a_labels=union)


def _composed(term: _Term, weight: Any, labels: str, output: str) -> _Term:
    """A term's parameters multiplied with a weight; what neither its data nor the result has is summed over."""
    if term.a is None:
        return replace(term, a=weight, a_labels=labels)
    both = dict.fromkeys(term.a_labels + labels)
    kept = "".join(label for label in both if label in term.x_labels or label in output)
    return replace(term, a=jnp.einsum(f"{term.a_labels},{labels}->{kept}", term.a, weight), a_labels=kept)


def _relabelled(term: _Term, output: str) -> _Term:
    """A term over a result's labels, renamed to the first labels there are."""
    rest = [label for label in dict.fromkeys(term.x_labels + term.a_labels) if label not in output]
    of = dict(zip((*output, *rest), LABELS, strict=False))
    return _renamed(term, of)


def _renamed(term: _Term, of: dict[str, str]) -> _Term:
    """A term with each label replaced by the one that stands for it."""
    x_labels, a_labels = ("".join(of[label] for label in text) for text in (term.x_labels, term.a_labels))
    return replace(term, x_labels=x_labels, a_labels=a_labels)


def _sliced(term: _Term, ends: dict[int, tuple[int, int]]) -> _Term:
    """The part of a term between two ends of some of its axes."""
    x, a = term.x, term.a
    for axis, (start, limit) in ends.items():
        label = LABELS[axis]
        if label in term.x_labels:
            x = jax.lax.slice_in_dim(x, start, limit, axis=term.x_labels.index(label))
        if label in term.a_labels:
            a = jax.lax.slice_in_dim(a, start, limit, axis=term.a_labels.index(label))
    return replace(term, x=x, a=a)


def _evaluated(eqn: Any, term: _Term, output: str) -> Any:
    """The value of a term: a product of the kind that it stands for."""
    expression = Expression(operands=(term.x_labels, term.a_labels), output=output)
    if eqn.primitive.name == "etp":
        return eqn.primitive.bind(term.x, term.a, **(dict(eqn.params) | {"expression": expression}))
    return jnp.einsum(str(expression), term.x, term.a, precision=eqn.params.get("precision"))
