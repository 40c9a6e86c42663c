"""Couplings of one equation and of a whole jaxpr."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from ...ir import jaxpr as jx
from .. import Coupling
from . import contraction, control, derivative, elementwise, indexing, linearity, reduction, structure
from .constants import Constants
from .context import Context, Couplings, Rule, carries, couples_everything
from .declared import declared_rule

MIXING = ["cholesky_update", "select_and_scatter", "tridiagonal_solve"]
"""Operations of which no more is said than that they couple everything."""

RULES: MappingProxyType[str, Rule] = MappingProxyType(
    {
        **elementwise.RULES,
        **structure.RULES,
        **reduction.RULES,
        **contraction.RULES,
        **indexing.RULES,
        **control.RULES,
        **derivative.RULES,
        **dict.fromkeys(MIXING, couples_everything),
    }
)
"""Coupling rules by the name of JAX's primitive, or of ours."""

_Cached = weakref.WeakKeyDictionary[Any, tuple[tuple[Coupling | None, ...], ...]]
_cache: _Cached = weakref.WeakKeyDictionary()


def _rule(primitive: Any) -> Rule | None:
    """The rule of the table for a primitive, where it is the one that has the name."""
    return None if jx.is_namesake(primitive) else RULES.get(primitive.name)


def has_rule(eqn: Any) -> bool:
    """Whether the table says how an equation's outputs depend on its operands, or nothing need be said."""
    return _rule(eqn.primitive) is not None or not _differentiates(eqn)


def without_rule(jaxpr: Any) -> Iterator[Any]:
    """The equations of a jaxpr, bodies included, that are not in the table: what is known of them is their own word."""
    for eqn in jx.equations(jaxpr):
        if not has_rule(eqn):
            yield eqn
        elif eqn.primitive.name in control.RULES:
            for body in jx.sub_jaxprs(eqn):
                yield from without_rule(body)


def equation_couplings(
    eqn: Any, constants: Constants | None = None, unfolded: frozenset[Any] = frozenset()
) -> tuple[tuple[Coupling | None, ...], ...]:
    """How each output's derivative depends on each operand, indexed `[output][operand]`.

    `None` where it does not: at outputs and operands that are not floating point, at literals, and where the derivative
    is zero by structure (`stop_gradient`, comparisons, `floor`, an operand without elements). A primitive without a
    rule couples what its own derivative couples, and everything where that cannot be told. `constants`, those of the
    surrounding jaxpr, make gathers and slices by constant indices exact. `unfolded` are the primitives whose derivative
    is being read.
    """
    inert = tuple(None for _ in eqn.invars)
    if not _differentiates(eqn):
        return tuple(inert for _ in eqn.outvars)
    live = [not jx.is_literal(atom) and carries(atom) for atom in eqn.invars]
    context = Context(analyse=partial(_analyse, unfolded), constants=constants, unfolded=unfolded)
    rule = declared_rule(eqn.primitive) or _rule(eqn.primitive) or derivative.by_pullback
    rows = rule(eqn, context)
    empty = [0 in jx.shape_of(atom) for atom in eqn.invars]
    return tuple(
        tuple(
            c if on and (0 in jx.shape_of(var) or not none) else None
            for c, on, none in zip(row, live, empty, strict=True)
        )
        if carries(var)
        else inert
        for var, row in zip(eqn.outvars, rows, strict=True)
    )


def nonlinear_rule(eqn: Any, constants: Constants | None = None) -> str | None:
    """The operation that makes a backward rule in an equation nonlinear in its cotangent; None where all are linear."""
    return linearity.nonlinear_rule(eqn, _context(constants))


def refusal(eqn: Any, by: Iterable[int], of: Iterable[int], constants: Constants | None = None) -> str | None:
    """What JAX says where it has no pull-back of an equation's results by these operands; None where it has one."""
    try:
        derivative.pullback(eqn, _context(constants), frozenset(by), frozenset(of))
    except Exception as refused:  # of whatever class: a primitive's rules raise what they like
        return str(refused)
    return None


