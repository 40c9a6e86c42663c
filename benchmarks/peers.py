"""etir beside braintrace and beside the same estimators by hand: `python -m benchmarks.peers`.

    LIF    u = [x, spike(v - 1)],   v' = 0.9 v - spike(v - 1) + u W
    tanh   u = [x, h],              h' = tanh(u W)

`pp_prop` at window 1 over a sequence, by each library's own driver; and one jitted call a step, which takes the
gradient, updates the weight by SGD and gives the carry back in the place of the old one.

What the two libraries' numbers have in common: `d_rtrl` with `credit="rule"` is braintrace's D_RTRL, equal gradients.
With `credit="full"` etir sends credit to the old state through the weight too. `pp_prop` is read differently: etir
takes a step's own part `f (x) x` as it is, and reads `F (x) X` as they were before the step; braintrace reads the new
ones, this step smoothed into them, and divides by `1 - a^t`. So the two are equal at the first step of a sequence
alone, and each is held against its own form by hand. Pin it to one core with `taskset -c 0`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import etir
from etir.rules import PpProp

from . import factored, lif
from .factored import DECAY, Layer
from .harness import Program, Row, compare, compiled, distance, timed_call

try:
    import brainstate
    import braintrace
except ImportError as missing:
    raise SystemExit(f"benchmarks.peers needs braintrace ({missing}): pip install -e '.[peers]'") from missing

Array = jax.Array
RATE = 1e-2
WARM = 8
"""Steps before the one that is timed, so that its traces are not zero."""


class Case(NamedTuple):
    """A layer with data: weight [i, n], state [B, n], inputs [T, B, ...] and targets [T, B, n]."""

    name: str
    layer: Layer
    data: lif.Data


def cases(n: int, batch: int, steps: int) -> list[Case]:
    """The LIF layer, and a tanh layer of half the size."""
    spiking = Layer(lif.site_input, lif.hidden, lif.loss)
    smooth = Layer(lambda h, x: jnp.concatenate([x, h], -1), lambda h, y: jnp.tanh(y), lif.loss)
    small = lif.make_data(n // 2, batch, steps)
    small = small._replace(w=small.w / 2)
    return [
        Case(f"LIF, n={n}", spiking, lif.make_data(n, batch, steps)),
        Case(f"tanh, n={n // 2}", smooth, small),
    ]


class Peer:
    """One model in braintrace, compiled for one algorithm."""

    def __init__(self, case: Case, algorithm: str) -> None:
        """Build the model of the case and its learner."""
        w, s, xs, _ = case.data

        class Model(brainstate.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.w = brainstate.ParamState(w)
                self.s = brainstate.HiddenState(s)

            def update(self, x: Array) -> Array:
                states, y = case.layer.step(braintrace.matmul, {"w": self.w.value}, {"s": self.s.value}, x)
                self.s.value = states["s"]
                return y

        options = {"decay_or_rank": DECAY} if algorithm == "pp_prop" else {}
        self.learner = braintrace.compile(Model(), algorithm, xs[0], batch_size=len(s), **options)
        self.loss = case.layer.loss

    def sequence(self, xs: Array, ts: Array) -> Any:
        """The summed gradient over a sequence, by braintrace's own driver."""
        return self.learner.etrace_grad(xs, ts, step_fn=self._loss, reduction="sum")

    def step(self, x: Array, target: Array) -> None:
        """One step with its update."""
        weights = self.learner.param_states
        grads = brainstate.transform.grad(lambda: self._loss(x, target), weights)()
        for path, weight in weights.items():
            weight.value = weight.value - RATE * grads[path]

    def _loss(self, x: Array, target: Array) -> Array:
        return self.loss(self.learner(x), target)


