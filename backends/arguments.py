"""A learner's arguments: pytrees flattened and compared with what was compiled for, all findings at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.diagnostics import Diagnostic, EtirError, did_you_mean, error
from ..ir.finite import not_finite
from ..ir.marks import MARKS
from ..ir.step import Signature, leaf_paths
from ..ir.transition import StateKind, Transition
from ..ir.types import TensorType
from .batches import as_one_batch
from .calls import Arrays
from .carry import refuse_unfinished

Wanted = list[tuple[str, TensorType]]
"""The path and the type of each leaf."""


RESUMED = {
    "ends": "learner.grad(loss, resumable=True) and learner.train(..., resumable=True) take it",
    "onto": "learner.grad(loss, resumable=True) takes it",
}
"""Keywords of resumable calls alone, and what to say of them elsewhere."""

_SHOWN = 12
"""Paths that a message lists before it only counts."""


class Arguments:
    """Checks and flattens the arguments of one learner's methods. Every method raises EtirError."""

    def __init__(self, transition: Transition, signature: Signature, traces: Any) -> None:
        """Prepare for the trees of `signature`; `traces` has the structure and types of the learner's traces."""
        self._signature = signature
        self._params: Wanted = [(p.path, p.value.type) for p in transition.params]
        self._states: Wanted = [(s.path, s.before.type) for s in transition.states]
        self._buffers = {s.path for s in transition.states if s.kind is StateKind.BUFFER}
        inputs: Wanted = [(i.path, i.value.type) for i in transition.inputs]
        count = len(inputs) - len(signature.marks)
        self._inputs, self._marks = inputs[:count], inputs[count:]
        signals = transition.plan.signals if transition.plan is not None else ()
        self._signals: Wanted = [(s.path, s.value.type) for s in signals]
        self._traces = traces

    def params(self, tree: Any) -> Arrays:
        """The leaves of the parameters."""
        return _checked(_leaves(tree, self._signature.params, self._params, "params"), self._params, batched=False)

    def states(self, tree: Any) -> Arrays:
        """The leaves of the states."""
        structure = self._signature.states
        is_carry = isinstance(tree, tuple) and 2 <= len(tree) <= 4 and jax.tree.structure(tree[0]) == structure
        help = "give the carry's states: carry.states" if is_carry else None
        return _checked(_leaves(tree, structure, self._states, "states", help=help), self._states)

    def beginning(self, params: Any, states: Any) -> Arrays:
        """The leaves of the states that a sequence begins with; they, and the parameters if given, must be finite."""
        leaves = self.states(states)
        paths = [path for path, _ in self._states]
        hidden = [(path, x) for path, x in zip(paths, leaves, strict=True) if path not in self._buffers]
        findings = list(not_finite(hidden, "state"))
        if params is not None:
            given = zip([path for path, _ in self._params], self.params(params), strict=True)
            findings = [*not_finite(given, "parameter"), *findings]
        if findings:
            raise EtirError(findings)
        return leaves

    def carry(self, carry: Any, *, resumable: bool = False) -> tuple[Arrays, Any, Arrays]:
        """The leaves of a carry's states, its traces, and the leaves of its `cut`.

        Only a `resumable` call may be given a carry that stands inside a window.
        """
        if not resumable and (unfinished := getattr(carry, "unfinished", None)) is not None:
            raise refuse_unfinished(unfinished, "this call knows nothing of that window")
        if not isinstance(carry, tuple) or len(carry) not in (2, 3, 4):
            raise error(
                "argument-carry",
                f"the carry is a {type(carry).__name__}; wanted a pair of states and traces",
                help="begin with learner.init(), and hand on what each call returns",
            )
        states, traces, cut = (*carry, carry[0])[:3]
        wanted, structure = jax.tree.flatten(self._traces)
        found = jax.tree.leaves(traces)
        if jax.tree.structure(traces) != structure or any(
            (jnp.shape(x), x.dtype) != (y.shape, y.dtype) for x, y in zip(found, wanted, strict=True)
        ):
            raise error(
                "argument-carry",
                "the carry holds other traces than this learner's",
                notes=_differing(traces, self._traces),
                help="begin with this learner's own init(): traces depend on the rule, the backend and trace_dtype",
            )
        return self.states(states), traces, self.states(cut)

    @staticmethod
    def continued(carry: Any, arrays: Any) -> Any:
        """The steps that are held in a carry inside a window, then those of `arrays`, which are like them."""
        if (found := getattr(carry, "unfinished", None)) is None:
            return arrays
        kinds = [
            (jax.tree.structure(tree), [(jnp.shape(x)[1:], jnp.result_type(x)) for x in jax.tree.leaves(tree)])
            for tree in (found.steps, arrays)
        ]
        if kinds[0] != kinds[1]:
            raise refuse_unfinished(found, "its steps were given inputs or targets of other shapes or types")
        return jax.tree.map(lambda held, new: jnp.concatenate([held, new]), found.steps, arrays)

    def step(self, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Arrays, Arrays]:
        """The leaves of one step's inputs, its marks behind them, and of its signals."""
        marks, signals = self._keywords(keywords)
        return [*_checked(self._input_leaves(inputs), self._inputs), *marks], signals

    def _keywords(
        self, given: dict[str, Any], *, over_time: bool = False, alone: bool = False
    ) -> tuple[Arrays, Arrays]:
        """The marks and the signals among keyword arguments; where the model runs `alone`, it takes no signals."""
        given = {path: value for path, value in given.items() if value is not None}
        kinds = self._marks, [] if alone else self._signals
        marks, signals = ([path for path, _ in wanted] for wanted in kinds)
        findings = [_missing_mark(path) for path in marks if path not in given]
        findings += [_missing_signal(path) for path in signals if path not in given]
        findings += [_unknown_keyword(path, [*marks, *signals]) for path in given if path not in (*marks, *signals)]
        if findings:
            raise EtirError(findings)
        found = [
            _checked([jnp.asarray(given[path]) for path, _ in wanted], wanted, over_time=over_time) for wanted in kinds
        ]
        return found[0], found[1]

    def sequence(
        self, xs: Any, targets: Any = (), keywords: dict[str, Any] | None = None, *, empty: bool = False
    ) -> tuple[Arrays, Arrays, int]:
        """The leaves of a sequence's inputs, with marks, and signals, and its length, in which the targets agree.

        It may be `empty` where that is said.
        """
        inputs, places = self._over_time(xs)
        marks, signals = self._keywords(keywords or {}, over_time=True)
        places += [(f"{path}=", jnp.shape(x)) for (path, _), x in zip(self._marks, marks, strict=True)]
        places += [(f"signal '{path}'", jnp.shape(x)) for (path, _), x in zip(self._signals, signals, strict=True)]
        places += [(f"target {path}", jnp.shape(x)) for path, x in leaf_paths(targets, "target")]
        return [*inputs, *marks], signals, _length(places, empty=empty)

    @property
    def masks_steps(self) -> bool:
        """Whether each step is told if it counts, all samples alike."""
        return any(path == "mask" and not kind.shape for path, kind in self._marks)

    def counted_steps(self, keywords: dict[str, Any], length: int) -> int:
        """Of a sequence of this length how many steps count, or one for none, where arrays have numbers."""
        return max(int(np.sum(np.asarray(keywords["mask"]))), 1) if self.masks_steps else length

    def with_targets(
        self, xs: Any, targets: Any, keywords: dict[str, Any], *, empty: bool = False
    ) -> tuple[Arrays, Arrays, Any]:
        """The leaves of a sequence's inputs and signals, and its targets, of which a mask of steps is the first."""
        inputs, signals, _ = self.sequence(xs, targets, keywords, empty=empty)
        return inputs, signals, (inputs[len(self._inputs)], *targets) if self.masks_steps else targets

    def alone(self, xs: Any, steps: int | None, keywords: dict[str, Any]) -> tuple[Arrays, int]:
        """The leaves of a sequence's inputs, with marks, where nothing else is given, and its length.

        `steps` may say the length.
        """
        inputs, places = self._over_time(xs)
        marks, _ = self._keywords(keywords, over_time=True, alone=True)
        places += [(f"{path}=", jnp.shape(x)) for (path, _), x in zip(self._marks, marks, strict=True)]
        if steps is not None:
            places.append((f"steps={steps}", (steps,)))
        elif not places:
            raise error(
                "sequence-length",
                "the step takes no inputs, so nothing says how long the sequence is",
                help="pass steps=...",
            )
        return [*inputs, *marks], _length(places)

    def _over_time(self, xs: Any) -> tuple[Arrays, list[tuple[str, tuple[int, ...]]]]:
        inputs = _checked(self._input_leaves(self._as_inputs(xs)), self._inputs, over_time=True)
        return inputs, [(f"input '{path}'", jnp.shape(x)) for (path, _), x in zip(self._inputs, inputs, strict=True)]

    def _input_leaves(self, inputs: tuple[Any, ...]) -> list[Any]:
        tree = inputs[0] if len(inputs) == 1 else inputs
        return _leaves(inputs, self._signature.inputs, self._inputs, "inputs", shown=tree, help=self._input_help(tree))

    def _input_help(self, tree: Any) -> str | None:
        """What to do about inputs of another structure."""
        if self._count > 1:
            return f"xs is a tuple of {self._count}"
        if isinstance(tree, (tuple, list)):
            if len(tree) == 1 and jax.tree.structure((tree[0],)) == self._signature.inputs:
                return "the step takes a single input, so drop the tuple: give the array itself"
            if tree and all(isinstance(x, (bool, int, float, complex)) for x in jax.tree.leaves(tree)):
                return "make an array of the list, with jnp.asarray"
        return None

    @property
    def _count(self) -> int:
        """How many inputs the step takes."""
        return len(self._signature.inputs.children())

    def _as_inputs(self, xs: Any) -> tuple[Any, ...]:
        """The step's inputs: `xs` is the only one, or a tuple of several, or nothing."""
        if self._count == 1:
            return (xs,)
        return () if xs is None else tuple(xs) if isinstance(xs, (tuple, list)) else (xs,)


