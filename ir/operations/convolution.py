"""Convolutions: patches of the data, times a kernel."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import ConvDimensionNumbers

from .. import jaxpr as jx
from ..diagnostics import error
from ..expression import LABELS, Expression
from ..loc import calling_line
from ..weight_operations import bias
from .base import Struct, WeightOperation
from .call import call_operation

Call = Callable[[WeightOperation, Any, Any], Any]
"""What makes a result of an operation, its data and its weight."""

CONVOLUTION = "conv_general_dilated"
_LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution(WeightOperation):
    """`jax.lax.conv_general_dilated`, the output features of kernel and result in two axes: groups, features of each.

    Where each group has one output feature, or there is but one group, there is one axis, as JAX has it.
    """

    name: str = "conv"
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    base_dilation: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    split: bool
    """Whether groups have an axis of their own."""
    layout: ConvDimensionNumbers
    precision: Any = None
    preferred: Any = None

    def apply(self, x: Any, w: Any) -> Any:
        """The convolution."""
        of_kernel, of_result = self.layout.rhs_spec[0], self.layout.out_spec[1]
        y = jax.lax.conv_general_dilated(
            x,
            _merged(w, of_kernel) if self.split else w,
            window_strides=self.strides,
            padding=self.padding,
            lhs_dilation=self.base_dilation,
            rhs_dilation=self.dilation,
            dimension_numbers=self.layout,
            feature_group_count=self.groups,
            precision=self.precision,
            preferred_element_type=self.preferred,
        )
        return _divided(y, of_result, self.groups) if self.split else y

    def unfold(self, x: Any, w: Struct) -> Any:
        """The patches, `[batch, *space, groups?, *window, features]`."""
        space = len(self.strides)
        found = jnp.stack(self._at_places(x, w), 1 + space)
        features = (self.groups, found.shape[-1] // self.groups) if self.groups > 1 else (found.shape[-1],)
        found = found.reshape(*found.shape[: 1 + space], *self._window(w), *features)
        return jnp.moveaxis(found, -2, 1 + space) if self.groups > 1 else found

    def cotangent(self, x: Any, y: Any, w: Struct) -> Any:
        """The kernel's cotangent: on a CPU one product for each place of the window.

        There XLA runs the convolution that JAX writes for it, in a loop, some hundred times more slowly.
        """
        default = functools.partial(WeightOperation.cotangent, self, w=w)
        return jax.lax.platform_dependent(x, y, cpu=functools.partial(self._by_places, w=w), default=default)

    def _by_places(self, x: Any, y: Any, w: Struct) -> Any:
        n, p, g, k, c, features = self._labels()
        expression = self.expression(w, w)
        batch = self.layout.lhs_spec[0], expression.output.index(n)
        x, y = (_merged(jnp.moveaxis(a, 0, axis), axis) for a, axis in zip((x, y), batch, strict=True))
        y = jnp.einsum(f"{expression.output}->{n}{p}{features}", y)
        places = [_divided(a, a.ndim - 1, self.groups) if g else a for a in self._at_places(x, w)]
        parts = [jnp.einsum(f"{n}{p}{g}{c},{n}{p}{features}->{c}{features}", a, y) for a in places]
        found = jnp.stack(parts).reshape(*self._window(w), *parts[0].shape)
        return jnp.einsum(f"{k}{c}{features}->{expression.operands[1]}", found)

    def _at_places(self, x: Any, w: Struct) -> list[Any]:
        """For each place of the window the pixels that the kernel meets there, `[batch, *space, features]`."""
        x = jnp.transpose(x, (self.layout.lhs_spec[0], *self.layout.lhs_spec[2:], self.layout.lhs_spec[1]))
        edges = zip(self.padding, self.base_dilation, strict=True)
        x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((a, b, d - 1) for (a, b), d in edges), (0, 0, 0)])
        taken = [(size - 1) * d + 1 for size, d in zip(self._window(w), self.dilation, strict=True)]
        counts = [max(0, (n - t) // s + 1) for n, t, s in zip(x.shape[1:-1], taken, self.strides, strict=True)]
        places = itertools.product(*(range(0, t, d) for t, d in zip(taken, self.dilation, strict=True)))
        return [self._shifted(x, starts, counts) for starts in places]

    def _shifted(self, x: Any, starts: Sequence[int], counts: Sequence[int]) -> Any:
        """The pixels at one place of every window."""
        rows = zip(starts, counts, self.strides, strict=True)
        ends = [start + (count - 1) * stride + 1 if count else start for start, count, stride in rows]
        return jax.lax.slice(x, (0, *starts, 0), (x.shape[0], *ends, x.shape[-1]), (1, *self.strides, 1))

    def _window(self, w: Struct) -> list[int]:
        """The kernel's sizes in space; its axes behind the output features are one further where these are split."""
        first = self.layout.rhs_spec[0]
        return [w.shape[axis + (self.split and axis > first)] for axis in self.layout.rhs_spec[2:]]

    def expression(self, x: Struct, w: Struct) -> Expression:
        """`"npkc,kco->npo"`, or with groups `"npgkc,kcgo->npgo"`, the axes of kernel and result in their own order."""
        del x, w
        n, p, g, k, c, features = self._labels()
        kernel = _ordered(self.layout.rhs_spec, (features, c, *k))
        return Expression(
            operands=(n + p + g + k + c, kernel), output=_ordered(self.layout.out_spec, (n, features, *p))
        )

    def _labels(self) -> tuple[str, str, str, str, str, str]:
        """Those of the batch, of space, of groups, of the window, of the data's and of the result's features."""
        n, c, g, o, *rest = LABELS[: 4 + 2 * len(self.strides)]
        p, k = "".join(rest[: len(self.strides)]), "".join(rest[len(self.strides) :])
        if self.groups == 1:
            return n, p, "", k, c, o
        return n, p, g, k, c, g + o if self.split else g


