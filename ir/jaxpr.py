"""The only module that touches Jaxpr objects: reading, evaluating and slicing them with public JAX alone.

Works unchanged on every supported JAX: it tests for features, never for versions. The equations that are inlined here
(`jit`, `remat`, ...) mean nothing but their body; the others (`custom_vjp_call`, `scan`, ...) are bound again as they
are, since inlining one would lose its derivative rule.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sysconfig
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.extend import core, source_info_util

from .loc import Loc, instruction
from .types import TensorType

Equation: TypeAlias = core.JaxprEqn
Var: TypeAlias = core.Var
Literal: TypeAlias = core.Literal
Atom: TypeAlias = core.Var | core.Literal
ClosedJaxpr: TypeAlias = core.ClosedJaxpr
Array: TypeAlias = Any

_BODY_OF_CALL = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
    "remat": "jaxpr", "remat2": "jaxpr", "checkpoint": "jaxpr", "eval_jaxpr": "call_jaxpr",
}  # fmt: skip
_BY_NAME = {value.name: value for value in vars(core.primitives).values() if isinstance(value, core.Primitive)}
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LIBRARIES = tuple({os.path.dirname(os.path.abspath(jax.__file__)), sysconfig.get_paths()["stdlib"]})


def open_jaxpr(jaxpr: Any) -> Any:
    """The jaxpr without its constants, closed or not."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def consts_of(jaxpr: Any) -> tuple[Array, ...]:
    """The constants of a closed jaxpr; none for an open one."""
    return tuple(getattr(jaxpr, "consts", ()))


def is_jaxpr(value: object) -> bool:
    """Whether `value` is a jaxpr, closed or open."""
    return isinstance(value, (core.Jaxpr, core.ClosedJaxpr))


def all_invars(jaxpr: Any) -> list[Var]:
    """Constant variables, then argument variables: an order that is the same on every JAX."""
    inner = open_jaxpr(jaxpr)
    return [*inner.constvars, *inner.invars]


def argument_vars(jaxpr: Any) -> list[Var]:
    """The variables of a closed jaxpr's arguments, its constants left out."""
    return all_invars(jaxpr)[len(consts_of(jaxpr)) :]


def equations(jaxpr: Any) -> list[Equation]:
    """The equations of a jaxpr, in order."""
    return list(open_jaxpr(jaxpr).eqns)


def equation(jaxpr: Any, place: int) -> Equation:
    """The equation at a place."""
    return open_jaxpr(jaxpr).eqns[place]


def outvars(jaxpr: Any) -> list[Atom]:
    """The results of a jaxpr."""
    return list(open_jaxpr(jaxpr).outvars)


def is_literal(atom: Any) -> bool:
    """Whether an operand is a constant written into the equation."""
    return isinstance(atom, core.Literal)


def is_dropped(var: Any) -> bool:
    """Whether a result is thrown away."""
    return isinstance(var, core.DropVar)


def type_of(atom: Any) -> TensorType:
    """The element type and shape of an operand or result."""
    return _type(dtype_of(atom), shape_of(atom))


@functools.lru_cache(maxsize=4096)
def _type(dtype: str, shape: tuple[int, ...]) -> TensorType:
    return TensorType(dtype, shape)


def shape_of(atom: Any) -> tuple[int, ...]:
    """The shape of an operand or result."""
    return tuple(getattr(atom.aval, "shape", ()))


def dtype_of(atom: Any) -> str:
    """The element type of an operand or result, by name."""
    return _dtype_name(getattr(atom.aval, "dtype", "token"))


@functools.lru_cache(maxsize=256)
def _dtype_name(dtype: Any) -> str:
    return str(dtype)


def struct_of(atom: Any) -> jax.ShapeDtypeStruct:
    """A stand-in for an array of an operand's type, for tracing."""
    return jax.ShapeDtypeStruct(shape_of(atom), atom.aval.dtype)


