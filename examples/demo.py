"""Train a recurrent network online, and look at what the compiler made of it: `make demo`.

A GRU reads a stream that never ends and must recall what it saw 50 to 100 steps before, while its weights change
every 10 steps (`recall.py` has the task, and the proof that backpropagation over 10 steps can never learn it). It is
trained by a learner that etir compiles, by truncated backpropagation with the same window, and by full
backpropagation through each trial, which holds the whole trial in memory and changes the weights only at its end.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from contenders import PARAMS, UNITS, Contender, contenders, optimizer
from figures import learning_curves
from recall import CHANCE, LONGEST, SHORTEST, STREAMS, SYMBOLS, TRIAL, WINDOW, stream
from tqdm import tqdm

TRIALS_A_CALL = 10
LENGTHS = (100, 10_000)
"""Of the sequences whose gradients' memory is compared, in steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one contender did."""

    contender: Contender
    accuracy: np.ndarray
    """The share of right answers in each call, which is `TRIALS_A_CALL` trials of every stream."""
    cue_weights: float
    """The largest weight of a cue at the end, in absolute value; zero at the beginning."""
    seconds: float
    """Of all calls but the first, which compiles."""
    memory: dict[int, int]
    """Working bytes of a gradient over so many steps."""


def main() -> None:
    """Run everything, print what was found, and write the pictures."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    calls = max(2, options.trials // TRIALS_A_CALL)
    learner, field = contenders(calls * TRIALS_A_CALL * TRIAL)
    print(learner.transition)
    print(learner.certificate, end="\n\n")
    print(f"Recall one of {SYMBOLS} symbols after {SHORTEST} to {LONGEST} steps.")
    print(f"{UNITS} units, {STREAMS} streams, windows of {WINDOW} steps.\n")
    runs = [run(contender, calls) for contender in field]
    print("\n" + table(runs) + "\n")
    text, graph, curves = (options.out / name for name in ("gru.txt", "gru.svg", "learning_curves.png"))
    text.write_text(str(learner.transition))
    learner.show_graph(graph)
    learning_curves(
        curves,
        {r.contender.name: r.accuracy for r in runs},
        {r.contender.name: r.memory for r in runs},
        steps_a_point=TRIALS_A_CALL * TRIAL,
        chance=CHANCE,
    )
    print(f"transition IR    {text}   (irdump explain {text})\ngraph            {graph}\nlearning curves  {curves}")


def run(contender: Contender, calls: int) -> Run:
    """Train a contender on the stream."""
    params, opt_state, carry = PARAMS, optimizer(1).init(PARAMS), contender.carry
    accuracy: list[float] = []
    started = time.perf_counter()
    bar = tqdm(range(calls), desc=f"{contender.name:<16}", unit_scale=TRIALS_A_CALL, unit=" trials", mininterval=0.5)
    bar.set_postfix_str("compiling")
    for call in bar:
        done = contender.train(params, opt_state, carry, *stream(jax.random.key(call), TRIALS_A_CALL))
        params, opt_state, carry = done.params, done.opt_state, done.carry
        right, asked = np.asarray(done.aux).sum(0)
        accuracy.append(float(right / asked))
        bar.set_postfix_str(f"accuracy {accuracy[-1]:.2f}", refresh=False)
        if call == 0:
            started = time.perf_counter()
    return Run(
        contender=contender,
        accuracy=np.array(accuracy),
        cue_weights=float(np.abs(params["W"][:SYMBOLS]).max()),
        seconds=time.perf_counter() - started,
        memory={steps: memory(contender, steps) for steps in LENGTHS},
    )


def memory(contender: Contender, steps: int) -> int:
    """Bytes that XLA sets aside to compute a gradient over so many steps, beside inputs and results."""
    example = jax.eval_shape(lambda key: stream(key, 1), jax.random.key(0))
    longer = jax.tree.map(lambda a: jax.ShapeDtypeStruct((steps, *a.shape[1:]), a.dtype), example)
    compiled = jax.jit(contender.gradient).lower(PARAMS, contender.carry, *longer).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def table(runs: list[Run]) -> str:
    """The numbers at the end."""
    rows = [("", "accuracy", "cue weights", "updates", "us a step", *(f"memory, {t:,} steps" for t in LENGTHS))]
    for r in runs:
        trained = len(r.accuracy) * TRIALS_A_CALL * TRIAL
        late = r.accuracy[-max(1, len(r.accuracy) // 10) :].mean()
        cost = 1e6 * r.seconds / (trained * (1 - 1 / len(r.accuracy)))
        sizes = (f"{size / 2**20:.2f} MiB" for size in r.memory.values())
        updates = trained // r.contender.window
        rows.append((r.contender.name, f"{late:.1%}", f"{r.cue_weights:.2f}", f"{updates}", f"{cost:.0f}", *sizes))
    rows.append(("chance", f"{CHANCE:.1%}", *("" for _ in rows[0][2:])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="how many trials of each stream to train on")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the pictures go")
    return parser.parse_args()


if __name__ == "__main__":
    main()
