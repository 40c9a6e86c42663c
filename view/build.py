"""The picture of a transition: which weights reach which states, through what, and with which label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from ..ir.loc import Loc
from ..ir.transition import (
    Crossing,
    Group,
    Input,
    Label,
    Output,
    Param,
    Site,
    State,
    StateKind,
    Transition,
    Verdict,
)
from .flow import Feed, Source, Target, feeds
from .picture import Arrow, Box, Frame, Line, Look, Picture, Tone

_TONES = {
    Verdict.EXACT: Tone.EXACT,
    Verdict.APPROXIMATE: Tone.APPROXIMATE,
    Verdict.TRUNCATED: Tone.TRUNCATED,
}

_LONGEST = 28


def picture(transition: Transition) -> Picture:
    """The picture of a transition, at any stage: what is not known yet is not drawn."""
    return _Builder(transition).build()


class _Builder:
    def __init__(self, transition: Transition) -> None:
        self.transition = transition
        self.feeds = feeds(transition)
        self.labels: dict[str, Label] = {label.path: label for label in transition.certificate or ()}
        self.keys: dict[int, str] = {}
        for kind in ("inputs", "sites", "states", "outputs"):
            for k, item in enumerate(getattr(transition, kind)):
                self.keys[id(item)] = f"{kind[:-1]}{k}"
        self.uses: Counter[int] = Counter()
        self.places = {id(param): k for k, param in enumerate(transition.params)}
        self.groups = {id(state): group for group in transition.groups for state in group.states}
        self.associations = {(id(a.site), id(a.group)): a for a in transition.associations}

    def build(self) -> Picture:
        transition = self.transition
        plain: list[Box] = []
        arrows = [arrow for feed in self.feeds for arrow in self._arrow(feed, plain)]
        arrows += self._untraced(arrows)
        boxes = [
            *map(self._input, transition.inputs),
            *map(self._site, transition.sites),
            *plain,
            *(self._state(state) for state in transition.states if id(state) not in self.groups),
            *map(self._output, transition.outputs),
        ]
        connected = {key for arrow in arrows for key in (arrow.source, arrow.target)}
        keep = {self.keys[id(item)] for item in (*transition.inputs, *transition.states, *transition.outputs)}
        present = {label.label for label in self.labels.values()}
        return Picture(
            title=self._title(),
            boxes=tuple(box for box in boxes if box.key in connected or box.key in keep or box.key.startswith("site")),
            frames=tuple(map(self._frame, transition.groups)),
            arrows=tuple(_paired(arrows)),
            legend=tuple(tone for verdict, tone in _TONES.items() if verdict in present),
        )

    def _title(self) -> str:
        certificate = self.transition.certificate
        name = self.transition.name
        return name if certificate is None else f"{name}: {certificate.rule}, window {certificate.window}"

    def _input(self, item: Input) -> Box:
        lines = (Line(text=item.path, look=Look.TITLE), Line(text=str(item.value.type)))
        return Box(key=self.keys[id(item)], lines=lines, tone=Tone.INPUT, tooltip=_tooltip("input", item.loc))

    def _output(self, item: Output) -> Box:
        lines = (Line(text=item.path, look=Look.TITLE), Line(text=str(item.value.type)))
        return Box(key=self.keys[id(item)], lines=lines, tone=Tone.OUTPUT, tooltip=_tooltip("output", item.loc))

    def _state(self, state: State) -> Box:
        lines = [Line(text=state.path, look=Look.TITLE), Line(text=str(state.before.type))]
        hidden = state.kind is StateKind.HIDDEN
        if not hidden:
            lines.append(Line(text=state.kind.value))
        return Box(
            key=self.keys[id(state)],
            lines=tuple(lines),
            tone=Tone.STATE if hidden else Tone.PLAIN,
            tooltip=_tooltip(f"{state.kind.value} state", state.loc),
        )

    def _site(self, site: Site) -> Box:
        return Box(
            key=self.keys[id(site)],
            lines=(
                *self._weight_lines(site.weight.params),
                Line(text=f"{site.operation} {site.expression}{_of(site)}"),
            ),
            tone=self._tone(site.weight.params),
            tooltip=self._weight_tooltip(site.weight.params, "site", site.loc),
        )

    def _plain(self, param: Param) -> Box:
        self.uses[id(param)] += 1
        return Box(
            key=f"param{self.places[id(param)]}_{self.uses[id(param)]}",
            lines=(*self._weight_lines((param,)), Line(text=str(param.value.type))),
            tone=self._tone((param,)),
            tooltip=self._weight_tooltip((param,), "used without an ETP operation", param.loc),
        )

    def _weight_lines(self, params: tuple[Param, ...]) -> Iterator[Line]:
        for param in params:
            yield Line(text=param.path, look=Look.TITLE)
            label = self.labels.get(param.path)
            if label is not None:
                yield Line(text=self._label_text(label), look=Look.LABEL)

    def _label_text(self, label: Label) -> str:
        certificate = self.transition.certificate
        other = certificate is not None and label.rule != certificate.rule
        return f"{label.label}, by {label.rule}" if other else str(label.label)

    def _tone(self, params: tuple[Param, ...]) -> Tone:
        found = {self.labels[param.path].label for param in params if param.path in self.labels}
        return next((tone for verdict, tone in reversed(_TONES.items()) if verdict in found), Tone.PLAIN)

    def _weight_tooltip(self, params: tuple[Param, ...], what: str, loc: Loc | None) -> str:
        labels = [self.labels[param.path] for param in params if param.path in self.labels]
        reasons = [f"{label.path}: {reason}" for label in labels for reason in label.reasons]
        return "\n".join([_tooltip(what, loc), *reasons])

    def _frame(self, group: Group) -> Frame:
        shape = ",".join(map(str, group.shape))
        return Frame(
            key=f"group{group.index}",
            title=f"hidden group #{group.index}  [{shape}]",
            boxes=tuple(map(self._state, group.states)),
            tooltip=_tooltip(f"hidden group #{group.index}", group.loc),
        )

    def _arrow(self, feed: Feed, plain: list[Box]) -> Iterator[Arrow]:
        source, target = feed.source, feed.target
        if isinstance(source, Param):
            plain.append(self._plain(source))
            yield Arrow(source=plain[-1].key, target=self.keys[id(target)], tone=self._tone((source,)))
            return
        tone = self._tone(source.weight.params) if isinstance(source, Site) else None
        text = self._coupling(feed.source, feed.target, past=feed.past)
        yield Arrow(source=self.keys[id(source)], target=self.keys[id(target)], text=text, past=feed.past, tone=tone)

    def _coupling(self, source: Source, target: Target, *, past: bool) -> str:
        """How positions of `source` reach positions of `target`, where the analysis says so."""
        group = self.groups.get(id(target))
        if not isinstance(target, State) or group is None:
            return ""
        if isinstance(source, State):
            coupling = group.dependence(target, source) if past else None
            told = coupling is not None and (source is target or not coupling.is_identity)
            return short(str(coupling)) if told else ""
        association = self.associations.get((id(source), id(group)))
        if association is None:
            return ""
        coupling = association.couplings[group.states.index(target)]
        return short(str(coupling)) if coupling is not None else short(through(association.through))

    def _untraced(self, arrows: list[Arrow]) -> Iterator[Arrow]:
        """Associations that no arrow shows yet: the step's body is absent, and the site has no positional path."""
        drawn = {arrow.source for arrow in arrows}
        for association in self.transition.associations:
            key = self.keys[id(association.site)]
            if key not in drawn:
                target = self.keys[id(association.group.states[0])]
                tone = self._tone(association.site.weight.params)
                yield Arrow(source=key, target=target, text=short(through(association.through)), tone=tone)


