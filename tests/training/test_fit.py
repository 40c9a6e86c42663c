"""`etir.fit` is `learner.train` called on one batch after the other: the same numbers, interrupted or not."""

import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import etir
from etir.training import Batch, Callback, Checkpoints, EarlyStopping, Evaluate, Minibatches, Progress, pad

STEPS, SAMPLES, SIZE = 6, 10, 4
DRAW = np.random.default_rng(0)
XS, TS = DRAW.normal(size=(STEPS, SAMPLES, 3)), DRAW.normal(size=(STEPS, SAMPLES, 2))
PARAMS = {"W": DRAW.normal(size=(3, 5)), "U": 0.4 * DRAW.normal(size=(5, 5)), "out": DRAW.normal(size=(5, 2))}
PARAMS = jax.tree.map(jnp.asarray, PARAMS)
OPTIMIZER = optax.adam(optax.cosine_decay_schedule(0.1, 40))
DATA = Minibatches((XS, TS), SIZE)


def step(params, states, x):
    drive = etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"])
    h = 0.8 * states["h"] + 0.2 * jnp.tanh(drive)
    return {"h": h}, h @ params["out"]


def loss(y, t):
    return jnp.mean((y - t) ** 2)


def compiled(**options):
    return etir.compile(step, PARAMS, {"h": jnp.zeros((SIZE, 5))}, XS[0, :SIZE], window=2, **options)


LEARNER = compiled()


