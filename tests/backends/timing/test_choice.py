"""window='auto': near the cheapest, within the memory, and the reason in the plan, its text, and the cost."""

from dataclasses import replace

import jax.numpy as jnp
import pytest
from device_models import MOVES, on_device  # noqa: F401 (a fixture)

import etir
from etir.backends.engine import Engine
from etir.backends.timing import Price, choose_fold, choose_window, priced_folds, priced_windows
from etir.backends.xla import Xla
from etir.ir import parse

PRICES = {1: Price(seconds=9e-3, held=10), 4: Price(seconds=2.02e-3, held=40), 16: Price(seconds=2e-3, held=160)}
HEAD = "a step predicted on D"


@pytest.mark.parametrize(
    ("memory", "longer", "window", "because"),
    [
        (
            1e9,
            False,
            4,
            f"2.02 ms {HEAD}; 1 would take 9 ms; 16 would take 2 ms; "
            "of 4, 16, within 5 % of the cheapest, it is the shortest: a longer one leaves out no less",
        ),
        (
            1e9,
            True,
            16,
            f"2 ms {HEAD}; 1 would take 9 ms; "
            "of 4, 16, within 5 % of the cheapest, it is the longest, which leaves out least",
        ),
        (39, True, 1, f"9 ms {HEAD}; 16 would take 2 ms; 4 would hold 40 B, more than 39 B"),
        (9, True, 1, f"9 ms {HEAD}; 16 would take 2 ms; 1 would hold 10 B, more than 9 B"),
    ],
)
def test_a_window_and_why(memory, longer, window, because):
    assert choose_window(PRICES, "D", memory=memory, longer_drops_less=longer) == (window, because)


def leaky(params, states, x):
    h = jnp.linspace(0.8, 0.95, states["h"].shape[-1]) * states["h"] + etir.matmul(x, params["W"])
    return {"h": h}, h


MODEL = leaky, {"W": jnp.ones((3, 4))}, {"h": jnp.zeros(4)}, jnp.zeros(3)


def test_a_compiled_learner_has_its_window_and_the_reason(on_device):  # noqa: F811
    on_device(MOVES)
    learner = etir.compile(*MODEL, window="auto")
    plan = learner.transition.plan
    assert learner.window_size == learner.certificate.window == plan.window > 1
    assert " a step predicted on a device that moves; 1 would take " in plan.window_because
    assert parse(str(learner.transition)).plan.window_because == plan.window_because
    assert str(learner.cost()).endswith(f"; window {plan.window}: {plan.window_because}")
    assert learner.cost(timed=True).seconds > 0


SMALL_CACHE = replace(MOVES, name="a small cache", bandwidth=((2048.0, 1e12), (4096.0, 1e8)))
"""Arrays of more than a few kilobytes are a thousand times as slow as small ones."""


def test_a_shorter_window_wins_where_a_longer_ones_history_is_large(on_device):  # noqa: F811
    on_device(SMALL_CACHE)
    model = leaky, {"W": jnp.ones((8, 16))}, {"h": jnp.zeros(16)}, jnp.zeros(8)
    learner = etir.compile(*model, window="auto")
    assert learner.window_size == 8
    assert learner.cost().because.endswith("predicted on a small cache; 1 would take 71.7 us; 64 would take 18.4 us"), (
        learner.cost().because
    )


def test_the_fold_is_the_cheapest_one_and_the_shortest_of_equals(on_device):  # noqa: F811
    def chosen(device, *model):
        on_device(device)
        learner = etir.compile(*model, window="auto")
        plan = learner.transition.plan
        assert learner._engine.longest_fold.steps == plan.fold
        assert learner._engine.longest_fold.because == plan.fold_because
        again = parse(str(learner.transition)).plan
        assert (again.fold, again.fold_because) == (plan.fold, plan.fold_because)
        return plan.fold, plan.fold_because

    wide = leaky, {"W": jnp.ones((8, 16))}, {"h": jnp.zeros(16)}, jnp.zeros(8)
    fold, because = chosen(SMALL_CACHE, *wide)
    assert fold == 32
    assert because.startswith("11.5 us a step predicted on a small cache, its history small; 64 ")
    dense = leaky, {"W": jnp.ones((64, 64))}, {"h": jnp.zeros(64)}, jnp.zeros(64)
    held = etir.compile(*dense).transition
    engine_of = lambda fold: Engine(replace(held, plan=replace(held.plan, fold=fold)), Xla())  # noqa: E731
    why = "56.4 us a step predicted on D, its history small; 32 62.6 us, 64 58.4 us, 256 55.3 us"
    assert choose_fold(priced_folds(engine_of, MOVES), "D", memory=1e9) == (128, why)


def test_where_a_fold_is_as_long_as_a_window_there_is_nothing_to_choose(on_device):  # noqa: F811
    on_device(MOVES)
    learner = etir.compile(*MODEL, window="auto", rule="pp_prop")
    assert learner.transition.plan.fold == 0
    assert learner._engine.longest_fold.because == "no trace is passed over; products are done together"


def test_a_fold_and_why():
    prices = {32: Price(seconds=3e-3, held=10), 64: Price(seconds=2.05e-3, held=20), 128: Price(seconds=2e-3, held=40)}
    head = "a step predicted on D, its history small"
    assert choose_fold(prices, "D", memory=1e9) == (64, f"2.05 ms {head}; 32 3 ms, 128 2 ms")
    assert choose_fold(prices, "D", memory=15) == (32, f"3 ms {head}; 64 2.05 ms, 128 2 ms")


def test_an_optimiser_is_not_charged_for_frozen_weights(on_device):  # noqa: F811
    on_device(SMALL_CACHE)

    def seconds(**options):
        model = leaky, {"W": jnp.ones((3, 4)), "frozen": jnp.ones(100)}, {"h": jnp.zeros(4)}, jnp.zeros(3)
        engine_of = lambda window: Engine(etir.compile(*model, window=window, **options).transition, Xla())  # noqa: E731
        return priced_windows(engine_of, SMALL_CACHE)[1].seconds

    moved = 7 * jnp.ones(100).nbytes / 1e8
    assert seconds() - seconds(frozen=["frozen"]) == pytest.approx(moved, rel=0.01)


def test_little_memory_means_a_short_window_and_less_a_refusal(on_device):  # noqa: F811
    on_device(MOVES)
    learner = etir.compile(*MODEL, window="auto", memory="100 B")
    assert learner.window_size == 1
    assert "more than 100 B" in learner.cost().because
    with pytest.raises(etir.EtirError) as refused:
        etir.compile(*MODEL, window="auto", memory="90 B")
    assert str(refused.value) == (
        "error: the traces of rule 'd_rtrl' would hold 96 B; the budget is 90 B, given by memory= [memory-exceeded]\n"
        "  note: 'W on h', f64[3,4], holds 96 B\n"
        "  help: rule='auto' fits, in 56 B: 1 of 1 weights by pp_prop; memory= moves the budget"
    )
