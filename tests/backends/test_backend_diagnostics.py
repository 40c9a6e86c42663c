"""Backends, rules and operations of a user's own: what is said of unfinished ones, and that finished ones agree."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar

import pytest
from codes import codes_in
from drawn_models import MODELS
from learners import EXACT, differing
from oracles import by_path, loss
from snippets import expected
from tree import ROOT

import etir
from etir.backends import Fused, Kernel, Uses
from etir.ir.diagnostics import EtirError
from etir.ir.plan import Advance, Contract, Operation, Plan, Product, Project, Scale, Scene
from etir.ir.types import TensorType
from etir.rules import PpProp
from etir.rules.shared.positional import positional_trace, read_at_entry

OF = MODELS["adaptive"]


def learner_of(**options: Any) -> Any:
    options = {"rule": PpProp(), "window": 2, "on_truncated": "ignore", **options}
    return etir.compile(OF.step, OF.params, OF.states, OF.xs[0], **options)


def gradients(**options: Any) -> dict[str, Any]:
    learner = learner_of(**options)
    return by_path(learner.grad(loss)(OF.params, learner.init(), OF.xs, OF.ts).grads)


def emitted(change: Callable[[Plan], dict[str, Any]]) -> Any:
    """A learner for a plan that was changed by hand."""
    step = etir.lower(OF.step, OF.params, OF.states, OF.xs[0])
    planned = etir.plan(etir.analyse(step), PpProp(), 2)
    assert planned.plan is not None
    return etir.emit(replace(planned, plan=replace(planned.plan, **change(planned.plan))), signature=step)


@cache
def definition(rule: Any) -> dict[str, Any]:
    """The gradients by a rule, every operation by its definition."""
    return gradients(rule=rule, backend="reference")


# Backends, kernels, rules and operations


@dataclass(frozen=True)
class Nameless(etir.Backend):
    """A backend that forgot its name."""


@dataclass(frozen=True)
class Given(etir.Backend):
    """A backend with the overrides and the kernels that it is given."""

    name: ClassVar[str] = "given"
    functions: Mapping[Any, Any] = field(default_factory=dict)
    patterns: Sequence[Any] = ()

    def overrides(self, transition: Any) -> Any:
        del transition
        return self.functions

    def kernels(self, transition: Any) -> Any:
        del transition
        return self.patterns


@dataclass(frozen=True)
class Folding(Given):
    """The same, with one pass over traces for many steps and one product a site."""

    by_sites: ClassVar[bool] = True
    folds: ClassVar[bool] = True


class Unmatched(Kernel):
    """A kernel that forgot what it matches."""


@dataclass(frozen=True)
class ScaledTwice(Kernel):
    """A value scaled twice, as one product; `gives` and `ordered` say what it gets wrong."""

    ran: list[Any] = field(default_factory=list)
    gives_first: bool = False
    ordered: bool = True
    careful: bool = True

    def match(self, operation: Operation, uses: Uses) -> Fused | None:
        first = uses.maker.get(operation.value) if isinstance(operation, Scale) else None
        if not isinstance(operation, Scale) or not isinstance(first, Scale):
            return None
        if self.careful and uses.of(operation.value) != [operation]:
            return None

        def run(scene: Scene) -> tuple[Any, ...]:
            self.ran.append(operation)
            once = scene[first.value] * first.factor
            twice = once * operation.factor
            return (once, twice) if self.gives_first else (twice,)

        results = (*(first.results if self.gives_first else ()), *operation.results)
        pair = (first, operation) if self.ordered else (operation, first)
        return Fused(operations=pair, results=results, run=run, name="scaled-twice")


@dataclass(frozen=True)
class ProjectedProduct(Kernel):
    """A projection and the product that alone reads it."""

    ran: list[Any] = field(default_factory=list)

    def match(self, operation: Operation, uses: Uses) -> Fused | None:
        project = uses.maker.get(operation.cotangent) if isinstance(operation, Product) else None
        if not isinstance(project, Project) or uses.of(project.results[0]) != [operation]:
            return None

        def run(scene: Scene) -> tuple[Any, ...]:
            self.ran.append(operation)
            scene = Scene(transition=scene.transition, values=dict(scene.values))
            scene.run(project)
            return operation.evaluate(scene)

        return Fused(operations=(project, operation), results=operation.results, run=run, name="projected-product")


@dataclass(frozen=True)
class Doubling(etir.Rule):
    """d_rtrl with every trace's reading scaled twice; `between` reads what lies between the two as well."""

    name: ClassVar[str] = "doubling"
    between: str = ""

    def write(self, plan: Any, task: Any) -> None:
        for a in task.associations:
            trace = positional_trace(plan, a)
            values = []
            for value in trace.before:
                (once,) = plan.window(Scale(value=value, factor=0.5))
                if self.between == "before":
                    plan.window(Scale(value=once, factor=1.0))
                (twice,) = plan.window(Scale(value=once, factor=0.5))
                if self.between == "after":
                    (twice,) = plan.apply(lambda a, b: a + b, once, twice, name="both", at_window=True)
                values.append(twice)
            read_at_entry(plan, trace._replace(before=tuple(values)))