def _missing_mark(path: str) -> Diagnostic:
    return Diagnostic(
        code="argument-mark",
        message=f"the learner was compiled with {path}=, and this call does not say {path}",
        help=f"pass {path}=..., true or false for each step; or compile without",
    )


def _missing_signal(path: str) -> Diagnostic:
    return Diagnostic(
        code="argument-signal",
        message=f"the learning rule reads the signal '{path}' at every step, and it was not given",
        help=f"pass {path}=... to the learner's method",
    )


def _unknown_keyword(path: str, known: list[str]) -> Diagnostic:
    if path in MARKS:
        return Diagnostic(
            code="argument-mark",
            message=f"the learner was given {path}=, and was compiled without",
            help=f"compile with {path}='step', or {path}='sample' for one of each sample",
        )
    if path in RESUMED:
        message = f"the learner was given {path}=, which goes with resumable=True"
        return Diagnostic(code="option-pair", message=message, help=RESUMED[path])
    return Diagnostic(
        code="argument-signal",
        message=f"the learner was given '{path}', a signal that its learning rule does not read",
        help=did_you_mean(path, known) or "drop it, or use a rule that reads signals",
    )


def check_steps(steps: Any) -> None:
    """Raise EtirError for a length of a sequence that is none; None is not said."""
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise error("sequence-length", f"steps={steps!r}; wanted a positive number of steps")


