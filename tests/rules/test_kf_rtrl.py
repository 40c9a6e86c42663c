"""kf_rtrl: random Kronecker factors of each site, whose mean is exact."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from estimates import biased, estimates, gradients, learner_of, model, scores, words_of
from oracles import by_path, loss, relative_error
from snippets import expected
from stages import lowered, section

import etir
from etir.rules import kf_rtrl


def step(p, s, x):
    h = jnp.tanh(etir.matmul(s["h"], p["U"], p["b"]) + etir.matmul(x, p["W"]))
    return {"h": h}, h @ p["o"]


SHAPES = {"U": (4, 4), "W": (2, 4), "b": (4,), "o": (4, 2)}
RNN = model(step, SHAPES, {"h": jnp.zeros(4)}, (2,))
BATCHED = model(step, SHAPES, {"h": jnp.zeros((3, 4))}, (3, 2))


def columns(learner: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each trace, by what it is of."""
    return {trace.label: trace.before.type.shape for trace in learner.transition.plan.traces}


# The mean over keys


@pytest.mark.parametrize(("backend", "window"), [("xla", 1), ("xla", 2), ("reference", 1), ("reference", 2)])
def test_the_mean_over_keys_is_the_exact_gradient(backend: str, window: int):
    assert biased(RNN, "kf_rtrl", window, backend) == {}


def test_a_sign_that_stays_would_be_found_out(monkeypatch: pytest.MonkeyPatch):
    honest = kf_rtrl.random_signs

    def drawn(plan, types):
        return plan.apply(lambda *v: [abs(x) for x in v], *honest(plan, types), name="one")

    monkeypatch.setattr(kf_rtrl, "random_signs", drawn)
    found = by_path(gradients(RNN, learner_of(RNN, "kf_rtrl"), jax.random.key(0)))
    assert min(relative_error(found[path], RNN.wanted[path]) for path in ("U", "W")) > 0.01


def test_a_factor_that_shrinks_by_a_tenth_would_be_found_out(monkeypatch: pytest.MonkeyPatch):
    honest = kf_rtrl.mixed
    monkeypatch.setattr(kf_rtrl, "mixed", lambda a, left, b, right: honest(0.9 * a, left, b, right))
    assert set(biased(RNN, "kf_rtrl")) == {"U", "W"}


def test_samples_that_never_meet_have_columns_of_their_own():
    learner = learner_of(BATCHED, "kf_rtrl")
    assert columns(learner) == {
        "b on h": (4, 3, 4), "data of U": (3, 4), "U on h": (4, 3, 4), "data of W": (3, 2), "W on h": (4, 3, 4),
        "the key of kf_rtrl's random signs": (2,),
    }  # fmt: skip
    assert biased(BATCHED, "kf_rtrl", keys=3000) == {}


def test_samples_that_meet_share_a_random_column():
    def normalised(p, s, x):
        u = etir.matmul(s["h"], p["U"]) + etir.matmul(x, p["W"])
        h = jnp.tanh((u - u.mean(0)) / (1 + u.std(0)))
        return {"h": h}, h

    of = model(normalised, {"U": (3, 3), "W": (2, 3)}, {"h": jnp.zeros((4, 3))}, (4, 2))
    assert columns(learner_of(of, "kf_rtrl"))["data of W"] == (2,)
    assert biased(of, "kf_rtrl", keys=3000) == {}


def test_patches_of_samples_that_never_meet():
    def convolved(p, s, x):
        patches = jnp.stack([x[:, k : k + 3] for k in range(4)], 1)
        h = jnp.tanh(0.5 * s["h"] + etir.einsum("bpk,ko->bpo", patches, p["K"]) + etir.matmul(s["h"], p["U"]))
        return {"h": h}, h

    of = model(convolved, {"K": (3, 2), "U": (2, 2)}, {"h": jnp.zeros((2, 4, 2))}, (2, 6))
    learner = learner_of(of, "kf_rtrl")
    assert (columns(learner)["data of K"], columns(learner)["K on h"]) == ((2, 3), (2, 2, 4, 2))
    assert biased(of, "kf_rtrl", keys=3000) == {}


def test_a_weight_made_by_a_prologue_and_grouped_products():
    mask = np.array([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 1], [1, 0, 1, 1]])

    def masked(p, s, x):
        grouped = etir.einsum("gi,gij->gj", s["h"].reshape(2, 2), p["G"]).reshape(4)
        h = jnp.tanh(etir.matmul(s["h"], mask * p["w"]) + grouped + x)
        return {"h": h}, h

    of = model(masked, {"w": (4, 4), "G": (2, 2, 2)}, {"h": jnp.zeros(4)}, (4,))
    found = estimates(of, learner_of(of, "kf_rtrl"), 3000)
    assert max(scores(found, of.wanted).values()) < 4.5
    assert not found["w"][:, mask == 0].any()


