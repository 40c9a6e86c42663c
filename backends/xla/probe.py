"""`D` and `f` of a group, by pulling back ones: one pull-back a state (and a colour, where positions share inputs).

What is repeated over many positions (a key that feeds a row of a matrix-valued state) is pushed forward instead: there
each new position has one source, so that ones at all sources give all derivatives at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...coupling import Coupling
from ...ir import jaxpr as jx
from ...ir.plan import Jacobian, Placement, Plan, Scene, Sensitivity
from ...ir.plan.links import pick, positions_of, slots_at
from ...ir.transition import Group, State, Transition


class Probes:
    """The linearisations of a plan's groups: each is taken once a step, for everything that the plan asks of it."""

    def __init__(self, transition: Transition, plan: Plan) -> None:
        """Prepare for the Jacobians and sensitivities of `plan`."""
        self.of: dict[Group, GroupProbe] = {}
        producers: dict[str, jx.Producers] = {}
        for op in plan.step:
            group = (
                op.group if isinstance(op, Jacobian) else op.association.group if isinstance(op, Sensitivity) else None
            )
            if group is not None and group not in self.of:
                wanted = [o for o in plan.step if isinstance(o, Sensitivity) and o.association.group is group]
                inflows = [o for o in plan.step if isinstance(o, Jacobian) and o.on is not None and o.group is group]
                if group.region not in producers:
                    producers[group.region] = jx.Producers(transition.region(group.region).body)
                self.of[group] = GroupProbe(transition, producers[group.region], group, wanted, inflows)

    def jacobian(self, op: Jacobian, scene: Scene) -> tuple[Any, ...]:
        """The results of a Jacobian."""
        found, probe = self._pulled(op.group, scene), self.of[op.group]
        at = [(found[of], probe.states.index(op.source.states[on]), op.coupling(of, on)) for of, on in op.pairs]
        values = (x.entries(on, c) if op.entire else x.diagonal(on, c) for x, on, c in at)
        return tuple(x.astype(v.type.dtype) for x, v in zip(values, op.results, strict=True))

    def sensitivity(self, op: Sensitivity, scene: Scene) -> tuple[Any, ...]:
        """The results of a sensitivity. Sites whose shifts enter in one place get one and the same array."""
        group = op.association.group
        found, probe = self._pulled(group, scene), self.of[group]
        place = len(probe.states) + probe.sites.index(op.association.site)
        results: list[Any] = []
        for k, value in zip(op.states, op.results, strict=True):
            coupling = op.association.couplings[k]
            assert coupling is not None
            results.append(_cast(found[k].sensitivity(place, op.placement, coupling), value.type.dtype))
        return tuple(results)

    def _pulled(self, group: Group, scene: Scene) -> dict[int, _Linearised]:
        return scene.once(("linearised", group), lambda: self.of[group](scene))


def _cast(array: Any, dtype: str) -> Any:
    """The array as an element type: itself where it is of that type already, so that equal arrays stay one."""
    return array if str(array.dtype) == dtype else array.astype(dtype)


