"""`D` and `f` of a group, by pulling back ones: one pull-back a state (and a colour, where positions share inputs)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...coupling import Coupling
from ...coupling.limits import COLOURS
from ...ir import jaxpr as jx
from ...ir.plan import Jacobian, Placement, Plan, Scene, Sensitivity
from ...ir.plan.jacobian import hidden_operands
from ...ir.plan.links import positions_of
from ...ir.transition import Group, State, Transition


class Probes:
    """The linearisations of a plan's groups: each is taken once a step, for everything that the plan asks of it."""

    def __init__(self, transition: Transition, plan: Plan) -> None:
        """Prepare for the Jacobians and sensitivities of `plan`."""
        self.producers = jx.Producers(transition.region("hidden").body)
        self.of: dict[Group, GroupProbe] = {}
        for op in plan.step:
            group = op.group if isinstance(op, Jacobian) else op.association.group if isinstance(op, Sensitivity) else None
            if group is not None and group not in self.of:
                wanted = [o for o in plan.step if isinstance(o, Sensitivity) and o.association.group is group]
                self.of[group] = GroupProbe(transition, self.producers, group, wanted)

    def jacobian(self, op: Jacobian, scene: Scene) -> tuple[Any, ...]:
        """The results of a Jacobian."""
        found = self._pulled(op.group, scene)
        values = (
            found[of].entries(on, op.coupling(of, on)) if op.whole else found[of].diagonal(on, op.coupling(of, on))
            for of, on in op.pairs
        )
        return tuple(x.astype(v.type.dtype) for x, v in zip(values, op.results, strict=True))

    def sensitivity(self, op: Sensitivity, scene: Scene) -> tuple[Any, ...]:
        """The results of a sensitivity. Sites whose shifts enter in one place get one and the same array."""
        group = op.association.group
        found, probe = self._pulled(group, scene), self.of[group]
        place = len(group.states) + probe.sites.index(op.association.site)
        results: list[Any] = []
        for k, value in zip(op.states, op.results, strict=True):
            coupling = op.association.couplings[k]
            assert coupling is not None
            results.append(_cast(found[k].sensitivity(place, op.placement, coupling), value.type.dtype))
        return tuple(results)

    def _pulled(self, group: Group, scene: Scene) -> dict[int, _PullBacks]:
        return scene.once(("linearised", group), lambda: self.of[group](scene))


def _cast(array: Any, dtype: str) -> Any:
    """The array as an element type: itself where it is of that type already, so that equal arrays stay one."""
    return array if str(array.dtype) == dtype else array.astype(dtype)


class GroupProbe:
    """The derivatives of one group's new states, at one step."""

    def __init__(
        self, transition: Transition, producers: jx.Producers, group: Group, wanted: Sequence[Sensitivity]
    ) -> None:
        """Prepare for `group` and the sensitivities that are wanted."""
        body, sites = transition.region("hidden").body, transition.sites
        self.transition, self.group, self.wanted = transition, group, tuple(wanted)
        self.sites = list(dict.fromkeys(op.association.site for op in wanted))
        self.variables = jx.argument_vars(body)
        self.consts = dict(zip(jx.all_invars(body), jx.consts_of(body), strict=False))
        inputs = transition.region("hidden").inputs
        place = {value: k for k, value in enumerate(inputs)}
        self.state_places = [place[state.before] for state in group.states]
        first_shift = len(inputs) - len(sites)
        self.shift_places = [first_shift + sites.index(site) for site in self.sites]
        results = jx.outvars(body)
        self.results = [results[transition.hidden.index(state)] for state in group.states]
        self.equations = [producers.reaching([atom]) for atom in self.results]

    def __call__(self, scene: Scene) -> dict[int, _PullBacks]:
        """The pull-backs of ones through each new state."""
        t = self.transition
        shifts = [jnp.zeros(site.output.type.shape, site.output.type.dtype) for site in t.sites]
        arguments = [*map(jax.lax.stop_gradient, scene.read(hidden_operands(t))), *shifts]
        return {of: self._pull_back(of, state, arguments) for of, state in enumerate(self.group.states)}

    def _pull_back(self, of: int, state: State, arguments: list[Any]) -> _PullBacks:
        places = [*self.state_places, *self.shift_places]

        def run(*chosen: jax.Array) -> jax.Array:
            env: dict[Any, Any] = {**self.consts, **dict(zip(self.variables, arguments, strict=True))}
            env.update({self.variables[place]: x for place, x in zip(places, chosen, strict=True)})
            jx.run_equations(self.equations[of], env, located=False)
            return jnp.asarray(jx.read(env, self.results[of]), state.after.type.dtype)

        couplings = [c for on in self.group.states if (c := self.group.dependence(state, on)) is not None]
        couplings += [c for op in self.wanted if (c := op.association.couplings[of]) is not None]
        return _PullBacks(run, [arguments[place] for place in places], colouring(list(dict.fromkeys(couplings))))


