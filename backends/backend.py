"""What a backend is: overrides of plan operations, kernels for patterns of them, and how reverse mode is taken.

Every backend runs the whole plan by one engine. An operation without an override runs by its definition, so a backend
may say little, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ..ir.diagnostics import error
from ..ir.plan import Operation, Plan, Scene
from ..ir.transition import Site, Transition
from ..ir.values import Value

if TYPE_CHECKING:
    from ..coupling.primitives.picked import Picked
    from .folds.pattern import Sweep, Unit

Override = Callable[[Any, Scene], tuple[Any, ...]]
"""`(operation, scene) -> results`, in the place of the operation's own `evaluate`."""


class Uses:
    """Which operations of a plan read each value, and which one computes it."""

    def __init__(self, plan: Plan) -> None:
        """Index the plan's operations."""
        self.plan = plan
        self.readers: dict[Value, list[Operation]] = {}
        self.maker: dict[Value, Operation] = {}
        for operation in plan.operations:
            self.maker.update(dict.fromkeys(operation.results, operation))
            for value in operation.operands:
                self.readers.setdefault(value, []).append(operation)
        self.carried = {value for trace in plan.traces for value in (trace.before, trace.after)}

    def of(self, value: Value) -> list[Operation]:
        """The operations that read a value, once for each time that they do."""
        return self.readers.get(value, [])


@dataclass(frozen=True, kw_only=True)
class Fused:
    """Operations that a kernel runs at once."""

    operations: tuple[Operation, ...]
    """The whole pattern, in program order, all of one phase."""
    results: tuple[Value, ...]
    """The values that `run` gives: every one that anything outside the pattern reads must be among them."""
    run: Callable[[Scene], tuple[Any, ...]]
    name: str = "kernel"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the pass over a trace at a fold's end, or the sweep over a unit's history, is run by, and why."""

    kernel: str
    reason: str
    emitted: str = ""
    """What the kernel does, for people."""
    run: Callable[..., Any] | None = None
    """A function like `folds.trace_pass.xla_pass`, `Stretch -> Carried` (`folds.history`), or like
    `PickedSource.by_steps`; None for XLA code."""
    gains: bool = True
    """Of a pass over a trace, whether it takes less time of many steps at once than one window after the other."""
    remakes: bool = False
    """Of a history, whether it has what Jacobians and sensitivities follow from, and these are made again from it."""


class Kernel:
    """A pattern of operations that is run at once. Subclass it, and list it in a backend's `kernels`."""

    def match(self, operation: Operation, uses: Uses) -> Fused | None:
        """The pattern that ends with `operation`; None where it is not this kernel's. Look at the uses of every value.

        The engine checks what comes back: a value that something outside the pattern reads, and that the kernel does
        not give, is an EtirError, and so is a pattern that is not of one phase.
        """
        raise error(
            "kernel-method",
            f"kernel '{type(self).__name__}' does not say what it matches",
            help="define match(self, operation, uses), which returns a Fused or None",
        )


@dataclass(frozen=True)
class Backend:
    """How plans are run. Subclass it with a `name`, and override operations, give kernels, or both.

    `etir.compile(..., backend=MyBackend())` takes an instance; what it does not say is done by definition.
    """

    name: ClassVar[str] = ""
    by_sites: ClassVar[bool] = False
    """Whether reverse mode takes one product for each weight operation over stacked steps, instead of one a step."""
    folds: ClassVar[bool] = False
    """Whether positional traces are advanced and contracted in one pass for many steps."""
    reads_picked: ClassVar[bool] = False
    """Whether data that a fixed index picks of a smaller array are read there, and their products made term by term."""

    def overrides(self, transition: Transition) -> Mapping[type[Operation], Override]:
        """Functions that run operations of these classes in the place of their definitions."""
        del transition
        return {}

    def choose(self, sweep: Sweep) -> Choice:
        """What runs the pass over one trace, where the backend `folds`."""
        del sweep
        return Choice(kernel="xla", reason=f"backend '{self.name}' has no kernel for it")

    def choose_history(self, unit: Unit) -> Choice | None:
        """What runs the sweep over a stored history of one unit; None for XLA code, with nothing to say of it."""
        del unit
        return None

    def choose_product(self, site: Site, picked: Picked) -> Choice:
        """What runs the product of a site whose data are picked, where the backend reads these where they lie."""
        del site, picked
        return Choice(kernel="xla", reason=f"backend '{self.name}' has no kernel for it")

    def kernels(self, transition: Transition) -> Sequence[Kernel]:
        """Kernels for patterns, tried in order."""
        del transition
        return ()


def check_backend(backend: Any) -> Backend:
    """The backend itself. Raises EtirError for what is none, or has no name, or overrides what is no operation."""
    if isinstance(backend, type) and issubclass(backend, Backend):
        raise error(
            "backend-type",
            f"the class '{backend.__name__}' was given as a backend; wanted an instance",
            help=f"pass backend={backend.__name__}()",
        )
    if not isinstance(backend, Backend):
        raise error(
            "backend-type",
            f"the backend is of type {type(backend).__name__}; wanted a name or a Backend",
            help="subclass etir.Backend and pass an instance of it",
        )
    if not backend.name:
        raise error(
            "backend-method",
            f"backend '{type(backend).__name__}' has no name",
            help="give the class a name: ClassVar[str]",
        )
    return backend


@dataclass(frozen=True, kw_only=True)
class Table:
    """A backend's overrides and kernels for one transition, checked."""

    overrides: Mapping[type[Operation], Override] = field(default_factory=dict[type[Operation], Override])
    kernels: tuple[Kernel, ...] = ()

    @classmethod
    def of(cls, backend: Backend, transition: Transition) -> Table:
        """What `backend` gives for `transition`. Raises EtirError for what is no operation or no kernel."""
        overrides, kernels = backend.overrides(transition), tuple(backend.kernels(transition))
        for key, function in overrides.items():
            if not (isinstance(key, type) and issubclass(key, Operation) and callable(function)):
                name = getattr(key, "__name__", repr(key))
                raise error(
                    "backend-override",
                    f"backend '{backend.name}' overrides '{name}', which is no operation, or by what is no function",
                    help="map subclasses of Operation to (operation, scene) -> results",
                )
        for kernel in kernels:
            if not isinstance(kernel, Kernel):
                raise error(
                    "backend-override",
                    f"backend '{backend.name}' has a {type(kernel).__name__} among its kernels",
                    help="subclass etir.backends.Kernel and give instances",
                )
        return cls(overrides=overrides, kernels=kernels)