class GroupProbe:
    """The derivatives of one group's new states, at one step."""

    def __init__(
        self,
        transition: Transition,
        producers: jx.Producers,
        group: Group,
        wanted: Sequence[Sensitivity],
        inflows: Sequence[Jacobian],
    ) -> None:
        """Prepare for `group`, the sensitivities that are wanted, and the Jacobians by states of other groups."""
        region, sites = transition.region(group.region), transition.sites
        self.group, self.wanted = group, tuple(wanted)
        self.sites = list(dict.fromkeys(op.association.site for op in wanted))
        self.variables = variables = jx.argument_vars(region.body)
        self.consts = dict(zip(jx.all_invars(region.body), jx.consts_of(region.body), strict=False))
        inputs = region.inputs
        place = {value: k for k, value in enumerate(inputs)}
        self.states = list(dict.fromkeys([*group.states, *(s for op in inflows for s in op.source.states)]))
        self.state_places = [place[state.before] for state in self.states]
        first_shift = len(inputs) - len(sites)
        self.shift_places = [first_shift + sites.index(site) for site in self.sites]
        results = jx.outvars(region.body)
        self.results = [results[transition.hidden.index(state)] for state in group.states]
        self.equations = [producers.reaching([atom]) for atom in self.results]
        read = {atom for eqns in self.equations for eqn in eqns for atom in eqn.invars if not jx.is_literal(atom)}
        read |= {atom for atom in self.results if not jx.is_literal(atom)}
        chosen = {*self.state_places, *self.shift_places}
        self.operands = {
            place: value
            for place, value in enumerate(inputs[:first_shift])
            if place in chosen or variables[place] in read
        }
        """What it is linearised at, by place."""
        self.shifts = [k for k in range(first_shift, len(inputs)) if k in chosen or variables[k] in read]

    def __call__(self, scene: Scene) -> dict[int, _Linearised]:
        """The pull-backs of ones through each new state."""
        arguments = {place: jax.lax.stop_gradient(scene[value]) for place, value in self.operands.items()}
        arguments |= {k: jnp.zeros(jx.shape_of(self.variables[k]), jx.dtype_of(self.variables[k])) for k in self.shifts}
        return {of: self._pull_back(of, state, arguments) for of, state in enumerate(self.group.states)}

    def _pull_back(self, of: int, state: State, arguments: dict[int, Any]) -> _Linearised:
        places = [*self.state_places, *self.shift_places]

        def run(*chosen: jax.Array) -> jax.Array:
            env: dict[Any, Any] = {**self.consts, **{self.variables[place]: x for place, x in arguments.items()}}
            env.update({self.variables[place]: x for place, x in zip(places, chosen, strict=True)})
            jx.run_equations(self.equations[of], env, located=False)
            return jnp.asarray(jx.read(env, self.results[of]), state.after.type.dtype)

        couplings = [self.group.dependence(state, on) for on in self.states]
        couplings += [op.association.couplings[of] for op in self.wanted]
        pulled = [c for c in dict.fromkeys(couplings) if c is not None and not c.repeats]
        return _Linearised(run, [arguments[place] for place in places], colouring(pulled))


def colouring(couplings: Sequence[Coupling]) -> np.ndarray | None:
    """A colour for each output position such that, in every coupling, outputs that share an input differ.

    None where one colour is enough. Colours of several couplings are combined as pairs.
    """
    colours: np.ndarray | None = None
    for coupling in couplings:
        own = _colours_of(coupling)
        if own.max(initial=0):
            paired = own if colours is None else colours * (own.max() + 1) + own
            _, dense = np.unique(paired, return_inverse=True)
            colours = dense.reshape(paired.shape)
    return colours


def _colours_of(coupling: Coupling) -> np.ndarray:
    """A colour for each output position; one of its own for each where few do not do."""
    size = math.prod(coupling.out_shape)
    found = coupling.colours(limit=size)
    return np.arange(size).reshape(coupling.out_shape) if found is None else np.asarray(found.array())


FEW = 8
"""Up to so many pull-backs are written out one by one, so that they fuse; more are taken at once."""


