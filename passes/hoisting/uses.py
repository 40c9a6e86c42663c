"""What in the bodies of constructs is to stand outside them, products of weights first, and what is made of these."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np

from ...ir import jaxpr as jx
from ...ir.operations.call import WEIGHT_OPERATIONS
from ...ir.operations.convolution import CONVOLUTION
from ...ir.operations.lookup import looked_up
from ...ir.transition import Param
from ..analyses.products import LINEAR_IN_BOTH

Reached: TypeAlias = tuple[int, ...] | None
"""The places of the parameters that a value is made of, and of nothing else; None for a value of another kind."""

Known: TypeAlias = Mapping[Any, tuple[int, ...]]
"""The variables that depend on parameters and constants alone, each with the places of the parameters that learn."""

Wanted: TypeAlias = Callable[[tuple[int, ...]], bool]
"""Whether a plain product with a function of these parameters is to be a site."""

Enter: TypeAlias = Callable[[Any, Sequence[Reached], Wanted], Any]
"""A jaxpr, what its arguments are made of, and what is wanted: the jaxpr with its own constructs' products outside."""

_MOVES = {"add": 1, "sub": -1}
"""What moves a counter, and the sign of its second operand."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Use:
    """What a body computes that is to stand outside it: a product of data and a weight, say, or of a weight alone."""

    eqn: Any
    """The equation whose place in the user's code it has."""
    output: Any
    """The variable that it makes."""
    data: tuple[Any, ...]
    weights: tuple[Any, ...] = ()
    """What it takes that is made of parameters alone."""
    of: Callable[..., Any]
    """From the values of `data`, then of `weights`, to that of `output`."""
    elementwise: bool = False
    """Whether it sums over none of its data's positions."""
    tame: bool = False
    """Whether it is finite, with its derivative, wherever its data are."""
    own: tuple[Any, ...] = ()
    """Where it mixes positions, the data of which it has one at each position of the output."""
    slopes: Callable[..., tuple[Any, ...]] | None = None
    """From the values of `data` to the derivatives by `own`, of each position by its own."""

    def stacked(self, operands: Sequence[Any], of_trips: Sequence[bool]) -> Any:
        """Its value, of operands of which some have a leading axis of trips, stacked along one where any has."""
        if not any(of_trips):
            return self.of(*operands)
        with jx.made_by(self.eqn):
            return jax.vmap(self.of, in_axes=tuple(0 if on else None for on in of_trips))(*operands)


Find: TypeAlias = Callable[[Any, Known, Wanted], list[Use]]
"""A jaxpr, what of it is made of parameters, and what is wanted: what is to stand outside."""


def is_named(param: Param, globs: Iterable[str]) -> bool:
    """Whether a parameter learns, and a glob names it."""
    return not param.frozen and any(fnmatch.fnmatchcase(param.path, glob) for glob in globs)


def named_by(params: Sequence[Param], globs: Collection[str]) -> Wanted:
    """Whether one of some parameters, by their places, is named by a glob."""
    named = {k for k, param in enumerate(params) if is_named(param, globs)}
    return lambda places: not named.isdisjoint(places)


def made_of_params(body: Any, arguments: Sequence[Reached]) -> dict[Any, tuple[int, ...]]:
    """The variables of a body that depend on parameters and constants alone, each with the parameters' places."""
    known: dict[Any, tuple[int, ...]] = dict.fromkeys(jx.all_invars(body)[: len(jx.consts_of(body))], ())
    known |= {v: on for v, on in zip(jx.argument_vars(body), arguments, strict=True) if on is not None}
    for eqn in jx.equations(body):
        operands = [atom for atom in eqn.invars if not jx.is_literal(atom)]
        if not eqn.effects and all(atom in known for atom in operands) and eqn.primitive.name not in WEIGHT_OPERATIONS:
            known.update(dict.fromkeys(eqn.outvars, tuple(sorted({k for atom in operands for k in known[atom]}))))
    return known


