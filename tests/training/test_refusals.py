"""What the parts of a training refuse before it begins, and a training that is spoilt without a word."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import etir
from etir import nn
from etir.training import Checkpoints, Evaluate, Minibatches, pad

XS = np.ones((3, 4, 2))
WANTED = "wanted a positive number [fit-option]"
SHAPES = "  help: arrays are [time, samples, ...], those of per_sample [samples, ...]"
WRONG = {
    "metric": (
        lambda: Evaluate([], loss=len),
        "error: every row has 'loss' already, of the training [fit-option]\n  help: another name: held_out_loss=",
    ),
    "every": (lambda: Evaluate([], every=0, mse=len), f"error: every=0; {WANTED}"),
    "saved": (lambda: Checkpoints("never written", every=0), f"error: every=0; {WANTED}"),
    "kept": (lambda: Checkpoints("never written", keep=-1), f"error: keep=-1; {WANTED}"),
    "directory": (
        lambda: Checkpoints(__file__),
        f"error: checkpoints are kept in a directory, and '{__file__}' is a file [fit-option]",
    ),
    "size": (lambda: Minibatches((XS,), 2.0), f"error: size=2.0; {WANTED}"),
    "flat": (
        lambda: Minibatches((XS, np.ones(3)), 2),
        f"error: minibatches of 2 cannot be drawn from arrays of 0 and 4 samples [fit-batches]\n{SHAPES}",
    ),
    "mask": (
        lambda: Minibatches((XS,), 2, mask=np.ones((3, 5), bool)),
        f"error: minibatches of 2 cannot be drawn from arrays of 4 and 5 samples [fit-batches]\n{SHAPES}",
    ),
    "nothing": (lambda: pad([]), "error: there is no sequence to pad [sequence-length]"),
    "checkpoints": (
        lambda: fit([(XS, XS)], checkpoints=3),
        "error: checkpoints=3; wanted a directory, or Checkpoints(directory) [fit-option]",
    ),
    "no batch": (
        lambda: fit(()),
        "error: epoch 1 has no batch [fit-batches]\n"
        "  help: a generator is spent after one epoch: give a list, or a function of the epoch that returns one",
    ),
    "spoilt": (
        lambda: fit([(np.full_like(XS, np.nan), XS)]),
        "error: parameter 'layers.0.w' is not finite at the end of epoch 1, though the losses are [fit-diverged]\n"
        "  help: on_nonfinite='raise' says where it began: inputs that are not finite pass through spikes unseen",
    ),
}


def fit(batches, **options):
    learner = etir.compile(nn.Sequential(nn.Linear(2, 2, bias=False), nn.LIF(2)), jnp.ones((4, 2)))
    return etir.fit(learner, lambda y, t: jnp.mean((y - t) ** 2), optax.sgd(0.1), batches, **options)


@pytest.mark.parametrize("name", WRONG)
def test_it_is_refused(name):
    call, text = WRONG[name]
    with pytest.raises(etir.EtirError) as refused:
        call()
    assert str(refused.value) == text
