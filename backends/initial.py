"""A learner whose initial states are learned: its carry brings them along, so that gradients by them are had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..ir.beginning import WithBegun, WithInitial
from ..ir.diagnostics import error
from ..ir.step import leaf_paths
from .carry import Carry, InitialCarry
from .learner import Learner
from .losses import check_optimizer
from .nonfinite import NonFiniteError
from .results import Trained


class InitialResult(NamedTuple):
    """What such a learner's `grad` returns."""

    grads: Any
    losses: jax.Array
    carry: InitialCarry
    aux: Any
    initial: Any
    """The gradient by the initial states, by path."""


class InitialLearner(Learner):
    """A learner of a step whose initial states are learned: `etir.compile(..., initial=["h"])`.

    `jax.grad` of a loss of `step` or `window` by what was given to `init` is what the certificate says of
    `initial.h`: each state's influence `dh/dh0` is carried as a weight's is. It holds, and costs, what a weight of the
    state's shape does.
    """

    @property
    def whole(self) -> Learner:
        """The learner of the step itself, in whose trees initial states stand beside parameters."""
        return Learner(self._engine, self.transition, self._signature, self.layout).whole

    @property
    def params(self) -> Any:
        """The parameters given at compile, without initial states."""
        return super().params.given

    @property
    def states(self) -> Any:
        """The states given at compile."""
        return super().states.given

    def init(self, params: Any = None, states: Any = None, *, key: jax.Array | None = None) -> Any:
        """The carry at the beginning of a sequence. `states` may be differentiated, where they are learned."""
        initial, begun = self._beginning(self.states if states is None else states)
        carry = super().init(None if params is None else WithInitial(params, initial), begun, key=key)
        return _carried(carry, initial)

    def reset(self, carry: Any, states: Any = None) -> Any:
        """The carry where another sequence begins. `states` may be differentiated, where they are learned."""
        _initial(carry)
        initial, begun = self._beginning(self.states if states is None else states)
        return _carried(super().reset(_plain(carry), begun), initial)

    def _beginning(self, given: Any) -> tuple[dict[str, Any], WithBegun]:
        """The values that the learned states begin with, by path, and all states before any step."""
        leaves = dict(leaf_paths(given, "state"))
        initial = {path: jnp.copy(leaves[path]) for path in self._learned if path in leaves}
        held = [jax.lax.stop_gradient(x) if path in initial else x for path, x in leaves.items()]
        return initial, WithBegun(jax.tree.unflatten(jax.tree.structure(given), held), self._not_begun)

    def trainable(self, params: Any) -> Any:
        """The parameters, None in the place of each that is frozen."""
        return super().trainable(self._with_initial(params)).given

    def with_trainable(self, params: Any, trained: Any) -> Any:
        """The parameters, those that are not frozen as they are in `trained`."""
        whole = self._with_initial(params)
        return super().with_trainable(whole, WithInitial(trained, whole.initial)).given

    def _with_initial(self, params: Any) -> WithInitial:
        """The parameters beside initial states of zero."""
        kinds = [param.value.type for param in self.transition.params]
        zeros = jax.tree.unflatten(self._signature.params, [jnp.zeros(kind.shape, kind.dtype) for kind in kinds])
        return WithInitial(params, zeros.initial)

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
        """The model alone: the states after the inputs, and stacked outputs. Differentiable by the states as well."""
        initial, begun = self._beginning(self.states if states is None else states)
        whole = WithInitial(self.params if params is None else params, initial)
        after, outputs = super().predict(whole, begun, xs, steps=steps, piece=piece, **marks)
        return after.given, outputs

    def traces(self, carry: Any) -> tuple[jax.Array, ...]:
        """The traces after the last step, one for each of the plan's."""
        return super().traces(_plain(carry))

    def step(self, params: Any, carry: Any, *inputs: Any, **signals: Any) -> tuple[Any, Any]:
        """One step: the new carry and the outputs."""
        after, outputs = super().step(WithInitial(params, _initial(carry)), _plain(carry), *inputs, **signals)
        return _carried(after, carry.initial), outputs

    def window(self, params: Any, carry: Any, xs: Any, **signals: Any) -> tuple[Any, Any]:
        """Steps over inputs with a leading time axis: the new carry and stacked outputs."""
        after, outputs = super().window(WithInitial(params, _initial(carry)), _plain(carry), xs, **signals)
        return _carried(after, carry.initial), outputs

    def grad(
        self, loss: Callable[..., Any], *, reduction: str = "sum", resumable: bool = False, piece: int | None = None
    ) -> Callable[..., Any]:
        """A function `(params, carry, xs, *targets) -> InitialResult`: the gradient over a sequence.

        Of one that is `resumable`, `onto=` is a pair: gradients, and those by the initial states.
        """
        of_whole = super().grad(loss, reduction=reduction, resumable=resumable, piece=piece)

        def gradient(params: Any, carry: Any, xs: Any, *targets: Any, **signals: Any) -> InitialResult:
            if resumable and signals.get("onto") is not None:
                signals["onto"] = _both(signals["onto"])
            found = of_whole(WithInitial(params, _initial(carry)), _plain(carry), xs, *targets, **signals)
            after, grads = _carried(found.carry, carry.initial), found.grads
            return InitialResult(grads.given, found.losses, after, found.aux, grads.initial)

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
        """A function as `Learner.train`'s. Parameters are updated; initial states are left as they are."""
        check_optimizer(optimizer)
        options: dict[str, Any] = {"reduction": reduction, "resumable": resumable, "on_nonfinite": on_nonfinite}
        of_whole = super().train(loss, _OfParams(optimizer), piece=piece, **options)

        def train(params: Any, opt_state: Any, carry: Any, xs: Any, *targets: Any, **signals: Any) -> Trained:
            whole = WithInitial(params, _initial(carry))

            def own(found: Trained) -> Trained:
                return found._replace(params=found.params.given, carry=_carried(found.carry, carry.initial))

            try:
                return own(of_whole(whole, opt_state, _plain(carry), xs, *targets, **signals))
            except NonFiniteError as found:
                found.trained = own(found.trained)
                raise

        return train

    @property
    def _not_begun(self) -> jax.Array:
        """That no step has been taken; of each sample, where these are marked."""
        types = jax.tree.unflatten(self._signature.states, [state.before.type for state in self.transition.states])
        return jnp.zeros(types.begun.shape, bool)

    @property
    def _learned(self) -> tuple[str, ...]:
        """The paths of the states whose first values are learned."""
        return self._signature.initial


