"""A rule has options alone; a model in the place of one is told where it goes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

import etir
from etir import nn
from etir.rules import RULES


@pytest.mark.parametrize("kind", [*map(type, RULES.values())])
def test_a_rule_refuses_a_model(kind):
    with pytest.raises(etir.EtirError) as told:
        kind(nn.GRU(3, 4))
    assert str(told.value) == (
        f"error: '{kind.__name__}' is a learning rule, which has options alone, and was given a 'GRU' [rule-option]\n"
        f"  help: give the model to etir.compile(model, x, rule={kind.__name__}()), or to the class of learners that "
        f"are called: etir.OnlineLearner(model, {kind.__name__}())"
    )


@dataclass(frozen=True)
class Own(etir.rules.Rule):
    scale: Callable[..., Any]


def test_a_rule_of_ones_own_may_take_a_function():
    assert Own(partial(max, 1)).scale(0) == 1
