"""The library's entry points: lower, analyse, plan, emit, and compile, which is all four."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .backends import Backend, backend_of, element_type, sizes_of
from .backends import emit as emit_transition
from .backends.learner import Learner
from .ir.diagnostics import Diagnostic, EtirError, did_you_mean, error, warn
from .ir.mesh_types import without_explicit_axes
from .ir.step import Signature, Step
from .ir.transition import Label, Transition, Verdict
from .ir.verify import check
from .lowering import lower
from .memory import budget, refuse_excess
from .passes import (
    ANALYSIS,
    Certify,
    FreezeParams,
    HoldTraces,
    MarkSites,
    Pass,
    PassManager,
    PlanTraces,
    Reassociate,
    SumEdges,
    ingest,
)
from .passes.instruments.base import Instrument
from .passes.plan_traces import assign_rules
from .planner import chosen_window, with_choices
from .reports import check_on_truncated, refuse_unmarked, report_silenced
from .rules import Rule

RuleLike = str | Rule
Sites = str | Sequence[str]
Memory = int | float | str | None
Window = int | str


@without_explicit_axes()
def analyse(
    step: Step,
    sites: Sites | None = None,
    *,
    frozen: str | Sequence[str] = (),
    reassociate: Sequence[str] = (),
    chains: Sequence[str] = (),
    passes: Sequence[Pass] | None = None,
    after: Mapping[str, Pass] | None = None,
    instruments: Sequence[Instrument] = (),
) -> Transition:
    """The transition of a step, up to its couplings: states, sites, regions, groups, associations.

    `sites` says which uses of weights are traced: `explicit` (ETP operations alone), `auto` (every use of a parameter),
    or globs of parameter paths; by default `auto` for a model of another library, else `explicit`. `frozen` are globs
    of parameters that do not learn, `reassociate` of those that are taken out of the data of products and into their
    weights: `(mu * x) @ W` becomes `x @ (mu * W)`; `chains` of those of which that is so where they enter by ETP
    operations alone: `matmul(matmul(x, A), B)`. `passes` takes the place of the default passes, these options among
    them; `after` puts passes of your own behind those of these names: `after={"discover-states": MyPass()}`. Raises
    EtirError for a name that no pass has.
    """
    _check_stage("analyse", step, Step, "etir.lower(...)")
    sites = step.sites if sites is None else sites
    chosen = sites if isinstance(sites, str) else tuple(sites)
    if passes is None:
        given: dict[type[Pass], Pass] = {
            FreezeParams: FreezeParams(params=_globs(frozen)),
            SumEdges: SumEdges(params={"auto": ("*",), "explicit": ()}.get(str(chosen), _globs(chosen))),
            MarkSites: MarkSites(sites=chosen),
            Reassociate: Reassociate(params=tuple(reassociate), marked=tuple(chains)),
        }
        passes = [given.get(kind) or kind() for kind in ANALYSIS]
    inserted = _inserted(tuple(passes), after or {})
    return PassManager(inserted, instruments=tuple(instruments)).run(ingest(step))


def _globs(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _check_stage(function: str, given: Any, wanted: type, maker: str) -> None:
    if not isinstance(given, wanted):
        raise error(
            "stage-argument",
            f"etir.{function} was given something of type {type(given).__name__}; wanted a {wanted.__name__}",
            help=f"make it with {maker}",
        )


def _inserted(passes: tuple[Pass, ...], after: Mapping[str, Pass]) -> tuple[Pass, ...]:
    names = [pass_.name for pass_ in passes]
    unknown = [name for name in after if name not in names]
    if unknown:
        raise EtirError([
            Diagnostic(code="unknown-pass", message=f"no pass '{name}' to come after", help=did_you_mean(name, names))
            for name in unknown
        ])  # fmt: skip
    return tuple(each for pass_ in passes for each in (pass_, after.get(pass_.name)) if each is not None)


@without_explicit_axes()
def plan(
    transition: Transition,
    rule: RuleLike = "d_rtrl",
    window: Window = 1,
    *,
    rules: Mapping[str, RuleLike] | None = None,
    credit: str = "full",
    memory: Memory = None,
    trace_dtype: Any = None,
    backend: str | Backend = "auto",
    instruments: Sequence[Any] = (),
) -> Transition:
    """The transition with a certificate and a plan for a learning rule.

    `rules` maps globs of parameter paths to rules that take the place of `rule`; the first that matches counts.
    `memory` bounds what the traces hold, in bytes or as a text such as `"2GiB"`; by default it is the device's memory,
    or the machine's. `rule="auto"` spends it; a plan that exceeds it is refused with EtirError. `trace_dtype` is what
    the traces will be held in. What `jax.vmap` multiplies is not counted.

    `window="auto"` takes of 1, 2, 4, ..., 64 steps the window that is cheapest, as predicted for a step of
    `learner.train` by `backend`: longer ones spread over more steps what happens once a window (a pass over the traces,
    influence matrices, the optimiser's update), and hold more. A window whose history does not fit in `memory` beside
    the traces is not considered. Among those within 5 % of the cheapest it is the longest where some label is not
    exact, since a longer window leaves out less, else the shortest. JAX's default device is measured once, in a few
    seconds; the result is kept in the user's cache (`$XDG_CACHE_HOME/etir`, else `~/.cache/etir`). The plan says why:
    `plan.window_because`.
    """
    _check_stage("plan", transition, Transition, "etir.analyse(etir.lower(...))")
    if rules is not None and not isinstance(rules, Mapping):
        found = type(rules).__name__
        raise error(
            "rules-form",
            f"rules= is of type {found}; wanted a mapping from globs of parameter paths to rules",
            help="write rules={'cell.w': 'rtrl'}",
        )
    _check_window(window)
    within, held_in = budget(memory), element_type(trace_dtype)
    whole = PlanTraces(
        rule=rule,
        rules=tuple((rules or {}).items()),
        window=1 if isinstance(window, str) else window,
        credit=credit,
        memory=within.limit,
        trace_dtype=held_in,
    )

    def written(whole: PlanTraces, instruments: Sequence[Any] = ()) -> Transition:
        planned = PassManager((whole, HoldTraces(), Certify()), instruments=tuple(instruments)).run(transition)
        smaller = replace(whole, rule="auto", rules=())
        refuse_excess(planned, within, held_in, lambda: Certify().run(smaller.run(transition)))
        return planned

    if window != "auto":
        return written(whole, instruments)
    own = backend_of(backend)
    size, because = chosen_window(written(whole), own, held_in, within)
    return with_choices(written(replace(whole, window=size), instruments), because, own, held_in, within)


def _check_window(window: Any) -> None:
    """Refuse a text that is not 'auto'; what else a window may be is the pass's to say."""
    if not isinstance(window, str) or window == "auto":
        return
    number = window.strip().isdecimal()
    raise error(
        "window-size",
        f"window={window!r}; wanted a number of steps, as an int, or 'auto'",
        help=f"pass window={window.strip()}" if number else did_you_mean(window, ["auto"]),
    )


@without_explicit_axes()
def emit(
    transition: Transition, backend: str | Backend = "auto", *, signature: Signature | Step, trace_dtype: Any = None
) -> Learner:
    """A learner for a planned transition. `signature` is the lowered step, or its signature.

    The labels are derived again. Raises EtirError for a transition, or a plan, that is not well formed.
    """
    _check_stage("emit", transition, Transition, "etir.plan(etir.analyse(etir.lower(...)))")
    check(transition)
    tree = signature.signature if isinstance(signature, Step) else signature
    labelled = Certify().run(transition) if transition.plan is not None else transition
    refuse_unmarked(labelled)
    return emit_transition(labelled, backend, tree, trace_dtype)


@without_explicit_axes()
def compile(
    model: Any,
    *args: Any,
    rule: RuleLike = "d_rtrl",
    window: Window = 1,
    backend: str | Backend = "auto",
    sites: Sites | None = None,
    frozen: str | Sequence[str] = (),
    rules: Mapping[str, RuleLike] | None = None,
    credit: str = "full",
    trace_dtype: Any = None,
    on_truncated: str = "warn",
    buffers: str | Sequence[str] = (),
    memory: Memory = None,
    initial: str | Sequence[str] = (),
    mask: str | None = None,
    reset: str | None = None,
) -> Learner:
    """An online learner for one step of a model.

    `etir.compile(step, params, states, *inputs)` takes a plain function and example values; `etir.compile(module,
    *inputs)` a native module, or one of the libraries in docs/frameworks.md, as it is. Weights are held still for
    `window` steps; credit inside a window is reverse mode (`credit="full"`) or the rule's own (`credit="rule"`);
    `window="auto"` chooses the cheapest for this device: see `etir.plan`. `on_truncated` says what happens where a
    parameter that reaches a hidden state has no trace: `warn`, `error` or `ignore`. `trace_dtype` is the element type
    that traces are held in. `memory` bounds what they hold: see `etir.plan`. Parameters that match a glob in `frozen`
    are constants: they get neither trace nor gradient, and `learner.train` leaves them alone. States that match a glob
    in `initial` may be differentiated when they are given to `learner.init`: their influence is carried like a
    weight's, and labelled as `initial.h`.

    `mask` and `reset` make every method take a boolean of that name for each step, or, as `"sample"`, for each sample
    of the first axis. A step whose `mask` is false moves no state, no trace and no gradient, and its outputs are zero;
    its inputs must be finite. A step whose `reset` is true begins with the states given at compile, or learned by
    `initial`, and with traces of zero. Raises EtirError for anything that cannot be compiled soundly.
    """
    step = lower(model, *args, buffers=buffers, initial=initial, mask=mask, reset=reset)
    options: dict[str, Any] = {"rules": rules, "credit": credit, "memory": memory, "trace_dtype": trace_dtype}
    options["backend"] = backend

    def planned_for(step: Step, window: Window) -> Transition:
        planned = plan(analyse_for(step, sites, rule, rules, frozen), rule, window, **options)
        check(planned)
        refuse_unmarked(planned)
        return planned

    def of_another_size(step: Step) -> Learner:
        assert planned.plan is not None
        return emit_transition(planned_for(step, planned.plan.window), backend, step.signature, trace_dtype)

    planned = planned_for(step, window)
    _report_truncated(planned, on_truncated)
    report_silenced(planned)
    return emit_transition(planned, backend, step.signature, trace_dtype, sizes_of(step, planned, of_another_size))


def analyse_for(
    step: Step,
    sites: Sites | None = None,
    rule: RuleLike = "d_rtrl",
    rules: Mapping[str, RuleLike] | None = None,
    frozen: str | Sequence[str] = (),
) -> Transition:
    """The transition of a step as `compile` makes it for some rules: with the sites and the products that they ask for.

    A rule may take any product with its parameters for a site, and may want parameters out of the data of products.
    """
    sites = step.sites if sites is None else sites
    if not isinstance(rules or {}, Mapping):
        return analyse(step, sites, frozen=frozen)
    paths = [leaf.path for leaf in step.params]
    try:
        assigned = assign_rules(paths, rule, tuple((rules or {}).items()))
    except EtirError:  # of the rules: planning reports it, after the analysis has had its say
        return analyse(step, sites, frozen=frozen)
    marked = [path for path, own in zip(paths, assigned, strict=True) if own.marks_uses]
    given = () if sites == "explicit" else (sites,) if isinstance(sites, str) else tuple(sites)
    globs = ("*",) if sites == "auto" else (*given, *marked)
    chains = [path for path, own in zip(paths, assigned, strict=True) if own.reassociates]
    moved = [path for path in chains if any(fnmatch.fnmatchcase(path, glob) for glob in globs)]
    chosen = "auto" if sites == "auto" else globs or "explicit"
    return analyse(step, chosen, frozen=frozen, reassociate=moved, chains=chains)


def _report_truncated(transition: Transition, on_truncated: str) -> None:
    check_on_truncated(on_truncated)
    certificate = transition.certificate
    assert certificate is not None
    if on_truncated == "ignore":
        return
    used = {path for site in transition.sites for path in site.weight.paths}
    findings = [
        Diagnostic(
            code="truncated-weight",
            severity="error" if on_truncated == "error" else "warning",
            message=f"'{label.path}' has no trace under '{label.rule}': its credit ends where the window begins",
            loc=label.reasons[0].loc if label.reasons else None,
            notes=(*([label.because] if label.because else ()), *map(str, label.reasons)),
            help=f"{_cure(label, label.path in used)}, or pass on_truncated='ignore'",
        )
        for label in certificate
        if label.label is Verdict.TRUNCATED and (label.rule != "bptt" or label.because)
    ]
    if findings and on_truncated == "error":
        raise EtirError(findings)
    for finding in findings:
        warn(finding)


def _cure(label: Label, used: bool) -> str:
    """What may give a trace to a weight that has none; `used` says that an ETP operation uses it already."""
    if label.because:
        return "give it more memory=, or a rule of its own in rules="
    if used:
        return f"choose another rule for it, as rules={{'{label.path}': 'rtrl'}}"
    return "use an ETP operation, choose another rule for it in rules="
