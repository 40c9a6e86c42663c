"""Training for those who want no loop of their own: `etir.fit`, and what can be hung into it."""

from .batches import Batch, Minibatches, pad
from .callback import Callback
from .checkpoints import Checkpoints
from .early_stopping import EarlyStopping
from .evaluate import Evaluate
from .fit import Fitted, fit
from .history import History
from .progress import Progress
from .run import Run

__all__ = [
    "Batch",
    "Callback",
    "Checkpoints",
    "EarlyStopping",
    "Evaluate",
    "Fitted",
    "History",
    "Minibatches",
    "Progress",
    "Run",
    "fit",
    "pad",
]