def callee(eqn: Equation) -> Any | None:
    """The body of an equation that is nothing but a call of it (`jit`, `remat`); None for every other equation.

    So is the transposition of a sparse matrix, which arranges its indices and leaves its data.
    """
    if eqn.primitive.name == "bcoo_transpose":
        return _transposition(eqn)
    key = _BODY_OF_CALL.get(eqn.primitive.name)
    return eqn.params.get(key) if key else None


def _transposition(eqn: Equation) -> Any | None:
    """What `bcoo_transpose` makes of data and coordinates; None where some axes are batched or dense."""
    data, coordinates = map(struct_of, eqn.invars)
    order = eqn.params["permutation"]
    if len(data.shape) != 1 or coordinates.shape[1:] != (len(order),):
        return None
    columns = np.asarray(order)[:, None]
    picked = jax.lax.GatherDimensionNumbers(offset_dims=(0,), collapsed_slice_dims=(1,), start_index_map=(1,))
    sizes = (coordinates.shape[0], 1)
    return trace(lambda x, at: (x, jax.lax.gather(at, columns, picked, sizes)), data, coordinates)[0]


def sub_jaxprs(eqn: Equation) -> Iterator[Any]:
    """Every jaxpr among an equation's parameters."""
    for value in eqn.params.values():
        yield from (item for item in (value if isinstance(value, (tuple, list)) else (value,)) if is_jaxpr(item))


