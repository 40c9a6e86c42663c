"""e_prop against the paper's recursions, against D-RTRL where they are one, and against BPTT where it is exact."""

from typing import Any

import jax
import numpy as np
import pytest
from learners import differing, labels_of
from local_models import Task, added, eligibility, error, filtered, learned, read, samples, task
from turns import turns

import etir
from etir.rules import EProp

BACKENDS = ("xla", "reference")
TRACED = ("W", "U", "b")
KEY = jax.random.key(11)


def learner_of(of: Task, rule: Any, window: int, backend: str, **options: Any) -> Any:
    return etir.compile(
        of.step, of.params, of.states, of.xs[0],
        rule=rule, window=window, backend=backend, on_truncated="ignore", **options,
    )  # fmt: skip


def by_hand(of: Task, kappa: float, feedback: Any = None) -> Any:
    """`sum_t L_t e~_t`; `feedback` is the matrix in the place of the readout's."""
    matrix = np.asarray(of.params["R"]).T if feedback is None else np.asarray(feedback)
    return added([read(error(one) @ matrix, filtered(eligibility(one), kappa), one) for one in samples(of)])


def drawn(learner: Any, carry: Any) -> list[Any]:
    """The feedback matrices of a carry."""
    traces = zip(learner.transition.plan.traces, carry.traces, strict=True)
    return [array for trace, array in traces if trace.start is not None]


@pytest.mark.parametrize(
    ("name", "kappa", "batch", "window", "backend"),
    turns(
        [("rate", 0.0, None), ("rate", 0.6, 2), ("lif", 0.0, 2), ("lif", 0.6, None), ("alif", 0.6, None)],
        [1, 2, 5],
        BACKENDS,
    ),
)
def test_the_paper_s_recursion(name: str, kappa: float, batch: int | None, window: int, backend: str):
    of = task(name, batch)
    wanted = by_hand(of, kappa)
    for how, found in learned(of, learner_of(of, EProp(kappa=kappa), window, backend)).items():
        assert differing(found, wanted) == {}, how


@pytest.mark.parametrize(
    ("name", "kappa", "batch", "window", "backend"),
    turns([("rate", 0.0, 2), ("lif", 0.0, None), ("lif", 0.6, 2), ("alif", 0.0, None)], [1, 2, 5], BACKENDS),
)
def test_random_feedback(name: str, kappa: float, batch: int | None, window: int, backend: str):
    of = task(name, batch)
    learner = learner_of(of, EProp(kappa=kappa, feedback="random"), window, backend, rules={"R": "bptt"})
    (matrix,) = drawn(learner, learner.init(of.params, of.states, key=KEY))
    assert matrix.shape == (2, 4)
    wanted = by_hand(of, kappa, matrix)
    for how, found in learned(of, learner, KEY).items():
        assert differing({p: found[p] for p in TRACED}, wanted) == {}, how
    assert {labels_of(learner)[path] for path in TRACED} == {"approximate"}
    assert {str(reason) for path in TRACED for reason in learner.certificate[path].reasons} >= {
        "its trace is read with a learning signal of the rule's own, not with the loss's derivative"
    }
