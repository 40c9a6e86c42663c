"""mark-sites: where weights meet the step."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..coupling.primitives import Constants, equation_couplings
from ..coupling.primitives.elementwise import ELEMENTWISE
from ..ir import jaxpr as jx
from ..ir.dataflow import Prologue
from ..ir.diagnostics import Diagnostic, EtirError, did_you_mean
from ..ir.expression import Expression
from ..ir.operations import WeightOperation
from ..ir.operations.call import operation_call, together, unfolded
from ..ir.operations.convolution import CONVOLUTION, convolve
from ..ir.operations.lookup import looked_up
from ..ir.regions import STEP, make_region, with_regions
from ..ir.transition import Param, Region, Site, Transition, Weight
from ..ir.values import Value
from ..ir.weight_operations import apply_expression, evaluate_expression, identity
from .analyses.picked_weights import picked_weights, weight_of
from .analyses.pieces import Pieces, pieces_of
from .analyses.products import LINEAR_IN_BOTH, PRODUCTS, product_expression
from .analyses.prologue import find_prologue
from .base import Pass
from .hoisting import (
    OWN_RULES,
    by_entries,
    hoisted,
    is_named,
    mixing_apart,
    named_by,
    of_operands,
    sparse_marked,
    summed_apart,
    weight_operands,
)
from .ingest import hint


@dataclass(frozen=True)
class MarkSites(Pass):
    """Find the uses of weights through ETP operations, and, if asked, turn plain uses into such.

    Before: `%y = dot_general %x %w`.  After: `%y = etp[ai,ij->aj] %x %w`, and `site %y = etp.dot(%x, %w)`.
    """

    name: ClassVar[str] = "mark-sites"

    sites: str | tuple[str, ...] = "explicit"
    """`explicit`: ETP operations alone; `auto`: every use of a parameter; or globs of parameters."""

    def run(self, transition: Transition) -> Transition:
        """The transition with its weights and sites."""
        if transition.weights:
            return transition
        globs = self._globs(transition)
        region = transition.region(STEP)
        frozen = transition.frozen_places
        of: Any = {"params": len(transition.params), "wanted": named_by(transition.params, globs), "frozen": frozen}
        body = hoisted(sparse_marked(by_entries(region.body), **of), **of)
        body = mixing_apart(_rewrite(body, transition, globs), len(transition.params), len(transition.states))
        body = summed_apart(body)
        region = region if body is region.body else make_region(STEP, body, region.inputs, region.outputs)
        prologue = find_prologue(body, len(transition.params), frozen)
        if not prologue.frontier:
            return transition
        transition = with_regions(transition, region)
        weights = _weights(transition, prologue)
        sites = tuple(_sites(transition, region, dict(zip(prologue.frontier, weights, strict=True))))
        if narrow := [site for site in sites if site.output.type.is_narrow]:
            raise EtirError([_narrow(site) for site in narrow])
        return replace(transition, weights=tuple(weights), sites=sites)

    def _globs(self, transition: Transition) -> tuple[str, ...]:
        if isinstance(self.sites, str):
            known = {"explicit": (), "auto": ("*",)}
            if self.sites in known:
                return known[self.sites]
        globs = (self.sites,) if isinstance(self.sites, str) else self.sites
        paths = [param.path for param in transition.params]
        unknown = [glob for glob in globs if not fnmatch.filter(paths, glob)]
        if unknown:
            raise EtirError([
                Diagnostic(
                    code="site-path",
                    message=f"no parameter matches '{glob}', given as sites=",
                    help=did_you_mean(glob, [*paths, "auto", "explicit"]),
                )
                for glob in unknown
            ])  # fmt: skip
        return tuple(globs)


def _rewrite(body: Any, transition: Transition, globs: tuple[str, ...]) -> Any:
    """`body` with data first and weight last in every ETP operation, and plain uses that `globs` name marked."""
    prologue = find_prologue(body, len(transition.params), transition.frozen_places)
    selected = {
        var
        for var, reached in prologue.params_of.items()
        if prologue.learns(var)
        and any(is_named(transition.params[k], globs) for k in reached)
        and jx.type_of(var).carries_credit
    }
    inside = {id(eqn) for k, eqn in enumerate(jx.equations(body)) if k in prologue.equations}
    constants = set(jx.all_invars(body)) - set(jx.argument_vars(body))
    known = dict.fromkeys(constants, ()) | {
        v: () if v in prologue.frozen else on for v, on in prologue.params_of.items()
    }
    pieces, indices = pieces_of(body, PRODUCTS), Constants(body)
    picked = picked_weights(body, prologue.params_of)
    weights = {id(made): weight_of(made, prologue.params_of) for made in picked.values()}
    marked = {place: weight for place, weight in weights.items() if prologue.learns(weight)}
    findings: list[Diagnostic] = []
    changes: dict[int, jx.Change] = {}

    def paths_in(eqn: Any) -> list[str]:
        operands = eqn.invars[1:] if eqn.primitive.name == operation_call.name else eqn.invars
        atoms = [a for of in jx.Producers(body).reaching(operands) for a in of.invars if not jx.is_literal(a)]
        places = sorted({k for atom in atoms for k in prologue.params_of.get(atom, ())})
        return [transition.params[k].path for k in places]

    for eqn in jx.equations(body):
        from_params = [not jx.is_literal(atom) and atom in prologue.params_of for atom in eqn.invars]
        change = None
        if id(eqn) in picked:
            change = _plain(eqn)
        elif eqn.primitive.name == "etp":
            if not any(from_params):
                findings.append(_weightless(eqn, constants, paths_in(eqn)))
            learning = any(map(prologue.learns, eqn.invars))
            change = _arranged(eqn, from_params, pieces.get(id(eqn))) if learning else _plain(eqn)
        elif eqn.primitive.name == operation_call.name and not all(from_params):
            fault = _misused(eqn) if from_params[1] else _weightless(eqn, constants, paths_in(eqn))
            findings += [fault] if fault is not None else []
            change = partial(_unfold, eqn) if any(map(prologue.learns, eqn.invars)) else _plain(eqn)
        elif id(eqn) not in inside and any(chosen := _chosen(eqn, selected | {marked.get(id(eqn))}, known, indices)):
            change = partial(_mark, eqn, chosen, from_params, pieces.get(id(eqn)))
        if change is not None:
            changes[id(eqn)] = change
    if findings:
        raise EtirError(findings)

    return jx.replaced(body, changes)


def _plain(eqn: Any) -> jx.Change:
    """What makes of a weight operation the ordinary one that it is, where its weight is frozen."""
    if eqn.primitive.name == operation_call.name:
        return lambda operands: [eqn.params["operation"].apply(*operands)]
    expression, options = eqn.params["expression"], {k: eqn.params[k] for k in ("precision", "preferred")}
    return lambda operands: [evaluate_expression(expression, *operands, **options)]


def _chosen(eqn: Any, selected: set[Any], known: dict[Any, tuple[int, ...]], indices: Constants) -> list[bool]:
    """Which operands of an equation become sites: those that are selected, and weights of what it encloses.

    Not those that a derivative rule of the equation's own gives no credit.
    """
    enclosed = weight_operands(eqn, of_operands(eqn.invars, known))
    atoms = selected | {eqn.invars[k] for k in enclosed if jx.type_of(eqn.invars[k]).carries_credit}
    chosen = [not jx.is_literal(a) and a in atoms for a in eqn.invars]
    if any(chosen) and eqn.primitive.name in OWN_RULES:
        rows = equation_couplings(eqn, indices)
        return [on and any(row[k] is not None for row in rows) for k, on in enumerate(chosen)]
    return chosen


def _arranged(eqn: Any, from_params: list[bool], pieces: Pieces | None) -> jx.Change | None:
    """What makes of an ETP operation one with data first and weight last; None where it is one."""
    params = dict(eqn.params)
    expression: Expression = params["expression"]
    if len(from_params) == 2 and all(from_params):  # a function of parameters alone: it belongs to the prologue
        return _plain(eqn)
    last = from_params[-1]
    if last and (pieces is None or len(from_params) == 1):
        return None
    ordered = expression if last else Expression(operands=expression.operands[::-1], output=expression.output)

    def bind(expression: Expression, *operands: Any) -> Any:
        return eqn.primitive.bind(*operands, **(params | {"expression": expression}))

    def change(operands: list[Any]) -> list[Any]:
        data, weight = operands if last else operands[::-1]
        return [_in_pieces(bind, ordered, data, weight, pieces)]

    return change


def _in_pieces(
    product: Callable[..., Any], expression: Expression, data: Any, weight: Any, pieces: Pieces | None
) -> Any:
    """A product, or where its result is cut along an axis of the weight alone, one for each piece of the weight."""
    label = expression.output[pieces.axis] if pieces is not None else ""
    of_data, of_weight = expression.operands
    if pieces is None or label not in of_weight or label in of_data:
        return product(expression, data, weight)
    axis = of_weight.index(label)
    cut = [
        jax.lax.slice_in_dim(weight, a, b, axis=axis) for a, b in zip(pieces.bounds, pieces.bounds[1:], strict=False)
    ]
    return jnp.concatenate([product(expression, data, part) for part in cut], pieces.axis)


def _unfold(eqn: Any, operands: list[Any]) -> list[Any]:
    """A weight operation as a product of unfolded data."""
    return [_as_product(eqn.params["operation"], *operands)]


def _as_product(operation: WeightOperation, data: Any, weight: Any) -> Any:
    """The result of a weight operation, by an ETP operation on data that are unfolded for it."""
    data, weight = together(data, weight)
    expression = operation.expression(jax.typeof(data), jax.typeof(weight))
    return apply_expression(operation.name, expression, unfolded(operation, data, weight), weight)


def _misused(eqn: Any) -> Diagnostic | None:
    """What is said of a weight operation that is not what its unfolding says."""
    operation: WeightOperation = eqn.params["operation"]
    fault = operation.fault(*map(jx.struct_of, eqn.invars))
    if fault is None:
        return None
    return Diagnostic(
        code="operation-meaning",
        message=f"the weight operation '{operation.name}' is not what its unfolding says: {fault}",
        loc=jx.location(eqn),
        help="apply(x, w) must equal jnp.einsum(expression, unfold(x, w), w) for all x and w",
    )


def _weightless(eqn: Any, closed_over: set[Any], paths: Sequence[str]) -> Diagnostic:
    """What is said of an operation that has no weight, `paths` being the parameters that its operands depend on."""
    constants = [jx.type_of(atom) for atom in eqn.invars if jx.is_literal(atom) or atom in closed_over]
    said = f"no operand of this operation ({eqn.params.get('name')}) is"
    if eqn.primitive.name == operation_call.name:
        said = f"the second operand of this operation ({eqn.params['operation'].name}), its weight, is not"
    return Diagnostic(
        code="site-without-weight",
        message=f"{said} made of parameters alone",
        loc=jx.location(eqn),
        notes=(
            *(f"an operand is a constant {kind}: was the weight closed over?" for kind in constants),
            *(f"an operand is made of parameter '{path}' and of data" for path in paths),
        ),
        help="pass the weight in params; for a product of two computed arrays use the plain operation",
    )


def _mark(
    eqn: Any, selected: list[bool], from_params: list[bool], pieces: Pieces | None, operands: list[Any]
) -> list[Any]:
    """The results of a plain use of weights, with ETP operations in it."""
    if eqn.primitive.name == LINEAR_IN_BOTH and sum(from_params) == 1:
        return [_mark_product(eqn, operands, from_params.index(True), pieces)]
    if eqn.primitive.name == CONVOLUTION and from_params == [False, True] and eqn.params["batch_group_count"] == 1:
        return [convolve(eqn.params, operands[0], operands[1], _as_product)]
    if from_params[0] and not any(from_params[1:]) and (found := looked_up(eqn)) is not None:
        return [found.by(_as_product, operands)]
    chosen = {id(value): value for value, on in zip(operands, selected, strict=True) if on}
    sites = {
        key: identity(_as_wide_as(eqn, value)) for key, value in chosen.items()
    }  # one each, however often it enters
    return jx.bind(eqn, *(sites.get(id(value), value) for value in operands))


def _as_wide_as(eqn: Any, value: Any) -> Any:
    """A weight, broadcast to what an element-wise operation makes of it, so that it has a position for each.

    A bias of shape `[1, j]`, say, that is added to a batch: JAX repeats axes of size one within the addition itself.
    """
    if eqn.primitive.name not in ELEMENTWISE:
        return value
    return jnp.broadcast_to(value, jx.shape_of(eqn.outvars[0]))


def _mark_product(eqn: Any, operands: list[Any], weight: int, pieces: Pieces | None) -> Any:
    """A `dot_general` as an ETP operation, the weight last."""
    order = [1 - weight, weight]
    found = product_expression(eqn)
    assert found is not None
    expression = Expression(operands=tuple(found.operands[k] for k in order), output=found.output)
    preferred = eqn.params.get("preferred_element_type")

    def bind(expression: Expression, *operands: Any) -> Any:
        precision = eqn.params.get("precision")
        return apply_expression("product", expression, *operands, precision=precision, preferred=preferred)

    product = _in_pieces(bind, expression, operands[1 - weight], operands[weight], pieces)
    return product.astype(eqn.outvars[0].aval.dtype)


def _weights(transition: Transition, prologue: Prologue) -> list[Weight]:
    arguments = jx.argument_vars(transition.region(STEP).body)
    of_var: dict[Any, Param] = dict(zip(arguments, transition.params, strict=False))
    return [
        _weight(var, of_var.get(var), [transition.params[k] for k in prologue.params_of[var]])
        for var in prologue.frontier
    ]


def _weight(var: Any, param: Param | None, params: list[Param]) -> Weight:
    value = param.value if param else Value(type=jx.type_of(var), hint=f"{hint(params[0].path)}_p")
    return Weight(value=value, params=tuple(params))


def _sites(transition: Transition, region: Region, weight_of: dict[Any, Weight]) -> Iterable[Site]:
    values: dict[Any, Value] = dict(zip(jx.argument_vars(region.body), region.inputs, strict=True))
    for place, eqn in enumerate(jx.equations(region.body)):
        if eqn.primitive.name != "etp":
            continue
        weight = weight_of[eqn.invars[-1]]
        name = weight.value.hint.removesuffix("_p")
        stem = name[1:] if name[:1] in "wW" and len(name) > 1 else f"_{name}"
        output = Value(type=jx.type_of(eqn.outvars[0]), hint=f"y{stem}")
        values[eqn.outvars[0]] = output
        data = None
        if len(eqn.invars) == 2:
            data = values.setdefault(eqn.invars[0], Value(type=jx.type_of(eqn.invars[0]), hint=f"x{stem}"))
        yield Site(
            operation=eqn.params["name"],
            expression=eqn.params["expression"],
            data=data,
            weight=weight,
            output=output,
            equation=place,
            held=_mixes(eqn),
            loc=jx.location(eqn),
        )


def _narrow(site: Site) -> Diagnostic:
    kind = site.output.type
    return Diagnostic(
        code="narrow-type",
        message=f"the result of this operation ({site.operation}) is {kind}, and so would the trace of its weight be: "
        "JAX does not add these up",
        loc=site.loc,
        help="cast its operands to bfloat16 first",
    )


def _mixes(eqn: Any) -> bool:
    """Whether the operation sums over positions of its data."""
    expression: Expression = eqn.params["expression"]
    return len(eqn.invars) == 2 and any(label not in expression.output for label in expression.operands[0])