def checked_key(key: Any) -> Any:
    """A PRNG key, typed or raw, as it is; None for none. Raises EtirError for anything else."""
    if key is None:
        return None
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and jnp.shape(key) == ()
    raw = dtype == jnp.uint32 and len(jnp.shape(key)) == 1
    if not typed and not raw:
        found = type(key).__name__ if dtype is None else f"{dtype}[{','.join(map(str, jnp.shape(key)))}]"
        raise error(
            "key-type",
            f"the key given to learner.init is {found}; wanted one PRNG key",
            help="pass jax.random.key(0); jax.vmap over keys gives independent estimates",
        )
    return key


def _leaves(
    tree: Any, structure: Any, wanted: Wanted, what: str, *, shown: Any = None, help: str | None = None
) -> list[Any]:
    """The leaves of a tree of this structure; `shown` is what the user gave, where that is not the tree itself."""
    leaves, found = jax.tree.flatten(tree)
    if found == structure:
        return leaves
    given = leaf_paths(tree if shown is None else shown, {"params": "param", "states": "state"}.get(what, "x"))
    paths = [_shortened([path for path, _ in pairs]) for pairs in (given, wanted)]
    if paths[0] == paths[1]:
        paths = [str(found), str(structure)]
    raise error(
        "argument-structure",
        f"the {what} have another structure than at compile",
        notes=(f"found {paths[0]}", f"wanted {paths[1]}"),
        help=help,
    )


def _shortened(paths: list[str]) -> str:
    shown = ", ".join(paths[:_SHOWN]) or "nothing"
    return f"{shown} and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else shown


