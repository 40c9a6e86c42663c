"""A stateful learner for each learning rule, under the rule's own name: `etir.D_RTRL(model)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar

from . import rules
from .ir.diagnostics import EtirError, error
from .ir.loc import calling_line
from .options import check_options
from .rules.names import BRAINTRACE
from .stateful import OnlineLearner


class _Algorithm(OnlineLearner):
    """A learner of one rule: options are the rule's own fields, and those of `etir.compile`."""

    rule_class: ClassVar[type[rules.Rule]]

    def __init__(self, model: Callable[..., Any] | None = None, *more: Any, **options: Any) -> None:
        """Wrap `model`. Raises EtirError for more than that, and, naming the nearest, for an unknown option."""
        if model is None or more:
            raise _misused(type(self), model is None)
        names = [each.name for each in fields(self.rule_class)]  # pyright: ignore[reportArgumentType]
        own = {name: value for name, value in options.items() if name in names}
        rest = {name: value for name, value in options.items() if name not in names}
        check_options(self.rule_class.name, rest, names)
        super().__init__(model, self.rule_class(**own), **rest)


def _misused(kind: type[_Algorithm], alone: bool) -> EtirError:
    """A learner's class was called as if it were its rule, or as `etir.compile` is."""
    rule = kind.rule_class
    if alone:
        message = f"etir.{kind.__name__} is a learner around a model, and was given none"
        help = f"etir.{kind.__name__}(model); the rule by itself is etir.rules.{rule.__name__}(...), or '{rule.name}'"
    else:
        message = f"etir.{kind.__name__} takes a model and options by name, and was given more"
        help = f"learner = etir.{kind.__name__}(model), then learner.compile_graph(x) with an example of every input"
    return error("learner-arguments", message, loc=calling_line(), help=help)


class BPTT(_Algorithm):
    """Backpropagation inside each window, and nothing across them: `window=` says how far. See `etir.rules.Bptt`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.Bptt


class Cascade(_Algorithm):
    """D-RTRL with credit to the layers above, by exponentials: `constants=`, `span=`. See `etir.rules.Cascade`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.Cascade


class DNI(_Algorithm):
    """A decoupled interface, which predicts the gradient to come: `hidden=`, `learning_rate=`. See `etir.rules.Dni`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.Dni


class D_RTRL(_Algorithm):  # noqa: N801 (the algorithm's own name)
    """Diagonal real-time recurrent learning. See `etir.rules.DRtrl`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.DRtrl


class EProp(_Algorithm):
    """Eligibility propagation: `kappa=` filters what is read, `feedback=` says by what. See `etir.rules.EProp`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.EProp


class KF_RTRL(_Algorithm):  # noqa: N801 (the algorithm's own name)
    """Kronecker-factored RTRL, unbiased. See `etir.rules.KfRtrl`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.KfRtrl


class OTTT(_Algorithm):
    """Online training through time of spiking networks: `leak=`. See `etir.rules.Ottt`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.Ottt


class PpProp(_Algorithm):
    """Traces of inputs and of sensitivities apart, each of a layer's size: `decay=`. See `etir.rules.PpProp`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.PpProp


class RFLO(_Algorithm):
    """Random-feedback local online learning: `feedback=`. See `etir.rules.Rflo`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.Rflo


class RTRL(_Algorithm):
    """Real-time recurrent learning, exact. See `etir.rules.Rtrl`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.Rtrl


class SnAp(_Algorithm):
    """The sparse n-step approximation of RTRL: `n=`. See `etir.rules.SnAp`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.SnAp


class ThreeFactor(_Algorithm):
    """Eligibility times a signal of `shape=`, that calls are given as `modulator=`. See `etir.rules.ThreeFactor`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.ThreeFactor


class UORO(_Algorithm):
    """Unbiased online recurrent optimisation, of rank one. See `etir.rules.Uoro`."""

    rule_class: ClassVar[type[rules.Rule]] = rules.Uoro


def __getattr__(name: str) -> type[_Algorithm]:
    """The class of the rule that braintrace calls so: `ES_D_RTRL`, `OSTLRecurrent`, ..."""
    found = next((kind for kind in _Algorithm.__subclasses__() if kind.rule_class.name == BRAINTRACE.get(name)), None)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
