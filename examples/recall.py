"""The demo's task: recall a symbol long after it was shown, amid noise.

Every trial shows one of `SYMBOLS` symbols for a single step (the cue), then nothing but noise, and after a random delay
of `SHORTEST` to `LONGEST` steps asks for it (the query). Only the answer at the query is scored. Trials follow one
another in a stream that is never interrupted.

**Backpropagation that is cut every `WINDOW` steps cannot learn it.** Claim: if the weights of the cue's channels
begin at zero, they stay at zero for ever. So the state never depends on the cue, and the accuracy is chance, `1 /
SYMBOLS`, for every number of units, length of training, and optimizer that leaves a weight alone whose gradients are
all zero, as Adam does. Proof: inside a window, reverse mode gives the cue's weights the gradient

    sum over steps k of the window:  cue_k (outer) dl/dy_k ,

where `y_k` is the product that the weights take part in at step `k`, and `dl/dy_k` collects the losses at step `k`
and later in the same window. Away from a cue `cue_k = 0`. At a cue, the next scored step is at least `SHORTEST >=
WINDOW` steps away, so in another window: `dl/dy_k = 0`. Every term is zero. An eligibility trace carries `dh/dw` from
one window to the next; with it there is one more term, and that one is not zero.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

SYMBOLS = 8
NOISE = 4
CHANNELS = SYMBOLS + NOISE + 1
SHORTEST, LONGEST = 50, 100
TRIAL = LONGEST + 1
WINDOW = 10
STREAMS = 16
CHANCE = 1 / SYMBOLS

assert SHORTEST >= WINDOW, "the argument above needs the cue and the query in different windows"


class Stream(NamedTuple):
    """Consecutive trials of `STREAMS` independent streams; the leading axis is time."""

    inputs: jax.Array
    """`[time, STREAMS, CHANNELS]`: the cue one-hot, noise, and the query's flag."""
    answers: jax.Array
    """`[time, STREAMS]`: the symbol of the trial."""
    queries: jax.Array
    """`[time, STREAMS]`: one where the answer is scored, else zero."""


def stream(key: jax.Array, trials: int) -> Stream:
    """Draw the next `trials` trials of every stream."""
    of_symbol, of_delay, of_noise = jax.random.split(key, 3)
    symbol = jax.random.randint(of_symbol, (trials, 1, STREAMS), 0, SYMBOLS)
    delay = jax.random.randint(of_delay, (trials, 1, STREAMS), SHORTEST, LONGEST + 1)
    time = jnp.arange(TRIAL)[:, None]
    cue = jax.nn.one_hot(symbol, SYMBOLS) * (time == 0)[..., None]
    noise = 0.5 * jax.random.normal(of_noise, (trials, TRIAL, STREAMS, NOISE))
    query = (time == delay).astype(jnp.float32)
    inputs = jnp.concatenate([cue, noise, query[..., None]], axis=-1)
    parts = inputs, jnp.broadcast_to(symbol, query.shape), query
    return Stream(*(part.reshape(trials * TRIAL, *part.shape[2:]) for part in parts))


def loss(logits: jax.Array, answer: jax.Array, query: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cross-entropy of the answers asked for at this step; beside it, how many were right, and how many there were."""
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, answer)
    right = query * (logits.argmax(-1) == answer)
    return jnp.sum(query * entropy) / STREAMS, jnp.stack([right.sum(), query.sum()])