def of_operands(atoms: Iterable[Any], known: Mapping[Any, tuple[int, ...]]) -> list[Reached]:
    """What operands are made of."""
    return [() if jx.is_literal(atom) else known.get(atom) for atom in atoms]


def uses_in(body: Any, known: Mapping[Any, tuple[int, ...]], wanted: Wanted) -> list[Use]:
    """The products of a body's own equations that are, or are to be, sites, in order."""
    found: list[Use] = []
    for eqn in jx.equations(body):
        marked = eqn.primitive.name in WEIGHT_OPERATIONS
        if not marked and not _is_plain_use(eqn, known):
            continue
        own = [bool(reached) for reached in of_operands(eqn.invars, known)]
        if own.count(True) != 1 or not jx.type_of(eqn.outvars[0]).carries_credit:
            continue
        weight = eqn.invars[own.index(True)]
        others = [atom for atom in eqn.invars if atom is not weight]
        data = next((atom for atom in others if _varies(atom, known)), next(iter(others), None))
        if marked or wanted(known[weight]):
            found.append(_product(eqn, data, weight))
    return found


def _product(eqn: Any, data: Any, weight: Any) -> Use:
    """An equation as a product of data, if there are any, and a weight."""
    taken = [atom for atom in (data, weight) if atom is not None]

    def of(*operands: Any) -> Any:
        given = {id(atom): value for atom, value in zip(taken, operands, strict=True)}
        with jx.made_by(eqn):
            return jx.bind(eqn, *(given[id(a)] if id(a) in given else _whole(a) for a in eqn.invars))[0]

    elementwise = eqn.primitive.name == "etp"
    if elementwise and data is not None:
        expression = eqn.params["expression"]
        elementwise = set(expression.operands[0]) | set(expression.operands[-1]) <= set(expression.output)
    data = () if data is None else (data,)
    return Use(eqn=eqn, output=eqn.outvars[0], data=data, weights=(weight,), of=of, elementwise=elementwise)


def _is_plain_use(eqn: Any, known: Mapping[Any, tuple[int, ...]]) -> bool:
    """Whether an equation is linear in an operand that may be a weight, and in data: a plain product, or a look-up.

    What is looked up by data is one, what a counter picks of weights is a weight itself.
    """
    name = eqn.primitive.name
    if name == LINEAR_IN_BOTH:
        return True
    operands, varying = eqn.invars, [atom for atom in eqn.invars if _varies(atom, known)]
    if len(varying) != 2 or eqn.outvars[0] in known:
        return False
    if name == CONVOLUTION:
        return operands[1] in known and eqn.params["batch_group_count"] == 1
    look = looked_up(eqn) if not jx.is_literal(operands[0]) and operands[0] in known else None
    return look is not None and (name == "gather" or operands[1 + look.axis] in varying)


def _whole(atom: Any) -> Any:
    """A literal, or where a slice begins along an axis that it has all of."""
    return atom.val if jx.is_literal(atom) else np.zeros(jx.shape_of(atom), jx.dtype_of(atom))


def _varies(atom: Any, known: Mapping[Any, tuple[int, ...]]) -> bool:
    """Whether an operand depends on parameters or on data."""
    return not jx.is_literal(atom) and known.get(atom) != ()


def weight_operands(eqn: Any, operands: Sequence[Reached]) -> set[int]:
    """The places of the operands that weights of ETP operations in an equation's bodies are made of."""
    of_params = {k for k, reached in enumerate(operands) if reached}
    found: set[int] = set()
    for body in jx.sub_jaxprs(eqn) if of_params else ():
        arguments = jx.argument_vars(body)
        skipped = len(operands) - len(arguments)
        if skipped not in (0, 1):  # bodies that share the operands out: which is whose is the construct's own affair
            found |= of_params if any(_etp_in(body)) else set()
            continue
        known = made_of_params(body, entering(eqn, operands[skipped:]))
        for inner in jx.equations(body):
            own = of_operands(inner.invars, known)
            if inner.primitive.name in WEIGHT_OPERATIONS:
                weights = [atom for atom, reached in zip(inner.invars, own, strict=True) if reached]
            else:
                weights = [inner.invars[k] for k in weight_operands(inner, own)]
            reached = inputs_of(body, weights, ())
            found |= {skipped + k for k, var in enumerate(arguments) if var in reached} & of_params
    return found


