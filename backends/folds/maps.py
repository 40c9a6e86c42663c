"""Programs that are maps: each result at a position follows from what is given at that position alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx

SAME = {
    "abs", "add", "add_any", "and", "atan2", "convert_element_type", "cos", "div", "eq", "erf", "exp", "exp2", "ge",
    "gt", "integer_pow", "le", "log", "log2", "lt", "max", "min", "mul", "ne", "neg", "not", "one_minus_square", "or",
    "reduce_precision", "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "sub", "tanh", "xor",
}  # fmt: skip
"""Primitives that kernels for GPUs have, and that mean the same for arrays of every shape."""

WRITTEN_OUT: dict[str, Callable[..., Any]] = {
    "logistic": lambda x: 1.0 / (1.0 + jnp.exp(-x)),
    "add_any": jnp.add,
    "copy": lambda x: x,
    "copy_p": lambda x: x,
    "stop_gradient": lambda x: x,
}
"""Those that they have not, by others."""

FLOAT, KINDS = "float32", ("float32", "bool")


@dataclass(frozen=True, eq=False, kw_only=True)
class Map:
    """A program in two parts: what lays its operands out over the positions, and what is done at each of them."""

    body: Any
    """The closed jaxpr, calls in it inlined."""
    before: list[jx.Equation]
    """What is not done position by position: it only lays operands out, or is of no position."""
    equations: list[jx.Equation]
    varying: tuple[Any, ...]
    """The variables that the map reads, those that change from step to step."""
    fixed: tuple[Any, ...]
    """Those that do not."""
    shape: tuple[int, ...]
    """That of the positions."""

    @classmethod
    def of(cls, closed: Any, operands: int) -> Map | str:
        """A program as a map; the reason where it is none. Its first `operands` arguments change from step to step."""
        body = _inlined(closed)
        results = jx.outvars(body)
        shapes = {jx.shape_of(atom) for atom in results}
        if len(shapes) != 1 or () in shapes:
            return "its derivatives are not all at the same positions"
        (shape,) = shapes
        outside, inside = dict.fromkeys(jx.all_invars(body)), set[Any]()
        before, equations = list[jx.Equation](), list[jx.Equation]()
        for eqn in jx.reaching(jx.equations(body), results):
            read = [atom for atom in eqn.invars if not jx.is_literal(atom)]
            if _is_at_positions(eqn, shape):
                equations.append(eqn)
                inside.update(eqn.outvars)
            elif inside.intersection(read):
                return f"kernels do no {eqn.primitive.name} position by position"
            else:
                before.append(eqn)
                outside.update(dict.fromkeys(eqn.outvars))
        read = [atom for eqn in equations for atom in eqn.invars] + results
        leaves = list(dict.fromkeys(atom for atom in read if not jx.is_literal(atom) and atom not in inside))
        wrong = {jx.dtype_of(var) for var in [*leaves, *results]} - {FLOAT}
        wrong |= {jx.dtype_of(var) for var in inside} - set(KINDS)
        if wrong:
            return f"its derivatives are made of {', '.join(sorted(wrong))}; wanted float32"
        changing = set(jx.argument_vars(body)[:operands])
        for eqn in before:
            if any(not jx.is_literal(atom) and atom in changing for atom in eqn.invars):
                changing.update(eqn.outvars)
        return cls(
            body=body,
            before=before,
            equations=equations,
            varying=tuple(var for var in leaves if var in changing),
            fixed=tuple(var for var in leaves if var not in changing),
            shape=shape,
        )

    def laid_out(self, operands: Sequence[Any], constants: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """What the map reads, from operands `[time, ...]` and constants: `[time, *positions]`, and `[*positions]`."""

        def at(operands: Sequence[Any], wanted: Sequence[Any]) -> list[Any]:
            env = dict(zip(jx.all_invars(self.body), [*jx.consts_of(self.body), *operands, *constants], strict=True))
            jx.run_equations(jx.reaching(self.before, wanted), env, located=False)
            return [jnp.broadcast_to(env[var], self.shape) for var in wanted]

        kinds = [jnp.zeros(x.shape[1:], x.dtype) for x in operands]
        return jax.vmap(lambda *rows: at(rows, self.varying))(*operands) if self.varying else [], at(kinds, self.fixed)

    def __call__(self, varying: Sequence[Any], fixed: Sequence[Any], like: Any) -> list[Any]:
        """The results at some positions, all arrays of the shape of `like`."""
        env = dict(zip((*self.varying, *self.fixed), (*varying, *fixed), strict=True))

        def read(atom: Any) -> Any:
            found = jx.read(env, atom)
            return found if jnp.ndim(found) else jnp.full(like.shape, found, jx.dtype_of(atom))

        for eqn in self.equations:
            name = eqn.primitive.name
            if name == "broadcast_in_dim":
                env[eqn.outvars[0]] = read(eqn.invars[0])
                continue
            operands = [read(atom) for atom in eqn.invars]
            found = [WRITTEN_OUT[name](*operands)] if name in WRITTEN_OUT else jx.bind(eqn, *operands)
            env.update(zip(eqn.outvars, found, strict=True))
        return [read(atom) for atom in jx.outvars(self.body)]


def _is_at_positions(eqn: jx.Equation, shape: tuple[int, ...]) -> bool:
    """Whether an equation gives each position of a shape what follows from the same position of its operands."""
    name = eqn.primitive.name
    read = [atom for atom in eqn.invars if not jx.is_literal(atom)]
    literals = [atom for atom in eqn.invars if jx.is_literal(atom)]
    spread = all(jx.shape_of(var) == () or _is_spread(jx.shape_of(var), shape) for var in read)
    if any(jx.shape_of(var) != shape for var in eqn.outvars) or any(map(jx.shape_of, literals)) or not spread:
        return False
    return not read if name == "broadcast_in_dim" else name in SAME or name in WRITTEN_OUT


def _is_spread(given: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether axes of one entry alone are missing."""
    return len(given) == len(shape) and all(n in (1, m) for n, m in zip(given, shape, strict=True))


def _inlined(closed: Any) -> Any:
    """A closed jaxpr, calls and operations with derivatives of their own replaced by what they do."""

    def opened(eqn: jx.Equation, operands: list[Any]) -> list[Any] | None:
        if not eqn.primitive.name.startswith("custom_"):
            return None
        return jx.evaluate(next(iter(jx.sub_jaxprs(eqn))), operands, hook=opened)

    return jx.retrace(closed, opened)
