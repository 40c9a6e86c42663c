"""Loops that pick one entry of an array in each trip by a counter, as loops that scan over these entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...coupling.primitives import Constants
from ...ir import jaxpr as jx
from ...ir.operations.lookup import looked_up
from ..canonicalise import without_calls
from .uses import counters

LONGEST = 256
"""Loops of more trips are left as they are: each trip's index is computed."""

UPDATES: dict[str, Callable[[Any, Any], Any]] = {
    "dynamic_update_slice": lambda old, new: new,
    "scatter": lambda old, new: new,
    "scatter-add": jnp.add,
    "scatter-mul": jnp.multiply,
}
"""What changes an entry of an array, each with what becomes of the entry."""


class Entries(NamedTuple):
    """The entries along an axis that the trips of a loop pick, in the order in which they are scanned over."""

    axis: int
    first: int
    trips: int
    falling: bool
    """Whether the first trip picks the last one."""

    def of(self, array: Any) -> Any:
        """These of an array, stacked."""
        whole = self.trips == array.shape[self.axis]
        own = array if whole else jax.lax.slice_in_dim(array, self.first, self.first + self.trips, axis=self.axis)
        found = jnp.moveaxis(own, self.axis, 0)
        return found[::-1] if self.falling else found

    def put(self, array: Any, stacked: Any) -> Any:
        """An array with these replaced."""
        new = jnp.moveaxis(stacked[::-1] if self.falling else stacked, 0, self.axis)
        ends = (0, self.first), (self.first + self.trips, array.shape[self.axis])
        before, after = (jax.lax.slice_in_dim(array, a, b, axis=self.axis) for a, b in ends)
        parts = [part for part in (before, new, after) if part.shape[self.axis]]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts, self.axis)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """An operand of a loop whose entries are picked, and where the loop changes them."""

    place: int
    entries: Entries
    reads: Mapping[Any, Any] = field(default_factory=dict[Any, Any])
    """The equations that pick an entry, each with how the entry is arranged to be its result."""
    updates: tuple[Any, ...] = ()
    """The equations that change the entry, one after the other."""


def by_entries(body: Any) -> Any:
    """A jaxpr whose loops scan over what they pick by a counter, in other loops too, if there are any such.

    What `h[i]`, `h.at[i].set(...)` and `h.at[i].add(...)` do in `fori_loop` is then what `lax.scan` over `h` does: the
    entries meet no others, and each is followed by itself.
    """
    flat = without_calls(body)
    constants = Constants(flat)
    changes: dict[int, jx.Change] = {}
    for eqn in jx.equations(flat):
        if eqn.primitive.name == "scan":
            inner = by_entries(eqn.params["jaxpr"])
            own = without_calls(inner)
            found = list(_stacks(eqn, own, constants))
            if found or inner is not eqn.params["jaxpr"]:
                changes[id(eqn)] = partial(_scanned, eqn, own, found)
    return jx.replaced(flat, changes) if changes else body


def _stacks(eqn: Any, body: Any, constants: Constants) -> Iterator[Stack]:
    """The operands of a scan whose entries are picked by a counter, by nothing else where the loop changes them."""
    consts, carry, _ = jx.scan_split(eqn)
    arguments, results = jx.argument_vars(body), jx.outvars(body)
    readers: dict[Any, list[Any]] = {}
    for inner in jx.equations(body):
        for atom in {atom for atom in inner.invars if not jx.is_literal(atom)}:
            readers.setdefault(atom, []).append(inner)
    own = [inner for var in arguments[: consts + carry] for inner in readers.get(var, [])]
    if not any(inner.primitive.name in UPDATES or looked_up(inner) for inner in own):
        return
    trips = _trips(eqn, body, constants)
    for k, var in enumerate(arguments[: consts + carry] if trips else []):
        if not jx.type_of(var).carries_credit or not jx.shape_of(var):
            continue
        if k >= consts:
            changed = _changed(k, var, results[k - consts], results, readers, trips)
            if changed is not None:
                yield changed
            continue
        picked = {inner: _picked(inner, var, trips) for inner in readers.get(var, [])}
        reads = {inner: found for inner, found in picked.items() if found is not None}
        for entries in dict.fromkeys(found[0] for found in reads.values()):
            chosen = {inner: arrange for inner, (of, arrange) in reads.items() if of == entries}
            yield Stack(place=k, entries=entries, reads=chosen)


