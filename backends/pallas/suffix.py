"""Kernel 2: all steps of the sweep over one unit's history in one launch, what it carries in registers.

The sweep multiplies Jacobians up from the end, position by position, with little arithmetic: as a loop of XLA's it is
bound by launches. Each block of threads owns some positions, and walks over the steps; the next steps' rows are on
their way meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu

plgpu: Any = mosaic_gpu

WIDTH = 128
"""Positions of a block: one for each of its threads."""
AHEAD = 4
"""Steps whose rows are on their way."""
GOING = 2
"""Steps whose results are."""

Step = Callable[[Any, Any], tuple[Any, Any]]
"""`(carry, rows at a step) -> (carry, results at that step)`, element-wise, of trees of vectors."""


@dataclass(frozen=True, eq=False)
class Suffix:
    """A loop from the last step to the first whose body is element-wise: `jax.lax.scan(step, ..., reverse=True)`."""

    step: Step
    steps: int

    def launch(self, start: Any, rows: Any, interpret: Any = None) -> tuple[Any, Any]:
        """The carry before the first step, `[n]` each, and the results, `[steps, n]`, both trees, in float32.

        Args:
            start: a tree of what is carried at the end, `[n]`.
            rows: a tree of `[steps, n]`, and of `[n]` for what is the same at every step.
            interpret: how to run where there is no GPU.
        """
        return _Launch(self.step, self.steps, start, rows)(interpret)

    def by_definition(self, start: Any, rows: Any) -> tuple[Any, Any]:
        """What `launch` gives, as a loop of XLA's."""
        leaves, laid_out = jax.tree.flatten(rows)
        moving = [k for k, x in enumerate(leaves) if x.ndim > 1]

        def step(carry: Any, now: Any) -> Any:
            known = dict(zip(moving, now, strict=True))
            return self.step(carry, jax.tree.unflatten(laid_out, [known.get(k, x) for k, x in enumerate(leaves)]))

        return lax.scan(step, start, [leaves[k] for k in moving], length=self.steps, reverse=True)


class _Launch:
    """One launch."""

    def __init__(self, step: Step, steps: int, start: Any, rows: Any) -> None:
        self.step, self.steps = step, steps
        self.carry, self.carried = jax.tree.flatten(start)
        self.rows, self.laid_out = jax.tree.flatten(rows)
        self.moving = [k for k, x in enumerate(self.rows) if x.ndim > 1]
        self.positions = self.carry[0].shape[0]
        self.blocks = pl.cdiv(self.positions, WIDTH)

    @cached_property
    def results(self) -> tuple[int, Any]:
        """How many arrays a step gives, and their tree."""
        carry, rows = ([jax.ShapeDtypeStruct((WIDTH,), jnp.float32) for _ in of] for of in (self.carry, self.rows))
        given = jax.tree.unflatten(self.carried, carry), jax.tree.unflatten(self.laid_out, rows)
        _, found = jax.eval_shape(self.step, *given)
        leaves, structure = jax.tree.flatten(found)
        return len(leaves), structure

    def __call__(self, interpret: Any) -> tuple[Any, Any]:
        """The carry and the results."""
        count, structure = self.results
        size = self.blocks * WIDTH
        run = plgpu.kernel(
            self._block,
            out_type=[
                *(jax.ShapeDtypeStruct((size,), jnp.float32) for _ in self.carry),
                *(jax.ShapeDtypeStruct((self.steps, size), jnp.float32) for _ in range(count)),
            ],
            grid=(self.blocks,),
            grid_names=("block",),
            scratch_types={
                "ends": [plgpu.SMEM((WIDTH,), jnp.float32) for _ in self.carry],
                "going": [plgpu.SMEM((GOING, WIDTH), jnp.float32) for _ in range(count)],
            },
            compiler_params=plgpu.CompilerParams(lowering_semantics=plgpu.LoweringSemantics.Lane),
            interpret=interpret,
            kernel_name="suffix",
        )
        found = [x[..., : self.positions] for x in run(*map(self._filled, [*self.carry, *self.rows]))]
        ends, left = found[: len(self.carry)], found[len(self.carry) :]
        return jax.tree.unflatten(self.carried, ends), jax.tree.unflatten(structure, left)

    def _filled(self, x: Any) -> Any:
        """An array with zeros behind its last positions, up to whole blocks."""
        more = self.blocks * WIDTH - self.positions
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, more)]) if more else x

    def _block(self, *refs: Any, ends: Any, going: Any) -> None:
        """One block's work: references to what is carried and to rows, then to the same of the results."""
        left = list(refs)
        held, rows, last = ([left.pop(0) for _ in of] for of in (self.carry, self.rows, self.carry))
        block = lax.axis_index("block")
        own = pl.ds(block * WIDTH, WIDTH)

        still = {k: _laid(ref[own]) for k, ref in enumerate(rows) if k not in self.moving}

        def step(at: Any, *now: Any) -> Any:
            *arrays, carry = now
            t = self.steps - 1 - at[0]
            known = still | {k: ref[...] for k, ref in zip(self.moving, arrays, strict=True)}
            at_step = jax.tree.unflatten(self.laid_out, [known[k] for k, _ in enumerate(rows)])
            moved, found = self.step(jax.tree.unflatten(self.carried, carry), at_step)
            slot = lax.rem(t, jnp.asarray(GOING, t.dtype))
            plgpu.wait_smem_to_gmem((GOING - 1) * len(left), wait_read_only=True)
            for x, ref in zip(jax.tree.leaves(found), going, strict=True):
                ref[slot] = _laid(x)
            plgpu.commit_smem()
            for ref, to in zip(going, left, strict=True):
                plgpu.copy_smem_to_gmem(ref.at[slot], to.at[t, own])
            return [_laid(x) for x in jax.tree.leaves(moved)]

        spec = plgpu.BlockSpec((None, WIDTH), lambda t: (self.steps - 1 - t, block))
        walk = plgpu.emit_pipeline(
            step,
            grid=(self.steps,),
            in_specs=[spec] * len(self.moving),
            max_concurrent_steps=min(AHEAD, self.steps),
            init_carry=[_laid(ref[own]) for ref in held],
        )
        for x, ref in zip(walk(*(rows[k] for k in self.moving)), ends, strict=True):
            ref[...] = x
        plgpu.commit_smem()
        for ref, to in zip(ends, last, strict=True):
            plgpu.copy_smem_to_gmem(ref, to.at[own])
        plgpu.wait_smem_to_gmem(0)


def _laid(x: Any) -> Any:
    """A vector, one position a thread."""
    return plgpu.layout_cast(x, plgpu.Layout.WG_STRIDED((WIDTH,), vec_size=1))
