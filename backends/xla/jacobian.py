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
from ...ir.transition import Group, State
from ..calls import Bindings, Calls
from .positions import Layout

Pair = tuple[int, int]
Jacobians = dict[Pair, jax.Array]
"""The diagonals of a group's Jacobian that are not structurally zero, by (new state, old state)."""


class GroupLinearisation:
    """The derivatives of one group's new states, at one step."""

    def __init__(self, calls: Calls, group: Group, layouts: Sequence[Layout]) -> None:
        """Prepare for `group` and the layouts of the associations whose sensitivities are wanted."""
        self.calls, self.group, self.layouts = calls, group, tuple(layouts)
        body, sites = calls.hidden_region.body, calls.transition.sites
        self.variables = jx.argument_vars(body)
        self.consts = dict(zip(jx.all_invars(body), jx.consts_of(body), strict=False))
        inputs = calls.hidden_region.inputs
        place = {value: k for k, value in enumerate(inputs)}
        self.state_places = [place[state.before] for state in group.states]
        first_shift = len(inputs) - len(sites)
        self.shift_places = [first_shift + sites.index(layout.association.site) for layout in self.layouts]
        hidden = calls.transition.hidden
        results = jx.outvars(body)
        self.results = [results[hidden.index(state)] for state in group.states]
        self.equations = [calls.hidden_producers.reaching([atom]) for atom in self.results]
        self.pattern: dict[Pair, Coupling] = {
            (of, on): coupling
            for of, new in enumerate(group.states)
            for on, old in enumerate(group.states)
            if (coupling := group.dependence(new, old)) is not None and coupling.has_diagonal
        }

    def __call__(self, bindings: Bindings) -> tuple[Jacobians, list[list[jax.Array | None]]]:
        """The diagonals, and for each layout the sensitivity of each state (None where it is structurally zero)."""
        arguments = [*self.calls.hidden_arguments(bindings), *self.calls.no_shifts()]
        jacobians: Jacobians = {}
        sensitivities: list[list[jax.Array | None]] = [[] for _ in self.layouts]
        for of, state in enumerate(self.group.states):
            pulled = self._pull_back(of, state, arguments)
            for (row, on), coupling in self.pattern.items():
                if row == of:
                    jacobians[row, on] = pulled.diagonal(on, coupling)
            for k, layout in enumerate(self.layouts):
                coupling = layout.association.couplings[of]
                place = len(self.state_places) + k
                sensitivities[k].append(None if coupling is None else pulled.sensitivity(place, layout, coupling))
        return jacobians, sensitivities

    def _pull_back(self, of: int, state: State, arguments: list[Any]) -> _PullBacks:
        places = [*self.state_places, *self.shift_places]

        def run(*chosen: jax.Array) -> jax.Array:
            env: dict[Any, Any] = {**self.consts, **dict(zip(self.variables, arguments, strict=True))}
            env.update({self.variables[place]: x for place, x in zip(places, chosen, strict=True)})
            jx.run_equations(self.equations[of], env, located=False)
            return jnp.asarray(jx.read(env, self.results[of]), state.after.type.dtype)

        couplings = [c for (row, _), c in self.pattern.items() if row == of]
        couplings += [c for layout in self.layouts if (c := layout.association.couplings[of]) is not None]
        couplings += [
            c for on in self.group.states if (c := self.group.dependence(state, on)) is not None and c not in couplings
        ]
        return _PullBacks(run, [arguments[place] for place in places], colouring(couplings))


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
        if self.colours is None:
            chosen = self._entry(0, place)
        else:
            chosen = self._select(self.colours, place)
        if coupling.is_identity:
            return chosen
        targets = coupling.targets()
        assert targets is not None
        own = np.arange(chosen.size).reshape(chosen.shape)[..., None]
        return jnp.where((targets.positions() == own).any(-1), chosen, 0)

    def sensitivity(self, place: int, layout: Layout, coupling: Coupling) -> jax.Array:
        """The derivative by the site's shift at `place`, at each slot: `[slots?, *output]`."""
        if self.colours is None:
            value = self._entry(0, place)
            value = jnp.broadcast_to(value, (layout.targets.slots, *value.shape)) if layout.slot else value
        else:
            at = layout.gather_on_host(self.colours)
            value = self._select(at, place)
        fed = layout.fed(coupling)
        return value if fed is None else jnp.where(fed, value, 0)

    def _select(self, colours: np.ndarray, place: int) -> jax.Array:
        """For each position the pull-back of its colour."""
        chosen = jnp.zeros((), self._entry(0, place).dtype)
        for k in range(len(self.pulled)):
            chosen = jnp.where(colours == k, self._entry(k, place), chosen)
        return chosen