class _Linearised:
    """One new state's derivatives: the pull-backs of ones through it, one for each colour, and pushes where asked."""

    def __init__(self, run: Any, primals: list[jax.Array], colours: np.ndarray | None) -> None:
        out, pull = jax.vjp(run, *primals)
        self.out, self.pull, self.primals = out, pull, primals
        self.pushed: dict[tuple[int, Coupling], jax.Array] = {}
        self.colours = colours
        self.count = 1 if colours is None else int(colours.max()) + 1
        masks = np.ones((1, *out.shape), bool)
        if colours is not None:
            masks = colours == np.arange(self.count).reshape(-1, *[1] * colours.ndim)
        self.pulled = self._pull(pull, jnp.asarray(masks, out.dtype))
        self.imaginary: list[Any] | None = None
        if jnp.iscomplexobj(out) and any(not jnp.iscomplexobj(x) for x in primals):
            self.imaginary = self._pull(pull, -1j * jnp.asarray(masks, out.dtype))

    def _pull(self, pull: Any, masks: jax.Array) -> list[Any]:
        """For each argument its cotangents: a list with one for each colour, or one array `[colours, *argument]`."""
        if self.count > FEW:
            return list(jax.vmap(pull)(masks))
        return list(zip(*(pull(mask) for mask in masks), strict=True))

    def _entries(self, place: int) -> Any:
        """The cotangents of an argument; for a real one of a complex result, real and imaginary part together."""
        values = self.pulled[place]
        if self.imaginary is None or jnp.iscomplexobj(values[0]):
            return values
        imaginary = self.imaginary[place]
        if self.count > FEW:
            return values + 1j * imaginary
        return [x + 1j * y for x, y in zip(values, imaginary, strict=True)]

    def diagonal(self, place: int, coupling: Coupling) -> jax.Array:
        """The Jacobian's diagonal by the state at `place`."""
        chosen = self._entries(place)[0] if self.colours is None else self._select(self.colours[None], place)[0]
        if coupling.is_identity:
            return chosen
        own = np.arange(chosen.size).reshape(chosen.shape)[..., None]
        kept = (positions_of(coupling) == own).any(-1)
        return chosen if kept.all() else jnp.where(kept, chosen, 0)

    def entries(self, place: int, coupling: Coupling) -> jax.Array:
        """At each old position the derivatives of the new positions that it feeds, of `links.entries_shape`."""
        positions = np.moveaxis(positions_of(coupling), -1, 0)
        if coupling.repeats:
            found = self._push(place, coupling, positions)
        else:
            colours = np.zeros(coupling.out_shape, int) if self.colours is None else self.colours
            found = self._select(np.where(positions >= 0, colours.ravel()[np.maximum(positions, 0)], -1), place)
        return jnp.moveaxis(found, 0, slots_at(coupling)) if len(positions) > 1 else found[0]

    def sensitivity(self, place: int, layout: Placement, coupling: Coupling) -> jax.Array:
        """The derivative by the site's shift at `place`, as the layout has a sensitivity."""
        if coupling.repeats:
            value = layout.from_slots_first(self._push(place, coupling, np.moveaxis(layout.positions, -1, 0)))
        elif self.colours is None:
            value = self._entries(place)[0]
            if layout.slot:
                value = jnp.broadcast_to(jnp.expand_dims(value, layout.slot_at), layout.output_shape)
        else:
            colours = layout.slots_first(layout.gather_on_host(self.colours))
            value = layout.from_slots_first(self._select(colours, place))
        fed = layout.fed(coupling)
        return value if fed is None else jnp.where(fed, value, 0)

    def _push(self, place: int, coupling: Coupling, positions: np.ndarray) -> jax.Array:
        """For each slot and source position the derivative of the new position that it holds, `[slots, *argument]`.

        By the transpose of the pull-back, which follows custom backward rules as well.
        """
        colours = colouring([coupling.transpose()])
        at = np.zeros(coupling.in_shape, int) if colours is None else colours
        if (place, coupling) not in self.pushed:
            forward = jax.linear_transpose(lambda cotangent: self.pull(cotangent)[place], self.out)
            ones = at == np.arange(at.max(initial=0) + 1).reshape(-1, *[1] * at.ndim)
            tangents = jnp.asarray(ones, self.primals[place].dtype)
            found = forward(tangents[0])[0][None] if len(ones) == 1 else jax.vmap(forward)(tangents)[0]
            self.pushed[place, coupling] = found
        size = math.prod(coupling.out_shape)
        return pick(self.pushed[place, coupling], np.where(positions >= 0, at * size + positions, -1))

    def _select(self, colours: np.ndarray, place: int) -> jax.Array:
        """For each slot and position the pull-back of its colour, `[slots, *argument]`; zero for a colour of -1."""
        entries = self._entries(place)
        if self.count > FEW:
            size = entries[0].size
            at = np.arange(size).reshape(entries.shape[1:])
            return pick(entries, np.where(colours >= 0, colours * size + at, -1))
        if self.count == 1 and (colours == 0).all():
            return jnp.broadcast_to(entries[0], colours.shape)
        chosen = jnp.zeros((), entries[0].dtype)
        for k, entry in enumerate(entries):
            chosen = jnp.where(colours == k, entry, chosen)
        return chosen
