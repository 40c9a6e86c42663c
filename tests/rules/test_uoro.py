"""uoro: a random rank-one influence, whose mean is exact."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from estimates import biased, estimates, gradients, learner_of, model, scores, words_of
from oracles import by_path, loss, relative_error
from problems import problem
from snippets import expected
from stages import lowered, section

import etir
from etir.rules import Uoro, uoro


def step(p, s, x):
    h = jnp.tanh(etir.matmul(s["h"], p["U"]) + x @ p["W"] + p["b"])
    return {"h": h}, h @ p["o"]


RNN = model(step, {"U": (4, 4), "W": (2, 4), "b": (4,), "o": (4, 2)}, {"h": jnp.zeros(4)}, (2,))


# The mean over keys


@pytest.mark.parametrize(("backend", "window"), [("xla", 1), ("xla", 2), ("reference", 1), ("reference", 2)])
def test_the_mean_over_keys_is_the_exact_gradient(backend: str, window: int):
    assert biased(RNN, "uoro", window, backend) == {}


def test_one_sign_for_all_coordinates_would_be_found_out(monkeypatch: pytest.MonkeyPatch):
    def drawn(plan, types):
        return plan.apply(lambda *v: [v[0].ravel()[0] * jnp.ones_like(x) for x in v], *honest(plan, types), name="one")

    honest = uoro.random_signs
    monkeypatch.setattr(uoro, "random_signs", drawn)
    assert set(biased(RNN, "uoro")) == {"U", "W", "b"}


def test_a_factor_that_shrinks_by_a_tenth_would_be_found_out(monkeypatch: pytest.MonkeyPatch):
    honest = uoro.mixed
    monkeypatch.setattr(uoro, "mixed", lambda a, left, b, right: honest(0.9 * a, left, b, right))
    assert biased(RNN, "uoro") != {}


def test_a_weight_made_by_a_prologue():
    mask = np.array([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 1], [1, 0, 1, 1]])

    def masked(p, s, x):
        h = jnp.tanh(etir.matmul(s["h"], mask * p["w"]) + x)
        return {"h": h}, h

    of = model(masked, {"w": (4, 4)}, {"h": jnp.zeros(4)}, (4,))
    found = estimates(of, learner_of(of, "uoro"))
    assert max(scores(found, of.wanted).values()) < 4.5
    assert not found["w"][:, mask == 0].any()


def test_samples_that_meet_and_states_of_two_shapes():
    def meeting(p, s, x):
        h = jnp.tanh(etir.matmul(s["h"], p["U"]) + x + s["m"])
        return {"h": h, "m": 0.9 * s["m"] + h.mean()}, h

    of = model(meeting, {"U": (3, 3)}, {"h": jnp.zeros((2, 3)), "m": jnp.zeros(())}, (2, 3))
    assert biased(of, "uoro", keys=3000) == {}


def test_complex_states_and_parameters_that_are_not_complex_differentiable():
    def conjugated(p, s, x):
        w, a = p["W"][..., 0] + 1j * p["W"][..., 1], p["a"][..., 0] + 1j * p["a"][..., 1]
        z = etir.matmul(x.astype(complex), w) + jnp.conj(etir.scale(s["z"], a)) + 0.1 * jnp.abs(s["z"])
        return {"z": z}, z.real + z.imag**2

    of = model(conjugated, {"W": (2, 3, 2), "a": (3, 2)}, {"z": jnp.zeros(3, complex)}, (2,))
    assert biased(of, "uoro", keys=3000) == {}


def test_complex_parameters():
    def rotating(p, s, x):
        z = etir.scale(s["z"], p["a"]) + etir.matmul(x.astype(complex), p["W"])
        return {"z": z}, z.real

    of = model(rotating, {"W": (2, 3), "a": (3,)}, {"z": jnp.zeros(3, complex)}, (2,))
    of = of._replace(params=jax.tree.map(lambda x: x * jnp.exp(0.4j), of.params))
    assert biased(of, "uoro", keys=3000) == {}


# One recursion, written out


def test_two_steps_by_hand():
    learner = learner_of(RNN, "uoro")
    p, xs, ts = jax.tree.map(np.asarray, (RNN.params, RNN.xs, RNN.ts))
    carry = learner.init(key=jax.random.key(3))
    labels = [trace.label for trace in learner.transition.plan.traces]
    h, s, theta = np.zeros(4), np.zeros(4), {"U": np.zeros((4, 4)), "W": np.zeros((2, 4)), "b": np.zeros(4)}
    assert labels == [
        "random tangent of h",
        *(f"random cotangent of {k}" for k in theta),
        "the key of uoro's random signs",
    ]

    def credited(params, carry, x, t):
        carry, y = learner.step(params, carry, x)
        return loss(y, t), carry

    for x, t in zip(xs[:3], ts[:3], strict=True):
        raw = carry.traces[-1]
        grads, carry = jax.grad(credited, has_aux=True)(RNN.params, carry, x, t)
        key, nu = words_of(raw, 4)

        new = np.tanh(h @ p["U"] + x @ p["W"] + p["b"])
        slope = 1 - new**2
        delta = (new @ p["o"] - t) @ p["o"].T * slope
        direct = {"U": np.outer(h, delta), "W": np.outer(x, delta), "b": delta}
        credit = (p["U"] @ delta) @ s
        for name, wanted in direct.items():
            np.testing.assert_allclose(grads[name], wanted + credit * theta[name], rtol=1e-10, atol=1e-12)

        pushed, pulled = slope * (s @ p["U"]), nu * slope
        fed = {"U": np.outer(h, pulled), "W": np.outer(x, pulled), "b": pulled}
        norm = lambda tree: np.sqrt(sum(np.sum(v**2) for v in tree.values()))  # noqa: E731
        rho1 = np.sqrt(norm(fed) / 2)  # |nu| is the root of four
        if norm(theta):
            rho0 = np.sqrt(norm(theta) / np.linalg.norm(pushed))
            s, theta = rho0 * pushed + rho1 * nu, {k: theta[k] / rho0 + fed[k] / rho1 for k in theta}
        else:
            s, theta = rho1 * nu, {k: fed[k] / rho1 for k in theta}
        h = new
        for found, wanted in zip(carry.traces, [s, *theta.values(), key], strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


# What does not depend on chance


def test_the_same_key_gives_the_same_numbers_on_both_backends():
    found = {
        (backend, window): by_path(gradients(RNN, learner_of(RNN, "uoro", window, backend), jax.random.key(5)))
        for backend in ("xla", "reference")
        for window in (1, 2)
    }
    again = by_path(gradients(RNN, learner_of(RNN, "uoro"), jax.random.key(5)))
    other = by_path(gradients(RNN, learner_of(RNN, "uoro"), jax.random.key(6)))
    for path, wanted in again.items():
        np.testing.assert_array_equal(found["xla", 1][path], wanted)
        for window in (1, 2):
            assert relative_error(found["xla", window][path], found["reference", window][path]) < 1e-12
    assert relative_error(other["U"], again["U"]) > 1e-3


def test_a_backward_rule_of_the_readout_that_is_not_linear():
    @jax.custom_vjp
    def clipped(y):
        return y

    clipped.defvjp(lambda y: (y, None), lambda _, g: (jnp.clip(g, -0.3, 0.3),))

    def clipping(p, s, x):
        h = jnp.tanh(etir.matmul(s["h"], p["U"]) + x)
        return {"h": h}, clipped(h)

    of = model(clipping, {"U": (3, 3)}, {"h": jnp.zeros(3)}, (3,))
    found = [
        gradients(of, learner_of(of, "uoro", 1, backend), jax.random.key(1))["U"] for backend in ("xla", "reference")
    ]
    assert relative_error(*found) < 1e-12


def test_without_a_recurrent_weight_and_without_input_all_stays_finite():
    still = RNN._replace(params=jax.tree.map(jnp.zeros_like, RNN.params), xs=0 * RNN.xs)
    assert all(
        np.isfinite(g).all() for g in by_path(gradients(still, learner_of(still, "uoro"), jax.random.key(0))).values()
    )


# Labels, and company


def test_what_it_says_of_itself():
    learner = learner_of(RNN, "uoro")
    assert re.sub(r" +", " ", str(learner.certificate)) == expected("""
        weight label why
        U approximate a random estimate, whose mean is the gradient of rtrl
        W approximate as for U
        b approximate as for U
        o exact reaches no hidden state: its gradient needs no trace
    """)


def test_a_parameter_of_a_state_that_nobody_reads_gets_no_noise():
    def dead(p, s, x):
        h, d = jnp.tanh(etir.matmul(s["h"], p["U"]) + x), 0.5 * s["d"] + x @ p["D"]
        return {"h": h, "d": d}, h

    of = model(dead, {"U": (3, 3), "D": (3, 3)}, {"h": jnp.zeros(3), "d": jnp.zeros(3)}, (3,))
    learner = learner_of(of, "uoro")
    assert learner.certificate["D"].label == "exact"
    assert not np.any(gradients(of, learner, jax.random.key(0))["D"])


def test_credit_through_a_buffer_is_named():
    of = problem("delay_buffer")
    planned = etir.plan(etir.analyse(etir.lower(of.model.step, of.model.params, of.states, *of.model.inputs,
                                                buffers=of.case.buffers)), "uoro")  # fmt: skip
    reasons = [str(reason) for reason in planned.certificate["b"].reasons]
    assert "credit through 'line', declared not hidden, is dropped" in reasons


def test_beside_another_rule():
    learner = learner_of(RNN, "rtrl", rules={"U": "uoro"})
    assert {entry.path: (entry.rule, str(entry.label)) for entry in learner.certificate} == {
        "U": ("uoro", "approximate"), "W": ("rtrl", "exact"), "b": ("rtrl", "exact"), "o": ("rtrl", "exact"),
    }  # fmt: skip
    found = estimates(RNN, learner, 2000)
    assert scores(found, RNN.wanted)["U"] < 4.5
    assert max(relative_error(found[path][0], RNN.wanted[path]) for path in ("W", "b", "o")) < 1e-12


def test_two_rules_draw_apart():
    learner = learner_of(RNN, "uoro", rules={"U": Twin()})
    keys = [trace for trace in learner.transition.plan.traces if trace.start is not None]
    carry = learner.init(key=jax.random.key(0))
    places = [learner.transition.plan.traces.index(trace) for trace in keys]
    assert len(keys) == 2
    assert (carry.traces[places[0]] != carry.traces[places[1]]).any()


class Twin(Uoro):
    name = "twin"


def test_the_program_in_text():
    source = """
    def step(p, s, x):
        h = jnp.tanh(etir.matmul(s["h"], p["U"]) + x)
        return {"h": h}, h
    """
    planned = etir.plan(etir.analyse(lowered(source, {"U": "f32[4,4]"}, {"h": "f32[4]"}, "f32[4]")), "uoro")
    assert section(planned, "plan") == expected("""
        plan uoro window=1 credit=full {
          trace %s_h -> %s_h_next : f32[4] "random tangent of h"
          trace %c_U -> %c_U_next : f32[4,4] "random cotangent of U"
          trace %key -> %key_next : u32[2] "the key of uoro's random signs" start @start_key
          step {
            %key_next : u32[2],
            %nu : f32[4]
              = apply(region="signs", values=[%key])
            %Js_h : f32[4] = push(tangents=[%s_h])
            %nu_c_U : f32[4,4] = pull(params=param [%U], cotangents=[%nu])
            %s_h_next : f32[4],
            %c_U_next : f32[4,4]
              = apply(region="uoro", values=[%Js_h, %nu, %c_U, %nu_c_U], estimates="rtrl")
          }
          window {
            %h_bar : f32[4],
            %U_bar : f32[4,4]
              = vjp(region="forward")
            %credit : f32[] = along(cotangents=[%h_bar], tangents=[%s_h])
            %g_U : f32[4,4] = apply(region="uoro_read", values=[%credit, %c_U], estimates="rtrl")
            %grad_U : f32[4,4] = pullback(reverse=[%U_bar], params=param [%U], on_params=[%g_U])
          }
        }
    """)