def test_a_weight_that_reaches_the_state_through_another_alone():
    def reset_before(p, s, x):
        r = jax.nn.sigmoid(etir.matmul(s["h"], p["R"]))
        h = 0.5 * s["h"] + 0.5 * jnp.tanh(etir.matmul(r * s["h"], p["U"]) + x)
        return {"h": h}, h

    of = model(reset_before, {"R": (3, 3), "U": (3, 3)}, {"h": jnp.zeros(3)}, (3,))
    learner = learner_of(of, "kf_rtrl")
    assert [str(reason) for reason in learner.certificate["R"].reasons] == [
        "a random estimate, whose mean is the gradient of rtrl"
    ]
    assert biased(of, "kf_rtrl", keys=3000) == {}


def test_complex_numbers():
    def rotating(p, s, x):
        z = (
            jnp.conj(etir.scale(s["z"], p["a"]))
            + etir.matmul(x * (1 + 0.5j), p["W"])
            + 0.2 * etir.matmul(s["z"], p["U"])
        )
        return {"z": z}, z.real + z.imag**2

    of = model(rotating, {"W": (2, 3), "U": (3, 3), "a": (3,)}, {"z": jnp.zeros(3, complex)}, (2,))
    of = of._replace(params={**of.params, "U": of.params["U"] * jnp.exp(0.4j), "a": of.params["a"] * jnp.exp(1j)})
    learner = learner_of(of, "kf_rtrl")
    assert learner.certificate["a"].label == "exact"
    found = estimates(of, learner, 3000)
    assert max(scores(found, of.wanted).values()) < 4.5
    assert relative_error(found["a"][0], of.wanted["a"]) < 1e-12


# One recursion, written out