def with_bodies(eqn: Equation, change: Callable[[Any], Any]) -> Equation:
    """An equation with other jaxprs, of the same arguments and results, in the place of those in its parameters."""

    def changed(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(map(changed, value))
        return change(value) if is_jaxpr(value) else value

    return eqn.replace(params={name: changed(value) for name, value in eqn.params.items()})


def with_parameters(eqn: Equation, **changed: Any) -> Equation:
    """An equation with some of its parameters replaced."""
    return eqn.replace(params={**eqn.params, **changed})


def is_namesake(primitive: Any) -> bool:
    """Whether a primitive has the name of one of JAX's public ones, and is another."""
    return _BY_NAME.get(primitive.name, primitive) is not primitive


def scan_split(eqn: Equation) -> tuple[int, int, int]:
    """How many operands of a `scan` are constants, carries, and scanned arrays."""
    if "num_consts" in eqn.params:
        consts, carry = eqn.params["num_consts"], eqn.params["num_carry"]
    else:
        consts, carry = (len(group) for group in eqn.params["ft_in"].unpack()[:2])
    return consts, carry, len(eqn.invars) - consts - carry


def bind(eqn: Equation, *args: Array) -> list[Array]:
    """Apply an equation's primitive, derivative rules included, to `args`."""
    out = eqn.primitive.bind(*args, **eqn.primitive.get_bind_params(eqn.params))
    return list(out) if eqn.primitive.multiple_results else [out]


def location(eqn: Equation) -> Loc | None:
    """The innermost place in the user's own code that made an equation; None where JAX kept no traceback."""
    traceback = getattr(eqn.source_info, "traceback", None)
    if traceback is None:
        return None
    codes, offsets = traceback.raw_frames()
    frames = zip(codes, offsets, strict=True)
    found = next(((code, offset) for code, offset in frames if _is_user_code(code.co_filename)), None)
    return None if found is None else instruction(*found)


@functools.cache
def _is_user_code(file: str) -> bool:
    if file.startswith("<"):
        return False
    path = os.path.abspath(file)
    if "site-packages" in path or path.startswith(_LIBRARIES):
        return False
    package, real = os.path.realpath(_PACKAGE), os.path.realpath(path)
    inside = real.startswith((package, *_package_folders()))
    return not inside or real.startswith(os.path.join(package, "zoo") + os.sep)


def _package_folders() -> tuple[str, ...]:
    """The folders of this package's own modules, but the zoo: links may lead elsewhere than the package's face."""
    here = os.path.dirname(os.path.realpath(__file__))
    siblings = ("coupling", "ir", "view", "rules", "passes", "backends", "cli", "frontend", "instruments")
    return tuple(os.path.join(os.path.dirname(here), name) + os.sep for name in siblings)


Hook: TypeAlias = Callable[[Equation, list[Array]], list[Array] | None]
Change: TypeAlias = Callable[[list[Array]], list[Array]]
"""From an equation's operands to its results, other equations in its place."""


def evaluate(
    jaxpr: Any, args: Sequence[Array], *, consts: Sequence[Array] | None = None, hook: Hook | None = None
) -> list[Array]:
    """The results of a jaxpr on `args`, calls inlined; `hook` may compute an equation in the primitive's place."""
    constants = consts_of(jaxpr) if consts is None else consts
    env: dict[Any, Array] = dict(zip(all_invars(jaxpr), [*constants, *args], strict=True))
    run_equations(equations(jaxpr), env, hook)
    return [read(env, atom) for atom in outvars(jaxpr)]


def retrace(jaxpr: Any, hook: Hook) -> Any:
    """A closed jaxpr traced again, equations replaced where `hook` says so, locations kept."""
    return trace(lambda *args: evaluate(jaxpr, args, hook=hook), *map(struct_of, argument_vars(jaxpr)))[0]


def replaced(jaxpr: Any, changes: Mapping[int, Change]) -> Any:
    """A closed jaxpr with other equations in the place of some: by an equation's identity, from operands to results.

    Itself where nothing changes; new equations have the places of those that they stand for.
    """

    def hook(eqn: Equation, operands: list[Array]) -> list[Array] | None:
        change = changes.get(id(eqn))
        if change is None:
            return None
        with made_by(eqn):
            return change(operands)

    return retrace(jaxpr, hook) if changes else jaxpr


def compiled(jaxpr: Any) -> Callable[..., list[Array]]:
    """A closed jaxpr as a function under `jit`: traced and differentiated once, however often it is called."""
    return jax.jit(function(jaxpr))


def function(jaxpr: Any) -> Callable[..., list[Array]]:
    """A closed jaxpr as a function, derivative rules included."""
    run = core.jaxpr_as_fun(jaxpr)
    return lambda *args: list(run(*args))


def read(env: Mapping[Any, Array], atom: Atom) -> Array:
    """The value of an operand in `env`."""
    return atom.val if isinstance(atom, core.Literal) else env[atom]


def run_equations(
    eqns: Iterable[Equation], env: dict[Any, Array], hook: Hook | None = None, *, located: bool = True
) -> None:
    """Evaluate equations in order, reading their operands from `env` and leaving their results in it.

    The new equations keep the old ones' source locations, unless `located` is false, which is faster.
    """
    for eqn in eqns:
        operands = [read(env, atom) for atom in eqn.invars]
        results = hook(eqn, operands) if hook else None
        if results is None:
            results = apply(eqn, operands, hook) if located else bind(eqn, *operands)
        env.update(zip(eqn.outvars, results, strict=True))


def apply(eqn: Equation, operands: list[Array], hook: Hook | None = None) -> list[Array]:
    """The results of one equation, its body inlined where it is a call."""
    body = callee(eqn)
    with made_by(eqn):
        return bind(eqn, *operands) if body is None else evaluate(body, operands, hook=hook)


def fresh(var: Var) -> Var:
    """A new variable of a variable's type; what is dropped stays so."""
    return var if is_dropped(var) else core.Var(var.aval)


def rewired(eqn: Equation, operands: Sequence[Atom], results: Sequence[Var]) -> Equation:
    """An equation with other operands and results, not traced again."""
    return eqn.replace(invars=list(operands), outvars=list(results))


def placed(eqn: Equation, like: Equation) -> Equation:
    """An equation with the source location and the name scope of another."""
    return eqn.replace(source_info=like.source_info)


def moved(eqn: Equation, call: Equation) -> Equation:
    """An equation with the source location and the name scope that it has where `call` inlines it.

    An equation of a library's `jit` has no place in the user's code: it takes that of the call.
    """
    own, outer = eqn.source_info, call.source_info
    traceback = outer.traceback if location(eqn) is None else own.traceback
    return eqn.replace(source_info=own.replace(traceback=traceback, name_stack=outer.name_stack + own.name_stack))


def assembled(
    constants: dict[Var, Array], arguments: Sequence[Var], results: Sequence[Atom], eqns: Sequence[Equation], like: Any
) -> ClosedJaxpr:
    """The closed jaxpr of these parts, called what `like` is called.

    Equations with effects are traced once more: what a jaxpr's own effects are is JAX's to say.
    """
    info = open_jaxpr(like).debug_info.with_unknown_names()
    inner = core.Jaxpr(list(constants), arguments, results, eqns, debug_info=info)
    closed = core.ClosedJaxpr(inner, list(constants.values()))
    if not any(eqn.effects for eqn in eqns):
        return closed
    return trace(lambda *args: evaluate(closed, args), *map(struct_of, arguments))[0]


def trace(function: Callable[..., Any], *types: Any) -> tuple[Any, Any]:
    """Trace `function` on example values or `ShapeDtypeStruct`s: its closed jaxpr and the tree of its results."""
    traced, shapes = jax.make_jaxpr(function, return_shape=True)(*types)
    return traced, shapes


@contextlib.contextmanager
def made_by(eqn: Equation) -> Generator[None]:
    """Give the equations traced inside the source location and the name scope of `eqn`.

    An equation of a library's `jit` has no place in the user's code: it takes that of the call.
    """
    traceback, stack = getattr(eqn.source_info, "traceback", None), str(eqn.source_info.name_stack)
    with contextlib.ExitStack() as scopes:
        if location(eqn) is not None:
            scopes.enter_context(source_info_util.user_context(traceback))
        if stack:
            scopes.enter_context(jax.named_scope(stack))
        yield


def reaching(eqns: Sequence[Equation], targets: Iterable[Any]) -> list[Equation]:
    """The equations that `targets` need, in order."""
    needed = {atom for atom in targets if not is_literal(atom)}
    kept: list[Equation] = []
    for eqn in reversed(eqns):
        if any(var in needed for var in eqn.outvars) or eqn.effects:
            kept.append(eqn)
            needed.update(atom for atom in eqn.invars if not is_literal(atom))
    return kept[::-1]


def reads_arguments(jaxpr: Any) -> bool:
    """Whether some result of a jaxpr depends on an argument, as far as its equations say."""
    arguments, results = set(argument_vars(jaxpr)), outvars(jaxpr)
    atoms = [atom for eqn in reaching(equations(jaxpr), results) for atom in eqn.invars] + results
    return any(not is_literal(atom) and atom in arguments for atom in atoms)


def current_trace() -> object:
    """The trace that JAX records into now: two results are equal where they are the same trace, or both are eager."""
    return core.get_opaque_trace_state()


@functools.cache
def eager_trace() -> object:
    """The trace of plain, untraced code; asked for in a new thread, where no transform can be active."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(current_trace()))
    thread.start()
    thread.join()
    return found[0]


class Producers:
    """Which equation makes each variable of a jaxpr, for many small backward slices of a large one."""

    def __init__(self, jaxpr: Any) -> None:
        """Index the equations of `jaxpr`."""
        self.equations = equations(jaxpr)
        self.place = {var: k for k, eqn in enumerate(self.equations) for var in eqn.outvars}

    def producer(self, var: Any) -> Equation | None:
        """The equation that makes a variable; None for an argument or a constant."""
        place = None if is_literal(var) else self.place.get(var)
        return None if place is None else self.equations[place]

    def reaching(self, targets: Iterable[Any]) -> list[Equation]:
        """The equations that `targets` need, in order; cost in their number, not in the jaxpr's."""
        found: set[int] = set()
        pending = [atom for atom in targets if not is_literal(atom)]
        while pending:
            k = self.place.get(pending.pop())
            if k is not None and k not in found:
                found.add(k)
                pending += [atom for atom in self.equations[k].invars if not is_literal(atom)]
        return [self.equations[k] for k in sorted(found)]