@dataclass(frozen=True)
class Anonymous(etir.Rule):
    """A rule that forgot its name."""


@dataclass(frozen=True)
class Wordless(etir.Rule):
    """A rule that forgot what it writes."""

    name: ClassVar[str] = "wordless"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Untyped(Operation):
    """An operation that forgot the types of its results."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Valueless(Operation):
    """An operation that forgot what it computes."""

    def types(self, t: Any) -> tuple[TensorType, ...]:
        del t
        return (TensorType("float64"),)


@dataclass(frozen=True)
class Adding(etir.Rule):
    """A rule that adds an operation at each step, its one result a trace's next value."""

    name: ClassVar[str] = "adding"
    operation: Callable[[], Operation]

    def write(self, plan: Any, task: Any) -> None:
        del task
        trace = plan.trace(TensorType("float64"), "a number", "n")
        plan.carry(trace, *plan.step(self.operation()))


# What is said of them

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a backend without a name": (
        lambda: learner_of(backend=Nameless()),
        """
        error: backend 'Nameless' has no name [backend-method]
          help: give the class a name: ClassVar[str]
        """,
    ),
    "a class of backends": (
        lambda: learner_of(backend=Given),
        """
        error: the class 'Given' was given as a backend; wanted an instance [backend-type]
          help: pass backend=Given()
        """,
    ),
    "no backend": (
        lambda: learner_of(backend=3),
        """
        error: the backend is of type int; wanted a name or a Backend [backend-type]
          help: subclass etir.Backend and pass an instance of it
        """,
    ),
    "an override of what is no operation": (
        lambda: learner_of(backend=Given(functions={int: lambda operation, scene: ()})),
        """
        error: backend 'given' overrides 'int', which is no operation, or by what is no function [backend-override]
          help: map subclasses of Operation to (operation, scene) -> results
        """,
    ),
    "an override by what is no function": (
        lambda: learner_of(backend=Given(functions={Contract: 1})),
        """
        error: backend 'given' overrides 'Contract', which is no operation, or by what is no function [backend-override]
          help: map subclasses of Operation to (operation, scene) -> results
        """,
    ),
    "a kernel that is none": (
        lambda: learner_of(backend=Given(patterns=[ScaledTwice])),
        """
        error: backend 'given' has a type among its kernels [backend-override]
          help: subclass etir.backends.Kernel and give instances
        """,
    ),
    "a kernel without match": (
        lambda: learner_of(backend=Given(patterns=[Unmatched()])),
        """
        error: kernel 'Unmatched' does not say what it matches [kernel-method]
          help: define match(self, operation, uses), which returns a Fused or None
        """,
    ),
    "a plan without a pull-back": (
        lambda: emitted(lambda plan: {"at_window": plan.at_window[:-1]}),
        """
        error: the plan has 0 operations 'Pullback' at a window's end; wanted one [plan-ends]
          help: reverse mode begins every plan's window, and the pull-back ends it
        """,
    ),
    "a plan that reads what nothing computes": (
        lambda: emitted(lambda plan: {"at_window": tuple(op for op in plan.at_window if type(op) is not Project)}),
        """
        drawn_models.py:47:24: error: 'product' reads %y_W_bar, which nothing computes [ir-undefined]
          %g_W : f64[2,3] = product(site=site %y_W, data=%X_W, cotangent=%y_W_bar)
                                                                         ^^^^^^^^
        drawn_models.py:48:55: error: 'product' reads %y_U_bar, which nothing computes [ir-undefined]
          %g_U : f64[2,3] = product(site=site %y_U, data=%X_U, cotangent=%y_U_bar)
                                                                         ^^^^^^^^
        """,
    ),
    "a value read outside the pattern": (
        lambda: learner_of(rule=Doubling("after"), backend=Given(patterns=[ScaledTwice(careful=False)])),
        """
        error: kernel 'scaled-twice' does not give a value of the pattern that is read outside it [kernel-pattern]
          help: match only where uses.of(value) lies inside the pattern, or list the value in results
        """,
    ),
    "a value read before the pattern ends": (
        lambda: learner_of(
            rule=Doubling("before"), backend=Given(patterns=[LastScaledTwice(careful=False, gives_first=True)])
        ),
        """
        error: kernel 'scaled-twice' gives too late a value of the pattern that is read outside it [kernel-pattern]
          help: match only where uses.of(value) lies inside the pattern, or list the value in results
        """,
    ),
    "a pattern out of order": (
        lambda: learner_of(rule=Doubling(), backend=Given(patterns=[ScaledTwice(ordered=False)])),
        """
        error: kernel 'scaled-twice' matched operations of several phases, or out of order [kernel-pattern]
          help: a pattern lies in one phase, and is given in program order
        """,
    ),
    "a class of rules": (
        lambda: learner_of(rule=Doubling),
        """
        error: the class 'Doubling' was given as a learning rule; wanted an instance [unknown-rule]
          help: pass rule=Doubling()
        """,
    ),
    "a rule without a name": (
        lambda: learner_of(rule=Anonymous()),
        """
        error: rule 'Anonymous' has no name [rule-method]
          help: give the class a name: ClassVar[str]
        """,
    ),
    "a rule without write": (
        lambda: learner_of(rule=Wordless()),
        """
        error: rule 'Wordless' does not say what it writes [rule-method]
          help: define write(self, plan, task); docs/custom_rules.md has a worked example
        """,
    ),
    "an operation without types": (
        lambda: learner_of(rule=Adding(Untyped)),
        """
        error: plan operation 'Untyped' does not say what types it gives [operation-types]
          help: define types(self, transition), a tuple of one TensorType a result
        """,
    ),
    "an operation without evaluate": (
        lambda: gradients(rule=Adding(Valueless)),
        """
        error: plan operation 'Valueless' does not say what it computes [operation-value]
          help: define evaluate(self, scene), a tuple of one array a result
        """,
    ),
}


