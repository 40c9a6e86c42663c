"""A bar that moves."""

from __future__ import annotations

from typing import Any

from ..ir.diagnostics import error
from .callback import Callback
from .history import text
from .run import Run


class Progress(Callback):
    """A tqdm bar over all batches, with the numbers of the last epoch and the loss of this one."""

    def __init__(self, **options: Any) -> None:
        """`options` are tqdm's: `total=` for batches that have no length, say. Needs the package tqdm."""
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise missing("tqdm", "Progress", "train") from None
        self._tqdm: Any = tqdm
        self.options = options

    def begin(self, run: Run) -> None:
        """Show an empty bar."""
        self.bar = self._tqdm(**{"total": run.expected, "unit": " batches", "mininterval": 0.2, **self.options})

    def restore(self, state: Any) -> None:
        """Begin where the checkpoint was."""
        self.bar.update(int(state) - self.bar.n)

    def state(self) -> Any:
        """Batches so far."""
        return int(self.bar.n)

    def after_batch(self, run: Run) -> None:
        """Move on."""
        if self.bar.update(1):
            self.bar.set_postfix_str(f"epoch {run.epoch + 1}, loss {text(run.loss)}", refresh=False)

    def after_epoch(self, run: Run) -> None:
        """Show the row."""
        self.bar.set_postfix_str(", ".join(f"{k} {text(v)}" for k, v in run.rows[-1].items() if k != "seconds"))

    def end(self, run: Run) -> None:
        """Leave the bar as it is."""
        self.bar.close()


def missing(package: str, what: str, extra: str) -> Exception:
    """The error for a package that is not installed."""
    return error("missing-package", f"{what} needs the package {package}", help=f"pip install 'etir[{extra}]'")
