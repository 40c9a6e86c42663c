"""dni: credit from after a window, predicted from the states that leave it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ..ir.diagnostics import Diagnostic, EtirError, error
from ..ir.plan import RealCoordinates, Select
from ..ir.transition import State
from ..ir.types import TensorType
from ..ir.values import Value
from .base import Rule, Task
from .writer import Writer

Arrays = dict[str, Any]
"""Arrays by the dotted path of a state."""
Predictor = Callable[[Any, Arrays], Arrays]
"""`(parameters, states) -> cotangents`, of each hidden state."""

_MEAN, _SQUARE, _TINY = 0.9, 0.999, 1e-8
"""Adam's constants (Kingma and Ba 2015)."""


@dataclass(frozen=True)
class Dni(Rule):
    """Synthetic gradients (Jaderberg et al. 2017, section 2.1): reverse mode begins with a prediction of later credit.

    Where a window ends, a predictor `g` gives the derivative of all later losses by the states `h_K` that leave, and
    reverse mode sends it on: `h_bar = dl/dh_0 + (dh_K/dh_0)^T c`, `c = scale g(h_K)`. The same `h_bar` is what the
    predictor should have said of the states `h_0` that entered: at the window's end one step of Adam lessens `|g(h_0) -
    h_bar|^2 / 2`, a mean over samples. A target thus holds the next prediction, as in temporal-difference learning, and
    like it can run away; smaller steps, or a `scale` below one, calm it.

    No trace of a weight is carried: the plan's traces are the predictor's parameters and Adam's moments. They learn
    from call to call as the carry is handed on, also where no weight is moved. Memory: three times the predictor. Cost:
    the predictor's, twice forward and once back for each window. Approximate for every parameter that reaches a hidden
    state, and right where the prediction is. It concerns reverse mode as a whole, so that no other parameter may have a
    trace that the entering cotangents are read with.

    The rule's own predictor is a network on the last axis of the states; leading axes are samples. Hidden states whose
    leading axes are the same are seen, and predicted, together. It begins by saying zero, which is truncation. Where a
    sequence ends there is no later credit, and the predictor adds its guess all the same: a state that counts, and a
    predictor of your own, can do otherwise. `learner.reset(carry)` begins another sequence with what was learned. A
    `trace_dtype` holds for the predictor as well, and loses small steps where it is coarser than float32.
    """

    name: ClassVar[str] = "dni"
    needs_sites: ClassVar[bool] = False

    hidden: int | tuple[int, ...] = 0
    """The units of the predictor's hidden layers (rectified), one number a layer; 0 for a linear predictor."""
    learning_rate: float = 1e-3
    """Adam's step for the predictor; 0 for a predictor of your own that stays as it is."""
    scale: float = 1.0
    """What a prediction is multiplied with where reverse mode begins with it: less than 1 trusts it less."""
    predictor: Predictor | None = None
    """A function of your own, `(parameters, states) -> cotangents`, both of them dictionaries by the dotted paths of
    states. It is given every state but PRNG keys, and gives an array for each hidden one."""
    initial: Callable[[Any], Any] | None = None
    """Your predictor's parameters at the beginning, a tree of real arrays, from a PRNG key; None where it has none."""

    def __post_init__(self) -> None:
        """Refuse options that are out of range, or that do not go together, with EtirError."""
        layers = self.hidden if isinstance(self.hidden, tuple) else (self.hidden,)
        found: list[str] = []
        if not all(isinstance(n, int) and n >= 0 for n in layers):
            found.append(f"hidden={self.hidden!r}; wanted a number of units, or a tuple of them")
        if not _is_number(self.learning_rate) or self.learning_rate < 0:
            found.append(f"learning_rate={self.learning_rate!r}; wanted a number of at least 0")
        elif self.predictor is None and self.learning_rate == 0:
            found.append("learning_rate=0, so that its own predictor would say zero for ever")
        elif self.predictor is not None and self.initial is None and self.learning_rate > 0:
            found.append(f"learning_rate={self.learning_rate}, and a predictor without initial parameters to learn")
        if not _is_number(self.scale):
            found.append(f"scale={self.scale!r}; wanted a number")
        if self.predictor is None and self.initial is not None:
            found.append("initial parameters, and no predictor of yours that takes them")
        if self.predictor is not None and self.hidden != 0:
            found.append(f"hidden={self.hidden!r}, which is of its own predictor, beside one of yours")
        if found:
            raise EtirError([Diagnostic(code="rule-option", message=f"dni has {what}") for what in found])

    def write(self, plan: Writer, task: Task) -> None:
        """The prediction before reverse mode, and the predictor's step after it."""
        if task.reaching:
            _Writing(self, plan).write()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