def test_three_steps_by_hand():
    learner = learner_of(RNN, "kf_rtrl")
    p, xs = jax.tree.map(np.asarray, (RNN.params, RNN.xs))
    place = {trace.label: k for k, trace in enumerate(learner.transition.plan.traces)}
    carry, h = learner.init(key=jax.random.key(3)), np.zeros(4)
    u, A, bias = {"U": np.zeros(4), "W": np.zeros(2)}, {"U": np.zeros((4, 4)), "W": np.zeros((4, 4))}, np.zeros((4, 4))
    for x in xs[:3]:
        _, signs = words_of(carry.traces[place["the key of kf_rtrl's random signs"]], 2)
        carry, _ = learner.step(RNN.params, carry, x)
        new = np.tanh(h @ p["U"] + x @ p["W"] + p["b"])
        J, D = (1 - new**2)[:, None] * p["U"].T, np.diag(1 - new**2)
        for c, name, data in zip(signs, u, (h, x), strict=True):
            HA = J @ A[name]
            p1 = np.sqrt(np.linalg.norm(HA) / np.linalg.norm(u[name])) if u[name].any() and HA.any() else 0
            p2 = np.sqrt(np.linalg.norm(D) / np.linalg.norm(data)) if data.any() else 0
            u[name] = p1 * u[name] + c * p2 * data
            A[name] = (HA / p1 if p1 else 0) + (c / p2 * D if p2 else 0 * D)
            np.testing.assert_allclose(carry.traces[place[f"data of {name}"]], u[name], rtol=1e-10, atol=1e-12)
            np.testing.assert_allclose(carry.traces[place[f"{name} on h"]], A[name].T, rtol=1e-10, atol=1e-12)
        bias = J @ bias + D
        np.testing.assert_allclose(carry.traces[place["b on h"]], bias.T, rtol=1e-10, atol=1e-12)
        h = new

    def credited(params):
        return loss(learner.step(params, carry, xs[3])[1], RNN.ts[3])

    grads = jax.grad(credited)(RNN.params)
    new = np.tanh(h @ p["U"] + xs[3] @ p["W"] + p["b"])
    delta = (new @ p["o"] - np.asarray(RNN.ts[3])) @ p["o"].T * (1 - new**2)
    entering = p["U"] @ delta
    for name, data in (("U", h), ("W", xs[3])):
        wanted = np.outer(data, delta) + np.outer(u[name], entering @ A[name])
        np.testing.assert_allclose(grads[name], wanted, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(grads["b"], delta + entering @ bias, rtol=1e-10, atol=1e-12)


# What does not depend on chance


def test_an_operation_that_contracts_nothing_is_exact():
    def scaled(p, s, x):
        h = jnp.tanh(etir.matmul(etir.scale(s["h"], p["a"]), p["U"], p["b"]) + x)
        return {"h": h}, h

    of = model(scaled, {"a": (3,), "U": (3, 3), "b": (3,)}, {"h": jnp.zeros((2, 3))}, (2, 3))
    learner = learner_of(of, "kf_rtrl", 2)
    found = by_path(gradients(of, learner, jax.random.key(0)))
    assert {entry.path: str(entry.label) for entry in learner.certificate} == {
        "U": "approximate",
        "a": "exact",
        "b": "exact",
    }
    assert max(relative_error(found[path], of.wanted[path]) for path in ("a", "b")) < 1e-12


def test_the_same_key_gives_the_same_numbers_on_both_backends():
    found = {
        (backend, window): by_path(
            gradients(BATCHED, learner_of(BATCHED, "kf_rtrl", window, backend), jax.random.key(5))
        )
        for backend in ("xla", "reference")
        for window in (1, 2)
    }
    for path in BATCHED.params:
        for window in (1, 2):
            assert relative_error(found["xla", window][path], found["reference", window][path]) < 1e-12


# Labels, and company


def test_what_it_says_of_itself():
    def mixed(p, s, x):
        h = jnp.tanh(etir.matmul(s["h"], p["U"], p["b"]) + etir.matmul(x, p["W"]) + x @ p["W"] + x @ p["V"])
        return {"h": h}, h

    of = model(mixed, {"U": (4, 4), "V": (2, 4), "W": (2, 4), "b": (4,)}, {"h": jnp.zeros(4)}, (2,))
    text = re.sub(r" *\(\S*:\d+:\d+\)", "", re.sub(r" +", " ", str(learner_of(of, "kf_rtrl").certificate)))
    assert text == expected("""
        weight label why
        U approximate a random estimate, whose mean is the gradient of rtrl
        V truncated used by a plain matmul, not by an ETP operation
        W approximate a random estimate, whose mean is the gradient of rtrl along the paths that it follows
         used by a plain matmul, not by an ETP operation
        b exact every path from it to a hidden state is traced
    """)


def test_beside_another_rule():
    learner = learner_of(RNN, "rtrl", rules={"U": "kf_rtrl"})
    found = estimates(RNN, learner, 2000)
    assert scores(found, RNN.wanted)["U"] < 4.5
    assert max(relative_error(found[path][0], RNN.wanted[path]) for path in ("W", "b", "o")) < 1e-12


def test_the_program_in_text():
    source = """
    def step(p, s, x):
        h = jnp.tanh(etir.matmul(s["h"], p["U"], p["b"]) + x)
        return {"h": h}, h
    """
    types = {"U": "f32[4,4]", "b": "f32[4]"}, {"h": "f32[2,4]"}, "f32[2,4]"
    planned = etir.plan(etir.analyse(lowered(source, *types)), "kf_rtrl")
    assert section(planned, "plan") == expected("""
        plan kf_rtrl window=1 credit=full {
          trace %a_b_p_h -> %a_b_p_h_next : f32[4,2,4] "b on h" loc(model.py:2:18)
          trace %key -> %key_next : u32[2] "the key of kf_rtrl's random signs" start @start_key
          trace %u_U -> %u_U_next : f32[2,4] "data of U" loc(model.py:2:18)
          trace %a_U_h -> %a_U_h_next : f32[4,2,4] "U on h" loc(model.py:2:18)
          step {
            %dy_b : f32[4,2,4] = units(site=site %y_b, apart=true)
            %a_b_p_h_next : f32[4,2,4] = push(tangents=[%a_b_p_h], sites=site [%y_b], shifts=[%dy_b]) loc(model.py:2:18)
            %key_next : u32[2],
            %nu : f32[2]
              = apply(region="signs", values=[%key])
            %dy_U : f32[4,2,4] = units(site=site %y_U, apart=true, scale=%nu, labels="a")
            %f_a_U_h : f32[4,2,4] = push(sites=site [%y_U], shifts=[%dy_U]) loc(model.py:2:18)
            %Ja_U_h : f32[4,2,4] = push(tangents=[%a_U_h]) loc(model.py:2:18)
            %u_U_next : f32[2,4],
            %a_U_h_next : f32[4,2,4]
              = apply(region="kronecker", values=[%u_U, %h, %nu, %Ja_U_h, %f_a_U_h], estimates="rtrl")
          }
          window {
            %h_bar : f32[2,4],
            %U_bar : f32[4,4],
            %b_bar : f32[4]
              = vjp(region="forward")
            %g_b_p : f32[2,4] = contract_pushed(site=site %y_b, apart=true, trace=[%a_b_p_h], cotangents=[%h_bar])
            %y_U_bar : f32[2,4] = contract_pushed(site=site %y_U, apart=true, trace=[%a_U_h], cotangents=[%h_bar])
            %g_U : f32[4,4] = product(site=site %y_U, data=%u_U, cotangent=%y_U_bar)
            %grad_U : f32[4,4],
            %grad_b : f32[4]
              = pullback(reverse=[%U_bar, %b_bar],
                         weights=weight [%b_p, %U],
                         on_weights=[%g_b_p, %g_U],
                         takers=param [%U, %b])
          }
        }
    """)
