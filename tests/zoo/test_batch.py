"""I4: a batched model's gradients are the sum of its rows', each learnt by the unbatched model."""

import jax
import numpy as np
from learners import compiled, differing, driver, labels_of, thin_matrix
from oracles import by_path
from problems import Problem, problem

BATCH = 3


def row_axes(batched, single):
    """Which leaves of the batched states have a batch axis: a counter and a key are shared by the rows."""
    return jax.tree.map(lambda b, s: 0 if b.ndim > s.ndim else None, batched, single)


def rows_gradients(of: Problem, rule: str, window: int):
    """The summed gradients of the rows, from a vmapped learner of the unbatched model."""
    single = problem(of.case.name)
    learner = compiled(single, rule, window)
    axes = row_axes(of.states, single.states)

    rows = jax.jit(jax.vmap(driver(learner), in_axes=(None, axes, 1, 1, None)))
    grads, _, _ = rows(*of.arguments)
    return by_path(jax.tree.map(lambda g: g.sum(0), grads))


@thin_matrix(rules=("d_rtrl", "pp_prop", "rtrl"), windows=(2, 5))
def test_a_batch_is_the_sum_of_its_rows(name: str, rule: str, window: int):
    of = problem(name, batch=BATCH)
    learner = compiled(of, rule, window)
    found, _, _ = driver(learner)(*of.arguments)
    wanted = rows_gradients(of, rule, window)
    assert any(np.any(grad) for grad in wanted.values())
    assert differing(by_path(found), wanted) == {}
    labels = labels_of(learner)
    exact = {path: grad for path, grad in of.bptt().grads.items() if labels[path] == "exact"}
    assert differing(by_path(found), exact) == {}


def test_a_batch_has_the_labels_of_its_rows():
    for name in ("gru_reset_before", "lru_pair", "lif_recurrent", "tail_pool", "layer_norm_leaky"):
        labels = [
            {entry.path: (entry.label, len(entry.reasons)) for entry in compiled(of, "d_rtrl", 2).certificate}
            for of in (problem(name), problem(name, batch=BATCH))
        ]
        assert labels[0] == labels[1]
