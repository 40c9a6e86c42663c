"""Stop where it gets no better."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..ir.diagnostics import did_you_mean, error
from .callback import Callback
from .history import text
from .run import Run


class EarlyStopping(Callback):
    """End a training when a number has not become better for `patience` epochs, and go back to the best parameters."""

    def __init__(
        self, metric: str = "loss", *, patience: int = 3, best: str = "lowest", by: float = 0.0, restore: bool = True
    ) -> None:
        """`metric` is a number of the epoch's row; better is `best`, "lowest" or "highest", by more than `by`.

        With `restore` the parameters end as they were after the best epoch. Raises EtirError for another `best`.
        """
        if best not in ("lowest", "highest"):
            raise error("fit-option", f"best={best!r}; wanted 'lowest' or 'highest'")
        self.metric, self.patience, self.by, self.restores = metric, patience, by, restore
        self._sign = 1.0 if best == "lowest" else -1.0

    def begin(self, run: Run) -> None:
        """Nothing has been seen."""
        self.value, self.waited, self.params = float("inf"), 0, jax.tree.map(jnp.copy, run.params)

    def after_epoch(self, run: Run) -> None:
        """Compare. Raises EtirError where the row has no such number."""
        row = run.rows[-1]
        if self.metric not in row:
            raise error(
                "fit-metric",
                f"EarlyStopping watches '{self.metric}', which no epoch has",
                help=did_you_mean(self.metric, row),
            )
        value = self._sign * row[self.metric]
        if value < self.value - self.by:
            self.value, self.waited, self.params = value, 0, jax.tree.map(jnp.copy, run.params)
            return
        self.waited += 1
        if self.waited >= self.patience:
            best = text(self._sign * self.value)
            run.stop(f"'{self.metric}' has not become better than {best} for {self.waited} epochs")

    def end(self, run: Run) -> None:
        """Go back to the best parameters, if any epoch was finite."""
        if self.restores and self.value < float("inf"):
            run.params = self.params

    def state(self) -> Any:
        """The best value, how long it has been the best, and its parameters."""
        return {"value": self.value, "waited": self.waited, "params": self.params}

    def restore(self, state: Any) -> None:
        """Go on waiting."""
        self.value, self.waited, self.params = float(state["value"]), int(state["waited"]), state["params"]
