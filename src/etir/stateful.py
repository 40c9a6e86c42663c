"""The learner as an object that reads and writes a model's own states, in the style of state-based frameworks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .api import RuleLike, compile
from .backends.carry import Carry
from .backends.learner import Learner
from .backends.results import Result, Trained
from .carried import Carried, beside_states
from .frontend import (
    Functional,
    Module,
    ParamState,
    State,
    adapters,
    errors,
    frame,
    functionalise,
    random,
)
from .frontend.cell import Cell, same_types, type_text
from .frontend.filters import Filter, matcher
from .frontend.functionalise import ensure_states
from .frontend.hosted import hosted
from .frontend.paths import states_within
from .ir.diagnostics import error
from .ir.transition import Certificate
from .options import check_options

TRACES = "traces"
"""The path of what a learner carries beside the model's states."""


class OnlineLearner(Module):
    """A model that learns online: calling it runs one step, writes the model's states, and carries the traces.

    `etir.transform.grad` of a loss of its output, with respect to the model's weights, is the online gradient. It is a
    module whose states are the model's, weights included, and `traces`: so `nn.zero_states` of it begins a new
    sequence, `nn.save_states` and `nn.load_states` resume one to the bit, and `transform.vmap` of it learns a batch
    under `transform.vmap_new_states`. A model that `transform.vmap` wraps is learned as a batch too.
    """

    def __init__(self, model: Callable[..., Any], rule: RuleLike = "d_rtrl", **options: Any) -> None:
        """Wrap `model`, a module or a function that uses states, or another library's model that `etir.compile` takes.

        Nothing is compiled before `compile_graph`. Options are those of `etir.compile`, and checked here. Raises
        EtirError for one that there is not, and for `initial=`: such a learner goes on from the model's own states.
        """
        if options.get("initial"):
            raise error(
                "unknown-option",
                "initial= is given to a learner that goes on from the model's own states",
                help="use etir.compile(model, *inputs, initial=...): its learner.init takes states to differentiate",
            )
        check_options(rule, options)
        self.model, self.rule, self.options = model, rule, options
        self.traces = Carried(self._begun, TRACES, self._samples)
        self._learner: Learner | None = None
        self._functional: Functional | None = None

    def compile_graph(self, *inputs: Any) -> Learner:
        """Compile the model for inputs of one step like these, from its present states.

        Traces begin at zero, unless they were loaded before the first compilation.
        States that `vmap_new_states` has made are compiled for one sample: `vmap` of this learner then learns them all.
        A model of another library is given here what `etir.compile` takes beside it (`variables`, say). It is read,
        and this learner's own states are written; compiled again, its weights stay what they have become.
        """
        loaded = self._learner is None and frame.read(self.traces).is_set
        with self._one_sample():
            guest = adapters.adapted(self.model, inputs)
            if guest is None:
                self._functional = functionalise(self.model, *inputs)
            else:
                adapted, inputs = guest
                self._functional = hosted(adapted.functional(*inputs), self.states(ParamState))
            self._learner = compile(self._functional, *inputs, rule=self.rule, **self.options)
        if not loaded:
            self.reset_traces()
        return self._learner

    @contextmanager
    def _one_sample(self) -> Generator[None]:
        """The states of a bare module as one sample has them; afterwards all are as they were, unset ones too."""
        unset = [s for s in states_within(self.model).values() if s.lazy and not frame.read(s).is_set]
        held = {state: cell for state in self._inner() if (cell := frame.read(state)).tags}
        for state, cell in held.items():
            frame.write(state, Cell(value=jax.tree.map(lambda leaf: leaf[0], cell.value), tags=cell.tags[1:]))
        try:
            yield
        finally:
            for state, cell in held.items():
                frame.write(state, cell)
            for state in unset:
                frame.write(state, Cell())

    def _inner(self) -> list[State]:
        """The states of a bare module: those that have a sample each where the learner is mapped."""
        return list(self.model.states().values()) if isinstance(self.model, Module) else []

    def _samples(self) -> tuple[str, ...]:
        return max((frame.read(state).tags for state in self._inner()), key=len, default=())

    def states(self, kind: Filter = None) -> dict[str, State]:
        """The model's states by path, and `traces`; those that `kind` matches, where it is given."""
        found = dict(states_within(self.model) if self._functional is None else self._functional.bindings)
        if found.setdefault(TRACES, self.traces) is not self.traces:
            raise errors.path_clash(TRACES)
        matches = matcher(kind)
        return {path: state for path, state in found.items() if matches(path, state)}

    @property
    def learner(self) -> Learner:
        """The compiled learner. Raises EtirError before `compile_graph`."""
        return self._compiled[0]

    @property
    def _compiled(self) -> tuple[Learner, Functional]:
        if self._learner is None or self._functional is None:
            raise error(
                "not-compiled",
                "this learner has not been compiled for any input",
                help="call compile_graph(x) with an input like those that it will learn from",
            )
        return self._learner, self._functional

    @property
    def params(self) -> dict[str, Any]:
        """The weights of now, by path. Raises EtirError before `compile_graph`."""
        _, functional = self._compiled
        return {path: functional.bindings[path].value for path in functional.params}

    @property
    def certificate(self) -> Certificate:
        """The label of every parameter."""
        return self.learner.certificate

    def show_graph(self, path: str | Path | None = None) -> None:
        """Print the hidden groups, and the weights associated with each; with a path, write the picture there."""
        self.learner.show_graph(path)

    def update(self, *inputs: Any, **signals: Any) -> Any:
        """The model's output for one step; its states and the traces move on.

        `signals` are what the learner wants beside the inputs: `mask=`, `reset=`, the `modulator=` of `three_factor`.
        """
        return self._moved(self.learner.step, inputs, inputs, signals)

    def window(self, xs: Any, **signals: Any) -> Any:
        """The outputs of steps over inputs with a leading time axis; the states and the traces move on.

        `xs` is a tuple where the model takes several inputs. Credit inside each `window=` of steps is reverse mode, so
        `transform.grad` of a loss of the outputs of one window is its gradient.
        """
        return self._moved(self.learner.window, (xs,), _of_one_step(xs), signals)

    def grad(self, loss: Callable[..., Any], **options: Any) -> Callable[..., Result]:
        """A function `(xs, *targets) -> Result`: the gradient by the weights over steps; states and traces move on.

        Loss and options are those of `etir.Learner.grad`. With `resumable=True` windows are counted from the beginning
        of the sequence, wherever calls begin and end, and the steps of one that is not full yet are held in `traces`.
        """
        driver = self.learner.grad(loss, **options)

        def gradient(xs: Any, *targets: Any, **signals: Any) -> Result:
            params, carry = self._now(_of_one_step(xs), learning=True)
            result = driver(params, carry, xs, *targets, **signals)
            self._go_on(result.carry)
            return result

        return gradient

    def train(self, loss: Callable[..., Any], optimizer: Any, **options: Any) -> Callable[..., Trained]:
        """A function `(opt_state, xs, *targets) -> Trained`: an update of the weights at the end of every window.

        States, traces and weights move on. Loss, optimiser and options are those of `etir.Learner.train`; `resumable`
        is as in `grad`. Where that raises NonFiniteError, nothing is written.
        """
        driver = self.learner.train(loss, optimizer, **options)

        def train(opt_state: Any, xs: Any, *targets: Any, **signals: Any) -> Trained:
            params, carry = self._now(_of_one_step(xs), learning=True)
            trained = driver(params, opt_state, carry, xs, *targets, **signals)
            self._go_on(trained.carry)
            self._write(trained.params)
            return trained

        return train

    def _moved(
        self, method: Callable[..., Any], inputs: tuple[Any, ...], one: tuple[Any, ...], signals: Mapping[str, Any]
    ) -> Any:
        """What `method` returns for `inputs`; `one` is like the inputs of one step."""
        params, carry = self._now(one)
        carry, outputs = method(params, carry, *inputs, **signals)
        self._go_on(carry)
        return outputs

    def _now(self, one: tuple[Any, ...], *, learning: bool | None = None) -> tuple[dict[str, Any], Carry]:
        """The weights and the carry of now, made for inputs of one step like `one` where they are unset."""
        _, functional = self._compiled
        bindings = functional.bindings
        ensure_states(self.model, bindings, *one)
        for path in functional.states:
            if frame.is_differentiated(bindings[path]):
                raise error(
                    "state-derivative",
                    f"the gradient by {bindings[path].title} is asked for, and a learner's traces hold none",
                    help="use etir.compile(model, *inputs, initial=...): learner.init takes states to differentiate",
                )
        states = {path: bindings[path].value for path in functional.states}
        held = self.traces.ensure(states)
        params = self.params
        if learning is None:
            learning = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(params))
        self._check_states(states, held["cut"], learning)
        return params, self.traces.carry(states)

    def _go_on(self, carry: Carry) -> None:
        self._write(carry.states)
        self.traces.keep(carry)

    def _write(self, values: Mapping[str, Any]) -> None:
        bindings = self._compiled[1].bindings
        for path, value in values.items():
            bindings[path].value = value

    def _check_states(self, states: Mapping[str, Any], before: Mapping[str, Any], learning: bool) -> None:
        """Raise EtirError for states that are not those which the traces belong to, where they can be compared.

        Numbers are compared where a gradient is taken and they are known; in a program that was compiled before, such
        a gradient is NaN, as of any carry.
        """
        for path, value in states.items():
            if path not in before:
                said = f"is none of those that the traces belong to: {', '.join(before) or 'none'}"
            elif not same_types(value, before[path]):
                said = f"is {type_text(value)}, and the traces belong to {type_text(before[path])}"
            elif learning and _differ(value, before[path]):
                said = "was changed since the learner's last step, and the traces belong to what it was"
            else:
                continue
            raise error(
                "stale-traces",
                f"state '{path}' {said}",
                help="begin anew: nn.init_all_states(learner) or nn.zero_states(learner), not of the model alone; "
                "where the states are meant, learner.reset_traces()",
            )

    def _begun(self, _: Any) -> dict[str, Any]:
        """What is carried beside the states at the beginning of a sequence, from the model's present states."""
        learner, functional = self._compiled
        states = {path: functional.bindings[path].value for path in functional.states}
        key = random.split_key() if learner.needs_key else None
        return beside_states(learner.init(None, jax.lax.stop_gradient(states), key=key))

    def write_back(self, model: Any) -> Any:
        """A model of another library with the weights and states of now, as `etir.Learner.write_back` returns it."""
        learner, functional = self._compiled
        values = {path: state.value for path, state in functional.bindings.items()}
        params, states = ({path: values[path] for path in tree} for tree in (functional.params, functional.states))
        return learner.write_back(model, params, states)

    def reset_traces(self) -> None:
        """Set the traces to zero; the states stay as they are."""
        frame.write(self.traces, Cell())

    def __repr__(self) -> str:
        guest = self.model.name if isinstance(self.model, adapters.Adapted) else None
        model = guest or getattr(self.model, "__name__", type(self.model).__name__)
        rule = self.rule if isinstance(self.rule, str) else self.rule.name
        given = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"{type(self).__name__}({model}, rule={rule!r}{given})"


def _of_one_step(xs: Any) -> tuple[Any, ...]:
    """Inputs of one step like those of the steps `xs`."""
    several = xs if isinstance(xs, tuple | list) else (xs,)
    return jax.tree.map(lambda x: jnp.zeros(jnp.shape(x)[1:], jnp.result_type(x)), tuple(several))


def _pairs(value: Any, before: Any) -> list[tuple[Any, Any]]:
    """The leaves of two trees that carry credit."""
    pairs = zip(jax.tree.leaves(value), jax.tree.leaves(before), strict=True)
    return [(a, b) for a, b in pairs if jnp.issubdtype(a.dtype, jnp.inexact) and a.shape == b.shape]


def _differ(value: Any, before: Any) -> bool:
    """Whether two trees differ in a number that carries credit, as far as their numbers are known."""
    return any(
        all(isinstance(x, jax.Array) and not isinstance(x, Tracer) and x.is_fully_addressable for x in (a, b))
        and not np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)
        for a, b in _pairs(value, before)
    )
