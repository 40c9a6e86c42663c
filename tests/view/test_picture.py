"""Transitions as pictures: what is in them, what they look like as DOT and as our own SVG, and who lays them out."""

import re
import stat
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import pairwise

import ir_examples
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etir.ir.diagnostics import EtirError, EtirWarning
from etir.ir.parser import parse
from etir.view import Drawing, engines, picture, render_graph, summary, write_graph
from etir.view.dot import to_dot
from etir.view.layers import layer_of_boxes, spread
from etir.view.layout import GAP, lay_out
from etir.view.picture import Arrow, Box, Frame, Line, Look, Picture, Tone
from etir.view.svg import to_svg

GRU = """\
gru: 1 hidden group, d_rtrl, window 16

group #0: 1 state of shape [8]
  state   cell.h  f32[8]  depends on cell.h [=]
  weight  cell.Wz  dot i,ij->j  approximate  to cell.h [=]
  weight  cell.Wh  dot i,ij->j  approximate  to cell.h [=]
  weight  cell.Wr  dot i,ij->j  truncated    through dot"""

ADAPTIVE = """\
adaptive: 1 hidden group, d_rtrl, window 4

group #0: 2 states of shape [4]
  state   neuron.V  f32[4]  depends on neuron.V [=], neuron.a [=]
  state   neuron.a  f32[4]  depends on neuron.V [=], neuron.a [=]
  weight  w  dot i,ij->j  exact  to neuron.V [=]

  other   t  i32[]  discrete

1 other parameter is associated with no group, and is learnt without a trace: readout"""


@pytest.mark.parametrize(("transition", "text"), [(ir_examples.gru(), GRU), (ir_examples.adaptive(), ADAPTIVE)])
def test_a_summary_is_the_groups_and_the_weights_of_each(transition, text):
    assert summary(transition) == text
    assert summary(parse(str(transition))) == text


@pytest.mark.parametrize("name", ["gru", "adaptive"])
def test_the_dot_text(name, golden):
    transition = getattr(ir_examples, name)()
    golden(f"graph_{name}.dot", render_graph(transition).source)


@pytest.mark.parametrize("name", ["gru", "adaptive"])
def test_the_plain_svg(name, golden):
    golden(f"graph_{name}.svg", to_svg(picture(getattr(ir_examples, name)())))


@pytest.mark.parametrize("name", ["gru", "adaptive"])
def test_the_plain_svg_says_every_label_in_words(name):
    transition = getattr(ir_examples, name)()
    texts = [
        text.text for text in ElementTree.fromstring(to_svg(picture(transition))).iter() if text.tag.endswith("text")
    ]
    for site in transition.sites:
        for path in site.weight.paths:
            assert path in texts
            assert str(transition.certificate[path].label) in texts


def test_a_tooltip_has_the_place_and_the_reasons():
    (box,) = (box for box in picture(ir_examples.gru()).boxes if box.lines[0].text == "cell.Wr")
    assert box.tooltip == "site, cells.py:42:18\ncell.Wr: reaches %h only through site %yh"


def test_a_transition_without_an_analysis_is_drawn_as_far_as_it_is_known():
    bare = replace(
        ir_examples.gru(), regions=(), weights=(), sites=(), groups=(), associations=(), certificate=None, plan=None
    )
    drawn = picture(bare)
    assert [box.lines[0].text for box in drawn.every_box] == ["x", "cell.h", "y"]
    assert drawn.arrows == ()
    ElementTree.fromstring(to_svg(drawn))


# Engines.


@pytest.fixture
def no_dot(monkeypatch):
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)


