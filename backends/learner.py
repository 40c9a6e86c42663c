"""The learner: a planned transition behind pure functions on the user's own pytrees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from ..ir.diagnostics import error
from ..ir.plan import Cost
from ..ir.step import Signature
from ..ir.transition import Certificate, Transition
from ..view import summary, write_graph
from .arguments import Arguments, check_steps, checked_key, known
from .beginning import started
from .carry import Carry
from .communication import on_a_device
from .driven import Driven
from .driving import Driving, check_sums
from .engine import Engine
from .guards import refuse_by_initial_states
from .layout import Layout, layout
from .losses import Key, check_loss, check_optimizer, check_order
from .piecewise import check_piece, predict_by_pieces
from .results import Result, Trained
from .sizes import Sizes
from .stepped import Stepped
from .timing import device_model, predict
from .trainable import Trainable, refuse_state


class Learner:
    """An online learner: every method is a pure function, usable under jit, grad, vmap and scan.

    What it was compiled for it can be asked of at once; a batch of another size, in the states given to `init`, is
    compiled for when it is first met.
    """

    def __init__(
        self,
        engine: Engine,
        transition: Transition,
        signature: Signature,
        layout: Layout | None = None,
        sizes: Sizes | None = None,
    ) -> None:
        """Wrap `engine`, emitted from `transition`, in the pytrees of `signature`; its arrays lie as `layout` says.

        Batches of another size are left to the learners that `sizes` has for them.
        """
        self._engine, self.layout, self._sizes = engine, layout, sizes
        self.transition = transition
        self._signature = signature
        self._arguments = Arguments(transition, signature, engine.kinds)
        self._trainable = Trainable(signature.params, transition.frozen_places)
        of: dict[str, Any] = {"arguments": self._arguments, "trainable": self._trainable, "signature": signature}
        of |= {"engine": engine, "layout": layout, "window": self.window_size}
        self._stepped, self._driven = Stepped(**of), Driven(**of)

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
    def needs_key(self) -> bool:
        """Whether `init` wants a PRNG key, for a rule that draws random numbers."""
        return self._engine.needs_key

    @property
    def signature(self) -> Signature:
        """The trees of its arguments and results, and the example values given at compile."""
        return self._signature

    @property
    def window_size(self) -> int:
        """Steps over which weights are held still."""
        assert self.transition.plan is not None
        return self.transition.plan.window

    @property
    def params(self) -> Any:
        """The parameters given at compile; of a module, a dict by path. EtirError where only shapes were given."""
        return known(self._signature.example_params, "parameters", code="parameters-missing")

    @property
    def states(self) -> Any:
        """The states given at compile; of a module, a dict by path. EtirError where only shapes were given."""
        return known(self._signature.example_states, "states", code="states-missing")

    def trainable(self, params: Any) -> Any:
        """The parameters, None in the place of each that is frozen: the structure of `grads`.

        `optimizer.init(learner.trainable(params))` is an optimiser's state that holds nothing for frozen parameters.
        """
        return self._trainable.only(self._arguments.params(params))

    def with_trainable(self, params: Any, trained: Any) -> Any:
        """The parameters, those that are not frozen as they are in `trained`, a tree as `trainable` gives it."""
        whole = self._trainable.whole(jax.tree.leaves(trained), self._arguments.params(params))
        return jax.tree.unflatten(self._signature.params, whole)

    def init(self, params: Any = None, states: Any = None, *, key: jax.Array | None = None) -> Carry:
        """The carry at the beginning of a sequence: these states (those given at compile by default), zero traces.

        `params` is taken for symmetry with other libraries, and checked; traces do not depend on it. `key` is a PRNG
        key, for rules that draw random numbers; `jax.vmap` over keys gives independent estimates. The arrays are
        copies: a carry may be donated. Raises EtirError for numbers that are not finite, for states that are being
        differentiated (`etir.compile(..., initial=...)` carries their influence), and where a rule needs a key and gets
        none.
        """
        if states is not None and (own := self.for_batch(states)) is not self:
            return own.init(params, states, key=key)
        given = self._arguments.beginning(params, self.states if states is None else states)
        copies = [jnp.copy(x) for x in refuse_by_initial_states(given)]
        traces = started(self._engine, checked_key(key), copies, self.layout)
        carry = Carry(jax.tree.unflatten(self._signature.states, copies), traces)
        return carry if self.layout is None else self.layout.put("carry", carry)

    def reset(self, carry: Any, states: Any = None) -> Any:
        """The carry where another sequence begins: with these states (by default those given at compile), traces zero.

        What belongs to no sequence goes on: keys of random numbers, feedback that was drawn, a predictor of credit.
        Raises EtirError for a carry inside an unfinished window, and as `init` does.
        """
        own = self._of_carry(carry)
        given = own._arguments.beginning(None, own.states if states is None else states)
        return own._stepped.reset(carry, refuse_by_initial_states(given))[0]

    def beginning(self, xs: Any) -> Any:
        """The states given at compile, repeated for as many samples as sequences `xs`, `[time, samples, ...]`, have."""
        return self.states if self._sizes is None else self._sizes.beginning(self.states, xs)

    def step(self, params: Any, carry: Carry, *inputs: Any, **signals: Any) -> tuple[Carry, Any]:
        """One step: the new carry and the outputs. `jax.grad` through it gives the gradient of a window of one.

        A loss may read the outputs and the new states. Its gradient by the inputs is that of this step alone: what
        they do to later calls is left out, and EtirWarning says so.
        """
        return self._of_carry(carry)._stepped.step(params, carry, inputs, signals)

    def window(self, params: Any, carry: Carry, xs: Any, **signals: Any) -> tuple[Carry, Any]:
        """Steps over inputs with a leading time axis, a window at a time: the new carry and stacked outputs.

        `xs` is a tuple where the step takes several inputs. Any length; the last window may be shorter. Differentiable,
        the outputs and the new states; for gradients over long sequences `grad` holds far less memory. The gradient by
        `xs` is that of each window alone: what they do to later windows is left out, and EtirWarning says so.
        """
        return self._of_carry(carry)._stepped.windows(params, carry, xs, signals)

    def predict(
        self,
        params: Any = None,
        states: Any = None,
        xs: Any = None,
        *,
        steps: int | None = None,
        piece: int | None = None,
        **marks: Any,
    ) -> Any:
        """The model alone over inputs with a leading time axis, no traces: the states after them and stacked outputs.

        It costs what `jax.lax.scan` of the step costs. Parameters are by default those given at compile, states those
        of `beginning(xs)`; a carry has its states in `carry.states`. `xs` is a tuple where the step takes several
        inputs; `steps` says how long the sequence is where it takes none. Differentiable by all that it is given, as
        the plain model: `jax.grad` through it is BPTT. Raises EtirError for arguments that do not fit.

        `piece`, a number of steps, is as in `grad`: one program for sequences of all lengths, not inside `jax.jit`.
        """
        check_steps(steps)
        check_piece(piece, 1)
        params = self.params if params is None else params
        states = self.beginning(xs) if states is None else states
        own, given = self.for_batch(states)._stepped, (steps, params, states, xs, marks)
        return own.predict(*given) if piece is None else predict_by_pieces(own, piece, given)

    def grad(
        self, loss: Callable[..., Any], *, reduction: str = "sum", resumable: bool = False, piece: int | None = None
    ) -> Callable[..., Result]:
        """A function `(params, carry, xs, *targets) -> Result`: the gradient over a sequence.

        `loss(outputs, *target)` is a scalar, or a pair of a scalar and anything else to return, at each step; a target
        is any tree of arrays with a leading time axis. `reduction` is `sum` or `mean` over steps. Memory does not grow
        with the length of the sequence. Gradients of complex parameters follow `jax.grad`'s convention. The compiled
        program is kept, and found again by the same `loss`. For frozen parameters there is None. What the function
        returns has no derivative: taking one raises EtirError. Inside a `jax.jit` of yours that leaves the result's
        carry, the traces' last advance is not made: a sequence alone then costs less than one that goes on.

        `resumable` is for sequences that come in pieces, cut anywhere: windows are counted from the beginning of the
        sequence, and the steps of one that is not full yet are held in the carry. Gradient, losses, and states come
        from the call that ends the window. The function then takes `onto=`, the gradient so far, to which that of each
        window is added, and `ends=True`, which ends the last window with the last step. Outside `jax.jit`, all pieces
        together give, bit for bit, what one such call on all steps gives. `reduction` is `sum`.

        `piece`, steps of whole windows, drives a sequence piece by piece, by a program that is compiled once for
        sequences of all lengths. The numbers are the same, but for the rounding of sums. Not inside `jax.jit`.
        """
        check_loss(loss)
        driving = Driving(window=self.window_size, reduction=reduction, resumable=resumable, piece=piece)
        check_sums(driving)
        key = Key(loss)

        def gradient(params: Any, carry: Carry, xs: Any, *targets: Any, **signals: Any) -> Result:
            return driving.gradient(self._of_carry(carry)._driven, key, (params, carry, xs, targets), signals)

        return gradient

    def train(
        self,
        loss: Callable[..., Any],
        optimizer: Any,
        *,
        reduction: str = "sum",
        resumable: bool = False,
        on_nonfinite: str = "ignore",
        piece: int | None = None,
    ) -> Callable[..., Trained]:
        """A function `(params, opt_state, carry, xs, *targets) -> Trained`: an update at the end of every window.

        `optimizer` has optax's `update(grads, state, params)`; it gets the conjugates of the gradients of complex
        parameters, the direction of steepest ascent. Frozen parameters stay what they are, bit for bit, whatever it
        does; a state that begins with `init(learner.trainable(params))` holds nothing for them. `loss`, `reduction`
        (over the steps of a window) and the refusal of derivatives are as in `grad`.

        A sequence's last window may be shorter, and has its update too. Not so where it is `resumable`: as in `grad`,
        the steps of a window that is not full yet are held in the carry, unless `ends=True` is given to the function.
        `piece` is as in `grad`; a last window that is shorter is compiled for its length.

        `on_nonfinite` says what to do where a state, a trace, a gradient, a loss or a parameter is NaN or infinite:
        `raise` a `NonFiniteError`, which names it and the step at which it began, and holds as `trained` what the
        windows before gave; `stop` there, with an EtirWarning that says so, and return that; or `ignore` it.
        """
        check_loss(loss)
        check_optimizer(optimizer)
        options: dict[str, Any] = {"resumable": resumable, "on_nonfinite": on_nonfinite, "piece": piece}
        driving = Driving(window=self.window_size, reduction=reduction, **options)
        keys = Key(loss), Key(optimizer)

        def train(params: Any, opt_state: Any, carry: Carry, xs: Any, *targets: Any, **signals: Any) -> Trained:
            check_order(opt_state, carry, Carry)
            if callable(opt_state):  # jit would refuse it before the check that is made once, when training is traced
                refuse_state(optimizer, params, opt_state)
            given = params, opt_state, carry, xs, targets
            return driving.train(self._of_carry(carry)._driven, *keys, given, signals)

        return train

    def write_back(self, model: Any, params: Any, states: Any) -> Any:
        """The module with these parameters and states in it, its library's way: in place where it holds values."""
        if self._signature.write is None:
            raise error("write-back", "the learner is of a plain function, which holds no values")
        self._arguments.params(params)
        return self._signature.write(model, params, getattr(states, "states", states))

    def traces(self, carry: Carry) -> tuple[jax.Array, ...]:
        """The traces after the last step, one for each of the plan's: those of the carry may be one step behind.

        With frozen weights they depend on the steps alone, not on which methods took them.
        """
        own = self._of_carry(carry)
        return own._engine.lag.settled(own._arguments.carry(carry)[1])

    def cost(self, *, timed: bool = False) -> Cost:
        """Operations, and bytes of traces read, written and held, that the plan takes for each step.

        Of a learner that lies over a mesh: those of one device, and the bytes that it is sent; `train`'s update is one
        for each window. Where the window was chosen, the reason. `timed` adds the predicted seconds of a step of
        `grad`, the model's own included, on one device: JAX's default device is measured for that, once, in a few
        seconds, and the result is kept in the user's cache.
        """
        assert self.transition.plan is not None
        if self.layout is not None:
            found = on_a_device(self.transition, self.layout)
        else:
            found = replace(self.transition.plan.cost(), held=float(sum(self._engine.bytes_held)))
        return replace(found, seconds=predict(self._engine, device_model()).total) if timed else found

    def shard(self, mesh: Mesh, batch: str | None, weights: str | None) -> Self:
        """`etir.shard`."""
        engine = self._engine
        found = layout(self.transition, engine.kinds, engine.lag.data, mesh, batch, weights)
        return type(self)(engine, self.transition, self._signature, found)

    @property
    def whole(self) -> Learner:
        """The learner in whose trees all that a step takes stands among its inputs, marks included."""
        signature = self._signature
        if not signature.marks:
            return self
        given = jax.tree.unflatten(signature.inputs, [0] * signature.inputs.num_leaves)
        inputs = jax.tree.structure((*given, dict.fromkeys(signature.marks, 0)))
        return Learner(self._engine, self.transition, replace(signature, inputs=inputs, marks=()), self.layout)

    def for_batch(self, states: Any) -> Learner:
        """The learner for the batch that these states are: this one, or one that is compiled for that size."""
        return self if self._sizes is None else self._sizes.of(states) or self

    def show_graph(self, path: str | Path | None = None) -> None:
        """Print the hidden groups and the weights associated with each; with a path, write the picture there instead.

        The suffix says the format, as in `etir.write_graph`.
        """
        if path is None:
            print(summary(self.transition))  # noqa: T201 (what it is for)
        else:
            write_graph(self.transition, path)

    def __deepcopy__(self, _: Any) -> Self:
        """Itself: it never changes."""
        return self

    def __repr__(self) -> str:
        rule, window = self.certificate.rule, self.window_size
        return f"Learner({self.transition.name!r}, rule={rule!r}, window={window}, backend={self.backend!r})"

    def _of_carry(self, carry: Any) -> Learner:
        return self if self._sizes is None else self.for_batch(getattr(carry, "states", ()))