def pure(function: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """A function of a Peer as one of its states' values, `(values, *args) -> (values, result)`; and these values."""
    traced = brainstate.transform.StatefulFunction(function, return_only_write=False)
    return traced.jaxpr_call, [state.value for state in traced.get_states(*args)]


def learner_of(case: Case, rule: str, credit: str) -> tuple[Any, dict[str, Array]]:
    """The compiled learner, and its parameters."""
    params, states = {"w": case.data.w}, {"s": case.data.v}
    chosen = PpProp(decay=DECAY) if rule == "pp_prop" else rule
    step = partial(case.layer.step, etir.matmul)
    return etir.compile(step, params, states, case.data.xs[0], rule=chosen, credit=credit), params


def sequence_programs(case: Case, credit: str) -> list[Program]:
    """`pp_prop` over a sequence: braintrace's, etir's, etir's by hand, braintrace's by hand."""
    w, s, xs, ts = case.data
    run, values = pure(Peer(case, "pp_prop").sequence, xs, ts)
    learner, params = learner_of(case, "pp_prop", credit)
    driver = learner.grad(case.layer.loss)

    def online(params: Any, carry: Any, xs: Array, ts: Array) -> Any:
        found = driver(params, carry, xs, ts)
        return found.grads["w"], found.carry

    entry = partial(factored.at_entry, case.layer, full=credit == "full")
    return [
        Program(name="braintrace", run=run, args=(values, xs, ts), gradients=_only, donate=(0,), same_as="exit"),
        Program(
            name="etir",
            run=online,
            args=(params, learner.init(), xs, ts),
            gradients=lambda r: r[0],
            donate=(1,),
            same_as="hand",
        ),
        Program(name="hand", run=entry, args=(w, s, xs, ts)),
        Program(name="exit", run=partial(factored.at_exit, case.layer), args=(w, s, xs, ts)),
    ]


def _only(result: Any) -> Array:
    (gradient,) = result[1].values()
    return gradient


def step_programs(case: Case, rule: str, credit: str) -> list[Program]:
    """One call a step, with its update: braintrace's, etir's and by hand; all carries are donated."""
    w, _, xs, ts = case.data
    now = xs[WARM], ts[WARM]
    run, values = pure(Peer(case, rule).step, *now)
    learner, params = learner_of(case, rule, credit)
    for x, target in zip(xs[:WARM], ts[:WARM], strict=True):
        values = [w, *jax.jit(run)(values, x, target)[0][1:]]
    carry = learner.window(params, learner.init(), xs[:WARM])[0]

    def stepped(params: Any, carry: Any, x: Array, target: Array) -> tuple[Any, Any]:
        def one(params: Any) -> tuple[Array, Any]:
            after, y = learner.step(params, carry, x)
            return case.layer.loss(y, target), after

        grads, after = jax.grad(one, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - RATE * g, params, grads), after

    by_hand, traces = hand_step(case, rule, credit)

    def written(w: Array, carry: Any, x: Array, target: Array) -> Any:
        gradient, *after = by_hand(w, *carry, x, target)
        return w - RATE * gradient, after

    return [
        Program(name="braintrace", run=run, args=(values, *now), gradients=lambda r: r[0][0] - w, donate=(0,)),
        Program(
            name="etir",
            run=stepped,
            args=(params, carry, *now),
            gradients=lambda r: r[0]["w"] - w,
            donate=(0, 1),
            same_as="hand",
        ),
        Program(name="hand", run=written, args=(w, traces, *now), gradients=lambda r: r[0] - w, donate=(0, 1)),
    ]


def hand_step(case: Case, rule: str, credit: str) -> tuple[Callable[..., Any], Any]:
    """`(w, state, traces, x, target) -> (gradient, state, traces)`, and the state and traces after the first steps."""
    w, s, xs, ts = case.data
    if rule == "d_rtrl":
        return lif.d_rtrl_step if credit == "full" else lif.d_rtrl_classical_step, lif.traced(s, w, xs[:WARM])
    by_hand = partial(factored.entry_step, case.layer, full=credit == "full")
    now: Any = s, factored.no_factors(w, s)
    for x, target in zip(xs[:WARM], ts[:WARM], strict=True):
        now = by_hand(w, *now, x, target)[1:]
    return by_hand, now


def line(case: str, rule: str, rows: Sequence[Row], first: float | None = None) -> str:
    """One row of the table."""
    by = {row.name: row for row in rows}
    etir_, peer, hand = by["etir"], by["braintrace"], by["hand"]
    at_first = "" if first is None else f"{first:.0e}"
    return (
        f"{case:28} {rule:14}{etir_.ms_per_step:9.4f}{peer.ms_per_step:12.4f}{hand.ms_per_step:9.4f}"
        f"{etir_.ratio:13.2f}{hand.ratio:9.2f}{etir_.distance_from_same:11.0e}{etir_.distance_from_first:13.0e}"
        f"{at_first:>12}"
    )


HEAD = (
    f"{'':28} {'rule':14}{'etir ms':>9}{'braintrace':>12}{'by hand':>9}{'x braintrace':>13}{'by hand':>9}"
    f"{'d by hand':>11}{'d braintrace':>13}{'d at T=1':>12}"
)


def first_step(case: Case, credit: str) -> float:
    """How far the two libraries' `pp_prop` are apart at the first step of a sequence."""
    data = case.data._replace(xs=case.data.xs[:1], ts=case.data.ts[:1])
    peer, own = sequence_programs(case._replace(data=data), credit)[:2]
    return distance(*(p.gradients(timed_call(p, compiled(p)[0])[0]) for p in (own, peer)))


def main() -> None:
    """Print a line for each model, rule and form of credit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    n, steps = (64, 32) if options.quick else (512, 512)
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, braintrace {braintrace.__version__}")
    print(HEAD)
    for case in cases(n, 16, steps):
        for credit in ("rule", "full"):
            rows = compare(sequence_programs(case, credit), steps=steps, rounds=options.rounds)
            what = f"{case.name}, B=16, T={steps}"
            print(line(what, f"pp_prop {credit}", rows, first_step(case, credit)), flush=True)
            worst = next(r.distance_from_same for r in rows if r.name == "braintrace")
            assert (worst or 0) < 1e-5, "braintrace's form by hand is not braintrace's"
    for batch in (16, 1):
        case = cases(n, batch, WARM + 1)[0]
        for rule in ("d_rtrl", "pp_prop"):
            for credit in ("rule", "full"):
                rows = compare(step_programs(case, rule, credit), steps=1, rounds=5 * options.rounds)
                print(line(f"{case.name}, B={batch}, a call", f"{rule} {credit}", rows), flush=True)


if __name__ == "__main__":
    main()
