"""An agent that learns while it acts, in a maze that it sees a step of: `python examples/actor_critic.py`.

At the beginning of a corridor it is told, once, whether the prize lies to the left or to the right of the far end. It
must walk there and turn the right way. A small GRU remembers; its credit is carried forward by RTRL, exactly, and
beside it goes the eligibility of an actor and a critic, TD(lambda), so that every step of every episode changes the
weights.
An agent whose gradient is that of one step alone, with the same eligibility, is not taught to remember.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from figures import lines

import etir

LENGTH, MAZES, UNITS = 10, 16, 12
DISCOUNT, DECAY, RATE = 0.95, 0.9, 3e-3
POINTS = 50
FORWARD, LEFT, RIGHT = 0, 1, 2
RULES = {"etir: RTRL": "rtrl", "one step": "bptt"}


class Maze(NamedTuple):
    """Where the agent is, on which side the prize lies (0 or 1), and how long it has been walking."""

    place: jax.Array
    side: jax.Array
    age: jax.Array


def entered(key: jax.Array) -> Maze:
    """A new maze."""
    return Maze(jnp.zeros((), int), jax.random.randint(key, (), 0, 2), jnp.zeros((), int))


def seen(maze: Maze) -> jax.Array:
    """What the agent sees: the sign, at the beginning alone; whether this is the end; and a constant."""
    sign = jax.nn.one_hot(maze.side, 2) * (maze.place == 0) * (maze.age == 0)
    return jnp.concatenate([sign, jnp.array([maze.place == LENGTH, 1.0], jnp.float32)])


def moved(maze: Maze, action: jax.Array, key: jax.Array) -> tuple[Maze, jax.Array, jax.Array]:
    """The maze after an action, the reward, and whether it is over; then the maze is a new one.

    A turn into the wall costs a tenth, and so does a step forward at the end; there the right turn earns one, and the
    wrong one costs one.
    """
    at_end, turned = maze.place == LENGTH, action != FORWARD
    prize = jnp.where(action == LEFT + maze.side, 1.0, -1.0)
    reward = jnp.where(at_end & turned, prize, jnp.where(at_end | turned, -0.1, 0.0))
    over = (at_end & turned) | (maze.age >= 3 * LENGTH)
    on = Maze(maze.place + (~at_end & ~turned), maze.side, maze.age + 1)
    return jax.tree.map(lambda new, old: jnp.where(over, new, old), entered(key), on), reward, over


def agent(params: Any, states: Any, x: jax.Array) -> Any:
    """A GRU, the logits of its actions, and what it expects."""
    h = states["h"]
    z = jax.nn.sigmoid(etir.matmul(x, params["Wz"], params["bz"]) + etir.matmul(h, params["Uz"]))
    r = jax.nn.sigmoid(etir.matmul(x, params["Wr"]) + etir.matmul(h, params["Ur"]))
    h = z * h + (1 - z) * jnp.tanh(etir.matmul(x, params["Wh"]) + r * etir.matmul(h, params["Uh"]))
    return {"h": h}, (h @ params["actor"], h @ params["critic"])


def initial(key: jax.Array) -> Any:
    """Random weights."""
    keys = iter(jax.random.split(key, 6))
    inputs = {f"W{gate}": jax.random.normal(next(keys), (4, UNITS)) for gate in "zrh"}
    inside = {f"U{gate}": jax.random.normal(next(keys), (UNITS, UNITS)) / UNITS**0.5 for gate in "zrh"}
    return inputs | inside | {"bz": jnp.ones(UNITS), "actor": jnp.zeros((UNITS, 3)), "critic": jnp.zeros(UNITS)}


def trained(rule: str, steps: int, seed: int) -> np.ndarray:
    """Act and learn for so many steps in each maze; the mean prize of the episodes that end, in a hundred stretches."""
    params, optimizer = initial(jax.random.key(seed)), optax.adam(RATE)
    learner = etir.compile(agent, params, {"h": jnp.zeros(UNITS)}, jnp.zeros(4), rule=rule, on_truncated="ignore")

    def act(params: Any, carry: Any, maze: Maze, key: jax.Array) -> Any:
        """What the eligibility of a step is the gradient of; beside it what came of the step."""
        carry, (logits, value) = learner.step(params, carry, seen(maze))
        action = jax.random.categorical(key, jax.lax.stop_gradient(logits))
        return jax.nn.log_softmax(logits)[action] + value, (carry, action, value)

    def one(params: Any, now: Any, key: jax.Array) -> Any:
        """One maze: an action, and what the step before should have changed, now that it is known what it led to."""
        carry, maze, eligibility, expected, reward, over = now
        to_act, to_enter = jax.random.split(key)
        grads, (carry, action, value) = jax.grad(act, has_aux=True)(params, carry, maze, to_act)
        surprise = reward + DISCOUNT * jnp.where(over, 0.0, value) - expected
        change = jax.tree.map(lambda e: surprise * e, eligibility)
        kept = jnp.where(over, 0.0, DISCOUNT * DECAY)
        eligibility = jax.tree.map(lambda e, g: kept * e + g, eligibility, grads)
        maze, reward, over = moved(maze, action, to_enter)
        carry = jax.tree.map(lambda new, old: jnp.where(over, new, old), learner.init(), carry)
        return (carry, maze, eligibility, value, reward, over), change

    def all_mazes(now: Any, key: jax.Array) -> Any:
        """A step in every maze, and the update of their mean."""
        params, moments, mazes = now
        mazes, changes = jax.vmap(one, in_axes=(None, 0, 0))(params, mazes, jax.random.split(key, MAZES))
        updates, moments = optimizer.update(jax.tree.map(lambda c: -c.mean(0), changes), moments)
        reward, over = mazes[-2:]
        return (optax.apply_updates(params, updates), moments, mazes), (jnp.sum(reward * over), jnp.sum(over))

    def begin(key: jax.Array) -> Any:
        zero = jnp.zeros(())
        return learner.init(), entered(key), jax.tree.map(jnp.zeros_like, params), zero, zero, jnp.zeros((), bool)

    to_begin, later = jax.random.split(jax.random.key(seed + 1000))
    mazes = jax.vmap(begin)(jax.random.split(to_begin, MAZES))
    first, keys = (params, optimizer.init(params), mazes), jax.random.split(later, steps)
    _, (prizes, ends) = jax.jit(jax.lax.scan, static_argnums=0)(all_mazes, first, keys)
    prizes, ends = (np.asarray(a).reshape(POINTS, -1).sum(1) for a in (prizes, ends))
    return prizes / np.maximum(ends, 1)


def main(steps: int, seeds: int, out: Path) -> None:
    """Let each agent learn from each seed, print what it earns at last, and draw it."""
    curves = {name: np.stack([trained(rule, steps, seed) for seed in range(seeds)]) for name, rule in RULES.items()}
    print(f"{'prize of an episode, last tenth':<34}{'mean':>8}{'lowest':>8}{'highest':>8}")
    for name, found in curves.items():
        last = found[:, -POINTS // 10 :].mean(1)
        print(f"{name:<34}{last.mean():>8.2f}{last.min():>8.2f}{last.max():>8.2f}")
    lines(
        out / "actor_critic.png",
        curves,
        x=steps // POINTS * (1 + np.arange(POINTS)),
        title=f"A sign at the beginning, a turn {LENGTH} steps later",
        labels=(f"steps in each of {MAZES} mazes", "prize of an episode"),
        levels={"without memory": 0.0},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5_000, help=f"a multiple of {POINTS}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the picture goes")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    main(given.steps, given.seeds, given.out)