def equal(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def by_hand(epochs, sequence):
    """The same training as a loop of one's own."""
    train = LEARNER.train(loss, OPTIMIZER)
    params, moments, carry, losses = PARAMS, OPTIMIZER.init(PARAMS), LEARNER.init(), []
    for epoch in range(epochs):
        if sequence == "epoch":
            carry = LEARNER.init()
        losses.append(0.0)
        for batch in DATA(epoch):
            carry = LEARNER.init() if sequence == "batch" else carry
            params, moments, carry, found, _ = train(params, moments, carry, batch.xs, *batch.targets)
            losses[-1] += float(found.mean()) / len(DATA)
    return params, moments, carry, losses


@pytest.mark.parametrize("sequence", ["batch", "epoch", "run"])
def test_it_is_the_loop_that_one_would_write(sequence):
    found = etir.fit(LEARNER, loss, OPTIMIZER, DATA, epochs=3, sequence=sequence)
    params, moments, carry, losses = by_hand(3, sequence)
    assert equal(found[:3], (params, moments, carry))
    np.testing.assert_allclose(found.history.column("loss"), losses, rtol=1e-12)
    assert found.history.column("epoch") == [1, 2, 3]
    assert found.stopped == ""


class PowerFailureError(Exception):
    """The power fails."""


class After(Callback):
    """Interrupt a training after so many batches."""

    def __init__(self, batches):
        self.batches = batches

    def after_batch(self, run):
        if run.updates == self.batches:
            raise PowerFailureError


@pytest.mark.parametrize("sequence", ["batch", "run"])
@pytest.mark.parametrize("every", [None, 1])
def test_a_training_goes_on_from_a_checkpoint_to_the_bit(sequence, every, tmp_path: Path):
    """Interrupted in its second epoch of two batches: it goes on from the first one's end, or from the last batch."""

    def trained(checkpoints=None, interrupted=100, epochs=4):
        callbacks = [Evaluate([(XS, TS)], mse=loss), EarlyStopping("mse", patience=2), After(interrupted)]
        given = {"epochs": epochs, "callbacks": callbacks, "checkpoints": checkpoints, "sequence": sequence}
        return etir.fit(LEARNER, loss, OPTIMIZER, DATA, **given)

    whole, kept = trained(), Checkpoints(tmp_path / "run", every=every)
    seen = []
    with pytest.raises(PowerFailureError):
        trained(kept, interrupted=4)
    assert (tmp_path / "run").exists()
    again = etir.fit(
        LEARNER,
        loss,
        OPTIMIZER,
        lambda epoch: (seen.append(epoch), DATA(epoch))[1],
        epochs=4,
        callbacks=[Evaluate([(XS, TS)], mse=loss), EarlyStopping("mse", patience=2), lambda run: None],
        checkpoints=kept,
        sequence=sequence,
    )
    assert equal(again[:3], whole[:3])
    assert [{**row, "seconds": 0} for row in again.history] == [{**row, "seconds": 0} for row in whole.history]
    assert seen == [1, 2, 3]
    ended = trained(kept)  # nothing is left to do
    assert equal(ended[:2], whole[:2])


def test_more_epochs_go_on_where_fewer_ended(tmp_path: Path):
    whole = etir.fit(LEARNER, loss, OPTIMIZER, DATA, epochs=3, sequence="run")
    etir.fit(LEARNER, loss, OPTIMIZER, DATA, epochs=1, sequence="run", checkpoints=str(tmp_path))
    assert equal(
        etir.fit(LEARNER, loss, OPTIMIZER, DATA, epochs=3, sequence="run", checkpoints=str(tmp_path))[:3], whole[:3]
    )


def test_rules_that_draw_numbers_draw_the_same_after_a_checkpoint(tmp_path: Path):
    learner, key = compiled(rule="uoro"), jax.random.key(3)
    whole = etir.fit(learner, loss, OPTIMIZER, DATA, epochs=2, key=key)
    etir.fit(learner, loss, OPTIMIZER, DATA, epochs=1, key=key, checkpoints=tmp_path)
    assert equal(etir.fit(learner, loss, OPTIMIZER, DATA, epochs=2, key=key, checkpoints=tmp_path).params, whole.params)
    other = etir.fit(learner, loss, OPTIMIZER, DATA, epochs=2, key=jax.random.key(4))
    assert not equal(other.params, whole.params)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path):
    etir.fit(LEARNER, loss, OPTIMIZER, DATA, checkpoints=tmp_path)
    with pytest.raises(etir.EtirError) as refused:
        etir.fit(LEARNER, loss, optax.sgd(0.1), DATA, checkpoints=tmp_path)
    assert str(refused.value) == (
        f"error: the checkpoint in {tmp_path} is of another training: 8 of its arrays differ [checkpoint-structure]\n"
        "  note: opt_state.0.count is int32[] there, missing here\n"
        "  note: opt_state.0.mu.U is float64[5,5] there, missing here\n"
        "  note: opt_state.0.mu.W is float64[3,5] there, missing here\n"
        "  note: and 5 more\n"
        "  help: give another directory, or the model, rule, optimiser and callbacks that it was made with"
    )
    with pytest.raises(etir.EtirError, match="of another training: 1 of its options differ") as refused:
        etir.fit(compiled(rule="bptt"), loss, OPTIMIZER, DATA, checkpoints=tmp_path)
    assert "note: rule is d_rtrl there, bptt here" in str(refused.value)


def test_early_stopping_goes_back_to_the_best(tmp_path: Path):
    values, params = iter([3.0, 1.0, 2.0, 2.0, 0.0]), []

    def write(run):
        run.rows[-1]["score"] = next(values)
        params.append(run.params)

    found = etir.fit(LEARNER, loss, OPTIMIZER, DATA, epochs=5, callbacks=[write, EarlyStopping("score", patience=2)])
    assert found.stopped == "'score' has not become better than 1 for 2 epochs"
    assert len(found.history) == 4
    assert equal(found.params, params[1])
    values, params = iter([3.0, 1.0, 2.0]), []
    last = EarlyStopping("score", patience=2, best="highest", restore=False)
    found = etir.fit(LEARNER, loss, OPTIMIZER, DATA, epochs=5, callbacks=[write, last])
    assert found.stopped == "'score' has not become better than 3 for 2 epochs"
    assert equal(found.params, params[2])