@pytest.fixture
def no_engine(no_dot, monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def fake_dot(tmp_path, monkeypatch):
    """Put a program in the place of `dot`, and leave no other engine."""

    def install(body):
        program = tmp_path / "dot"
        program.write_text(f"#!{sys.executable}\nimport sys, time\n{body}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(engines.shutil, "which", lambda name: str(program))
        monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)

    return install


def test_dot_is_the_first_choice(fake_dot, tmp_path):
    fake_dot("sys.stdout.write(' '.join(sys.argv[1:]) + ' ' + sys.stdin.read()[:7])")
    assert write_graph(ir_examples.gru(), tmp_path / "g.svg").read_text() == "-Tsvg digraph"


@pytest.mark.parametrize(("suffix", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_pygraphviz_is_the_second(no_dot, tmp_path, suffix, magic):
    written = write_graph(ir_examples.gru(), tmp_path / f"g.{suffix}")
    assert written.read_bytes().startswith(magic)


@pytest.mark.parametrize("suffix", ["dot", "gv"])
def test_dot_text_needs_no_engine(no_engine, tmp_path, suffix):
    written = write_graph(ir_examples.gru(), tmp_path / f"g.{suffix}")
    assert written.read_text() == render_graph(ir_examples.gru()).source


def test_without_graphviz_the_layout_is_ours(no_engine, tmp_path):
    with pytest.warns(EtirWarning) as caught:
        written = write_graph(ir_examples.gru(), tmp_path / "g.svg")
    assert [str(w.message) for w in caught] == [
        "warning: the graph has a plain layout, because Graphviz did not draw it [graph-plain]\n"
        "  note: neither the program `dot` nor the package pygraphviz is installed\n"
        "  help: install Graphviz, or `pip install 'etir[render]'`"
    ]
    assert written.read_text() == to_svg(picture(ir_examples.gru()))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("time.sleep(60)", "dot took longer than 0.2 s"),
        ("sys.exit('Error: no such layout')", "dot failed: Error: no such layout"),
        ("sys.exit(3)", "dot failed with status 3"),
        ("", "dot failed: it wrote nothing"),
    ],
)
def test_an_engine_that_fails_is_named(fake_dot, tmp_path, body, what):
    fake_dot(body)
    with pytest.warns(EtirWarning) as caught:
        write_graph(ir_examples.gru(), tmp_path / "g.svg", time_limit=0.2 if "sleep" in body else 20)
    assert [str(w.message) for w in caught] == [
        f"warning: the graph has a plain layout, because Graphviz did not draw it [graph-plain]\n  note: {what}"
    ]


def test_a_picture_that_nobody_can_draw(no_engine, tmp_path):
    with pytest.raises(EtirError) as caught:
        write_graph(ir_examples.gru(), tmp_path / "g.png")
    assert str(caught.value) == (
        "error: no engine could draw a PNG [graph-engine]\n"
        "  note: neither the program `dot` nor the package pygraphviz is installed\n"
        "  help: install Graphviz, or `pip install 'etir[render]'`; or write an .svg, which needs no engine"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "g.svgz",
            "error: cannot tell the format of 'g.svgz' from '.svgz'; wanted one of .dot, .gv, .svg, .pdf, .png "
            "[graph-format]\n  help: did you mean '.svg'?",
        ),
        (
            "g",
            "error: cannot tell the format of 'g' from no suffix; wanted one of .dot, .gv, .svg, .pdf, .png "
            "[graph-format]\n  help: write it to g.svg",
        ),
        ("/nowhere/g.dot", "error: cannot write /nowhere/g.dot: No such file or directory [graph-file]"),
    ],
)
def test_a_file_that_cannot_be(name, text):
    with pytest.raises(EtirError) as caught:
        write_graph(ir_examples.gru(), name)
    assert str(caught.value) == text


def test_a_drawing_prints_as_a_summary_and_shows_as_a_picture(tmp_path):
    drawing = Drawing(transition=ir_examples.gru())
    assert str(drawing) == GRU
    assert "<svg" in drawing._repr_svg_()
    assert drawing.save(tmp_path / "g.dot").read_text() == render_graph(ir_examples.gru()).source


# The layout of our own.


@st.composite
def pictures(draw):
    count = draw(st.integers(1, 12))
    boxes = [
        Box(key=f"b{k}", lines=(Line(text="w" * draw(st.integers(1, 20)), look=Look.TITLE),), tone=Tone.PLAIN)
        for k in range(count)
    ]
    ends = st.sampled_from([box.key for box in boxes])
    arrows = draw(
        st.lists(st.builds(Arrow, source=ends, target=ends, past=st.booleans(), text=st.sampled_from(["", "[=]"])))
    )
    cut = draw(st.integers(0, count))
    split = draw(st.integers(0, cut))
    parts = [part for part in (boxes[:split], boxes[split:cut]) if part]
    frames = tuple(Frame(key=f"f{k}", title="group", boxes=tuple(part)) for k, part in enumerate(parts))
    return Picture(title="p", boxes=tuple(boxes[cut:]), frames=frames, arrows=tuple(arrows))


@given(pictures())
def test_boxes_do_not_overlap(drawn):
    layout = lay_out(drawn)
    framed = {box.key for frame in drawn.frames for box in frame.boxes}
    apart = [*layout.frames.values(), *(place for key, place in layout.boxes.items() if key not in framed)]
    for group in (list(layout.boxes.values()), apart):
        for k, a in enumerate(group):
            for b in group[k + 1 :]:
                assert a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y