def _changed(
    place: int, var: Any, after: Any, results: Sequence[Any], readers: Mapping[Any, list[Any]], trips: Sequence[Any]
) -> Stack | None:
    """A carried array of which each trip picks and changes one entry; None where it does something else, too."""
    reads: dict[Any, Any] = {}
    updates: list[Any] = []
    found: set[Entries | None] = set()
    while True:
        version = updates[-1].outvars[0] if updates else var
        following: list[Any] = []
        for inner in readers.get(version, []):
            picked = _picked(inner, version, trips)
            if picked is None:
                following.append(inner)
                found.add(_replaced(inner, version, trips))
            else:
                found.add(picked[0])
                reads[inner] = picked[1]
        if len(found) > 1 or len(following) > 1 or results.count(version) != (version is after):
            return None
        if not following:
            break
        updates += following
    (entries,) = found or {None}
    if entries is None or version is not after:
        return None
    return Stack(place=place, entries=entries, reads=reads, updates=tuple(updates)) if updates else None


def _trips(eqn: Any, body: Any, constants: Constants) -> list[Constants]:
    """What is known in each trip, in the order in which they are scanned over; nothing where no counter is."""
    consts, carry, scanned = jx.scan_split(eqn)
    length, arguments = eqn.params["length"], jx.argument_vars(body)
    if not 0 < length <= LONGEST or eqn.effects:
        return []
    counted = {k: (start, by) for k, by in counters(eqn).items() if (start := constants.get(eqn.invars[k])) is not None}
    places = (*range(consts), *range(consts + carry, consts + carry + scanned))
    fixed = {k: value for k in places if (value := constants.get(eqn.invars[k])) is not None}
    if not counted and all(k < consts for k in fixed):
        return []
    found: list[Constants] = []
    for place in range(length):
        order = length - 1 - place if eqn.params["reverse"] else place
        given = {arguments[k]: value if k < consts else value[place] for k, value in fixed.items()}
        given |= {arguments[k]: _counted(arguments[k], start, by * order) for k, (start, by) in counted.items()}
        found.append(Constants(body, given))
    return found


def _counted(var: Any, start: Any, moved: int) -> Any:
    """A counter's value, in its own element type, beyond whose end it begins again."""
    return np.asarray((int(start) + moved) % 2**64, np.uint64).astype(jx.dtype_of(var))


def _picked(inner: Any, var: Any, trips: Sequence[Constants]) -> tuple[Entries, Any] | None:
    """The entries that an equation picks in the trips, and how one becomes its result; None if it picks none."""
    looked = looked_up(inner)
    if looked is None or inner.invars[0] is not var or var in inner.invars[1:]:
        return None
    at = [_index(looked.ids, inner, known) for known in trips]
    entries = _in_turn(at, looked.axis, var)
    return None if entries is None else (entries, looked.arrange)


def _index(ids: Any, inner: Any, known: Constants) -> int | None:
    """The one index of a look-up in a trip."""
    values = [known.get(atom) for atom in inner.invars[1:]]
    if any(value is None for value in values):
        return None
    found = ids([None, *values])
    return int(found) if not found.ndim else None


def _replaced(inner: Any, var: Any, trips: Sequence[Constants]) -> Entries | None:
    """The entries that an equation changes in the trips; None where it does something else, too."""
    name, shape = inner.primitive.name, jx.shape_of(var)
    if inner.invars[0] is not var or var in inner.invars[1:]:
        return None
    if name == "dynamic_update_slice":
        new = jx.shape_of(inner.invars[1])
        cut = [axis for axis, (whole, size) in enumerate(zip(shape, new, strict=True)) if whole != size]
        if len(cut) != 1 or new[cut[0]] != 1:
            return None
        at = [known.get(inner.invars[2 + cut[0]]) for known in trips]
        return _in_turn([None if x is None else int(x) for x in at], cut[0], var)
    if name not in UPDATES:
        return None
    numbers = inner.params["dimension_numbers"]
    (*_, axis) = numbers.inserted_window_dims or (-1,)
    single = numbers.inserted_window_dims == numbers.scatter_dims_to_operand_dims == (axis,)
    whole = jx.shape_of(inner.invars[2]) == (*shape[:axis], *shape[axis + 1 :])
    if not single or not whole or numbers.operand_batching_dims or jx.shape_of(inner.invars[1]) != (1,):
        return None
    at = [known.get(inner.invars[1]) for known in trips]
    return _in_turn([None if x is None else int(x[0]) for x in at], axis, var)