def test_early_stopping_remembers_what_was_best_over_a_checkpoint(tmp_path: Path):
    params = []

    def trained(epochs, checkpoints=None):
        def write(run):
            run.rows[-1]["score"] = (1.0, 2.0, 2.0, 0.0)[run.epoch - 1]
            params.append(run.params)

        callbacks = [write, EarlyStopping("score", patience=2)]
        return etir.fit(LEARNER, loss, OPTIMIZER, DATA, epochs=epochs, callbacks=callbacks, checkpoints=checkpoints)

    whole = trained(4)
    assert equal(trained(2, tmp_path).params, params[0])
    resumed = trained(4, tmp_path)
    assert resumed.stopped == whole.stopped == "'score' has not become better than 1 for 2 epochs"
    assert equal(resumed.params, whole.params)
    assert equal(resumed.params, params[0])
    again = trained(4, tmp_path)
    assert (again.stopped, len(again.history)) == (whole.stopped, 3)


def test_evaluation_is_the_model_alone_whatever_the_batch():
    found = etir.fit(LEARNER, loss, OPTIMIZER, DATA, callbacks=[Evaluate([(XS, TS), (XS[:, :1], TS[:, :1])], mse=loss)])

    def alone(xs):
        return jax.lax.scan(lambda s, x: step(found.params, s, x), {"h": jnp.zeros((xs.shape[1], 5))}, xs)[1]

    wanted = (loss(alone(XS), TS) + loss(alone(XS[:, :1]), TS[:, :1])) / 2
    assert abs(found.history[-1]["mse"] - float(wanted)) < 1e-12


def test_sequences_of_several_lengths_are_padded_and_masked():
    learner, lengths = compiled(mask="sample"), [6, 3, 5, 1]
    xs, mask = pad([XS[:n, k] for k, n in enumerate(lengths)])
    ts, _ = pad([TS[:n, k] for k, n in enumerate(lengths)])
    assert mask.sum(0).tolist() == lengths
    assert all((xs[:n, k] == XS[:n, k]).all() and (xs[n:, k] == 0).all() for k, n in enumerate(lengths))

    def counted(y, t, counts):
        return jnp.sum(counts[:, None] * (y - t) ** 2)

    found = etir.fit(learner, counted, OPTIMIZER, Minibatches((xs, ts, mask), SIZE, mask=mask))
    order = np.random.default_rng((0, 0)).permutation(SIZE)
    xs, ts, mask = (a[:, order] for a in (xs, ts, mask))
    train = learner.train(counted, OPTIMIZER)
    assert equal(found[:3], train(PARAMS, OPTIMIZER.init(PARAMS), learner.init(), xs, ts, mask, mask=mask)[:3])
    unmasked = LEARNER.train(counted, OPTIMIZER)(PARAMS, OPTIMIZER.init(PARAMS), LEARNER.init(), xs, ts, mask)
    assert not equal(found.carry.states, unmasked.carry.states)


def test_steps_that_do_not_count_are_not_in_the_mean():
    learner = compiled(mask="step")
    mask = np.arange(STEPS) < 3
    batch = Batch(XS[:, :SIZE], TS[:, :SIZE], mask=mask)
    found = etir.fit(learner, loss, optax.sgd(0.0), [batch])
    ys = learner.predict(PARAMS, None, XS[:, :SIZE], mask=mask)[1]
    assert abs(found.history[-1]["loss"] - float(loss(ys[:3], TS[:3, :SIZE]))) < 1e-12