def _paired(arrows: list[Arrow]) -> list[Arrow]:
    """The arrows, two that lead from box to box there and back, alike in all else, drawn as one."""
    kept: dict[tuple[object, ...], Arrow] = {}
    for arrow in arrows:
        back = (arrow.target, arrow.source, arrow.text, arrow.past, arrow.tone)
        if back in kept and arrow.source != arrow.target:
            kept[back] = replace(kept[back], both=True)
        else:
            kept[arrow.source, arrow.target, arrow.text, arrow.past, arrow.tone] = arrow
    return list(kept.values())


def through(crossings: tuple[Crossing, ...]) -> str:
    """`through sort, matmul`: the operations that credit would have to cross, each once."""
    names = dict.fromkeys(crossing.operation for crossing in crossings)
    return f"through {', '.join(names)}" if names else ""


def _of(site: Site) -> str:
    """What the weight is of its parameters, where it is not the parameter itself: ` of f(w1, w2)`."""
    params = site.weight.params
    if any(param.value is site.weight.value for param in params):
        return ""
    return f" of f({', '.join(param.path.rpartition('.')[2] for param in params)})"


def short(text: str) -> str:
    """The beginning of a text that would be too long beside an arrow."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _tooltip(what: str, loc: Loc | None) -> str:
    return f"{what}, {loc}" if loc else what
