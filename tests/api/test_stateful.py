"""The learner as an object: options, windows, resumption, batches by vmap in every order, and what is refused."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from oracles import relative_error
from step_by_step import assert_same, gradients

import etir
from etir import EtirError, nn, rules, transform

XS = jax.random.normal(jax.random.key(0), (6, 4, 3))
"""Steps, samples, features."""


class Cell(etir.Module):
    def __init__(self) -> None:
        key = jax.random.key(1)
        self.w = etir.ParamState(0.5 * jax.random.normal(key, (3, 2)))
        self.u = etir.ParamState(0.5 * jax.random.normal(key, (2, 2)))
        self.h = etir.HiddenState(jnp.zeros(2))

    def update(self, x):
        self.h.value = 0.8 * self.h.value + jnp.tanh(
            etir.matmul(x, self.w.value) + etir.matmul(self.h.value, self.u.value)
        )
        return self.h.value


def functional(batch: bool, **options: Any) -> dict[str, jax.Array]:
    """The same by the functional face."""
    model, xs = Cell(), XS if batch else XS[:, 0]
    if batch:
        nn.init_all_states(model, batch_size=4)
    learner = etir.compile(model, xs[0], **options)
    return learner.grad(lambda y: jnp.sum(y**2))(learner.params, learner.init(), xs).grads


CLASSES = {
    etir.BPTT: (rules.Bptt, {}),
    etir.Cascade: (rules.Cascade, {"constants": 3, "span": 5.0}),
    etir.DNI: (rules.Dni, {"hidden": 4, "learning_rate": 0.1, "scale": 0.5}),
    etir.D_RTRL: (rules.DRtrl, {}),
    etir.EProp: (rules.EProp, {"kappa": 0.3, "feedback": "random"}),
    etir.KF_RTRL: (rules.KfRtrl, {}),
    etir.OTTT: (rules.Ottt, {"leak": 0.7}),
    etir.PpProp: (rules.PpProp, {"decay": 0.7}),
    etir.RFLO: (rules.Rflo, {"feedback": "symmetric"}),
    etir.RTRL: (rules.Rtrl, {}),
    etir.SnAp: (rules.SnAp, {"n": 2}),
    etir.ThreeFactor: (rules.ThreeFactor, {"shape": (2,)}),
    etir.UORO: (rules.Uoro, {}),
}
OPTIONS = {
    "window": 3,
    "backend": "xla",
    "sites": ["*"],
    "frozen": "b",
    "rules": {"w": "rtrl"},
    "credit": "full",
    "trace_dtype": jnp.bfloat16,
    "on_truncated": "ignore",
    "buffers": "v",
    "memory": "1GiB",
    "mask": "step",
    "reset": "step",
}


def test_there_is_a_class_for_every_rule_and_each_takes_every_option():
    assert {of.name for of, _ in CLASSES.values()} == set(rules.RULES) - {"auto"}
    for algorithm, (of, own) in CLASSES.items():
        online = algorithm(Cell(), **own, **OPTIONS)
        assert (online.rule, online.options) == (of(**own), OPTIONS)


REFUSED = {
    "error: there is no option 'windw' [unknown-option]\n  help: did you mean 'window'?":
        lambda: etir.D_RTRL(Cell(), windw=3),
    "error: there is no option 'dekay' [unknown-option]\n  help: did you mean 'decay'?":
        lambda: etir.PpProp(Cell(), dekay=0.5),
    "error: there is no option 'decay' [unknown-option]": lambda: etir.D_RTRL(Cell(), decay=0.5),
    "error: there is no learning rule 'd_rtlr' [unknown-rule]\n  help: did you mean 'd_rtrl'?":
        lambda: etir.OnlineLearner(Cell(), "d_rtlr"),
    "error: there is no learning rule 'rtlr' [unknown-rule]": lambda: etir.RTRL(Cell(), rules={"w": "rtlr"}),
    "error: window=0; a window is at least one step long [window-size]": lambda: etir.RTRL(Cell(), window=0),
    "error: credit='none'; wanted 'full' or 'rule' [unknown-credit]": lambda: etir.RTRL(Cell(), credit="none"),
    "error: memory='much'; wanted a number of bytes [memory-size]": lambda: etir.RTRL(Cell(), memory="much"),
    "error: trace_dtype='int32'; wanted a floating-point element type [trace-dtype]":
        lambda: etir.RTRL(Cell(), trace_dtype=jnp.int32),
    "error: there is no backend 'xl' [unknown-backend]": lambda: etir.RTRL(Cell(), backend="xl"),
    "error: mask='samples'; wanted one of 'step', 'sample', or None [unknown-option]":
        lambda: etir.RTRL(Cell(), mask="samples"),
    "error: on_truncated='warning'; wanted 'warn', 'error' or 'ignore' [unknown-option]":
        lambda: etir.RTRL(Cell(), on_truncated="warning"),
    "error: 'PpProp' is a learner around a model; wanted a rule [unknown-rule]\n"
    "  help: pass rule=etir.rules.PpProp(); or the model to the learner, etir.PpProp(model)":
        lambda: etir.RTRL(Cell(), rules={"w": etir.PpProp}),
    "error: 'D_RTRL' is a learner around a model; wanted a rule [unknown-rule]\n"
    "  help: pass rule=etir.rules.DRtrl(); or the model to the learner, etir.D_RTRL(model)":
        lambda: etir.OnlineLearner(Cell(), etir.D_RTRL(Cell())),
    "error: etir.EProp is a learner around a model, and was given none [learner-arguments]\n"
    "  help: etir.EProp(model); the rule by itself is etir.rules.EProp(...), or 'e_prop'":
        lambda: etir.EProp(kappa=0.3),
    "error: etir.SnAp takes a model and options by name, and was given more [learner-arguments]\n"
    "  help: learner = etir.SnAp(model), then learner.compile_graph(x) with an example of every input":
        lambda: etir.SnAp(Cell(), XS[0]),
}  # fmt: skip


@pytest.mark.parametrize("said", REFUSED)
@pytest.mark.each
def test_options_are_checked_at_construction(said: str):
    with pytest.raises(EtirError) as refused:
        REFUSED[said]()
    shown = replace(refused.value.diagnostics[0], loc=None)
    assert str(shown).startswith(said)


@pytest.mark.parametrize("algorithm", [etir.PpProp, etir.RTRL])
def test_a_class_is_its_rule(algorithm: type[etir.OnlineLearner]):
    model = Cell()
    online = algorithm(model)
    online.compile_graph(XS[0, 0])
    assert_same(gradients(online, model, XS[:, 0]), functional(False, rule=online.rule))


def test_a_rule_that_draws_takes_its_key_from_the_random_state():
    drawn = []
    for seed in (0, 0, 1):
        etir.random.seed(seed)
        model = Cell()
        online = etir.UORO(model)
        online.compile_graph(XS[0, 0])
        drawn.append(gradients(transform.jit(online), model, XS[:3, 0])["w"])
    assert (drawn[0] == drawn[1]).all()
    assert not (drawn[0] == drawn[2]).all()


def test_signals_and_marks_go_with_the_inputs():
    model = Cell()
    online = etir.ThreeFactor(model, shape=(2,), reset="step")
    online.compile_graph(XS[0, 0])

    def gradient(modulator: float, reset: bool) -> jax.Array:
        said = {"modulator": jnp.full(2, modulator), "reset": jnp.bool_(reset)}
        return transform.grad(lambda x: jnp.sum(online(x, **said)), model)(XS[0, 0])["w"]

    one, two = gradient(1.0, True), gradient(2.0, True)
    assert relative_error(two, 2 * one) < 1e-12
    assert (model.h.value == jnp.tanh(XS[0, 0] @ model.w.value)).all()


@pytest.mark.parametrize("window", [2, 3])
def test_a_window_of_steps_at_a_time(window: int):
    model = Cell()
    online = etir.D_RTRL(model, window=window)
    online.compile_graph(XS[0, 0])
    total: Any = 0
    for xs in XS[:, 0].reshape(-1, window, 3):
        found = transform.grad(lambda xs: jnp.sum(online.window(xs) ** 2), model)(xs)
        total = found if total == 0 else jax.tree.map(jnp.add, total, found)
    assert_same(total, functional(False, window=window))


@pytest.mark.parametrize("cut", range(5))
def test_a_run_that_is_cut_and_resumed_is_the_whole_run_bit_for_bit(cut: int):
    def started() -> tuple[Cell, etir.OnlineLearner]:
        model = Cell()
        online = etir.D_RTRL(model)
        online.compile_graph(XS[0, 0])
        return model, online

    def run(model: Cell, online: etir.OnlineLearner, xs: jax.Array) -> list[Any]:
        return [transform.grad(lambda x: jnp.sum(online(x) ** 2), model)(x) for x in xs]

    model, online = started()
    whole = run(model, online, XS[:, 0])
    model, online = started()
    before = run(model, online, XS[:cut, 0])
    saved = pickle.loads(pickle.dumps(jax.device_get(nn.save_states(online))))
    assert set(saved) == {"h", "traces"}
    model, online = started()
    after = run(model, nn.load_states(online, saved), XS[cut:, 0])
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), whole, [*before, *after]))


def test_a_checkpoint_of_the_model_alone_lacks_the_traces():
    model = Cell()
    online = etir.D_RTRL(model)
    online.compile_graph(XS[0, 0])
    online(XS[0, 0])
    with pytest.raises(EtirError, match=r"load_states was given nothing for 'traces' \[path-missing\]"):
        nn.load_states(online, nn.save_states(model))
    nn.load_states(online, nn.save_states(model), strict=False)
    assert list(nn.save_states(online, ...)) == ["w", "u", "h", "traces"]


def vmapped_model() -> tuple[Cell, Callable[..., Any]]:
    """Initialised, then wrapped, then compiled for the batch."""
    model = Cell()
    transform.vmap_new_states(lambda: nn.init_all_states(model) and None, axis_size=4)()
    online = etir.D_RTRL(etir.vmap(model))
    online.compile_graph(XS[0])
    return model, online


def compiled_first() -> tuple[Cell, Callable[..., Any]]:
    """Compiled for one sample, then initialised, then mapped."""
    model = Cell()
    online = etir.D_RTRL(model)
    online.compile_graph(XS[0, 0])
    transform.vmap_new_states(lambda: nn.init_all_states(model) and None, axis_size=4)()
    return model, etir.vmap(online)


def initialised_first() -> tuple[Cell, Callable[..., Any]]:
    """Initialised, then compiled for one sample, then mapped."""
    model = Cell()
    transform.vmap_new_states(lambda: nn.init_all_states(model) and None, axis_size=4)()
    online = etir.D_RTRL(model)
    online.compile_graph(XS[0, 0])
    return model, etir.vmap(online)


def after_one_sample() -> tuple[Cell, Callable[..., Any]]:
    """Run on one sample, then initialised, the learner with its traces, then mapped."""
    model = Cell()
    online = etir.D_RTRL(model)
    online.compile_graph(XS[0, 0])
    online(XS[3, 1])
    transform.vmap_new_states(lambda: nn.init_all_states(online) and None, axis_size=4)()
    return model, etir.vmap(online)


def by_hand() -> tuple[Cell, Callable[..., Any]]:
    """The batch axis written in the states."""
    model = Cell()
    batch = etir.D_RTRL(nn.init_all_states(model, batch_size=4))
    batch.compile_graph(XS[0])
    return model, batch


@pytest.mark.parametrize("make", [vmapped_model, compiled_first, initialised_first, after_one_sample, by_hand])
def test_a_batch_by_vmap_in_every_order(make: Callable[[], Any]):
    model, call = make()
    assert_same(gradients(call, model, XS), functional(True))
    assert model.h.varshape == (4, 2)


def test_a_batch_whose_states_are_missing_says_which():
    with pytest.raises(EtirError, match=r"state 'h' is shared by vmap's samples.*\[vmap-write\](.|\n)*vmap_new_states"):
        etir.D_RTRL(etir.vmap(Cell())).compile_graph(XS[0])
    model = Cell()
    online = etir.D_RTRL(model)
    online.compile_graph(XS[0, 0])
    online(XS[0, 0])
    transform.vmap_new_states(lambda: nn.init_all_states(model) and None, axis_size=4)()
    with pytest.raises(EtirError, match=r"state 'traces' is shared by vmap's samples"):
        etir.vmap(online)(XS[0])


def test_a_learner_begins_anew_whole_and_in_other_batches():
    model = Cell()
    nn.init_all_states(model, batch_size=4)
    online = etir.D_RTRL(model)
    online.compile_graph(XS[0])
    first = gradients(online, model, XS)
    assert_same(gradients(nn.zero_states(online), model, XS), first)
    nn.init_all_states(model, batch_size=2)
    with pytest.raises(EtirError) as refused:
        online(XS[0, :2])
    assert str(refused.value) == (
        "error: state 'h' is f64[2,2], and the traces belong to f64[4,2] [stale-traces]\n"
        "  help: begin anew: nn.init_all_states(learner) or nn.zero_states(learner), not of the model alone; "
        "where the states are meant, learner.reset_traces()"
    )
    halves = [gradients(nn.init_all_states(online, batch_size=2), model, half) for half in (XS[:, :2], XS[:, 2:])]
    assert_same(jax.tree.map(jnp.add, *halves), first)


def test_states_that_were_changed_have_no_gradient_through_old_traces():
    model = Cell()
    online = etir.D_RTRL(model)
    online.compile_graph(XS[0, 0])
    gradient = transform.grad(lambda: online(XS[1, 0]).sum(), model)
    compiled = transform.jit(gradient)
    assert jnp.isfinite(compiled()["w"]).all()
    nn.zero_states(model)
    with pytest.raises(EtirError) as refused:
        gradient()
    assert str(refused.value) == (
        "error: state 'h' was changed since the learner's last step, and the traces belong to what it was "
        "[stale-traces]\n"
        "  help: begin anew: nn.init_all_states(learner) or nn.zero_states(learner), not of the model alone; "
        "where the states are meant, learner.reset_traces()"
    )
    assert jnp.isnan(compiled()["w"]).all()
    nn.zero_states(model)
    online.reset_traces()
    wanted = XS[1, 0][:, None] / jnp.cosh(XS[1, 0] @ model.w.value) ** 2
    assert relative_error(compiled()["w"], wanted) < 1e-12
    model.h.value = model.h.value + 1
    assert (online(XS[1, 0]) == model.h.value).all()


def test_it_begins_anew_inside_a_program_too():
    model = Cell()
    online = etir.D_RTRL(model)
    online.compile_graph(XS[0, 0])

    def loss(xs: jax.Array) -> jax.Array:
        nn.zero_states(online)
        return jnp.sum(transform.for_loop(online, xs) ** 2)

    for _ in range(2):
        found = transform.jit(transform.grad(loss, model))(XS[:, 0])
        assert_same(found, functional(False))


def test_no_gradient_by_a_hidden_state_is_lost_silently():
    model = Cell()
    online = etir.D_RTRL(model)
    online.compile_graph(XS[0, 0])
    with pytest.raises(EtirError) as refused:
        transform.grad(lambda: online(XS[0, 0]).sum(), {"h": model.h})()
    assert str(refused.value) == (
        "error: the gradient by state 'h' is asked for, and a learner's traces hold none [state-derivative]\n"
        "  help: use etir.compile(model, *inputs, initial=...): learner.init takes states to differentiate"
    )


def test_it_prints_in_a_line():
    assert repr(etir.PpProp(Cell(), decay=0.5, window=2)) == "PpProp(Cell, rule='pp_prop', window=2)"


def test_a_model_that_has_traces_of_its_own_is_told():
    class Model(Cell):
        def __init__(self) -> None:
            super().__init__()
            self.traces = etir.HiddenState(jnp.zeros(2))

    with pytest.raises(EtirError, match="two different states have the path 'traces'"):
        etir.D_RTRL(Model()).states()