@given(pictures())
def test_boxes_lie_in_their_frames_and_frames_in_the_picture(drawn):
    layout = lay_out(drawn)
    for frame in drawn.frames:
        outer = layout.frames[frame.key]
        for inner in (layout.boxes[box.key] for box in frame.boxes):
            assert outer.x <= inner.x
            assert inner.x + inner.width <= outer.x + outer.width
            assert outer.y <= inner.y
            assert inner.y + inner.height <= outer.y + outer.height
    for place in (*layout.frames.values(), *layout.boxes.values()):
        assert min(place.x, place.y) >= -1e-6
        assert place.x + place.width <= layout.width + 1e-6
        assert place.y + place.height <= layout.height + 1e-6


@given(pictures())
def test_every_arrow_meets_its_boxes(drawn):
    layout = lay_out(drawn)
    assert len(layout.routes) == len(drawn.arrows)
    for route in layout.routes:
        for key, (x, y) in ((route.arrow.source, route.points[0]), (route.arrow.target, route.points[-1])):
            place = layout.boxes[key]
            assert x in (place.x, place.x + place.width)
            assert place.y <= y <= place.y + place.height


@given(pictures())
def test_arrows_within_the_step_lead_to_the_right_where_they_can(drawn):
    layer = layer_of_boxes(drawn)
    owner = {box.key: frame.key for frame in drawn.frames for box in frame.boxes}
    successors = {}
    for arrow in drawn.arrows:
        a, b = owner.get(arrow.source, arrow.source), owner.get(arrow.target, arrow.target)
        if not arrow.past and a != b:
            successors.setdefault(a, set()).add(b)

    def reaches(a, b, seen):
        return a == b or any(reaches(c, b, seen | {a}) for c in successors.get(a, ()) if c not in seen)

    for arrow in drawn.arrows:
        a, b = owner.get(arrow.source, arrow.source), owner.get(arrow.target, arrow.target)
        if not arrow.past and a != b:
            assert (
                layer[arrow.source] == layer[arrow.target]
                if reaches(b, a, set())
                else layer[arrow.source] < layer[arrow.target]
            )


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(1, 50)), min_size=1, max_size=8), st.floats(0, 20))
def test_spread_keeps_the_order_and_the_gaps_and_moves_nothing_needlessly(items, gap):
    wanted, sizes = zip(*items, strict=True)
    centres = spread(wanted, sizes, gap)
    for k in range(len(items) - 1):
        assert centres[k + 1] - centres[k] >= (sizes[k] + sizes[k + 1]) / 2 + gap - 1e-6
    assert spread(centres, sizes, gap) == pytest.approx(centres)
    assert sum(centres) == pytest.approx(sum(wanted), abs=1e-6)


def test_a_thousand_layers_are_laid_out(tmp_path):
    boxes = tuple(Box(key=f"w{k}", lines=(Line(text=f"layers.{k}.W"),), tone=Tone.EXACT) for k in range(1000))
    frames = tuple(
        Frame(key=f"g{k}", title=f"group {k}", boxes=(Box(key=f"h{k}", lines=(Line(text="h"),), tone=Tone.STATE),))
        for k in range(1000)
    )
    there = [Arrow(source=f"w{k}", target=f"h{k}") for k in range(1000)]
    on = [Arrow(source=f"h{k}", target=f"w{k + 1}") for k in range(999)]
    layout = lay_out(Picture(title="deep", boxes=boxes, frames=frames, arrows=(*there, *on)))
    xs = [layout.boxes[f"h{k}"].x for k in range(1000)]
    assert xs == sorted(xs)


def test_the_gap_of_a_column_is_kept():
    boxes = tuple(Box(key=f"b{k}", lines=(Line(text="b"),), tone=Tone.PLAIN) for k in range(3))
    places = sorted(lay_out(Picture(title="p", boxes=boxes, frames=(), arrows=())).boxes.values(), key=lambda p: p.y)
    assert [b.y - a.y - a.height for a, b in pairwise(places)] == [GAP, GAP]


def test_text_is_escaped(tmp_path):
    boxes = (Box(key="b", lines=(Line(text='<a & "b">'),), tone=Tone.PLAIN, tooltip="x < y"),)
    drawn = Picture(title="<p>", boxes=boxes, frames=(), arrows=())
    root = ElementTree.fromstring(to_svg(drawn))
    assert '<a & "b">' in [element.text for element in root.iter()]
    result = engines.draw(to_dot(drawn).source, "svg")
    assert result.data is not None
    assert "&lt;a &amp; " in re.sub(r"&quot;|&#34;", '"', result.data.decode())


def test_drawing_warns_of_nothing_when_an_engine_works(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_graph(ir_examples.gru(), tmp_path / "g.svg")