def test_minibatches_show_each_sample_once_an_epoch_in_an_order_of_its_own():
    numbers = np.broadcast_to(np.arange(SAMPLES), (STEPS, SAMPLES))
    batches = Minibatches((numbers,), 5, per_sample=(np.arange(SAMPLES),))
    epochs = [[batch.xs[0].tolist() for batch in batches(epoch)] for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    assert sorted(epochs[1][0] + epochs[1][1]) == list(range(SAMPLES))
    (batch, _) = batches(0)
    assert (batch.targets[0] == batch.xs).all()
    assert len(batches) == 2
    (one, _) = Minibatches(numbers, 5, per_sample=np.arange(SAMPLES))(0)
    assert (one.xs == batch.xs).all()
    assert (one.targets[0] == batch.xs).all()
    (two, _) = Minibatches(((numbers, -numbers), numbers), 5)(0)
    assert (two.xs[1] == -batch.xs).all()
    assert (two.targets[0] == batch.xs).all()


def test_the_bar_says_how_far_it_is():
    printed = io.StringIO()
    etir.fit(LEARNER, loss, OPTIMIZER, DATA, epochs=2, callbacks=[Progress(file=printed, ascii=True, ncols=90)])
    last = printed.getvalue().replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("100%|")
    assert "4/4 [" in last
    assert "epoch 2, loss " in last


def test_the_history_is_a_table():
    history = etir.training.History(
        ({"epoch": 1, "loss": 0.123456, "seconds": 2.0}, {"epoch": 10, "loss": 12345.6, "seconds": 0.5})
    )
    assert str(history) == "epoch       loss  seconds\n    1     0.1235        2\n   10  1.235e+04      0.5"
    assert history._repr_html_().startswith("<table><tr><th>epoch</th><th>loss</th><th>seconds</th></tr><tr><td")
    assert str(etir.training.History()) == "epoch  loss  seconds"


def test_a_clipped_gradient_moves_no_further():
    clipped = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0))
    found = etir.fit(LEARNER, loss, clipped, [(XS[:2, :SIZE], TS[:2, :SIZE])])  # one window: one update
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, found.params, PARAMS))
    assert abs(float(moved) - 1e-3) < 1e-12


def test_what_is_not_finite_ends_a_training_with_the_last_good_window():
    bad = np.array(XS)
    bad[2, 3] = np.nan  # in the second window of the batch that has sample 3
    with pytest.warns(etir.EtirWarning, match="input 'x' is NaN at step 2"):
        found = etir.fit(LEARNER, loss, OPTIMIZER, Minibatches((bad, TS), 4), epochs=9, on_nonfinite="stop")
    assert len(found.history) == 1
    assert found.stopped.startswith("a number was not finite in batch ")
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found.params))
    with pytest.raises(etir.EtirError, match="input 'x' is NaN at step 2"):
        etir.fit(LEARNER, loss, OPTIMIZER, Minibatches((bad, TS), 4), epochs=9, on_nonfinite="raise")


def test_frozen_weights_stay():
    learner = compiled(frozen=["U"])
    found = etir.fit(learner, loss, optax.adamw(0.1), DATA)
    assert equal(found.params["U"], PARAMS["U"])
    assert not equal(found.params["W"], PARAMS["W"])


