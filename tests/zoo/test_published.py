"""Numbers and equivalences that papers publish."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import differing, driver
from oracles import by_path
from problems import problem

import etir
from etir.frontend.nn import triangular_spike
from etir.zoo.lif import DECAY, THRESHOLD


class TestLinearRecurrentUnit:
    """Zucchet et al. 2023, the three-step example that their code works out in closed form.

    One unit, lambda = 0.5, B = 2 + 2i, gamma = 1, readout Re((2 + i) h), inputs 1, 2, 3, every target 1, loss half the
    squared error, summed. There: d lambda = 53 + 159i, d gamma = 85.75, dB = 85.75 - 42.875i. The first is a complex
    derivative, 2 dL/dz, whose imaginary part is minus the derivative by Im lambda (JAX's convention); the last is its
    conjugate, dL/dRe + i dL/dIm.
    """

    xs = jnp.array([[1.0], [2.0], [3.0]])
    ts = jnp.ones((3, 1))

    @staticmethod
    def readout(h):
        return ((2 + 1j) * h).real

    def gradients(self, step, params, rule: str, window: int):
        states = jnp.zeros(1, jnp.complex128)
        learner = etir.compile(step, params, states, self.xs[0], rule=rule, window=window)
        assert {str(entry.label) for entry in learner.certificate} == {"exact"}
        drive = learner.grad(lambda y, t: 0.5 * jnp.sum((y - t) ** 2), reduction="sum")
        return jax.jit(drive)(params, learner.init(params, states), self.xs, self.ts).grads

    @pytest.mark.parametrize(("rule", "window"), [("d_rtrl", 1), ("d_rtrl", 2), ("rtrl", 1)])
    def test_real_parameters(self, rule: str, window: int):
        def step(p, h, x):
            eigenvalue, weight = p["lambda_re"] + 1j * p["lambda_im"], p["B_re"] + 1j * p["B_im"]
            h = etir.scale(h, eigenvalue) + etir.scale(etir.matmul(x, weight), p["gamma"])
            return h, self.readout(h)

        params = {"lambda_re": jnp.array([0.5]), "lambda_im": jnp.zeros(1), "gamma": jnp.ones(1)}
        params |= {"B_re": jnp.array([[2.0]]), "B_im": jnp.array([[2.0]])}
        grads = {
            path: float(grad.squeeze()) for path, grad in by_path(self.gradients(step, params, rule, window)).items()
        }
        assert grads == pytest.approx(
            {"lambda_re": 53, "lambda_im": -159, "gamma": 85.75, "B_re": 85.75, "B_im": -42.875}, rel=1e-12
        )

    @pytest.mark.parametrize(("rule", "window"), [("d_rtrl", 1), ("d_rtrl", 2), ("rtrl", 1)])
    def test_complex_parameters(self, rule: str, window: int):
        def step(p, h, x):
            h = etir.scale(h, p["lambda"]) + etir.scale(etir.matmul(x, p["B"]), p["gamma"])
            return h, self.readout(h)

        params = {"lambda": jnp.array([0.5 + 0j]), "gamma": jnp.ones(1), "B": jnp.array([[2 + 2j]])}
        grads = {
            path: complex(grad.squeeze()) for path, grad in by_path(self.gradients(step, params, rule, window)).items()
        }
        assert grads == pytest.approx({"lambda": 53 + 159j, "gamma": 85.75, "B": 85.75 + 42.875j}, rel=1e-12)


class TestEProp:
    """Bellec et al. 2020: e-prop is D-RTRL of the network whose recurrent spikes carry no gradient."""

    def test_stop_gradient_makes_the_classical_form_exact(self):
        """The classical form of the recurrent network drops exactly the paths that `stop_gradient` cuts."""

        def step(params, states, x):
            spikes = triangular_spike(states["V"] - THRESHOLD)
            drive = etir.matmul(x, params["W"]) + etir.matmul(spikes, params["U"])
            v = DECAY * states["V"] - THRESHOLD * spikes + drive
            return {"V": v}, triangular_spike(v - THRESHOLD) @ params["readout"]

        of = problem("lif_eprop")
        params, states = of.model.params, of.states
        for window in (1, 5):
            learner = etir.compile(step, params, states, *of.model.inputs, rule="d_rtrl", window=window, credit="rule")
            grads = by_path(driver(learner)(*of.arguments)[0])
            assert differing(grads, of.bptt().grads) == {}
            assert str(learner.certificate["U"].label) == "approximate"
            assert all(np.any(grad) for grad in grads.values())
