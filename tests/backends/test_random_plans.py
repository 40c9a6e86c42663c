"""Plans drawn at random, and plans edited by hand: every backend gives the same numbers, and no label lies."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import pytest
from drawn_models import MODELS, STEPS
from drawn_rules import WAYS, Told
from hypothesis import given, settings
from hypothesis import strategies as st
from learners import EXACT, differing, false_labels, labels_of
from oracles import bptt, by_path, loss
from snippets import expected

import etir
from etir.ir.diagnostics import EtirError
from etir.ir.plan import Contract, Pullback
from etir.rules.shared.positional import positional_trace

BACKENDS = ("xla", "reference")


def learner_of(name: str, rule: Any, window: int, backend: str) -> Any:
    of = MODELS[name]
    return etir.compile(
        of.step, of.params, of.states, of.xs[0], rule=rule, window=window, backend=backend, on_truncated="ignore"
    )


def signals_of(learner: Any) -> dict[str, Any]:
    """A sequence for each signal that the plan reads."""
    signals = learner.transition.plan.signals
    draws = {
        s.path: jax.random.normal(jax.random.key(k), (STEPS, *s.value.type.shape), s.value.type.dtype)
        for k, s in enumerate(signals)
    }
    return dict(sorted(draws.items()))


def numbers(name: str, learner: Any) -> dict[str, Any]:
    """Gradients by the driver and through `window`, losses and final traces, by path."""
    of, signals = MODELS[name], signals_of(learner)

    @jax.jit
    def run(params: Any, xs: Any, ts: Any, signals: Any) -> Any:
        driven = learner.grad(loss)(params, learner.init(), xs, ts, **signals)

        def through(params: Any) -> Any:
            carry, ys = learner.window(params, learner.init(), xs, **signals)
            return loss(ys, ts), learner.traces(carry)

        window, traces = jax.grad(through, has_aux=True)(params)
        return {
            "driver": driven.grads, "window": window, "losses": driven.losses,
            "traces": learner.traces(driven.carry), "window_traces": traces,
        }  # fmt: skip

    return by_path(run(of.params, of.xs, of.ts, signals))


def part(found: dict[str, Any], name: str) -> dict[str, Any]:
    return {path.removeprefix(f"{name}."): x for path, x in found.items() if path.startswith(f"{name}.")}


def oracle(name: str, window: int | None = None) -> Any:
    of = MODELS[name]
    return bptt(of.step, of.params, of.states, (of.xs,), of.ts, window=window)


def faults(name: str, window: int, learners: list[Any]) -> list[str]:
    """Where the backends' learners disagree, with each other or with themselves, and where a label lies."""
    found, wanted = (numbers(name, learner) for learner in learners)
    apart = [f"{path} differs by {e:.2g} between backends" for path, e in differing(found, wanted).items()]
    for of, way in (("driver", "window"), ("traces", "window_traces")):
        off = differing(part(wanted, way), part(wanted, of))
        apart += [f"{of} {path} differs by {e:.2g} from {way}" for path, e in off.items()]
    truth = oracle(name)
    apart += ["losses differ" for _ in differing({"losses": wanted["losses"]}, {"losses": truth.losses})]
    labels = labels_of(learners[0])
    assert labels == labels_of(learners[1])
    return apart + false_labels(labels, part(wanted, "driver"), truth.grads, oracle(name, window).grads)


def faults_of_rule(name: str, rule: Any, window: int) -> list[str]:
    return faults(name, window, [learner_of(name, rule, window, backend) for backend in BACKENDS])


ways = st.lists(st.sampled_from(sorted(WAYS)), min_size=1, max_size=3).map(tuple)


@settings(max_examples=7, deadline=None)
@given(name=st.sampled_from(sorted(MODELS)), chosen=ways, window=st.sampled_from([1, 2, 3]))
def test_drawn_rules(name: str, chosen: tuple[str, ...], window: int):
    assert faults_of_rule(name, Told(ways=chosen), window) == []


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_way_on_every_model(name: str, way: str, window: int):
    assert faults_of_rule(name, Told(ways=(way,)), window) == []


LABELS = {
    "entry": "exact", "scaled": "approximate", "lacking": "approximate", "filtered": "approximate",
    "factored": "approximate", "exit_detached": "exact", "exit_beside": "approximate", "signalled": "approximate",
    "unread": "truncated", "applied": "approximate", "applied_each_step": "approximate", "detached": "approximate",
    "none": "truncated",
}  # fmt: skip
"""Of a weight whose recurrence is element-wise: no more is claimed, and no less."""


def test_the_label_of_every_way():
    of = MODELS["adaptive"]
    analysed = etir.analyse(etir.lower(of.step, of.params, of.states, of.xs[0]))
    found = {way: str(etir.plan(analysed, Told(ways=(way,)), 2).certificate["W"].label) for way in WAYS}
    assert found == LABELS