WRONG = {
    "epochs": (lambda: fit(epochs=0), "error: epochs=0; wanted a positive number [fit-option]"),
    "sequence": (lambda: fit(sequence="all"), "error: sequence='all'; wanted 'batch', 'epoch' or 'run' [fit-option]"),
    "carry": (
        lambda: fit(carry=LEARNER.init()),
        "error: a carry is given, and each batch begins a sequence of its own [fit-option]\n"
        "  help: sequence='epoch' or sequence='run' goes on from batch to batch",
    ),
    "one batch": (
        lambda: fit((XS, TS)),
        "error: one batch was given where all batches of an epoch are wanted [fit-batches]\n"
        "  help: put it into a list: etir.fit(learner, loss, optimizer, [(xs, *targets)])",
    ),
    "no batches": (
        lambda: fit(3),
        "error: the batches are of type int; wanted tuples (xs, *targets) one after the other [fit-batches]\n"
        "  help: give a list, or a function of the epoch that returns one",
    ),
    "spent": (
        lambda: fit(iter([(XS[:, :4], TS[:, :4])]), epochs=2),
        "error: epoch 2 has no batch [fit-batches]\n"
        "  help: a generator is spent after one epoch: give a list, or a function of the epoch that returns one",
    ),
    "array": (
        lambda: fit([XS]),
        "error: a batch is of type ndarray; wanted a tuple (xs, *targets) or an etir.training.Batch [fit-batch]\n"
        "  help: a batch without targets is (xs,); masks go by name: Batch(xs, *targets, mask=mask)",
    ),
    "callback": (
        lambda: fit(callbacks=[Progress]),
        "error: a callback is the class Progress; wanted an etir.training.Callback or a function of the run "
        "[fit-callback]\n"
        "  help: for example callbacks=[etir.training.Progress(), lambda run: print(run.rows[-1])]",
    ),
    "callbacks": (
        lambda: fit(callbacks=Progress()),
        "error: callbacks= is of type Progress; wanted a list [fit-callback]\n"
        "  help: for example callbacks=[etir.training.Progress(), lambda run: print(run.rows[-1])]",
    ),
    "learner": (
        lambda: etir.fit(step, loss, OPTIMIZER, DATA),
        "error: the learner is step; wanted what etir.compile returns [fit-learner]\n"
        "  help: etir.fit(etir.compile(model, *inputs, window=...), loss, optimizer, batches)",
    ),
    "option": (
        lambda: fit(epoch=3),
        "error: etir.fit has no option 'epoch' [unknown-option]\n  help: did you mean 'epochs'?",
    ),
    "diverged": (
        lambda: etir.fit(LEARNER, lambda y, t: loss(y, t) / jnp.sum(y - y), OPTIMIZER, DATA),
        "error: the loss of step 0 of batch 1 of epoch 1 is inf: training has diverged, or its data are not finite "
        "[fit-diverged]\n"
        "  help: on_nonfinite='raise' says where it began; a lower learning rate, or optax.clip_by_global_norm, may "
        "help",
    ),
    "no metric": (
        lambda: Evaluate([(XS, TS)]),
        "error: Evaluate has nothing to tell [fit-option]\n  help: for example Evaluate(batches, accuracy=f)",
    ),
    "no held-out batch": (
        lambda: Evaluate([], mse=loss)(LEARNER, PARAMS),
        "error: Evaluate has no batch [fit-batches]\n"
        "  help: a generator is spent after one epoch: give a list, or a function that returns one",
    ),
    "resumable": (
        lambda: fit(resumable=True, checkpoints=Checkpoints("never written")),
        "error: resumable=True may leave a window open at a batch's end, which checkpoints do not keep [fit-option]\n"
        "  help: leave one out; batches of a multiple of the window need no resumable=True",
    ),
    "metric": (
        lambda: fit(callbacks=[EarlyStopping("accuracy")]),
        "error: EarlyStopping watches 'accuracy', which no epoch has [fit-metric]\n  help: known: epoch, loss, seconds",
    ),
    "best": (lambda: EarlyStopping(best="max"), "error: best='max'; wanted 'lowest' or 'highest' [fit-option]"),
    "minibatches": (
        lambda: Minibatches((XS,), 4, per_sample=(np.zeros(3),)),
        "error: minibatches of 4 cannot be drawn from arrays of 3 and 10 samples [fit-batches]\n"
        "  help: arrays are [time, samples, ...], those of per_sample [samples, ...]",
    ),
    "padding": (lambda: pad([XS], 3), "error: a sequence has 6 steps; it cannot be padded to 3 [sequence-length]"),
}


def fit(batches=DATA, **options):
    return etir.fit(LEARNER, loss, OPTIMIZER, batches, **options)


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name):
    call, text = WRONG[name]
    with pytest.raises(etir.EtirError) as refused:
        call()
    assert str(refused.value) == text


@pytest.mark.parametrize(("package", "made"), [("tqdm.auto", Progress), ("orbax.checkpoint", lambda: Checkpoints("x"))])
def test_a_missing_package_is_named(package, made, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    monkeypatch.setitem(__import__("sys").modules, package.partition(".")[0], None)
    with pytest.raises(etir.EtirError) as refused:
        made()
    name, what = {"tqdm.auto": ("tqdm", "Progress")}.get(package, ("orbax-checkpoint", "Checkpoints"))
    assert str(refused.value) == (
        f"error: {what} needs the package {name} [missing-package]\n  help: pip install 'etir[train]'"
    )