def _ordered(places: Sequence[int], labels: Sequence[str]) -> str:
    """The labels, each at its place."""
    return "".join(label for _, label in sorted(zip(places, labels, strict=True)))


def _divided(x: Any, axis: int, groups: int) -> Any:
    return x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])


def _merged(x: Any, axis: int) -> Any:
    return x.reshape(*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :])


def convolve(params: Mapping[str, Any], x: Any, w: Any, call: Call, name: str = "convolution") -> Any:
    """What a `conv_general_dilated` equation with these parameters gives, by way of the operation."""
    groups, layout = params["feature_group_count"], params["dimension_numbers"]
    space = len(params["window_strides"])
    split = groups > 1 and w.shape[layout.rhs_spec[0]] > groups
    operation = Convolution(
        name=name,
        strides=tuple(params["window_strides"]),
        padding=tuple((int(a), int(b)) for a, b in params["padding"]),
        base_dilation=tuple(params["lhs_dilation"] or (1,) * space),
        dilation=tuple(params["rhs_dilation"] or (1,) * space),
        groups=groups,
        split=split,
        layout=layout,
        precision=params["precision"],
        preferred=params["preferred_element_type"],
    )
    y = call(operation, x, _divided(w, layout.rhs_spec[0], groups) if split else w)
    return _merged(y, layout.out_spec[1]) if split else y


def conv(
    x: Any,
    w: Any,
    b: Any | None = None,
    *,
    strides: int | Sequence[int] = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    transposed: bool = False,
    layout: tuple[str, str, str] | None = None,
) -> jax.Array:
    """A convolution in one to three dimensions through an ETP operation: the kernel `w` gets an eligibility trace.

    By default `x` is `[batch, *space, features]` and `w` is `[*window, features / groups, new features]`; another
    `layout` is said as `jax.lax.conv_general_dilated` has it, `("NCHW", "OIHW", "NCHW")`. The batch axis may be absent.
    `padding` is `"SAME"`, `"VALID"` or a pair for each dimension; `transposed` is `jax.lax.conv_transpose`, which
    `strides` make larger. `groups` equal to the features is a depthwise convolution. `b`, a parameter too, is added
    along the new features. Raises EtirError where the shapes do not fit.
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    space = w.ndim - 2
    if not 1 <= space <= 3 or x.ndim not in (w.ndim, w.ndim - 1):
        raise error(
            "conv-rank",
            f"etir.conv got data of {x.ndim} axes and a kernel of {w.ndim}",
            loc=calling_line(),
            help="a kernel has one to three axes in space and two of features; the data have as many, or no batch axis",
        )
    layout = layout or _LAYOUTS[space]
    alone = x.ndim < w.ndim
    x = jnp.expand_dims(x, layout[0].index("N")) if alone else x
    options = {
        "strides": (strides,) * space if isinstance(strides, int) else tuple(strides),
        "dilation": (dilation,) * space if isinstance(dilation, int) else tuple(dilation),
    }
    params = _params(x, w, padding=padding, groups=groups, transposed=transposed, layout=layout, **options)
    y = convolve(params, x, w, call_operation, "conv")
    if b is not None:
        after = len(layout[2]) - 1 - layout[2].index("C")
        y = bias(y, jnp.reshape(b, (-1, *(1,) * after)))
    return jnp.squeeze(y, layout[2].index("N")) if alone else y


def _params(x: Any, w: Any, *, transposed: bool, groups: int, strides: Any, dilation: Any, **rest: Any) -> Any:
    """The parameters of JAX's own equation."""
    named = {"padding": rest["padding"], "rhs_dilation": dilation, "dimension_numbers": rest["layout"]}

    def run(x: Any, w: Any) -> Any:
        if transposed:
            return jax.lax.conv_transpose(x, w, strides, **named)
        return jax.lax.conv_general_dilated(x, w, strides, feature_group_count=groups, **named)

    dtype = jnp.result_type(x, w)
    shape = list(w.shape)
    if transposed:  # which knows of no groups
        shape[rest["layout"][1].index("I")] *= groups
    try:
        closed, _ = jx.trace(run, jax.ShapeDtypeStruct(x.shape, dtype), jax.ShapeDtypeStruct(shape, dtype))
    except (TypeError, ValueError) as refused:
        said = str(refused).split("\n")[0].rstrip(".")
        message = f"etir.conv of shapes {tuple(x.shape)} and {tuple(w.shape)}: {said}"
        raise error("operand-shape", message, loc=calling_line()) from None
    (eqn,) = (eqn for eqn in jx.equations(closed) if eqn.primitive.name == CONVOLUTION)
    return {**eqn.params, "feature_group_count": groups}
