"""What a rule says of tangents that it pushes through the whole step is believed only where the plan shows it."""

from dataclasses import replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest
from estimates import Model, biased, gradients, learner_of, model
from oracles import by_path, relative_error

import etir
from etir.ir.plan import Bundle, ContractPushed, Push, Units
from etir.rules import KfRtrl, Rule
from etir.rules.kf_rtrl import tangents


def step(p, s, x):
    u = jnp.tanh(etir.matmul(s["h"], p["U"], p["b"]) + x)
    return {"h": u - 0.3 * u.mean(0)}, u


MEETING = model(step, {"U": (3, 3), "b": (3,)}, {"h": jnp.zeros((2, 3))}, (2, 3))


class Believing(KfRtrl):
    """Takes samples apart that meet."""

    name: ClassVar[str] = "believing"

    def write(self, plan, task):
        super().write(plan, replace(task, apart=lambda site: True))


class Exact(Rule):
    """Carries the influence of what contracts nothing, in a way that a subclass spoils."""

    name: ClassVar[str] = "exact_bias"

    def write(self, plan, task):
        for site in task.sites:
            bundle = Bundle(site)
            if not bundle.contracts:
                before = tangents(plan, bundle)
                after = self.pushed(plan, site, before)
                for old, new in zip(before, after, strict=True):
                    plan.carry(old, new)
                read = ContractPushed(site=site, trace=before, cotangents=tuple(plan.cotangents))
                plan.contribute(site.weight, *plan.window(read))

    def pushed(self, plan, site, before):
        return plan.step(Push(tangents=before, sites=(site,), shifts=self.units(plan, site)))

    def units(self, plan, site):
        return plan.step(Units(site=site, scale=site.data, labels=site.data_labels or ""))


class Halved(Exact):
    name: ClassVar[str] = "halved"

    def units(self, plan, site):
        return (plan.scaled(super().units(plan, site)[0], 0.5),)


class Forgetful(Exact):
    name: ClassVar[str] = "forgetful"

    def pushed(self, plan, site, before):
        return plan.step(Push(sites=(site,), shifts=self.units(plan, site)))


def label(of: Model, rule: Rule, path: str = "b") -> str:
    return str(learner_of(of, rule).certificate[path].label)


def error(of: Model, rule: Rule, path: str = "b") -> float:
    learner = learner_of(of, rule)
    return relative_error(by_path(gradients(of, learner, jax.random.key(0)))[path], of.wanted[path])


def test_the_whole_pattern_is_exact():
    assert label(MEETING, Exact()) == "exact"
    assert error(MEETING, Exact()) < 1e-12


@pytest.mark.parametrize("rule", [Halved(), Forgetful()])
def test_a_spoilt_pattern_is_not(rule: Rule):
    assert label(MEETING, rule) == "approximate"
    assert error(MEETING, rule) > 1e-3


def test_samples_that_meet_are_not_taken_apart_on_a_rule_s_word():
    claim = "a random estimate, whose mean is the gradient of rtrl"
    honest, believing = (learner_of(MEETING, rule).certificate["U"].reasons for rule in ("kf_rtrl", Believing()))
    assert [str(reason) for reason in honest] == [claim]
    assert "recurrence of 'h' through etir.matmul with 'U' (mixes positions) is dropped" in [
        str(reason) for reason in believing
    ]
    assert (set(biased(MEETING, "kf_rtrl", keys=3000)), set(biased(MEETING, Believing(), keys=3000))) == (set(), {"U"})


def test_one_trace_is_not_read_twice():
    class Twice(Exact):
        name: ClassVar[str] = "twice"

        def write(self, plan, task):
            super().write(plan, task)
            site = next(s for s in task.sites if not Bundle(s).contracts)
            (trace,) = [t.before for t in plan.traces]
            read = ContractPushed(site=site, trace=(trace,), cotangents=tuple(plan.cotangents))
            plan.contribute(site.weight, *plan.window(read))

    with pytest.raises(etir.EtirError, match="trace-read-twice"):
        learner_of(MEETING, Twice())
