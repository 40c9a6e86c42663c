"""The learner as an object that reads and writes a model's own states, in the style of state-based frameworks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .api import RuleLike, Sites, analyse, compile, lower
from .backends.learner import Carry, Learner
from .frontend import Functional, Module, State, functionalise
from .ir.diagnostics import error
from .ir.transition import Certificate, Group, Transition
from .view import summary
from .view import write_graph as draw


class OnlineLearner:
    """A model that learns online: calling it runs one step, writes the model's states, and carries the traces.

    `etir.transform.grad` of a loss of its output, with respect to the model's weights, is the online gradient. A model
    that `etir.transform.vmap` wraps is learned as a batch. Options are those of `etir.compile`.
    """

    def __init__(self, model: Callable[..., Any], rule: RuleLike = "d_rtrl", **options: Any) -> None:
        """Wrap `model`, a module or a function that uses states; nothing is compiled before `compile_graph`.

        Raises EtirError for `initial=`, `mask=` and `reset=`: such a learner goes on from the model's own states, and
        is called with the model's inputs alone.
        """
        given = next((name for name in ("initial", "mask", "reset") if options.get(name)), None)
        if given is not None:
            takes = "learner.init takes states to differentiate" if given == "initial" else f"methods take {given}="
            raise error(
                "unknown-option",
                f"{given}= is given to a learner that goes on from the model's own states",
                help=f"use etir.compile(model, *inputs, {given}=...): its {takes}",
            )
        self.model, self.rule, self.options = model, rule, options
        self._learner: Learner | None = None
        self._functional: Functional | None = None
        self._carried: State | None = None

    def compile_graph(self, *inputs: Any) -> Learner:
        """Compile the model for inputs like these, starting from its present states. Traces begin at zero."""
        self._functional = functionalise(self.model, *inputs)
        if self._functional.library is not None:
            raise error(
                "not-a-module",
                f"an OnlineLearner writes native modules, and was given a model of {self._functional.library}",
                help="use etir.compile(model, *inputs), and learner.write_back(model, params, carry.states)",
            )
        self._learner = compile(self._functional, *inputs, rule=self.rule, window=1, **self.options)
        carry = self._learner.init()
        self._carried = State((carry.traces, carry.cut), name="traces")
        return self._learner

    @property
    def learner(self) -> Learner:
        """The compiled learner. Raises EtirError before `compile_graph`."""
        if self._learner is None:
            raise error(
                "not-compiled",
                "this learner has not been compiled for any input",
                help="call compile_graph(x) with an input like those that it will learn from",
            )
        return self._learner

    @property
    def certificate(self) -> Certificate:
        """The label of every parameter."""
        return self.learner.certificate

    def show_graph(self, path: str | Path | None = None) -> None:
        """Print the hidden groups, and the weights associated with each; with a path, write the picture there."""
        self.learner.show_graph(path)

    def update(self, *inputs: Any) -> Any:
        """The model's output for one step; its states and the traces move on."""
        learner = self.learner
        assert self._functional is not None
        assert self._carried is not None
        bindings = self._functional.bindings
        params = {path: bindings[path].value for path in self._functional.params}
        states = {path: bindings[path].value for path in self._functional.states}
        carry, outputs = learner.step(params, Carry(states, *self._carried.value), *inputs)
        for path, value in carry.states.items():
            bindings[path].value = value
        self._carried.value = carry.traces, carry.cut
        return outputs

    def reset_traces(self) -> None:
        """Set the traces to zero, as at the beginning of a sequence."""
        learner = self.learner
        assert self._carried is not None
        self._carried.value = learner.init().traces, self._carried.value[1]

    def __call__(self, *inputs: Any) -> Any:
        """The same as `update`."""
        return self.update(*inputs)


class D_RTRL(OnlineLearner):  # noqa: N801 (the algorithm's own name)
    """`OnlineLearner` with the rule `d_rtrl`."""

    def __init__(self, model: Callable[..., Any], **options: Any) -> None:
        """Wrap `model`."""
        super().__init__(model, "d_rtrl", **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenGroup:
    """Hidden states that depend on each other position by position."""

    index: int
    hidden_paths: tuple[str, ...]
    varshape: tuple[int, ...]
    """The shape that every state of the group has."""

    @property
    def num_state(self) -> int:
        """How many states."""
        return len(self.hidden_paths)


def find_hidden_groups_from_module(
    model: Module, *inputs: Any, sites: Sites = "explicit"
) -> tuple[tuple[HiddenGroup, ...], Mapping[str, HiddenGroup]]:
    """The hidden groups of a module called on `inputs`, and the group of each hidden state's path."""
    transition = analyse(lower(model, *inputs), sites)
    groups = tuple(_view(group) for group in transition.groups)
    return groups, {path: group for group in groups for path in group.hidden_paths}


def _view(group: Group) -> HiddenGroup:
    return HiddenGroup(
        index=group.index, hidden_paths=tuple(state.path for state in group.states), varshape=group.shape
    )


def show_graph(transition: Transition | Learner) -> None:
    """Print the hidden groups of a transition or of a learner, and the weights associated with each."""
    print(summary(_transition(transition)))  # noqa: T201 (what it is for)


def write_graph(transition: Transition | Learner, path: str | Path) -> Path:
    """Write the picture of a transition or of a learner as `.svg`, `.png`, `.pdf`, `.dot` or `.gv`; the path."""
    return draw(_transition(transition), path)


def _transition(given: Transition | Learner) -> Transition:
    return given.transition if isinstance(given, Learner) else given
