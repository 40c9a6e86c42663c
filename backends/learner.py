"""The learner: a planned transition behind pure functions on the user's own pytrees."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from ..ir.diagnostics import Diagnostic, EtirError, error
from ..ir.step import Signature, leaf_paths
from ..ir.transition import Certificate, Transition
from ..ir.types import TensorType
from .cost import Cost, estimate
from .calls import Arrays
from .drivers import gradient_by_windows, train_by_windows


class Carry(NamedTuple):
    """What a learner carries from step to step: the model's states and the traces."""

    states: Any
    traces: Any


class Result(NamedTuple):
    """What `learner.grad` returns."""

    grads: Any
    """The gradient, in the structure of the parameters."""
    losses: jax.Array
    """The loss of each step, `[time]`."""
    carry: Carry
    """States and traces after the last step."""
    aux: Any
    """What else the loss function returned, each with a leading time axis; None if nothing."""


class Trained(NamedTuple):
    """What `learner.train` returns."""

    params: Any
    opt_state: Any
    carry: Carry
    losses: jax.Array
    """The loss of each step, `[time]`."""
    aux: Any
    """What else the loss function returned, each with a leading time axis; None if nothing."""


class Engine(Protocol):
    """What a backend emits. Arrays are flat lists in the transition's order."""

    name: str

    def zeros(self) -> Any:
        """The traces at the beginning of a sequence."""
        ...

    def window(self, params: Arrays, states: Arrays, traces: Any, inputs: Arrays) -> tuple[Arrays, Any, Arrays]:
        """New states, new traces and outputs `[time, ...]` of one window; differentiable in `params` and `inputs`."""
        ...


