"""Numbers on data that nothing is learnt from, by `learner.predict`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ir.diagnostics import error
from .batches import Batches, batches_of
from .callback import Callback
from .counts import check_count
from .history import ROW
from .run import Run


class Evaluate(Callback):
    """Run the model alone over held-out batches after each epoch, and write means of some numbers into its row."""

    def __init__(self, batches: Batches, *, every: int = 1, **metrics: Callable[..., Any]) -> None:
        """Each metric is a function `(outputs, *targets) -> number` of a whole batch, time first.

        `every` is for so many epochs. Each batch is a sequence of its own, from the states given at compile, for as
        many samples as it has. The mean is over batches. Raises EtirError where there is no metric, where one has the
        name of a number that every row has, and for an `every` that is no positive number.
        """
        if not metrics:
            raise error("fit-option", "Evaluate has nothing to tell", help="for example Evaluate(batches, accuracy=f)")
        if taken := [name for name in ROW if name in metrics]:
            help = f"another name: held_out_{taken[0]}="
            raise error("fit-option", f"every row has '{taken[0]}' already, of the training", help=help)
        check_count("every", every)
        self.batches, self.every, self.metrics = batches, every, metrics

    def after_epoch(self, run: Run) -> None:
        """Add the numbers to the row."""
        if run.epoch % self.every == 0 or run.epoch == run.epochs or run.stopped:
            run.rows[-1].update(self(run.learner, run.params))

    def __call__(self, learner: Any, params: Any) -> dict[str, float]:
        """The numbers, of these parameters. Raises EtirError where there is no batch."""
        totals, count = dict.fromkeys(self.metrics, 0.0), 0
        for batch in batches_of(self.batches, 0):
            outputs = learner.predict(params, None, batch.xs, **batch.signals)[1]
            for name, metric in self.metrics.items():
                totals[name] += float(metric(outputs, *batch.targets))
            count += 1
        if not count:
            raise error(
                "fit-batches",
                "Evaluate has no batch",
                help="a generator is spent after one epoch: give a list, or a function that returns one",
            )
        return {name: total / count for name, total in totals.items()}
