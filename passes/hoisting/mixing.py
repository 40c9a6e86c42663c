"""A step whose branches and loops mix positions, as norms do, written as one that mixes them outside these."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...coupling.primitives.elementwise import ELEMENTWISE
from ...ir import jaxpr as jx
from ...ir.dataflow import Prologue
from ...ir.operations.call import WEIGHT_OPERATIONS
from ...ir.tails import REPEATING
from ..analyses.credit import Credit
from ..analyses.dataflow import Walk, walked
from ..canonicalise import without_calls
from .branches import Branches, is_tame
from .loops import Loop
from .uses import Find, Known, Reached, Use, Wanted, made_of_params, of_operands, run

_ELEMENTWISE = frozenset(ELEMENTWISE)
_PLAIN = _ELEMENTWISE | REPEATING


def mixing_apart(body: Any, params: int, states: int) -> Any:
    """A step's jaxpr with what mixes positions in its `cond`s and `scan`s outside them, where credit comes to a state.

    Such a construct would be held as a whole, and carry no credit. Written so, what is held is what mixes positions,
    and of its derivative is kept what is kept wherever it stands. The first arguments are parameters, then states.
    """
    arguments = jx.argument_vars(body)
    made = [(k,) if k < params else None if k < params + states else () for k in range(len(arguments))]
    return _entered(body, made, _nothing, states)


def _nothing(places: tuple[int, ...]) -> bool:
    """Weights are not what is wanted here."""
    del places
    return False


def _inside(body: Any, arguments: Sequence[Reached], wanted: Wanted) -> Any:
    """The body of a construct, with what mixes in its own constructs outside them, and with repetition spelt out.

    A sum of terms is one of sums, where a term is an argument: what is known outside a loop is then summed up there.
    """
    flat = _entered(body, arguments, wanted)
    _, walk = _walked(flat, made_of_params(flat, arguments))
    if not walk.held:
        return flat
    given, producers = set(jx.argument_vars(flat)), jx.Producers(flat)

    def run(*arguments: Any) -> list[Any]:
        env = dict(zip(jx.all_invars(flat), [*jx.consts_of(flat), *arguments], strict=True))

        def hook(eqn: Any, operands: list[Any]) -> list[Any] | None:
            with jx.made_by(eqn):
                if eqn.primitive.name in _ELEMENTWISE:
                    small = [_is_mixed(walk, atom) for atom in eqn.invars]
                    return jx.bind(eqn, *_repeated(operands, small, jx.shape_of(eqn.outvars[0])))
                terms = list(_terms(producers, eqn.invars[0])) if eqn.primitive.name == "reduce_sum" else []
                if len(terms) < 2 or not any(atom in given for atom, _ in terms):
                    return None
                return [sum(sign * jnp.sum(env[atom], eqn.params["axes"]) for atom, sign in terms)]

        jx.run_equations(jx.equations(flat), env, hook)
        return [jx.read(env, atom) for atom in jx.outvars(flat)]

    return jx.trace(run, *map(jx.struct_of, jx.argument_vars(flat)))[0]


def _repeated(operands: list[Any], small: Sequence[bool], shape: tuple[int, ...]) -> Iterator[Any]:
    """The operands of an element-wise equation, each that is `small` with all positions."""
    for x, on in zip(operands, small, strict=True):
        grows = on and x.shape != shape
        yield jax.lax.broadcast_in_dim(x, shape, range(len(shape) - x.ndim, len(shape))) if grows else x


def _terms(producers: jx.Producers, atom: Any, sign: int = 1) -> Iterator[tuple[Any, int]]:
    """What a value is the sum of, each with its sign."""
    made = producers.producer(atom)
    alike = made is not None and all(jx.type_of(a) == jx.type_of(atom) and not jx.is_literal(a) for a in made.invars)
    if made is None or not alike or made.primitive.name not in ("add", "sub", "neg"):
        yield atom, sign
        return
    *others, last = made.invars
    for term in others:
        yield from _terms(producers, term, sign)
    yield from _terms(producers, last, sign if made.primitive.name == "add" else -sign)


def _is_mixed(walk: Walk, atom: Any) -> bool:
    """Whether a value is made of what is held, or through a sum."""
    if jx.is_literal(atom):
        return False
    return atom in walk.summed or not walk.held.keys().isdisjoint(walk.depends.get(atom, {}))


def _walked(body: Any, known: Known) -> tuple[Credit, Walk]:
    """How credit flows through a body from those of its arguments that are made of states."""
    credit = Credit(body)
    sources = [v for v in jx.argument_vars(body) if v not in known and jx.type_of(v).carries_credit]
    return credit, walked(credit, Prologue(params_of={}, equations=frozenset(), frontier=()), sources)


def _entered(body: Any, arguments: Sequence[Reached], wanted: Wanted, first: int | None = None) -> Any:
    """A jaxpr with what mixes in those of its constructs outside them that keep credit from its results, or the first.

    Not in those from which there is no way to a result but through what mixes positions outside.
    """
    if not any(eqn.primitive.name in CONSTRUCTS or jx.callee(eqn) is not None for eqn in jx.equations(body)):
        return body
    flat = without_calls(body)
    known = made_of_params(flat, arguments)
    credit, walk = _walked(flat, known)
    near = credit.leading_to(jx.outvars(flat)[:first], apart=_far(credit, walk))
    changes: dict[int, jx.Change] = {}
    for eqn in jx.equations(flat):
        if any(var in near and var in walk.held for var in eqn.outvars) and eqn.primitive.name in CONSTRUCTS:
            operands = [
                of if of is not None or walk.depends.get(atom) else ()
                for atom, of in zip(eqn.invars, of_operands(eqn.invars, known), strict=True)
            ]
            kind, find = CONSTRUCTS[eqn.primitive.name]
            construct = kind(eqn, operands, wanted, _inside, find)
            if construct.uses_weights:
                changes[id(eqn)] = construct.change
    return jx.replaced(flat, changes)


def _far(credit: Credit, walk: Walk) -> set[Any]:
    """What holds, whatever comes to it: results of equations that mix positions and are no constructs."""
    found: set[Any] = set()
    for place, eqn in enumerate(credit.equations):
        if eqn.primitive.name not in CONSTRUCTS and any(map(walk.depends.get, eqn.outvars)):
            rows = zip(eqn.outvars, credit.couplings(place), strict=True)
            found.update(v for v, row in rows if v in walk.held or any(c is not None and c.mixes for c in row))
    return found


def mixtures(body: Any, known: Known, wanted: Wanted) -> list[Use]:
    """What is held in a body because positions mix there, in order, each with what mixes them."""
    del wanted
    credit, walk = _walked(body, known)
    return [use for var in walk.held if (use := _mixture(body, credit, walk, var)) is not None]


def cheap_mixtures(body: Any, known: Known, wanted: Wanted) -> list[Use]:
    """Those of a body that may not be run at all: no loops."""
    return [use for use in mixtures(body, known, wanted) if use.eqn.primitive.name not in CONSTRUCTS]


CONSTRUCTS: dict[str, tuple[Callable[..., Branches | Loop], Find]] = {
    "cond": (Branches, cheap_mixtures),
    "scan": (Loop, mixtures),
}


def _mixture(body: Any, credit: Credit, walk: Walk, var: Any) -> Use | None:
    """A held variable, from what its positions were summed up of; None where they were not, or a weight's were."""
    chain, sums, ends = _back(credit, walk, var)
    if not sums or any(eqn.primitive.name in WEIGHT_OPERATIONS for eqn in sums):
        return None
    constants = set(jx.all_invars(body)) - set(jx.argument_vars(body))
    data = tuple(atom for atom in ends if atom not in constants)
    nothing: list[Any] = [None] * len(jx.argument_vars(body))

    def of(*values: Any) -> Any:
        return run(body, nothing, dict(zip(data, values, strict=True)), [var])[0]

    repeated = _repeated_times(chain[0])
    own = tuple(a for a in data if repeated > 1 and jx.shape_of(a) == jx.shape_of(var) and _is_real(a))

    def slopes(*values: Any) -> tuple[Any, ...]:
        """The derivatives by each position: what is the same at many has them from one reverse sweep."""
        given = dict(zip(data, values, strict=True))
        at_own = lambda *at: of(*(given | dict(zip(own, at, strict=True))).values())  # noqa: E731
        result, pull = jax.vjp(at_own, *(given[a] for a in own))
        return pull(jnp.full_like(result, 1 / repeated))

    return Use(
        eqn=sums[0],
        output=var,
        data=data,
        of=of,
        tame=all(map(is_tame, chain)),
        own=own,
        slopes=slopes if own else None,
    )