def _checked(leaves: Sequence[Any], wanted: Wanted, *, over_time: bool = False, batched: bool = True) -> Arrays:
    """Arrays of the element types that were compiled for, from leaves of the right shapes."""
    arrays = [_array(x, kind) for x, (_, kind) in zip(leaves, wanted, strict=True)]
    findings = [
        finding
        for x, (path, kind) in zip(arrays, wanted, strict=True)
        if (finding := _finding(TensorType.of(x), path, kind, over_time)) is not None
    ]
    if findings:
        batch = as_one_batch([TensorType.of(x) for x in arrays], wanted, over_time=over_time) if batched else None
        raise EtirError(findings if batch is None else [batch])
    return [
        x if str(x.dtype) == kind.dtype else x.astype(kind.dtype) for x, (_, kind) in zip(arrays, wanted, strict=True)
    ]


def _array(value: Any, kind: TensorType) -> jax.Array:
    """An array; a Python int, which JAX lets stand for any number, is one of the wanted type."""
    return jnp.asarray(value, kind.dtype if _is_any_number(value) and kind.carries_credit else None)


def _is_any_number(value: Any) -> bool:
    """Whether a value is a Python int, as it is or as `jax.jit` has it."""
    if isinstance(value, jax.Array):
        return jnp.issubdtype(value.dtype, jnp.integer) and value.weak_type
    return isinstance(value, int)


def _finding(found: TensorType, path: str, kind: TensorType, over_time: bool) -> Diagnostic | None:
    """What is wrong with an argument of type `found` where `kind` is wanted."""
    help = "compile again for other shapes; use jax.vmap for a batch"
    one = found
    if over_time:
        if found.shape in ((), kind.shape) and found.shape[1:] != kind.shape:
            help = "stack the steps of a sequence; learner.step takes a single one"
            message = f"'{path}' is {found}; wanted {kind} with a leading time axis"
            return Diagnostic(code="argument-type", message=message, help=help)
        one = TensorType(found.dtype, found.shape[1:])
    what = f"a step of '{path}'" if over_time else f"'{path}'"
    message = f"{what} is {one}; the learner was compiled for {kind}"
    if one.shape != kind.shape:
        return Diagnostic(code="argument-type", message=message, help=help)
    if _converts(found, kind):
        return None
    return Diagnostic(code="argument-type", message=message, help=f"convert it to {str(kind).partition('[')[0]}")


def _converts(found: TensorType, kind: TensorType) -> bool:
    """Whether an element type may stand for another: of the same kind, at another precision."""
    if found.dtype == kind.dtype:
        return True
    families = (jnp.floating, jnp.complexfloating, jnp.integer, jnp.bool_)
    try:
        found_dtype, wanted = jnp.dtype(found.dtype), jnp.dtype(kind.dtype)
    except TypeError:
        return False
    return any(jnp.issubdtype(found_dtype, f) and jnp.issubdtype(wanted, f) for f in families)


def _length(places: list[tuple[str, tuple[int, ...]]], *, empty: bool = False) -> int:
    """The length of the leading axis that all shapes share."""
    lengths = {shape[:1] for _, shape in places}
    if len(lengths) == 1 and lengths != {()} and (empty or lengths != {(0,)}):
        return lengths.pop()[0]
    if not places:
        message, help = "neither inputs nor targets say how long the sequence is", "give targets with a time axis"
    elif lengths == {(0,)}:
        message, help = "the sequence has no steps", None
    else:
        message = "inputs and targets have different lengths"
        help = "every leaf of xs and of the targets needs the same leading time axis"
    raise error("sequence-length", message, notes=_steps(places), help=help)


def _steps(places: list[tuple[str, tuple[int, ...]]]) -> Iterator[str]:
    for name, shape in places:
        yield f"{name} has {'no time axis' if not shape else f'{shape[0]} step' + 's' * (shape[0] != 1)}"


def _differing(found: Any, wanted: Any) -> list[str]:
    """The types of traces that were found and wanted; of what is pending beside them where that alone differs."""
    alone = [_types(jax.tree.leaves([x for x in tree if not isinstance(x, tuple)])) for tree in (found, wanted)]
    whole = [_types(jax.tree.leaves(tree)) for tree in (found, wanted)]
    shown = alone if alone[0] != alone[1] else whole
    return [f"found {shown[0]}", f"wanted {shown[1]}"]


def _types(leaves: Sequence[Any]) -> str:
    return ", ".join(str(TensorType(str(x.dtype), jnp.shape(x))) for x in leaves) or "none"


def known(tree: Any, what: str, *, code: str) -> Any:
    """Example values, where they are values; a learner that was read from text has none."""
    if tree is None or any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(tree)):
        message = f"the learner was compiled for shapes alone, so it knows no initial {what}"
        raise error(code, message, help="give them: learner.init(params, states)")
    return tree