@dataclass(frozen=True)
class _OfParams:
    """An optimiser of the parameters, which leaves initial states alone."""

    optimizer: Any

    def init(self, params: WithInitial) -> Any:
        return self.optimizer.init(params.given)

    def update(self, grads: WithInitial, state: Any, params: WithInitial) -> tuple[WithInitial, Any]:
        updates, state = self.optimizer.update(grads.given, state, params.given)
        return WithInitial(updates, dict.fromkeys(params.initial)), state


def _initial(carry: Any) -> Any:
    if not isinstance(carry, InitialCarry):
        raise error(
            "argument-carry",
            f"the carry is a {type(carry).__name__}; wanted one that holds the initial states, which are learned",
            help="begin with learner.init(), and hand on what each call returns",
        )
    return carry.initial


def _plain(carry: InitialCarry) -> Carry:
    states, cut = (WithBegun(x, carry.begun) for x in (carry.states, carry.cut))
    return Carry(states, carry.traces, cut, carry.unfinished)


def _carried(after: Carry, initial: Any) -> InitialCarry:
    given = after.states.given, after.traces, initial, after.states.begun, after.cut.given
    return InitialCarry(*given, after.unfinished)


def _both(onto: Any) -> WithInitial:
    """The gradient so far, given as a pair. Raises EtirError for what is none."""
    if not isinstance(onto, tuple) or len(onto) != 2:
        raise error(
            "argument-onto",
            f"the gradient given as onto= is a {type(onto).__name__}; wanted a pair, since initial states learn too",
            help="give it (result.grads, result.initial) of the call before, or leave it out to begin with zero",
        )
    return WithInitial(*onto)