def _back(credit: Credit, walk: Walk, var: Any) -> tuple[list[Any], list[Any], dict[Any, None]]:
    """The equations that make a variable of sums over positions, those among them that sum, and what these sum up."""
    chain, sums, ends = dict[int, Any](), list[Any](), dict[Any, None]()
    pending = [var]
    while pending:
        atom = pending.pop()
        if credit.maker.get(atom, (None,))[0] in chain:
            continue
        if atom not in credit.maker or not (atom is var or (_is_mixed(walk, atom) and atom not in walk.held)):
            ends[atom] = None
            continue
        place, result = credit.maker[atom]
        eqn, operands = credit.equations[place], [a for a in credit.equations[place].invars if not jx.is_literal(a)]
        if any(c is not None and c.fan_in > 1 for c in credit.couplings(place)[result]):
            chain[place] = eqn
            sums.append(eqn)
            ends |= dict.fromkeys(operands)
        elif eqn.primitive.name in _PLAIN:
            chain[place] = eqn
            pending += operands
        else:
            ends[atom] = None
    return list(chain.values()), sums, ends


def _repeated_times(eqn: Any) -> int:
    """At how many positions each one is that an equation repeats; one where it does something else."""
    if eqn.primitive.name not in REPEATING:
        return 1
    return math.prod(jx.shape_of(eqn.outvars[0])) // max(1, math.prod(jx.shape_of(eqn.invars[0])))


def _is_real(atom: Any) -> bool:
    kind = jx.type_of(atom)
    return kind.carries_credit and not kind.is_complex
