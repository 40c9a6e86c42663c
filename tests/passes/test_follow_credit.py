"""follow-credit: the data-flow is found once, stays while the step is the same, and is never another step's."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from stages import after, before, lowered

import etir
from etir.ir import StateKind, Transition, isomorphic, parse, render, verify
from etir.ir import jaxpr as jx
from etir.ir.regions import STEP, make_region, with_regions
from etir.passes import ANALYSIS, FollowCredit, SliceRegions
from etir.passes.analyses.dataflow import analyse_dataflow
from etir.passes.instruments import SameObject

STEP_TEXT = "def step(p, s, x):\n    h = 0.5 * s['h'] + etir.matmul(x, p['W'])\n    return {'h': h}, h"


def step() -> Any:
    return lowered(STEP_TEXT, {"W": "f64[3,4]"}, {"h": "f64[4]"}, "f64[3]")


@dataclass(frozen=True)
class Mix(etir.Pass):
    """Reverse the positions of what is halved: another step, with the same signature and sites at the same places."""

    name: ClassVar[str] = "mix"

    def run(self, transition: Transition) -> Transition:
        region = transition.region(STEP)

        def hook(eqn: Any, operands: list[Any]) -> list[Any] | None:
            return [(0.5 * operands[1])[::-1]] if eqn.primitive.name == "mul" else None

        body = jx.retrace(region.body, hook)
        site = next(k for k, eqn in enumerate(jx.equations(body)) if eqn.primitive.name == "etp")
        sites = tuple(replace(site_, equation=site) for site_ in transition.sites)
        return replace(with_regions(transition, make_region(STEP, body, region.inputs, region.outputs)), sites=sites)


def test_the_flow_is_found_and_the_text_does_not_show_it():
    given = before(FollowCredit, step())
    made = FollowCredit().run(given)
    assert given.flow is None
    assert made.flow is not None
    assert analyse_dataflow(made) is made.flow
    assert render(made) == render(given)
    assert isomorphic(made, given)
    assert verify(made) == []


def test_a_transition_that_was_read_has_none_and_is_left_alone():
    read = parse(render(after(FollowCredit, step())))
    assert read.flow is None
    assert FollowCredit().run(read) is read


def test_a_second_run_changes_nothing():
    made = after(FollowCredit, step())
    assert FollowCredit().run(made) is made


def test_every_later_pass_reads_the_one_that_was_found():
    transition = etir.analyse(step())
    planned = etir.plan(transition, "d_rtrl", credit="rule")
    assert transition.flow is not None
    assert planned.flow is transition.flow


def test_what_leaves_the_step_alone_keeps_it():
    made = after(FollowCredit, step())
    buffers = tuple(replace(state, kind=StateKind.BUFFER) for state in made.states)
    assert replace(made, name="other", states=buffers, sites=()).flow is made.flow


@pytest.mark.parametrize(
    "change",
    [
        Mix().run,
        lambda t: replace(t, params=t.params * 2),
        lambda t: replace(t, states=()),
        lambda t: replace(t, regions=()),
        lambda t: replace(t, regions=None),
        lambda t: replace(t, params=None),
    ],
)
def test_another_step_has_none(change: Any):
    """Whoever made it need not know of the field; a broken transition is made all the same."""
    assert change(after(FollowCredit, step())).flow is None


@pytest.mark.parametrize("place", ["mark-sites", "follow-credit"])
def test_a_pass_that_changes_the_step_is_followed_wherever_it_stands(place: str):
    plain, mixed = etir.analyse(step()), etir.analyse(step(), after={place: Mix()})
    assert str(plain.groups[0].jacobian[0].coupling) == "[=]"
    assert str(mixed.groups[0].jacobian[0].coupling) == "[map:3..0]"
    assert (mixed.flow is None) == (place == "follow-credit")


def test_without_the_pass_each_pass_finds_its_own():
    passes = [kind() for kind in ANALYSIS if kind is not FollowCredit]
    without, plain = etir.analyse(step(), passes=passes), etir.analyse(step())
    assert without.flow is None
    assert render(etir.plan(without)) == render(etir.plan(plain))


def test_to_find_it_is_something_new_and_to_copy_is_not():
    made = after(SliceRegions, step())
    SameObject().after(FollowCredit(), replace(made, flow=None), made)
    with pytest.raises(etir.EtirError, match="changed nothing"):
        SameObject().after(Mix(), made, replace(made))