class _Writing:
    """One rule's part of one plan."""

    def __init__(self, rule: Dni, plan: Writer) -> None:
        self.rule, self.plan = rule, plan
        self.hidden = plan.transition.hidden
        self.seen, self.predict, self.initial = self.hidden, rule.predictor, rule.initial
        if self.predict is None:
            self.predict = network = _Network(self.hidden, _layers(rule.hidden))
            self.initial = network.initial
        else:
            self.seen = tuple(s for s in plan.transition.states if not s.before.type.dtype.startswith("key"))

    def write(self) -> None:
        """The traces, the prediction, and the predictor's step."""
        vector = self._parameters()
        given = () if vector is None else (vector,)
        leaving = [state.after for state in self.seen]
        self.plan.leave_with(self.plan.apply(self._exit, *given, *leaving, name="later_credit", before_reverse=True))
        if vector is not None:
            self._learn(vector)

    def _parameters(self) -> Value | None:
        """The trace that holds the predictor's parameters, as one vector; None for a predictor without any."""
        initial = self.initial
        if initial is None:
            return None
        structs = jax.eval_shape(initial, jax.random.key(0))
        _check_real(structs)
        flat, self.restore = ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), structs))
        kind = TensorType(str(flat.dtype), flat.shape)
        return self.plan.trace(
            kind, "predictor of later credit", "predictor", start=lambda key: ravel_pytree(initial(key))[0]
        )

    def _cotangents(self, arrays: Sequence[Any]) -> list[Any]:
        """What the predictor says, of arrays of its parameters, if any, and of the states that it sees."""
        params = self.restore(arrays[0]) if self.initial is not None else None
        states = dict(zip((s.path for s in self.seen), arrays[self.initial is not None :], strict=True))
        assert self.predict is not None
        return _checked(self.predict(params, states), self.hidden)

    def _exit(self, *arrays: Any) -> list[Any]:
        guesses = zip(self.hidden, self._cotangents(arrays), strict=True)
        return [(self.rule.scale * x).astype(s.after.type.dtype) for s, x in guesses]

    def _learn(self, vector: Value) -> None:
        """The predictor's step at a window's end; nothing for one that stays as it is."""
        if self.rule.learning_rate == 0:
            self.plan.carry(vector, vector)
            return
        mean, square = (
            self.plan.trace(vector.type, f"running mean of the predictor's {what}", hint)
            for what, hint in (("gradient", "mean"), ("squared gradient", "square"))
        )
        count = self.plan.trace(TensorType("int32"), "the predictor's steps", "steps")
        traces = (vector, mean, square, count)
        entered, counted = [state.before for state in self.seen], self.plan.counted_steps()
        given = (*traces, *entered, *self.plan.cotangents, *([] if counted is None else [counted]))
        new = self.plan.apply(self._step, *given, name="predictor_step", at_window=True)
        if counted is not None:  # what no step counted of, nothing is learned from
            (some,) = self.plan.apply(lambda n: jnp.any(n > 0), counted, name="some_counted", at_window=True)
            pairs = zip(traces, new, strict=True)
            new = [self.plan.window(Select(mark=some, on=on, off=off), on.hint)[0] for off, on in pairs]
        for old, value in zip(traces, new, strict=True):
            self.plan.carry(old, value)

    def _step(self, vector: Any, mean: Any, square: Any, count: Any, *arrays: Any) -> tuple[Any, ...]:
        """One step of Adam."""
        states, rest = arrays[: len(self.seen)], arrays[len(self.seen) :]
        bars, counted = rest[: len(self.hidden)], rest[len(self.hidden) :]
        counts = (counted[0] > 0).astype(jnp.float32) if counted and counted[0].ndim else None
        gradient = jax.grad(self._distance)(vector, states, bars, counts)
        count = count + 1
        mean = _MEAN * mean + (1 - _MEAN) * gradient
        square = _SQUARE * square + (1 - _SQUARE) * gradient**2
        age = count.astype(vector.dtype)
        size = jnp.sqrt(square / (1 - _SQUARE**age)) + _TINY
        return vector - self.rule.learning_rate * mean / (1 - _MEAN**age) / size, mean, square, count

    def _distance(self, vector: Any, states: Sequence[Any], bars: Sequence[Any], counts: Any) -> Any:
        """Half the squared distance of what is predicted and what came back, summed over units, a mean over samples.

        `counts` are 1 for samples that count, or None where all do.
        """
        total = jnp.zeros((), vector.dtype)
        for guess, bar in zip(self._cotangents([vector, *states]), bars, strict=True):
            apart = guess.astype(jnp.promote_types(bar.dtype, vector.dtype)) - bar
            squares, samples = (apart * jnp.conj(apart)).real, max(1, math.prod(bar.shape[:-1]))
            if counts is not None:
                squares = squares * counts.astype(squares.dtype).reshape(-1, *[1] * (squares.ndim - 1))
                samples = samples * jnp.maximum(jnp.mean(counts), 1 / len(counts)).astype(squares.dtype)
            total += (jnp.sum(squares) / (2 * samples)).astype(vector.dtype)
        return total


