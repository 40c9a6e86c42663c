"""States: explicit containers of a mutable value, in the kinds that a model is built from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ..ir.loc import calling_line
from ..ir.step import leaf_paths
from . import errors, frame
from .cell import Cell, is_array_like, same_types, strong_array, type_text


class State:
    """A mutable value: any pytree of arrays, read and written as `.value`.

    `value` may hold, in the place of an array, a function of no arguments that makes one. A lazily shaped state has no
    value at first, and `lazy(x)` in its place: see `ensure`. The name, used in messages, is that of the module's
    attribute unless one is given. Plain states (counters, keys, buffers) carry no credit between steps.

    `sharding` names, for each axis of the arrays as they are declared, the mesh axis that `nn.place` cuts it along, or
    None. Writing keeps the tree structure; shapes and element types may change, as they do when a batch axis is added.
    Python numbers and NumPy arrays become JAX arrays of a strong type. Under a transform of `etir.transform` a write is
    carried out of it; under a transform of JAX itself a write raises EtirError, since JAX would lose it.
    """

    _noun: ClassVar[str] = "state"

    def __init__(
        self,
        value: Any = None,
        *,
        lazy: Callable[[Any], Any] | None = None,
        name: str | None = None,
        sharding: Sequence[Any] | None = None,
    ) -> None:
        self.name = name
        self.sharding = None if sharding is None else tuple(sharding)
        self.loc = calling_line()
        self.initial = value
        self.lazy = lazy
        # Kept by `frame`: the value outside every transform, the trace that it belongs to, the frame it was made in.
        self.base = Cell()
        self.home: object = None
        self.birth = 0
        first = None if value is None else self.accept(self.make_initial())
        self.ranks = tuple(leaf.ndim for leaf in jax.tree.leaves(first))
        frame.create(self, Cell(value=first))

    @property
    def value(self) -> Any:
        """The value now; EtirError where the state is unset."""
        cell = frame.read(self)
        if not cell.is_set:
            raise errors.unset(self)
        frame.note_read(self)
        return cell.value

    @value.setter
    def value(self, value: Any) -> None:
        value, cell = self.accept(value), frame.read(self)
        if cell.is_set and jax.tree.structure(cell.value) != jax.tree.structure(value):
            raise errors.wrong_tree(self, cell.value, value)
        frame.write(self, replace(cell, value=value))

    @property
    def is_set(self) -> bool:
        """Whether the state has a value."""
        return frame.read(self).is_set

    def __getitem__(self, key: Any) -> Any:
        """The entry `key` of a value that is a dict, a list or a tuple."""
        value = self.value
        if not self._has_entry(value, key):
            raise errors.no_entry(self, key, value)
        return value[key]

    def __setitem__(self, key: Any, entry: Any) -> None:
        """Write one entry, the others staying as they are."""
        value = self.value
        if not self._has_entry(value, key):
            raise errors.no_entry(self, key, value)
        if isinstance(value, dict):
            self.value = {**value, key: entry}
        else:
            position = range(len(value))[key]
            self.value = type(value)(entry if i == position else old for i, old in enumerate(value))

    def _has_entry(self, value: Any, key: Any) -> bool:
        if isinstance(value, dict):
            return key in value
        return isinstance(value, (list, tuple)) and isinstance(key, int) and -len(value) <= key < len(value)

    def ensure(self, x: Any) -> Any:
        """The value, made by `lazy` first where the state is unset.

        `lazy` is called with the shape and the element type of `x` (`jax.ShapeDtypeStruct`, in the tree structure of
        `x`), never with its numbers: the value that a state starts from cannot depend on the data.
        """
        if not self.is_set:
            if self.lazy is None:
                raise errors.unset(self)
            spec = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), x)
            lazy = self.lazy
            frame.note_lazy(self, lambda: Cell(value=self.accept(lazy(spec))))
            self.value = lazy(spec)
        return self.value

    def make_initial(self) -> Any:
        """The initial value, its initialisers called; None where there is none."""
        return jax.tree.map(lambda leaf: leaf() if callable(leaf) else leaf, self.initial)

    def accept(self, value: Any) -> Any:
        """`value` with its leaves as JAX arrays; EtirError where this state cannot hold it."""
        if frame.holds_dead_tracer(value):
            raise errors.leaked_tracer(self, "written")
        for path, leaf in leaf_paths(value, ""):
            if not is_array_like(leaf):
                raise errors.wrong_leaf(self, path, leaf)
        return jax.tree.map(strong_array, value)

    def fits(self, value: Any) -> bool:
        """Whether `nn.load_states` may set this value: one of the types that are held, or any where none are."""
        held = frame.read(self).value
        if value is None:
            return held is None or self.initial is None
        if not all(is_array_like(leaf) for leaf in jax.tree.leaves(value)):
            return False
        return held is None or same_types(held, jax.tree.map(jnp.asarray, value))

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the axes of samples that a value has which `nn.load_states` sets, outermost first."""
        return frame.read(self).tags

    def outside(self) -> Cell:
        """What the state holds outside every transform."""
        return self.base

    @property
    def only_read(self) -> bool:
        """Whether the state holds something that must not be trained."""
        return False

    varies: ClassVar[bool] = False
    """Whether each sample of vmap gets a variant of its own, which `per_sample` makes."""

    def per_sample(self, value: Any, index: jax.Array) -> tuple[Any, Any]:
        """The value after vmap, and that of sample `index` inside it."""
        raise NotImplementedError

    @property
    def num_state(self) -> int:
        """How many arrays the state holds."""
        return len(jax.tree.leaves(self.value))

    @property
    def varshape(self) -> tuple[int, ...]:
        """The shape of the arrays, batch axes included; EtirError where they differ."""
        shapes = {leaf.shape for leaf in jax.tree.leaves(self.value)}
        if len(shapes) != 1:
            raise errors.several_shapes(self, self.value)
        return shapes.pop()

    @property
    def title(self) -> str:
        """The state as messages call it."""
        return f"{self._noun} '{self.name}'" if self.name else f"an unnamed {type(self).__name__}"

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        return f"{type(self).__name__}({name}{frame.read(self)})"

    def __getstate__(self) -> dict[str, Any]:
        kept = {key: value for key, value in self.__dict__.items() if key not in ("base", "home", "birth")}
        return kept | {"cell": frame.read(self)}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        cell = saved.pop("cell")
        self.__dict__.update(saved)
        frame.create(self, cell)