class Learner:
    """An online learner: every method is a pure function, usable under jit, grad, vmap and scan."""

    def __init__(self, engine: Engine, transition: Transition, signature: Signature) -> None:
        """Wrap `engine`, emitted from `transition`, in the pytrees of `signature`."""
        self._engine = engine
        self.transition = transition
        self._signature = signature

    @property
    def certificate(self) -> Certificate:
        """The label of every parameter, by dotted path."""
        assert self.transition.certificate is not None
        return self.transition.certificate

    @property
    def backend(self) -> str:
        """The name of the backend that emitted this learner."""
        return self._engine.name

    @property
    def window_size(self) -> int:
        """Steps over which weights are held still."""
        assert self.transition.plan is not None
        return self.transition.plan.window

    def init(self, params: Any = None, states: Any = None) -> Carry:
        """The carry at the beginning of a sequence: these states (those given at compile by default), zero traces.

        `params` is taken for symmetry with other libraries, and checked; traces do not depend on it.
        """
        if params is not None:
            self._flat(params, "params")
        states = self._signature.example_states if states is None else states
        leaves = self._flat(states, "states")
        arrays = [jnp.asarray(x, s.before.type.dtype) if s.kind.value != "discrete" else x for x, s in zip(leaves, self.transition.states, strict=True)]
        return Carry(jax.tree.unflatten(self._signature.states, arrays), self._engine.zeros())

    def step(self, params: Any, carry: Carry, *inputs: Any) -> tuple[Carry, Any]:
        """One step: the new carry and the outputs. `jax.grad` through it gives the online gradient of a window of one."""
        batched = [jax.tree.map(lambda a: jnp.asarray(a)[None], x) for x in inputs]
        states, traces, outputs = self._window(params, carry, tuple(batched))
        return Carry(states, traces), jax.tree.map(lambda a: a[0], outputs)

    def window(self, params: Any, carry: Carry, xs: Any) -> tuple[Carry, Any]:
        """Steps over inputs with a leading time axis, a window at a time: the new carry and stacked outputs.

        `xs` is a tuple where the step takes several inputs. Any length; the last window may be shorter. Differentiable;
        for gradients over long sequences `grad` holds far less memory.
        """
        inputs = self._inputs(xs)
        pieces: list[Any] = []
        for start, count, size in _stretches(_length(inputs), self.window_size):
            stretch = [x[start : start + count * size].reshape(count, size, *x.shape[1:]) for x in inputs]

            def body(now: Carry, x: Arrays) -> tuple[Carry, Any]:
                states, traces, outputs = self._window_flat(params, now, x)
                return Carry(states, traces), outputs

            carry, outputs = jax.lax.scan(body, carry, stretch)
            pieces.append(jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), outputs))
        return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)

    def grad(self, loss: Callable[..., Any], *, reduction: str = "sum") -> Callable[..., Result]:
        """A function `(params, carry, xs, *targets) -> Result`: the gradient over a sequence, in memory that does not grow
        with its length.

        `loss(outputs, *target)` is a scalar, or a pair of a scalar and anything else to return, at each step. `reduction`
        is `sum` or `mean` over steps.
        """
        self._check_reduction(reduction)
        call = jax.jit(lambda p, c, xs, ts: self._gradient(loss, reduction, p, c, xs, ts))

        def gradient(params: Any, carry: Carry, xs: Any, *targets: Any) -> Result:
            return Result(*call(params, carry, xs, targets))

        return gradient

    def train(self, loss: Callable[..., Any], optimizer: Any, *, reduction: str = "sum") -> Callable[..., Trained]:
        """A function `(params, opt_state, carry, xs, *targets) -> Trained`: an update at the end of every window.

        `optimizer` has optax's `update(grads, state, params)`; `loss` and `reduction` (over the steps of a window) are as
        in `grad`.
        """
        self._check_reduction(reduction)
        call = jax.jit(lambda p, o, c, xs, ts: self._train(loss, optimizer, reduction, p, o, c, xs, ts))

        def train(params: Any, opt_state: Any, carry: Carry, xs: Any, *targets: Any) -> Trained:
            return Trained(*call(params, opt_state, carry, xs, targets))

        return train

    def cost(self) -> Cost:
        """Operations, and bytes read, written and held, that the plan takes for each step."""
        return estimate(self.transition)

    def __repr__(self) -> str:
        rule, window = self.certificate.rule, self.window_size
        return f"Learner({self.transition.name!r}, rule={rule!r}, window={window}, backend={self.backend!r})"

    def _gradient(self, loss: Any, reduction: str, params: Any, carry: Carry, xs: Any, targets: Any) -> Any:
        inputs, length = self._sequence(xs, targets)
        flat = self._flat(params, "params")
        states = self._flat(carry.states, "states")
        run = getattr(self._engine, "gradient", None) or gradient_by_windows(self._engine, self.window_size)
        grads, losses, states, traces, aux = run(self._flat_loss(loss), flat, states, carry.traces, inputs, targets)
        scale = 1.0 / length if reduction == "mean" else 1.0
        grads = [g * scale if reduction == "mean" else g for g in grads]
        after = Carry(jax.tree.unflatten(self._signature.states, states), traces)
        return jax.tree.unflatten(self._signature.params, grads), losses, after, aux

    def _train(
        self, loss: Any, optimizer: Any, reduction: str, params: Any, opt_state: Any, carry: Carry, xs: Any, targets: Any
    ) -> Any:
        inputs, _ = self._sequence(xs, targets)
        self._flat(params, "params")
        states = self._flat(carry.states, "states")
        run = getattr(self._engine, "gradient", None) or gradient_by_windows(self._engine, self.window_size)
        params, opt_state, states, traces, losses, aux = train_by_windows(
            run,
            self.window_size,
            self._flat_loss(loss),
            optimizer,
            self._signature.params,
            reduction,
            params,
            opt_state,
            (states, carry.traces),
            inputs,
            targets,
        )
        return params, opt_state, Carry(jax.tree.unflatten(self._signature.states, states), traces), losses, aux

    def _flat_loss(self, loss: Any) -> Any:
        """The loss on flat outputs, always with an auxiliary result."""

        def flat(outputs: Arrays, target: Any) -> tuple[jax.Array, Any]:
            value = loss(jax.tree.unflatten(self._signature.outputs, outputs), *target)
            value, aux = value if isinstance(value, tuple) else (value, None)
            value = jnp.asarray(value)
            if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
                raise error(
                    "loss-type",
                    f"the loss of a step is {TensorType.of(value)}; wanted a floating-point scalar",
                    help="sum or average over everything but time",
                )
            return value, aux

        return flat

    def _window(self, params: Any, carry: Carry, inputs: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        return self._window_flat(params, carry, self._flat(inputs, "inputs", leading=1))

    def _window_flat(self, params: Any, carry: Carry, inputs: Arrays) -> tuple[Any, Any, Any]:
        flat, states = self._flat(params, "params"), self._flat(carry.states, "states")
        states, traces, outputs = self._engine.window(flat, states, carry.traces, inputs)
        signature = self._signature
        return jax.tree.unflatten(signature.states, states), traces, jax.tree.unflatten(signature.outputs, outputs)

    def _inputs(self, xs: Any) -> Arrays:
        several = self._signature.inputs.num_leaves != 1 or len(self._signature.inputs.children()) != 1
        return self._flat(tuple(xs) if several and isinstance(xs, (tuple, list)) and len(self._signature.inputs.children()) != 1 else (xs,), "inputs", leading=1)

    def _sequence(self, xs: Any, targets: Any) -> tuple[Arrays, int]:
        inputs = self._inputs(xs)
        lengths = {x.shape[0] for x in inputs} | {jnp.shape(t)[0] for t in jax.tree.leaves(targets)}
        if len(lengths) != 1:
            raise error(
                "sequence-length",
                f"inputs and targets have different lengths: {', '.join(map(str, sorted(lengths)))}",
                help="every leaf of xs and of the targets needs the same leading time axis",
            )
        return inputs, lengths.pop()

    def _check_reduction(self, reduction: str) -> None:
        if reduction not in ("sum", "mean"):
            raise error("unknown-reduction", f"reduction={reduction!r}; wanted 'sum' or 'mean'")

    @cached_property
    def _expected(self) -> dict[str, tuple[Any, list[tuple[str, TensorType]]]]:
        t, signature = self.transition, self._signature
        return {
            "params": (signature.params, [(p.path, p.value.type) for p in t.params]),
            "states": (signature.states, [(s.path, s.before.type) for s in t.states]),
            "inputs": (signature.inputs, [(i.path, i.value.type) for i in t.inputs]),
        }

    def _flat(self, tree: Any, what: str, leading: int = 0) -> Arrays:
        """The leaves of an argument. Raises EtirError, all findings at once, where it is not what was compiled for."""
        structure, wanted = self._expected[what]
        if jax.tree.structure(tree) != structure:
            found = [path for path, _ in leaf_paths(tree, what)]
            raise error(
                "argument-structure",
                f"the {what} have another structure than at compile",
                notes=(f"found {', '.join(found) or 'nothing'}", f"wanted {', '.join(p for p, _ in wanted) or 'nothing'}"),
            )
        leaves = [jnp.asarray(x) for x in jax.tree.leaves(tree)]
        findings = [
            Diagnostic(
                code="argument-type",
                message=f"'{path}' is {TensorType.of(x)}; the learner was compiled for {kind}",
                help="compile again for other shapes; use jax.vmap for a batch",
            )
            for x, (path, kind) in zip(leaves, wanted, strict=True)
            if x.shape[leading:] != kind.shape or len(x.shape) != len(kind.shape) + leading
        ]
        if findings:
            raise EtirError(findings)
        return [x if str(x.dtype) == kind.dtype else _cast(x, path, kind) for x, (path, kind) in zip(leaves, wanted, strict=True)]


def _cast(x: jax.Array, path: str, kind: TensorType) -> jax.Array:
    """`x` as the element type compiled for, where no information is lost by rule: weak types, and wider floats."""
    found = TensorType.of(x)
    if found.carries_credit != kind.carries_credit or found.is_complex != kind.is_complex:
        raise error("argument-type", f"'{path}' is {found}; the learner was compiled for {kind}")
    return x.astype(kind.dtype)


def _length(inputs: Arrays) -> int:
    if not inputs:
        raise error("no-inputs", "the step takes no inputs, so a sequence has no length", help="give it a dummy input")
    return inputs[0].shape[0]


def _stretches(length: int, window: int) -> list[tuple[int, int, int]]:
    """The (start, windows, steps a window) of whole windows, and of the shorter last one."""
    whole, rest = divmod(length, window)
    found = [(0, whole, window)] if whole else []
    return found + ([(whole * window, 1, rest)] if rest else [])
