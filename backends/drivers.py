"""Sequence drivers over any engine: a scan over windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .calls import Arrays

GradientDriver = Callable[..., tuple[Arrays, jax.Array, Arrays, Any, Any]]
"""`(loss, params, states, traces, inputs, targets) -> (gradients, losses, states, traces, aux)`, all flat."""


def gradient_by_windows(engine: Any, window: int) -> GradientDriver:
    """Differentiate the engine's window, one after the other, and add up the gradients."""

    def gradient(
        loss: Any, params: Arrays, states: Arrays, traces: Any, inputs: Arrays, targets: Any
    ) -> tuple[Arrays, jax.Array, Arrays, Any, Any]:
        chosen = [k for k, x in enumerate(params) if jnp.issubdtype(x.dtype, jnp.inexact)]

        def windows(selected: Arrays, states: Arrays, traces: Any, x: Arrays, t: Any) -> tuple[jax.Array, Any]:
            full = list(params)
            for k, value in zip(chosen, selected, strict=True):
                full[k] = value
            states, traces, outputs = engine.window(full, states, traces, x)
            losses, aux = jax.vmap(loss)(outputs, t)
            return losses.sum(), (states, traces, losses, aux)

        def body(carry: Any, xt: Any) -> tuple[Any, Any]:
            states, traces, total = carry
            selected = [params[k] for k in chosen]
            found, (states, traces, losses, aux) = jax.grad(windows, has_aux=True)(selected, states, traces, *xt)
            return (states, traces, [a + b for a, b in zip(total, found, strict=True)]), (losses, aux)

        total = [jnp.zeros_like(params[k]) for k in chosen]
        carry: Any = (states, traces, total)
        pieces: list[Any] = []
        for stretch in in_windows((inputs, targets), window):
            carry, piece = jax.lax.scan(body, carry, stretch)
            pieces.append(jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), piece))
        states, traces, total = carry
        gradients = [jnp.zeros_like(x) for x in params]
        for k, value in zip(chosen, total, strict=True):
            gradients[k] = value
        losses, aux = jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)
        return gradients, losses, states, traces, aux

    return gradient


def train_by_windows(
    gradient: GradientDriver,
    window: int,
    loss: Any,
    optimizer: Any,
    structure: Any,
    reduction: str,
    params: Any,
    opt_state: Any,
    carry: tuple[Arrays, Any],
    inputs: Arrays,
    targets: Any,
) -> Any:
    """Update the parameters at the end of every window, inside one scan."""

    def body(now: Any, xt: Any) -> tuple[Any, Any]:
        params, opt_state, states, traces = now
        grads, losses, states, traces, aux = gradient(loss, jax.tree.leaves(params), states, traces, *xt)
        if reduction == "mean":
            grads = [g / losses.shape[0] for g in grads]
        updates, opt_state = optimizer.update(jax.tree.unflatten(structure, grads), opt_state, params)
        params = jax.tree.map(lambda p, u: (p + u).astype(p.dtype), params, updates)
        return (params, opt_state, states, traces), (losses, aux)

    now: Any = (params, opt_state, *carry)
    pieces: list[Any] = []
    for stretch in in_windows((inputs, targets), window):
        now, piece = jax.lax.scan(body, now, stretch)
        pieces.append(jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), piece))
    losses, aux = jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)
    return (*now, losses, aux)


def in_windows(tree: Any, window: int) -> list[Any]:
    """Arrays with a leading time axis as `[windows, window, ...]`, and the shorter last window, if any, as a second tree."""
    length = jax.tree.leaves(tree)[0].shape[0]
    whole, rest = divmod(length, window)
    found: list[Any] = []
    if whole:
        found.append(jax.tree.map(lambda a: a[: whole * window].reshape(whole, window, *a.shape[1:]), tree))
    if rest:
        found.append(jax.tree.map(lambda a: a[whole * window :][None], tree))
    return found