def _in_turn(at: Sequence[int | None], axis: int, var: Any) -> Entries | None:
    """The entries at some indices, where these are one after the other, up or down, and none of them is beyond."""
    known = [index for index in at if index is not None]
    first, count = min(known, default=0), len(at)
    if len(known) < count or first < 0 or first + count > jx.shape_of(var)[axis]:
        return None
    rising = list(range(first, first + count))
    if known not in (rising, rising[::-1]):
        return None
    return Entries(axis, first, count, known != rising)


def _scanned(eqn: Any, body: Any, stacks: Sequence[Stack], operands: Sequence[Any]) -> list[Any]:
    """The results of a loop that scans over the entries of its stacks."""
    consts, carry, _ = jx.scan_split(eqn)
    arguments, results = jx.argument_vars(body), jx.outvars(body)
    changed = {stack.place - consts: stack for stack in stacks if stack.updates}
    left = [k for k in range(carry) if k not in changed]
    arranged = {inner: (n, arrange) for n, stack in enumerate(stacks) for inner, arrange in stack.reads.items()}
    updates = {inner: n for n, stack in enumerate(stacks) for inner in stack.updates}

    def trip(now: list[Any], of_trip: tuple[list[Any], list[Any]]) -> tuple[list[Any], tuple[list[Any], list[Any]]]:
        env = dict(zip(jx.all_invars(body), jx.consts_of(body), strict=False))
        env |= dict(zip(arguments, operands[:consts], strict=False))
        env |= dict(zip([arguments[consts + k] for k in left], now, strict=True))
        env |= dict(zip(arguments[consts + carry :], of_trip[0], strict=True))
        entries = of_trip[1]
        versions: dict[Any, Any] = {
            arguments[stack.place]: entries[n] for n, stack in enumerate(stacks) if stack.updates
        }
        for inner in jx.equations(body):
            if inner in arranged:
                n, arrange = arranged[inner]
                with jx.made_by(inner):
                    env[inner.outvars[0]] = arrange(versions.get(inner.invars[0], entries[n]))
            elif inner in updates:
                entry, axis = versions[inner.invars[0]], stacks[updates[inner]].entries.axis
                with jx.made_by(inner):
                    versions[inner.outvars[0]] = UPDATES[inner.primitive.name](entry, _new(inner, axis, env))
            else:
                jx.run_equations([inner], env)
        new = [versions[results[place]] for place in changed]
        found = [jx.read(env, atom) for atom in results[carry:]]
        return [jx.read(env, results[k]) for k in left], (found, new)

    end, (found, new) = jax.lax.scan(
        trip,
        [operands[consts + k] for k in left],
        (list(operands[consts + carry :]), [stack.entries.of(operands[stack.place]) for stack in stacks]),
        length=eqn.params["length"],
        reverse=eqn.params["reverse"],
        unroll=eqn.params["unroll"],
    )
    after = dict(zip(left, end, strict=True))
    for stack, entries in zip(changed.values(), new, strict=True):
        after[stack.place - consts] = stack.entries.put(operands[stack.place], entries)
    return [*(after[k] for k in range(carry)), *found]


def _new(update: Any, axis: int, env: Mapping[Any, Any]) -> Any:
    """What an update puts in, or adds, as one entry."""
    if update.primitive.name == "dynamic_update_slice":
        return jnp.squeeze(jx.read(env, update.invars[1]), axis)
    return jx.read(env, update.invars[2])
