"""uoro: one random rank-one estimate of the influence of every parameter on every hidden state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from ..ir.plan import Along, Pull, Push
from .base import Rule, Task
from .shared.rank_one import length, mixed, random_signs, scales
from .writer import Writer


@dataclass(frozen=True)
class Uoro(Rule):
    """Unbiased online recurrent optimisation (Tallec and Ollivier 2017, algorithm 1): `E ~ s (x) theta`.

        s'     = rho0 J s     + rho1 nu            J = dh'/dh of the whole step, nothing held
        theta' = theta / rho0 + (nu F) / rho1      F = dh'/dp of the whole step
        rho0   = sqrt(|theta| / |J s|) ,  rho1 = sqrt(|nu F| / |nu|)

    with fresh signs `nu`, one for each hidden coordinate (two for a complex one). The mean of `nu nu^T` is the identity
    and the scales are even in `nu`, so the mean of `s' (x) theta'` is `J s (x) theta + F`, RTRL's recursion. Where one
    side of a product is zero both are left out: so it begins as zeros, and is finite without the paper's epsilons. Read
    as `<h_bar, s> theta`, which is added to each parameter.

    The estimate is joint: one `s` for all states of all samples, one `theta` for all parameters that the rule was
    given. That assumes nothing of how samples meet, and its variance grows with their number; under `jax.vmap` each
    sample has its own. Memory: a number for each hidden coordinate and each parameter, and a key. Cost: one JVP and one
    VJP of the step, and a few passes over the parameters. Never exact: its mean is RTRL's gradient. Parameters are
    followed by whatever path they reach the states, with or without ETP operations.
    """

    name: ClassVar[str] = "uoro"
    needs_sites: ClassVar[bool] = False

    def write(self, plan: Writer, task: Task) -> None:
        """Two factors, advanced by a push and a pull, and multiplied when read."""
        params, hidden = task.reaching, task.transition.hidden
        if not params:
            return
        tangent = [
            plan.trace(s.before.type, f"random tangent of {s.path}", f"s_{s.before.hint}", loc=s.loc) for s in hidden
        ]
        theta = [
            plan.trace(p.value.type, f"random cotangent of {p.path}", f"c_{p.value.hint}", loc=p.loc) for p in params
        ]
        signs = [plan.counted(value) for value in random_signs(plan, [value.type for value in tangent])]
        pushed = plan.step(Push(tangents=tuple(tangent)), *[f"J{v.hint}" for v in tangent])
        pulled = plan.step(Pull(params=params, cotangents=tuple(signs)), *[f"nu_{v.hint}" for v in theta])
        following = [f"{v.hint}_next" for v in (*tangent, *theta)]
        given = (*pushed, *signs, *theta, *pulled)
        after = plan.apply(_advance(len(hidden)), *given, name="uoro", hints=following, estimates="rtrl")
        for old, new in zip([*tangent, *theta], after, strict=True):
            plan.carry(old, new)
        (credit,) = plan.window(Along(cotangents=tuple(plan.cotangents), tangents=tuple(tangent)), "credit")
        hints = [f"g_{p.value.hint}" for p in params]
        found = plan.apply(_read, credit, *theta, name="uoro_read", hints=hints, at_window=True, estimates="rtrl")
        for param, value in zip(params, found, strict=True):
            plan.contribute(param, value)


def _advance(states: int) -> Callable[..., list[Any]]:
    """`(J s, nu, theta, nu F) -> (s', theta')`, each of them one array a state or a parameter."""

    def advance(*values: Any) -> list[Any]:
        pushed, signs, rest = values[:states], values[states : 2 * states], values[2 * states :]
        theta, pulled = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        old, old_theta = scales(length(pushed), length(theta))
        new, new_theta = scales(length(signs), length(pulled))
        # As a cotangent `nu` stands for `Re(nu dh)`, so the direction that belongs to it is the conjugate.
        along = [jnp.conj(v) for v in signs]
        return [
            *(mixed(old, s, new, v) for s, v in zip(pushed, along, strict=True)),
            *(mixed(old_theta, c, new_theta, f) for c, f in zip(theta, pulled, strict=True)),
        ]

    return advance


def _read(credit: Any, *theta: Any) -> list[Any]:
    """`(<h_bar, s>, theta) -> <h_bar, s> theta`, one array a parameter."""
    return [(credit * c).astype(c.dtype) for c in theta]