def entering(eqn: Any, operands: Sequence[Reached]) -> list[Reached]:
    """What the arguments of a body are made of: a loop's carry is of no parameters, whatever it begins as.

    A counter, which begins as a constant and moves by one, is a constant of each trip.
    """
    if eqn.primitive.name != "scan":
        return list(operands)
    first, carry, _ = jx.scan_split(eqn)
    counted = counters(eqn)
    carried = [() if k in counted and operands[k] == () else None for k in range(first, first + carry)]
    return [*operands[:first], *carried, *operands[first + carry :]]


def counters(eqn: Any) -> dict[int, int]:
    """The places of a scan's carried integers that move by a constant in every trip, and these constants."""
    first, carry, _ = jx.scan_split(eqn)
    body = eqn.params["jaxpr"]
    arguments, producers = jx.argument_vars(body), jx.Producers(body)
    found: dict[int, int] = {}
    for k, after in enumerate(jx.outvars(body)[:carry], first):
        made = producers.producer(after)
        sign = None if made is None else _MOVES.get(made.primitive.name)
        if made is None or sign is None or jx.shape_of(after) or "int" not in jx.dtype_of(after):
            continue
        value, by = made.invars
        if value is arguments[k] and isinstance(by, jx.Literal):
            found[k] = sign * int(by.val)
    return found


def _etp_in(body: Any) -> Iterator[bool]:
    for eqn in jx.equations(body):
        yield eqn.primitive.name in WEIGHT_OPERATIONS or any(any(_etp_in(inner)) for inner in jx.sub_jaxprs(eqn))


def needed(eqns: Sequence[Any], targets: Iterable[Any], given: Collection[Any], *, effects: bool = False) -> list[Any]:
    """The equations that `targets` need where some variables are given; those with effects too, where asked for."""
    wanted = {atom for atom in targets if not jx.is_literal(atom)} - set(given)
    kept: list[Any] = []
    for eqn in reversed(eqns):
        made = wanted.intersection(eqn.outvars)
        if made or (effects and eqn.effects):
            kept.append(eqn)
            wanted |= {atom for atom in eqn.invars if not jx.is_literal(atom)} - set(given)
    return kept[::-1]


def inputs_of(body: Any, targets: Sequence[Any], given: Collection[Any], *, effects: bool = False) -> set[Any]:
    """The variables that are read where `targets` are computed and some variables are given, themselves included."""
    eqns = needed(jx.equations(body), targets, given, effects=effects)
    return {atom for atoms in (targets, *(eqn.invars for eqn in eqns)) for atom in atoms if not jx.is_literal(atom)}


def turns(body: Any, uses: Sequence[Use]) -> dict[Use, int]:
    """For each product how many others come one after the other before its data are known."""
    of = {use.output: use for use in uses}
    found: dict[Use, int] = {}
    reached: dict[Any, int] = {}
    for eqn in jx.equations(body):
        turn = max((reached.get(atom, 0) for atom in eqn.invars if not jx.is_literal(atom)), default=0)
        use = of.get(eqn.outvars[0]) if eqn.outvars else None
        if use is not None:
            found[use] = turn
            turn += 1
        reached.update(dict.fromkeys(eqn.outvars, turn))
    return found


def run(
    body: Any, arguments: Sequence[Any], given: Mapping[Any, Any], targets: Sequence[Any], *, effects: bool = False
) -> list[Any]:
    """The values of variables of a body on arguments (None for one that is not needed), some of them given."""
    env = dict(zip(jx.all_invars(body), [*jx.consts_of(body), *arguments], strict=True)) | dict(given)
    eqns = needed(jx.equations(body), targets, given, effects=effects)
    jx.run_equations([eqn for eqn in eqns if not given.keys() & set(eqn.outvars)], env)
    return [jx.read(env, atom) for atom in targets]
