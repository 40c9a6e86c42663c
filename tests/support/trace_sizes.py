"""How large a plan's traces are, next to what a dense weight into the hidden states costs: states x data."""

import math
from typing import NamedTuple

from etir.ir.transition import Param, Site, Transition
from etir.ir.values import Value
from etir.passes.analyses.provenance import Provenance


class TraceSize(NamedTuple):
    """Bytes of the traces that follow one weight, all together, and of states x data."""

    held: int
    states_times_data: int


def trace_sizes(transition: Transition) -> dict[str, TraceSize]:
    """The size of each parameter's traces, by path; of those of one weight where several are computed from it.

    States x data is the bytes of all hidden states times the count of elements of the data that one sample gives to the
    parameter's site: the largest of them where it has several, and where the parameter stands alone, as a bias or a
    factor, the largest of any site that feeds a state.
    """
    made = Provenance(transition)
    states = sum(state.before.type.bytes for state in transition.hidden)
    return {
        param.path: TraceSize(held=_held(made, param), states_times_data=states * _data(transition, param))
        for param in transition.params
    }


def _held(made: Provenance, param: Param) -> int:
    end = made.pullback
    read: dict[object, set[Value]] = {}
    for weight, value in zip(end.weights, end.on_weights, strict=True):
        if param in weight.params:
            read.setdefault(weight, set()).update(made.slice(value))
    for of, value in zip(end.params, end.on_params, strict=True):
        if of is param:
            read.setdefault(param, set()).update(made.slice(value))
    return max((_bytes(made, values) for values in read.values()), default=0)


def _bytes(made: Provenance, values: set[Value]) -> int:
    return sum(trace.before.type.bytes for trace in made.plan.traces if trace.before in values)


def _data(transition: Transition, param: Param) -> int:
    own = [_one_sample(site) for site in transition.sites if param in site.weight.params and site.data is not None]
    feeding = [_one_sample(a.site) for a in transition.associations if a.site.data is not None]
    return max(own or feeding, default=1)


def _one_sample(site: Site) -> int:
    """Elements of a site's data: axes that the output has and the weight lacks count samples."""
    assert site.data is not None
    samples = set(site.expression.output) - set(site.weight_labels)
    sizes = zip(site.data_labels or "", site.data.type.shape, strict=True)
    return math.prod(size for label, size in sizes if label not in samples)
