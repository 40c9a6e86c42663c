"""remat: the same numbers, states written once, and less kept for the backward pass."""

import jax
import jax.numpy as jnp

from etir.frontend import HiddenState, ParamState, nn, transform


class Cell(nn.Module):
    def __init__(self) -> None:
        self.w = ParamState(0.5 * jnp.eye(3))
        self.h = HiddenState(jnp.zeros(3))

    def update(self, x):
        self.h.value = jnp.tanh(jnp.sin(x) + self.h.value @ self.w.value)
        return self.h.value


XS = jnp.linspace(-1, 1, 12).reshape(4, 3)


def gradient(call, model):
    def loss(xs):
        nn.init_all_states(model)
        return jnp.sum(transform.for_loop(call, xs) ** 2)

    return transform.grad(loss, model)(XS)["w"], model.h.value


def test_numbers_and_writes():
    plain, light = Cell(), Cell()
    for one, other in zip(gradient(plain, plain), gradient(transform.remat(light), light), strict=True):
        assert jnp.abs(one - other).max() < 1e-12
    twice = transform.remat(prevent_cse=False)(transform.remat(light))
    assert jnp.abs(gradient(transform.jit(twice), light)[0] - gradient(plain, plain)[0]).max() < 1e-12


def test_it_is_jaxs_and_keeps_what_the_policy_says():
    model = Cell()
    whole = transform.make_jaxpr(lambda x: transform.grad(transform.remat(lambda x: model(x).sum()), model)(x))(XS[0])
    assert "remat" in str(whole) or "checkpoint" in str(whole)
    saved = transform.remat(lambda x: model(x).sum(), policy=jax.checkpoint_policies.everything_saveable)
    assert jnp.isfinite(transform.grad(saved, model)(XS[0])["w"]).all()


def test_modules_and_static_arguments():
    call = transform.remat(lambda module, x, double: module(x) * (2 if double else 1), static_argnums=(2,))
    assert (call(Cell(), XS[0], True) == 2 * call(Cell(), XS[0], False)).all()