def colouring(couplings: Sequence[Coupling]) -> np.ndarray | None:
    """A colour for each output position such that, in every coupling, outputs that share an input differ.

    None where one colour is enough. Colours of several couplings are combined as pairs.
    """
    colours: np.ndarray | None = None
    for coupling in couplings:
        found = coupling.colours(limit=COLOURS)
        assert found is not None, "a coupling that cannot be probed should have been held"
        if found.count > 1:
            own = np.asarray(found.array())
            colours = own if colours is None else colours * found.count + own
    if colours is None:
        return None
    _, dense = np.unique(colours, return_inverse=True)
    return dense.reshape(colours.shape)


class _PullBacks:
    """The pull-backs of ones through one state, one for each colour."""

    def __init__(self, run: Any, primals: list[jax.Array], colours: np.ndarray | None) -> None:
        out, pull = jax.vjp(run, *primals)
        self.colours = colours
        masks = [np.ones(out.shape, bool)] if colours is None else [colours == k for k in range(colours.max() + 1)]
        self.pulled = [pull(jnp.asarray(mask, out.dtype)) for mask in masks]
        self.imaginary: list[Any] | None = None
        if jnp.iscomplexobj(out) and any(not jnp.iscomplexobj(x) for x in primals):
            self.imaginary = [pull(-1j * jnp.asarray(mask, out.dtype)) for mask in masks]

    def _entry(self, colour: int, place: int) -> jax.Array:
        """One pull-back's cotangent; for a real argument of a complex result, real and imaginary part together."""
        value = self.pulled[colour][place]
        if self.imaginary is None or jnp.iscomplexobj(value):
            return value
        return value + 1j * self.imaginary[colour][place]

    def diagonal(self, place: int, coupling: Coupling) -> jax.Array:
        """The Jacobian's diagonal by the state at `place`."""
        chosen = self._entry(0, place) if self.colours is None else self._select(self.colours, place)
        if coupling.is_identity:
            return chosen
        own = np.arange(chosen.size).reshape(chosen.shape)[..., None]
        return jnp.where((positions_of(coupling) == own).any(-1), chosen, 0)

    def entries(self, place: int, coupling: Coupling) -> jax.Array:
        """At each old position the derivatives of the new positions that it feeds: `[slots?, *group]`."""
        positions = positions_of(coupling)
        if self.colours is None:
            chosen = self._entry(0, place)[..., None]
        else:
            at = np.where(positions >= 0, self.colours.ravel()[np.maximum(positions, 0)], -1)
            chosen = self._select(at, place)
        found = jnp.where(positions >= 0, chosen, 0)
        return jnp.moveaxis(found, -1, 0) if positions.shape[-1] > 1 else found[..., 0]

    def sensitivity(self, place: int, layout: Placement, coupling: Coupling) -> jax.Array:
        """The derivative by the site's shift at `place`, at each slot: `[slots?, *output]`."""
        if self.colours is None:
            value = self._entry(0, place)
            value = jnp.broadcast_to(value, (layout.slots, *value.shape)) if layout.slot else value
        else:
            at = layout.gather_on_host(self.colours)
            value = self._select(at, place, lead=bool(layout.slot))
        fed = layout.fed(coupling)
        return value if fed is None else jnp.where(fed, value, 0)

    def _select(self, colours: np.ndarray, place: int, lead: bool = False) -> jax.Array:
        """For each position the pull-back of its colour; `colours` may have slots, first (`lead`) or last."""
        chosen = jnp.zeros((), self._entry(0, place).dtype)
        for k in range(len(self.pulled)):
            entry = self._entry(k, place)
            if not lead and colours.ndim > entry.ndim:
                entry = entry[..., None]
            chosen = jnp.where(colours == k, entry, chosen)
        return chosen