def _layers(hidden: int | tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of a network's hidden layers."""
    return tuple(n for n in ((hidden,) if isinstance(hidden, int) else hidden) if n)


def _check_real(structs: Any) -> None:
    """Refuse parameters of a predictor that one real vector cannot hold."""
    kinds = [TensorType.of(x) for x in jax.tree.leaves(structs)]
    wrong = [kind for kind in kinds if not kind.carries_credit or kind.is_complex]
    if wrong or not kinds:
        found = str(wrong[0]) if wrong else "nothing"
        raise error("rule-option", f"dni's initial parameters hold {found}; wanted real floating-point arrays",
                    help="let the predictor close over what is not to be learned")  # fmt: skip


def _checked(found: Any, states: Sequence[State]) -> list[Any]:
    """A predictor's cotangents in the order of the hidden states. Raises EtirError where they are not of them."""
    paths = [state.path for state in states]
    if not isinstance(found, dict) or set(found) != set(paths):  # pyright: ignore[reportUnknownArgumentType]
        given = ", ".join(map(repr, found)) if isinstance(found, dict) else _described(found)
        wanted = ", ".join(map(repr, paths))
        raise error(
            "rule-option",
            f"dni's predictor gives {given or 'nothing'}; wanted a cotangent of each hidden state: {wanted}",
            help="return a dictionary by the dotted paths of the states",
        )
    arrays = [jnp.asarray(found[path]) for path in paths]
    for state, x in zip(states, arrays, strict=True):
        kind, wanted = TensorType.of(x), state.after.type
        if kind.shape != wanted.shape or not kind.carries_credit or (kind.is_complex and not wanted.is_complex):
            raise error("rule-option", f"dni's predictor gives {kind} for '{state.path}'; wanted {wanted}")
    return arrays


class _Network:
    """The rule's own predictor: a network for each set of hidden states of the same leading axes."""

    def __init__(self, states: Sequence[State], hidden: tuple[int, ...]) -> None:
        self.hidden = hidden
        self.bundles: dict[tuple[int, ...], list[State]] = {}
        for state in states:
            self.bundles.setdefault(state.before.type.shape[:-1], []).append(state)

    def initial(self, key: Any) -> Any:
        """He's numbers for the rectified layers, zeros for the last: it begins by predicting nothing."""
        keys = iter(jax.random.split(key, len(self.bundles) * (len(self.hidden) + 1)))
        return [list(self._layers(states, keys)) for states in self.bundles.values()]

    def _layers(self, states: Sequence[State], keys: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
        coordinates = _coordinates(states)
        dtype = jnp.promote_types(coordinates.dtype, jnp.float32)
        sizes = [coordinates.size, *self.hidden, coordinates.size]
        for k, (before, after) in enumerate(itertools.pairwise(sizes)):
            drawn = math.sqrt(2 / max(1, before)) * jax.random.normal(next(keys), (before, after), dtype)
            yield drawn if k < len(self.hidden) else jnp.zeros_like(drawn), jnp.zeros(after, dtype)

    def __call__(self, params: Any, arrays: Arrays) -> Arrays:
        found: Arrays = {}
        for layers, (lead, states) in zip(params, self.bundles.items(), strict=True):
            coordinates = _coordinates(states)
            parts = zip(states, coordinates.types, strict=True)
            x = coordinates.flatten([arrays[s.path].reshape(*lead, *kind.shape) for s, kind in parts])
            for k, (w, b) in enumerate(layers):
                x = x.astype(w.dtype) @ w + b
                x = x if k + 1 == len(layers) else jax.nn.relu(x)
            for state, part in zip(states, coordinates.unflatten(x), strict=True):
                found[state.path] = part.reshape(state.before.type.shape)
        return found


def _described(found: Any) -> str:
    return str(TensorType.of(found)) if isinstance(found, jax.Array) else f"a {type(found).__name__}"


def _coordinates(states: Sequence[State]) -> RealCoordinates:
    """The last axes of some states as one; a number is an axis of one."""
    return RealCoordinates([TensorType(s.before.type.dtype, s.before.type.shape[-1:] or (1,)) for s in states])