@pytest.mark.parametrize("window", [1, 3])
def test_traces_that_nothing_reads_change_nothing(window: int):
    silent, plain = (learner_of("adaptive", rule, window, "xla") for rule in (Told(ways=("unread",)), "bptt"))
    assert labels_of(silent)["W"] == labels_of(silent)["U"] == "truncated"
    found, wanted = (part(numbers("adaptive", learner), "driver") for learner in (silent, plain))
    assert differing(found, wanted) == {}


@dataclass(frozen=True)
class Twice(etir.Rule):
    """Reads one trace twice: by giving a contribution twice, or by two contractions."""

    name: ClassVar[str] = "twice"
    contractions: int

    def write(self, plan: Any, task: Any) -> None:
        for a in task.associations:
            trace = positional_trace(plan, a)
            bars = plan.entering(a.group)
            read = Contract(association=a, trace=trace.before, cotangents=tuple(bars[k] for k in trace.states))
            values = [plan.window(read)[0] for _ in range(self.contractions)]
            for value in (values * 2)[:2]:
                plan.contribute(a.site.weight, value)


@pytest.mark.parametrize(
    ("contractions", "what"), [(1, "a contribution"), (2, "trace 'W on h'")], ids=["contribution", "contractions"]
)
def test_a_trace_that_is_read_twice_is_refused(contractions: int, what: str):
    with pytest.raises(EtirError) as failure:
        learner_of("leaky", Twice(contractions), 2, "xla")
    assert str(failure.value) == expected(f"""
        error: {what} is added to the gradient twice: its credit would count double [trace-read-twice]
          help: read each trace by one contraction, and give each contribution to the pull-back once
    """)


# Plans edited by hand


def planned(name: str, window: int) -> tuple[Any, Any]:
    """The lowered step, and its transition with the plan of d_rtrl."""
    of = MODELS[name]
    step = etir.lower(of.step, of.params, of.states, of.xs[0])
    return step, etir.plan(etir.analyse(step), "d_rtrl", window)


def edited(transition: Any, change: Any) -> Any:
    """The transition, each operation at its window's end replaced by what `change` makes of it."""
    plan = transition.plan
    return replace(transition, plan=replace(plan, at_window=tuple(change(op) for op in plan.at_window)))


def emitted(transition: Any, step: Any) -> list[Any]:
    return [etir.emit(transition, backend, signature=step) for backend in BACKENDS]


def without_contributions(op: Any) -> Any:
    return replace(op, weights=(), on_weights=()) if isinstance(op, Pullback) else op


def with_every_contribution_twice(op: Any) -> Any:
    return replace(op, weights=op.weights * 2, on_weights=op.on_weights * 2) if isinstance(op, Pullback) else op


def with_cotangents_swapped(op: Any) -> Any:
    return replace(op, cotangents=op.cotangents[::-1]) if isinstance(op, Contract) else op


def test_a_contribution_taken_out_is_credit_taken_out():
    step, transition = planned("adaptive", 2)
    learners = emitted(edited(transition, without_contributions), step)
    assert labels_of(learners[0]) == {"W": "truncated", "U": "truncated", "out": "exact"}
    assert faults("adaptive", 2, learners) == []


def test_a_contribution_written_twice_is_refused():
    step, transition = planned("adaptive", 2)
    for backend in BACKENDS:
        with pytest.raises(EtirError) as failure:
            etir.emit(edited(transition, with_every_contribution_twice), backend, signature=step)
        assert str(failure.value) == expected("""
            error: a contribution is added to the gradient twice: its credit would count double [trace-read-twice]
              help: read each trace by one contraction, and give each contribution to the pull-back once
        """)


@pytest.mark.parametrize("window", [1, 2])
def test_cotangents_of_the_wrong_states_are_not_exact(window: int):
    step, transition = planned("adaptive", window)
    learners = emitted(edited(transition, with_cotangents_swapped), step)
    assert {path: label for path, label in labels_of(learners[0]).items() if path != "out"} == {
        "W": "approximate", "U": "approximate",
    }  # fmt: skip
    assert faults("adaptive", window, learners) == []
    found = part(numbers("adaptive", learners[0]), "driver")
    assert set(differing(found, oracle("adaptive").grads, 1e-3)) == {"W", "U"}


def test_the_plan_as_it_was_is_exact():
    step, transition = planned("adaptive", 2)
    learners = emitted(transition, step)
    assert labels_of(learners[0]) == {"W": "exact", "U": "exact", "out": "exact"}
    assert differing(part(numbers("adaptive", learners[1]), "driver"), oracle("adaptive").grads, EXACT) == {}
