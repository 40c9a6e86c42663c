"""What a learning rule is: it writes trace operations into a plan. Labels follow from the plan; no rule gives one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Self

from ..ir.diagnostics import error
from ..ir.transition import Association, Group, Param, Site, Transition
from .shared.trials import Choice, Trials
from .writer import Writer

_PLAIN = frozenset({"class", "bool", "int", "float", "str", "tuple", "None", "Rule"})
"""What the type of an option is made of that no function fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The part of a model that a rule learns."""

    transition: Transition
    params: tuple[Param, ...]
    """The parameters that the rule was given."""
    reaching: tuple[Param, ...]
    """Those of them that reach a hidden state, through any operation."""
    associations: tuple[Association, ...]
    """The uses of weights made of these parameters that reach a hidden group position by position."""
    sites: tuple[Site, ...] = ()
    """All their uses through ETP operations that reach a hidden state in the same step, by whatever path."""
    unmixed: frozenset[Group] = frozenset()
    """The groups whose states lead to hidden states by nothing that mixes positions."""
    apart: Callable[[Site], bool] = lambda site: False
    """Whether the first axis of a site's output and of every hidden state counts samples that never meet."""


@dataclass(frozen=True)
class Rule:
    """A learning rule: how traces are laid out, advanced and read. Frozen; its fields are its options.

    Subclass it with a `name` and `write`, and give an instance: `etir.compile(..., rule=MyRule())`.
    """

    name: ClassVar[str] = ""
    needs_sites: ClassVar[bool] = True
    """Whether it has nothing to trace in a step that uses no weight through an ETP operation."""
    marks_uses: ClassVar[bool] = False
    """Whether plain products with its parameters are to be taken for ETP operations, as `sites=` would ask."""
    reassociates: ClassVar[bool] = False
    """Whether parameters in the data of a product are better followed as part of its weight: `x @ (mu * W)`."""
    per_step: ClassVar[bool] = False
    """Whether it has the classical form of one step at a time, which `credit="rule"` asks for."""

    def __new__(cls, *given: object, **options: object) -> Self:
        """A rule with these options. Raises EtirError for a model in the place of one."""
        first = next((set(re.findall(r"\w+", str(field.type))) for field in fields(cls)), set[str]())
        if given and callable(given[0]) and first <= _PLAIN:
            raise error(
                "rule-option",
                f"'{cls.__name__}' is a learning rule, which has options alone, and was given a "
                f"'{type(given[0]).__name__}'",
                help=f"give the model to etir.compile(model, x, rule={cls.__name__}()), or to the class of learners "
                f"that are called: etir.OnlineLearner(model, {cls.__name__}())",
            )
        return super().__new__(cls)

    def suits(self, transition: Transition) -> bool:
        """Whether it may be worth a trial for this step, asked by a rule that chooses before anything is planned."""
        del transition
        return True

    def choose(self, trials: Trials) -> Mapping[Param, Choice] | None:
        """The rules that its parameters are to learn by, where it chooses them; None where it writes its own traces."""
        del trials
        return None

    def write(self, plan: Writer, task: Task) -> None:
        """Add the rule's traces, operations and contributions for its parameters to the plan."""
        del plan, task
        raise error(
            "rule-method",
            f"rule '{type(self).__name__}' does not say what it writes",
            help="define write(self, plan, task); docs/custom_rules.md has a worked example",
        )