class ParamState(State):
    """A weight, or a pytree of weights: what is trained. It is held still within a step."""

    _noun = "weight"


class ShortTermState(State):
    """A value that is made anew for each sequence but carries no credit: a delay buffer, a counter of steps."""


class HiddenState(State):
    """One array that carries credit from step to step: a membrane potential, the activity of a recurrent layer."""

    def accept(self, value: Any) -> Any:
        """`value` as one array."""
        if not jax.tree_util.all_leaves([value]):
            help = "use HiddenGroupState(V=..., I=...), or HiddenTreeState for arrays of several shapes"
            raise errors.wrong_kind(self, "one array", value, help)
        return super().accept(value)


class HiddenGroupState(HiddenState):
    """Several arrays of one shape that depend on each other position by position: `HiddenGroupState(V=..., I=...)`.

    The arrays are kept apart, as a dict (a struct of arrays). They are given by keyword, or as one dict.
    """

    def __init__(
        self,
        initial: Any = None,
        *,
        lazy: Callable[[Any], Any] | None = None,
        name: str | None = None,
        sharding: Sequence[Any] | None = None,
        **arrays: Any,
    ) -> None:
        given = {**(initial or {}), **arrays} or None if initial is None or isinstance(initial, dict) else initial
        super().__init__(given, lazy=lazy, name=name, sharding=sharding)

    def accept(self, value: Any) -> Any:
        """`value` as a dict of arrays of one shape."""
        if not isinstance(value, dict) or not jax.tree_util.all_leaves(value.values()):
            help = "give it V=..., I=..., each one array, or use HiddenTreeState"
            raise errors.wrong_kind(self, "a dict of arrays", value, help)
        arrays = State.accept(self, value)
        if len({array.shape for array in arrays.values()}) > 1:
            raise errors.group_shapes(self, arrays)
        return arrays


class HiddenTreeState(HiddenState):
    """Any pytree of arrays that carry credit, of any shapes: `HiddenTreeState({'c': ..., 'h': ...})`."""

    def accept(self, value: Any) -> Any:
        """`value` as a pytree of arrays."""
        return State.accept(self, value)


def describe(state: State) -> str:
    """A state's class and type, in one line: `HiddenState f32[8]`."""
    return f"{type(state).__name__} {type_text(frame.read(state).value)}"
