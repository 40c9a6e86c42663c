"""The drivers of a learner, `grad` and `train`, as compiled functions of the user's own arguments.

A call that is resumable goes window by window, counted from the beginning of the sequence, wherever calls begin and
end: the steps of a window that is not full yet are held in the carry (`Unfinished`), and it is run when it is. So
every window is the same program on the same numbers, however the sequence is cut.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from ..ir.diagnostics import error
from .calls import Arrays
from .carry import Carry, Unfinished
from .checked import Checked
from .compiled import Compiled
from .drivers import Update, Windowed, counted, counted_windows, steps_of, train_by_windows
from .folds.schedule import Portion
from .guards import refuse_through_driver, seal_of, sealed
from .losses import Key, StepLoss, check_targets
from .meshes import Total
from .nonfinite import Watched, are_finite, watched
from .results import (
    RESUMED,
    RESUMED_TRAINING,
    SEQUENCE,
    TRAINING,
    Result,
    Trained,
    like_gradient,
    like_training,
)


class Driven(Compiled):
    """The drivers of one learner."""

    @cached_property
    def gradient(self) -> Checked:
        """`(loss, reduction, unread, params, carry, xs, targets, signals) -> Result`, in folds of many windows.

        `unread` says that perhaps nothing reads the carry of the result.
        """
        of = self.arguments

        def check(
            loss: Key, reduction: str, unread: bool, params: Any, carry: Any, xs: Any, targets: Any, signals: Any
        ) -> tuple[Any, ...]:
            del reduction, unread
            check_targets(loss.value, targets, "(params, carry, xs, *targets)")
            flat, (seal, now) = of.params(params), self._entering(carry)
            return seal, *refuse_through_driver((flat, *now, *of.with_targets(xs, targets, signals)), "grad")

        def gradient(loss: Key, reduction: str, unread: bool, seal: Any, *given: Any, total: Total) -> Result:
            of_whole = self._total(loss, reduction, total, seal, maybe_unread=unread)
            grads, losses, states, traces, aux = of_whole(*given)
            return self._result(grads, losses, self.carry(states, traces, seal), aux)

        return self._checked(check, gradient, 3, roles=SEQUENCE, like=self._like_gradient, totals=1)

    @property
    def train(self) -> Checked:
        """`(loss, optimizer, reduction, params, opt_state, carry, xs, targets, signals) -> Trained`, in one scan."""
        return self._trains[0]

    @property
    def watched_train(self) -> Checked:
        """The same `-> Watched`: whether all is finite is looked at in every window."""
        return self._trains[1]

    @cached_property
    def _trains(self) -> tuple[Checked, Checked]:
        of = self.arguments

        def check(
            loss: Key,
            optimizer: Key,
            _: str,
            params: Any,
            opt_state: Any,
            carry: Any,
            xs: Any,
            targets: Any,
            given: Any,
        ) -> tuple[Any, ...]:
            check_targets(loss.value, targets, "(params, opt_state, carry, xs, *targets)")
            flat, arrays, (seal, now) = of.params(params), of.with_targets(xs, targets, given), self._entering(carry)
            self.trainable.check_state(optimizer.value, flat, opt_state)
            return seal, *refuse_through_driver((flat, (opt_state, *now), arrays), "train")

        def train(
            loss: Key, optimizer: Key, reduction: str, seal: Any, flat: Arrays, now: Any, arrays: Any, *, total: Total
        ) -> Trained:
            gradient, update = self._training(loss, optimizer, reduction, flat, total, seal)
            before = (self.trainable.moving(flat), *now)
            found = train_by_windows(gradient, update, self.engine.lag.ready, before, arrays, self.window)
            (moving, opt_state, states, traces), losses, aux = found
            return self._trained(flat, moving, opt_state, self.carry(states, traces, seal), losses, aux)

        def watching(
            loss: Key, optimizer: Key, reduction: str, seal: Any, flat: Arrays, now: Any, arrays: Any, *, total: Total
        ) -> Watched:
            functions = self._training(loss, optimizer, reduction, flat, total, seal)
            functions = watched(*functions, self.engine.calls.hidden_places)
            opt_state, *rest = now
            before = (self.trainable.moving(flat), (opt_state, jnp.int32(-1), jnp.int32(0)), *rest)
            found = train_by_windows(*functions, self.engine.lag.ready, before, arrays, self.window)
            (moving, (opt_state, bad, at), states, traces), losses, aux = found
            bad = jnp.where((bad < 0) & ~are_finite((moving, traces)), at, bad)
            return Watched(*self._trained(flat, moving, opt_state, self.carry(states, traces, seal), losses, aux), bad)

        options: dict[str, Any] = {"roles": TRAINING, "like": like_training, "totals": 2}
        return self._checked(check, train, 3, **options), self._checked(check, watching, 3, **options)

    @cached_property
    def portion_gradient(self) -> Checked:
        """`(loss, unit, params, carry, xs, targets, signals, steps, onto) -> Result`, of so many units of the steps.

        The carry and `onto`, to which the gradient is added, are overwritten.
        """
        of = self.arguments

        def check(
            loss: Key, unit: int, params: Any, carry: Any, xs: Any, targets: Any, signals: Any, steps: Any, onto: Any
        ) -> tuple[Any, ...]:
            del loss, unit
            flat, (seal, now) = of.params(params), self._entering(carry)
            return seal, flat, *now, *of.with_targets(xs, targets, signals), steps, self._onto(onto, flat)

        def gradient(loss: Key, unit: int, seal: Any, *checked: Any, total: Total) -> Result:
            *given, steps, onto = checked
            of_whole = self._total(loss, "sum", total, seal, Portion(steps, unit))
            grads, losses, states, traces, aux = of_whole(*given)
            return self._result(jax.tree.map(jnp.add, onto, grads), losses, self.carry(states, traces, seal), aux)

        options: dict[str, Any] = {"roles": RESUMED, "like": self._like_gradient, "totals": 1, "donated": (3, 8)}
        return self._checked(check, gradient, 2, **options)

    @cached_property
    def portion_train(self) -> Checked:
        """`(loss, optimizer, reduction, unit, params, opt_state, carry, xs, targets, signals, steps) -> Trained`.

        It is of so many windows of `unit` steps. The optimiser's state and the carry are overwritten.
        """
        of = self.arguments

        def check(
            loss: Key, optimizer: Key, reduction: str, unit: int, params: Any, opt_state: Any, carry: Any, *rest: Any
        ) -> tuple[Any, ...]:
            del loss, reduction, unit
            *given, steps = rest
            flat, (seal, now) = of.params(params), self._entering(carry)
            self.trainable.check_state(optimizer.value, flat, opt_state)
            return seal, flat, (opt_state, *now), of.with_targets(*given), steps

        def train(
            loss: Key,
            optimizer: Key,
            reduction: str,
            unit: int,
            seal: Any,
            flat: Arrays,
            now: Any,
            arrays: Any,
            steps: Any,
            *,
            total: Total,
        ) -> Trained:
            gradient, update = self._training(loss, optimizer, reduction, flat, total, seal)
            before, room = (self.trainable.moving(flat), *now), jax.tree.leaves(arrays)[0].shape[0]
            all_of = arrays, 0, room
            found = counted_windows(gradient, update, self.engine.lag.ready, before, all_of, unit, steps // unit)
            (moving, opt_state, states, traces), losses, aux = found
            return self._trained(flat, moving, opt_state, self.carry(states, traces, seal), losses, aux)

        options: dict[str, Any] = {"roles": RESUMED_TRAINING, "like": like_training, "totals": 2, "donated": (5, 6)}
        return self._checked(check, train, 4, **options)

    @cached_property
    def resumed_gradient(self) -> Checked:
        """`(loss, ends, params, carry, xs, targets, signals, once, onto) -> Result`, window by window.

        `once` is 1, of which XLA is not to know: see `counted_windows`.
        """
        of = self.arguments

        def check(
            loss: Key, ends: bool, params: Any, carry: Any, xs: Any, targets: Any, signals: Any, once: Any, onto: Any
        ) -> tuple[Any, ...]:
            check_targets(loss.value, targets, "(params, carry, xs, *targets)")
            flat, (seal, now, arrays) = of.params(params), self._continued(carry, xs, targets, signals, ends)
            given = refuse_through_driver((flat, (self._onto(onto, flat), *now), arrays, once), "grad")
            return seal, self._latest(carry), *given

        def gradient(
            loss: Key,
            ends: bool,
            seal: Any,
            latest: Any,
            flat: Arrays,
            now: Any,
            arrays: Any,
            once: Any,
            *,
            total: Total,
        ) -> Result:
            of_whole = self._total(loss, "sum", total, seal)

            def of_window(_: Any, *rest: Any) -> Any:
                return of_whole(flat, *rest)

            def added(grads: Arrays, sums: Arrays, _: Any) -> tuple[Any, Arrays]:
                return (), jax.tree.map(jnp.add, sums, grads)

            (_, grads), entered, losses, aux = self._windows(of_window, added, ((), *now), arrays, once, ends)
            return self._result(grads, losses, self._left(flat, entered, latest, arrays, once, ends, seal), aux)

        return self._checked(check, gradient, 2, roles=RESUMED, like=self._like_gradient, totals=1)

    @cached_property
    def resumed_train(self) -> Checked:
        """`(loss, optimizer, reduction, ends, params, opt_state, carry, xs, targets, signals, once) -> Trained`."""

        def check(
            loss: Key,
            optimizer: Key,
            _: str,
            ends: bool,
            params: Any,
            opt_state: Any,
            carry: Any,
            xs: Any,
            targets: Any,
            signals: Any,
            once: Any,
        ) -> tuple[Any, ...]:
            check_targets(loss.value, targets, "(params, opt_state, carry, xs, *targets)")
            flat = self.arguments.params(params)
            seal, now, arrays = self._continued(carry, xs, targets, signals, ends)
            self.trainable.check_state(optimizer.value, flat, opt_state)
            given = refuse_through_driver((flat, (opt_state, *now), arrays, once), "train")
            return seal, self._latest(carry), *given

        def train(
            loss: Key,
            optimizer: Key,
            reduction: str,
            ends: bool,
            seal: Any,
            latest: Any,
            flat: Arrays,
            now: Any,
            arrays: Any,
            once: Any,
            *,
            total: Total,
        ) -> Trained:
            gradient, update = self._training(loss, optimizer, reduction, flat, total, seal)
            before = (self.trainable.moving(flat), *now)
            found = self._windows(gradient, update, before, arrays, once, ends)
            (moving, opt_state), entered, losses, aux = found
            params = self.trainable.whole(moving, flat)
            carry = self._left(params, entered, latest, arrays, once, ends, seal)
            return self._trained(flat, moving, opt_state, carry, losses, aux)

        return self._checked(check, train, 4, roles=RESUMED_TRAINING, like=like_training, totals=2)

    def _windows(self, gradient: Windowed, update: Update, now: Any, arrays: Any, once: jax.Array, ends: bool) -> Any:
        """Windows of a resumable call: what updates move, states and traces, losses, and what else the loss returned.

        `arrays` are those of the steps that were held, then those of the call; losses are of the windows that end.
        """
        length, ready = jax.tree.leaves(arrays)[0].shape[0], self.engine.lag.ready
        rest = length % self.window
        count, steps = length // self.window * once, (arrays, 0, length - rest)
        now, *found = counted_windows(gradient, update, ready, now, steps, self.window, count)
        if rest and ends:
            steps = (arrays, length - rest, length)
            now, *last = counted_windows(gradient, update, ready, now, steps, rest, once)
            found = jax.tree.map(lambda *parts: jnp.concatenate(parts), found, last)
        *moved, states, traces = now
        return moved, (states, traces), *found

    def _left(
        self,
        params: Arrays,
        entered: tuple[Arrays, Any],
        latest: tuple[int, Arrays],
        arrays: Any,
        once: jax.Array,
        ends: bool,
        seal: Any,
    ) -> Carry:
        """What a resumable call leaves: `entered` are the states and traces after the last window that ended.

        Inside another one the carry's states are those after its steps so far, which the model alone takes; of the
        first ones, those that were held, `latest` says how many they are and the states after them.
        """
        states, traces = entered
        length = jax.tree.leaves(arrays)[0].shape[0]
        rest = length % self.window
        if not rest or ends:
            return self.carry(states, traces, seal)
        model, (held, now) = self.engine.calls.model, latest if length < self.window else (length - rest, states)

        def one(states: Arrays, xt: Arrays) -> tuple[Arrays, tuple[()]]:
            return model(params, states, [x[0] for x in xt])[0], ()

        now, _ = counted(one, now, (arrays[0], held, length), 1, (length - held) * once)
        unfinished = Unfinished(
            jax.tree.unflatten(self.signature.states, states), steps_of(arrays, length - rest, length)
        )
        return self.carry(now, traces, seal, unfinished)

    def _entering(self, carry: Any, *, resumable: bool = False) -> tuple[Any, tuple[Arrays, Any]]:
        """A carry's seal, and the states and traces that a window begins with, or began with where it is open."""
        states, traces, cut = self.arguments.carry(carry, resumable=resumable)
        unfinished = getattr(carry, "unfinished", None)
        begun = states if unfinished is None else self.arguments.states(unfinished.states)
        return seal_of(states, cut, self.engine.bound), (begun, traces)

    def _latest(self, carry: Any) -> tuple[int, Arrays]:
        """How many steps are held in a carry, and its states, which are those after them."""
        return getattr(carry, "place", 0), self.arguments.states(carry[0])

    def _continued(self, carry: Any, xs: Any, targets: Any, signals: Any, ends: bool) -> tuple[Any, Any, Any]:
        """The same of a carry inside a window, and the arrays of the steps that it holds and of those given."""
        of = self.arguments
        seal, now = self._entering(carry, resumable=True)
        inside = getattr(carry, "unfinished", None) is not None
        arrays = of.with_targets(xs, targets, signals, empty=inside and ends)
        return seal, now, of.continued(carry, jax.tree.map(jnp.asarray, arrays))

    def _training(
        self, loss: Key, optimizer: Key, reduction: str, flat: Arrays, total: Total, seal: Any
    ) -> tuple[Windowed, Update]:
        """A window's gradient, and the update with it, by the parameters that learn; the others are as in `flat`."""
        of_whole, parts = self._total(loss, reduction, total, seal), self.trainable

        def gradient(moving: Arrays, *rest: Any) -> Any:
            return of_whole(parts.whole(moving, flat), *rest)

        def update(grads: Arrays, opt_state: Any, moving: Arrays) -> tuple[Arrays, Any]:
            return refuse_through_driver(parts.updated(optimizer.value, grads, opt_state, moving, flat), "train")

        return gradient, update

    def _trained(self, flat: Arrays, moving: Arrays, *rest: Any) -> Trained:
        tree = jax.tree.unflatten(self.signature.params, self.trainable.whole(moving, flat))
        return refuse_through_driver(Trained(tree, *rest), "train")

    def no_gradient(self) -> Any:
        """The gradient of no steps: zeros, None where a parameter is frozen."""
        kinds = [param.value.type for param in self.engine.transition.params]
        return self.trainable.only([jnp.zeros(kind.shape, kind.dtype) for kind in kinds])

    def _onto(self, onto: Any, flat: Arrays) -> list[Any]:
        """The gradient so far, None where a parameter is frozen; zeros where none is given."""
        wanted = self.trainable.only(flat)
        if onto is None:
            found = jax.tree.map(jnp.zeros_like, wanted)
        else:
            kinds = [
                (jax.tree.structure(tree), [jnp.shape(x) for x in jax.tree.leaves(tree)]) for tree in (onto, wanted)
            ]
            if kinds[0] != kinds[1]:
                raise error(
                    "argument-onto",
                    "the gradient given as onto= is not like the gradients of this learner",
                    notes=(f"found {jax.tree.map(jnp.shape, onto)}", f"wanted {jax.tree.map(jnp.shape, wanted)}"),
                    help="give it result.grads of the call before, or leave it out to begin with zero",
                )
            found = jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), onto, wanted)
        remaining = iter(jax.tree.leaves(found))
        return [None if k in self.trainable.frozen else next(remaining) for k, _ in enumerate(flat)]

    def _result(self, grads: Arrays, losses: jax.Array, carry: Carry, aux: Any) -> Result:
        tree = jax.tree.unflatten(self.signature.params, grads)
        return refuse_through_driver(Result(tree, losses, carry, aux), "grad")

    def _like_gradient(self, params: Any, *rest: Any) -> tuple[Any, ...]:
        return like_gradient(self.trainable.of(params), *rest)

    def _total(
        self,
        loss: Key,
        reduction: str,
        total: Total,
        seal: Any,
        portion: Portion | None = None,
        *,
        maybe_unread: bool = False,
    ) -> Callable[..., Any]:
        """The engine's gradient of a loss, over all devices, of a carry with this seal."""
        of_step = StepLoss(loss.value, self.signature.outputs, self.arguments.masks_steps)

        def gradient(seal: Any, *given: Any) -> tuple[Any, ...]:
            grads, *others = self.engine.gradient(of_step, *given, portion=portion, maybe_unread=maybe_unread)
            return sealed(grads, seal), *others

        return partial(of_step.of(total(gradient), reduction), seal)