def _context(constants: Constants | None) -> Context:
    return Context(analyse=partial(_analyse, frozenset()), constants=constants)


def _differentiates(eqn: Any) -> bool:
    """Whether some output and some operand carry a derivative."""
    return any(carries(var) for var in eqn.outvars) and any(
        carries(atom) and not jx.is_literal(atom) for atom in eqn.invars
    )


def jaxpr_couplings(jaxpr: Any, seeds: Iterable[int] | None = None) -> tuple[tuple[Coupling | None, ...], ...]:
    """How each result of a jaxpr depends on each argument, indexed `[result][argument]`.

    Arguments are those of the closed jaxpr, its constants left out. With `seeds`, only these arguments are followed and
    the others' entries are `None`.
    """
    return _couplings(jaxpr, seeds, frozenset())


def _couplings(
    jaxpr: Any, seeds: Iterable[int] | None, unfolded: frozenset[Any]
) -> tuple[tuple[Coupling | None, ...], ...]:
    if seeds is not None or unfolded:
        return _propagate(jaxpr, None if seeds is None else frozenset(seeds), Constants(jaxpr), unfolded)
    if jaxpr not in _cache:
        _cache[jaxpr] = _propagate(jaxpr, None, Constants(jaxpr), unfolded)
    return _cache[jaxpr]


def _analyse(
    unfolded: frozenset[Any],
    jaxpr: Any,
    values: Sequence[Any],
    seeds: Iterable[int] | None = None,
    *,
    unfolding: Any = None,
) -> Couplings:
    """Couplings of a body, given the values of its arguments where they are constant."""
    unfolded = unfolded if unfolding is None else unfolded | {unfolding}
    given = {var: value for var, value in zip(jx.argument_vars(jaxpr), values, strict=True) if value is not None}
    if not given:
        return _couplings(jaxpr, seeds, unfolded)
    return _propagate(jaxpr, None if seeds is None else frozenset(seeds), Constants(jaxpr, given), unfolded)


def _propagate(
    jaxpr: Any, seeds: frozenset[int] | None, constants: Constants, unfolded: frozenset[Any]
) -> tuple[tuple[Coupling | None, ...], ...]:
    """Forward through the equations, one dictionary from arguments to couplings a variable."""
    arguments = jx.argument_vars(jaxpr)
    found: dict[Any, dict[int, Coupling]] = {
        var: {k: Coupling.identity(jx.shape_of(var))}
        for k, var in enumerate(arguments)
        if carries(var) and (seeds is None or k in seeds)
    }
    for eqn in jx.equations(jaxpr):
        operands = [{} if jx.is_literal(atom) else found.get(atom, {}) for atom in eqn.invars]
        if any(operands):
            for var, row in zip(eqn.outvars, equation_couplings(eqn, constants, unfolded), strict=True):
                reached = combine((c, deps) for c, deps in zip(row, operands, strict=True) if c is not None and deps)
                if reached:
                    found[var] = reached
    rows = [{} if jx.is_literal(atom) else found.get(atom, {}) for atom in jx.outvars(jaxpr)]
    return tuple(tuple(row.get(k) for k in range(len(arguments))) for row in rows)


def combine(paths: Iterable[tuple[Coupling, dict[int, Coupling]]]) -> dict[int, Coupling]:
    """The union over operands of what a result's coupling makes of each operand's own couplings.

    A single operand's dictionary is shared, not copied, where the coupling is the identity.
    """
    result: dict[int, Coupling] | None = None
    owned = False
    for outer, dependences in paths:
        if result is None and outer.is_identity:
            result = dependences
            continue
        if dependences is result and outer.is_identity:
            continue
        if not owned:
            result, owned = dict(result or {}), True
        assert result is not None
        _add(result, outer, dependences)
    return result or {}


def _add(result: dict[int, Coupling], outer: Coupling, dependences: dict[int, Coupling]) -> None:
    """Join what one operand contributes into the result."""
    for source, inner in dependences.items():
        composed = outer.compose(inner)
        if composed is not None:
            known = result.get(source)
            result[source] = composed if known is None or known is composed else known.join(composed)
