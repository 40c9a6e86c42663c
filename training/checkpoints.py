"""Where a training stands, on disk, by orbax: it goes on from there to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..ir.diagnostics import error
from .callback import Callback
from .counts import check_count
from .progress import missing
from .run import Run

_COUNTED = ("epoch", "batch", "updates", "total", "steps", "rows", "stopped")
"""What a checkpoint keeps of a run beside arrays."""


class Checkpoints:
    """A directory in which a training is kept; `etir.fit` goes on from the last one that it finds there."""

    def __init__(self, directory: str | Path, *, every: int | None = None, keep: int = 2) -> None:
        """Save after each epoch, with `every` after so many batches too, and `keep` the last so many.

        Needs the package orbax-checkpoint. Raises EtirError for counts that are not positive, and where a file is in
        the directory's place.
        """
        check_count("keep", keep)
        if every is not None:
            check_count("every", every)
        if Path(directory).is_file():
            raise error("fit-option", f"checkpoints are kept in a directory, and '{directory}' is a file")
        try:
            import orbax.checkpoint as ocp
        except ImportError:
            raise missing("orbax-checkpoint", "Checkpoints", "train") from None
        self._ocp: Any = ocp
        self.directory, self.every, self.keep = Path(directory).absolute(), every, keep

    def opened(self, run: Run, callbacks: Sequence[Callback]) -> Saved:
        """The directory, for one training."""
        options = self._ocp.CheckpointManagerOptions(max_to_keep=self.keep, enable_async_checkpointing=False)
        manager = self._ocp.CheckpointManager(self.directory, options=options)
        return Saved(self, manager, self._ocp.args, run, callbacks)


@dataclass(frozen=True, slots=True)
class Saved:
    """A training and the directory that it is kept in."""

    of: Checkpoints
    manager: Any
    args: Any
    """orbax's ways to save things."""
    run: Run
    callbacks: Sequence[Callback]

    def after_batch(self) -> None:
        """Save where it is time to."""
        if self.of.every is not None and self.run.updates % self.of.every == 0:
            self.save()

    def save(self) -> None:
        """Write where the training stands."""
        leaves, kinds = self._arrays()
        counted = {name: getattr(self.run, name) for name in _COUNTED}
        described = counted | {"arrays": kinds, "options": self._options()}
        kept = {"arrays": self.args.StandardSave(leaves), "run": self.args.JsonSave(described)}
        ended = self.run.batch == 0  # after an epoch's last batch it may have been saved already
        self.manager.save(2 * self.run.updates + ended, args=self.args.Composite(**kept), force=True)

    def restore(self) -> None:
        """Go on from where the last checkpoint was; nothing where there is none.

        Raises EtirError for a checkpoint of another training: another model, rule, optimiser or other callbacks.
        """
        last = self.manager.latest_step()
        if last is None:
            return
        leaves, kinds = self._arrays()
        counted = self._read(last, run=self.args.JsonRestore()).run
        for what, wanted in (("options", self._options()), ("arrays", kinds)):
            if counted[what] != wanted:
                raise _of_another(self.of.directory, what, counted[what], wanted)
        found = self._read(last, arrays=self.args.StandardRestore(leaves)).arrays
        tree = jax.tree.unflatten(jax.tree.structure(self._kept()), found)
        self.run.params, self.run.opt_state = tree["params"], tree["opt_state"]
        self.run.carry = tree.get("carry", self.run.carry)
        for callback, state in zip(self.callbacks, tree["callbacks"], strict=True):
            callback.restore(state)
        for name in _COUNTED:
            setattr(self.run, name, counted[name])

    def close(self) -> None:
        """Let go of the directory."""
        self.manager.close()

    def _read(self, step: int, **items: Any) -> Any:
        return self.manager.restore(step, args=self.args.Composite(**items))

    def _kept(self) -> dict[str, Any]:
        """All arrays. Where each batch begins anew its carry is none of them: its size may be another batch's."""
        run, states = self.run, [callback.state() for callback in self.callbacks]
        carried = {} if run.sequence == "batch" else {"carry": run.carry}
        return {"params": run.params, "opt_state": run.opt_state, "callbacks": states} | carried

    def _options(self) -> dict[str, str]:
        """What the gradients depend on beside arrays."""
        plan = self.run.learner.transition.plan
        assert plan is not None
        rules = {"rule": plan.rule, "rules": ", ".join(plan.rules), "credit": plan.credit}
        return rules | {"window": str(plan.window), "sequence": self.run.sequence}

    def _arrays(self) -> tuple[list[Any], dict[str, str]]:
        """Their leaves, and types by path."""
        named, _ = jax.tree.flatten_with_path(self._kept())
        leaves = [x if isinstance(x, jax.Array) else np.asarray(x) for _, x in named]
        paths = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in named]
        types = [f"{x.dtype}[{','.join(map(str, x.shape))}]" for x in leaves]
        return leaves, dict(zip(paths, types, strict=True))


def _of_another(directory: Path, what: str, found: dict[str, str], wanted: dict[str, str]) -> Exception:
    paths = [path for path in {**found, **wanted} if found.get(path) != wanted.get(path)]
    notes = [f"{path} is {found.get(path, 'missing')} there, {wanted.get(path, 'missing')} here" for path in paths]
    return error(
        "checkpoint-structure",
        f"the checkpoint in {directory} is of another training: {len(paths)} of its {what} differ",
        notes=[*notes[:3], *([f"and {len(notes) - 3} more"] if len(notes) > 3 else [])],
        help="give another directory, or the model, rule, optimiser and callbacks that it was made with",
    )


def checkpoints_of(given: Any) -> Checkpoints | None:
    """Checkpoints as they are, or in a directory that is named. Raises EtirError for anything else."""
    if not isinstance(given, str | Path | Checkpoints | None):
        raise error("fit-option", f"checkpoints={given!r}; wanted a directory, or Checkpoints(directory)")
    return Checkpoints(given) if isinstance(given, str | Path) else given