class LastScaledTwice(ScaledTwice):
    """Matches only the pair whose second operation is a real scaling."""

    def match(self, operation: Operation, uses: Uses) -> Fused | None:
        real = isinstance(operation, Scale) and operation.factor != 1.0
        return ScaledTwice.match(self, operation, uses) if real else None


@pytest.mark.parametrize(("make", "text"), REFUSED.values(), ids=REFUSED)
@pytest.mark.each
def test_what_is_refused(make: Callable[[], Any], text: str):
    with pytest.raises(EtirError) as failure:
        make()
    assert str(failure.value) == expected(text)


SOURCES = (
    "backends/backend.py", "backends/program.py", "rules/base.py", "passes/plan_traces.py", "ir/plan/operation.py",
)  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_every_code_has_its_line(source: str):
    codes = codes_in((ROOT / source).read_text())
    page = (ROOT / "docs" / "errors.md").read_text()
    assert codes
    assert [code for code in sorted(codes) if f"\n- `{code}`: " not in page] == []


# What agrees


OVERRIDDEN = {Contract: "d_rtrl", Advance: "d_rtrl", Project: PpProp(), Product: PpProp()}


@pytest.mark.parametrize("backend", [Given, Folding])
@pytest.mark.parametrize("kind", OVERRIDDEN, ids=lambda kind: kind.__name__)
def test_an_override_that_is_the_definition_changes_nothing(kind: type[Operation], backend: type[Given]):
    ran: list[Operation] = []

    def by_definition(operation: Operation, scene: Scene) -> tuple[Any, ...]:
        ran.append(operation)
        return operation.evaluate(scene)

    rule = OVERRIDDEN[kind]
    found = gradients(rule=rule, backend=backend(functions={kind: by_definition}))
    assert differing(found, definition(rule), EXACT) == {}
    assert {type(operation) for operation in ran} == {kind}


@pytest.mark.parametrize("kind", OVERRIDDEN, ids=lambda kind: kind.__name__)
def test_an_override_is_run_whatever_the_schedule(kind: type[Operation]):
    """One that is no definition shows where it is left out: a backend that folds gives its numbers, too."""

    def tripled(operation: Operation, scene: Scene) -> tuple[Any, ...]:
        return tuple(3 * x for x in operation.evaluate(scene))

    rule, functions = OVERRIDDEN[kind], {kind: tripled}
    plain, folding = (gradients(rule=rule, backend=backend(functions=functions)) for backend in (Given, Folding))
    assert differing(folding, plain, EXACT) == {}
    assert differing(plain, definition(rule), EXACT)


@pytest.mark.parametrize("backend", [Given, Folding])
@pytest.mark.parametrize("between", ["", "after", "before"])
def test_a_kernel_for_a_value_scaled_twice(between: str, backend: type[Given]):
    """Where something reads what lies between, a kernel that looks at the uses leaves the pattern alone."""
    kernel = ScaledTwice()
    found = gradients(rule=Doubling(between), backend=backend(patterns=[kernel]))
    assert differing(found, definition(Doubling(between))) == {}
    assert bool(kernel.ran) == (between == "")


def test_a_kernel_that_gives_what_lies_between():
    kernel = ScaledTwice(careful=False, gives_first=True)
    found = gradients(rule=Doubling("after"), backend=Given(patterns=[kernel]))
    assert differing(found, definition(Doubling("after"))) == {}
    assert kernel.ran


@pytest.mark.parametrize("backend", [Given, Folding])
def test_a_kernel_for_a_projection_and_its_product(backend: type[Given]):
    kernel = ProjectedProduct()
    found = gradients(backend=backend(patterns=[kernel]))
    assert differing(found, definition(PpProp())) == {}
    assert {type(operation) for operation in kernel.ran} == {Product}
