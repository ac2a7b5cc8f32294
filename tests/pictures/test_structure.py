"""What a picture shows: nodes, edges, styles, labels, tooltips, counts, and that networks side by side agree."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from resdsl.emit.dot import emit_dot
from resdsl.ir.lower import FlatGraph
from tests.pictures.conftest import Picture, load, read_dot

MIXED = """
block cbr(c) { conv(1x1, c, bias = false) -> bn -> relu }
network mixed {
  input 16 x 32 x 32
  max_pool(2x2, stride = 2)
  stage one {
    2 x cbr(16)
    auxiliary side { cbr(16) -> global_avg_pool -> linear(4) }
    max_pool(3x3, stride = 2)
    cbr(16)
  }
  head { adaptive_avg_pool(2x3) -> flatten -> linear(10) }
}
"""
Draw = Callable[..., Picture]
Golden = Callable[[str, Path], None]


@pytest.mark.parametrize(("names", "level"), [(("plain", "net"), "block"), (("gated",), "layer"), (("deep",), "stage")])
def test_the_text_is_known(names: tuple[str, ...], level: str, golden: Golden) -> None:
    text = emit_dot([load(name) for name in names], level)
    place = load(names[0]).network.source.name
    golden(text.replace(place, "nets.res"), Path("golden") / f"{'_'.join(names)}_{level}.gv")


def test_same_network_same_text(name: str, level: str) -> None:
    assert emit_dot([load(name)], level) == emit_dot([load(name)], level)


def test_every_op_is_a_node_with_its_place_and_costs(name: str, draw: Draw) -> None:
    graph = load(name)
    picture = draw(name, level="layer", most_equal=100)
    for node in graph.nodes:
        tooltip = picture.nodes[f"{name}/{node.name}"]["tooltip"].split("\\n")
        assert tooltip[0].startswith(node.name)
        assert tooltip[1] == node.place.place()
        assert tooltip[2].startswith("output ")
        assert "parameters" in tooltip[3]
        assert "multiply-adds" in tooltip[3]


def test_every_node_and_edge_has_a_tooltip(name: str, level: str, draw: Draw) -> None:
    picture = draw(name, level=level)
    assert all(node["tooltip"] for node in picture.nodes.values())
    assert all(attributes["tooltip"] for _, _, attributes in picture.edges)


def test_edges_join_nodes(name: str, level: str, draw: Draw) -> None:
    picture = draw(name, level=level)
    for tail, head, _ in picture.edges:
        assert tail in picture.nodes
        assert head in picture.nodes


def test_layer_level_keeps_every_connection(name: str, draw: Draw) -> None:
    """Two ops are joined by an edge, or touch as strips of one brick."""
    picture = draw(name, level="layer", most_equal=100)
    drawn = {(tail, head) for tail, head, _ in picture.edges}
    for node in load(name).nodes:
        for source in node.inputs:
            tail, head = f"{name}/{source}", f"{name}/{node.name}"
            is_touching = (
                0 <= picture.y(tail) - picture.y(head) <= 40
                and picture.x(head) - 80 < picture.x(tail) < picture.x(head) + 80
            )
            assert (tail, head) in drawn or is_touching


def test_shortcuts_are_solid_or_dotted(draw: Draw) -> None:
    picture = draw("net")
    assert "style" not in picture.edge("net/stem.conv1", "net/conv2.0.add1")
    assert picture.edge("net/conv2.1.add1", "net/conv3.0.add1")["style"] == "dotted"
    assert "style" not in picture.edge("net/conv3.0.add1", "net/conv3.1.add1")
    assert "through: 1x1 conv" in picture.edge("net/conv2.1.add1", "net/conv3.0.add1")["tooltip"]


@pytest.mark.parametrize(
    ("name", "labels"), [("net", ["B"]), ("zeros", ["A"]), ("all_projections", ["C"] * 4), ("own_option", ["mine"])]
)
def test_options_stand_beside_the_shortcuts(name: str, labels: list[str], draw: Draw) -> None:
    for level in ("block", "layer"):
        found = [text.removeprefix("<<B>").removesuffix("</B>>") for text in draw(name, level=level).labels()]
        assert [label for label in found if label in {"A", "B", "C", "mine"}] == labels


def test_no_shortcuts_in_a_plain_network(draw: Draw) -> None:
    picture = draw("plain")
    assert not any("add" in key for key in picture.nodes)
    assert len(picture.edges) == len({head for _, head, _ in picture.edges})


def test_a_block_lists_its_weighted_layers(draw: Draw) -> None:
    picture = draw("bottlenecks")
    assert picture.nodes["bottlenecks/conv3.0"]["label"] == "1x1 conv, 128, /2\\n3x3 conv, 128\\n1x1 conv, 512"
    assert "bottleneck" in picture.nodes["bottlenecks/conv3.0"]["tooltip"]


def test_branches_of_a_block_are_told_in_lines(draw: Draw) -> None:
    label = draw("branches").nodes["branches/one.inception1"]["label"]
    assert "1x1 conv, 8 → 3x3 conv, 16" in label.split("\\n")


def test_a_gate_is_a_diamond(draw: Draw) -> None:
    for level in ("block", "layer"):
        picture = draw("gated", level=level)
        assert picture.nodes["gated/one.0.gate1"]["shape"] == "diamond"
        assert "<<B>1 − T</B>>" in picture.labels()
    assert "the gate T(x)" in draw("gated", level="layer").labels()
    assert "the gate T(x)" not in draw("gated").labels()
    assert draw("gated").nodes["gated/one.0"]["label"] == "T: 3x3 conv, 16\\nH: 3x3 conv, 16"


def test_pre_activation_opens_the_brick_of_its_layer(draw: Draw) -> None:
    picture = draw("preact", level="layer")
    names = [node.name for node in load("preact").nodes if node.part == "conv2"][:3]
    heights = [picture.y(f"preact/{name}") for name in names]
    assert load("preact").by_name()[names[2]].op.name == "conv"
    assert heights[0] == heights[1] > heights[2]


def test_stage_level_has_a_box_for_each_part(draw: Draw) -> None:
    picture = draw("net", level="stage")
    parts = [part.name for part in load("net").network.parts]
    assert [key for key in picture.nodes if key.startswith("net/")] == ["net/input", *(f"net/{p}" for p in parts)]
    lines = picture.nodes["net/conv3"]["label"].split("\\n")
    assert lines == [" ", "2 × basic", "shortcuts: 1 projection, 1 identity", "32 × 16 × 16", "33,088 parameters"]
    assert "<<B>conv3</B>>" in picture.labels()
    heights = [picture.y(f"net/{part}") for part in parts]
    assert heights == sorted(heights, reverse=True)


def test_equal_blocks_are_drawn_once_with_their_count(draw: Draw) -> None:
    picture = draw("deep")
    counts = [label for label in picture.labels() if label.startswith("<<B>× ") and label != "<<B>× n</B>>"]
    assert counts == ["<<B>× 18</B>>", "<<B>× 17</B>>"]
    points = [node for node in picture.nodes.values() if node.get("shape") == "point"]
    assert [node["style"] for node in points] == ["invis"] * 2
    assert list(picture.frames)[:2] == ["cluster deep/plate conv2.0", "cluster deep/plate conv3.1"]
    assert "deep/conv2.1" not in picture.nodes
    assert "deep/conv2.17" in draw("deep", most_equal=18).nodes


def test_rounds_of_a_repetition_are_folded(draw: Draw) -> None:
    assert "<<B>× 20</B>>" in draw("vectors", level="layer").labels()


def test_sizes_stand_where_they_change(draw: Draw) -> None:
    sizes = [label for label in draw("net").labels() if label.count(" × ") == 2 and "input" not in label]
    assert sizes == ["16 × 32 × 32", "32 × 16 × 16"]


def test_free_sizes_are_expressions(draw: Draw) -> None:
    assert "input 3 × H × W" in draw("long_ways").labels()


def test_auxiliary_heads_stand_at_the_side(draw: Draw) -> None:
    picture = draw("branches")
    trunk = picture.x("branches/input")
    side = [key for key in picture.nodes if key.startswith("branches/aux1")]
    assert len(side) == 3
    assert all(picture.x(key) < trunk - 40 for key in side)
    assert "aux1\\nloss × 0.3" in picture.labels()


@pytest.mark.parametrize(
    "body",
    [
        "stem { conv(3x3, 64) }; stage a { conv(3x3, 8) }; auxiliary z { global_avg_pool -> linear(4) }",
        "conv(3x3, 4); auxiliary z { global_avg_pool -> linear(4) }; global_avg_pool -> linear(4)",
    ],
)
def test_an_auxiliary_head_may_end_the_text(body: str, level: str, tmp_path: Path) -> None:
    graph = loaded(f"network m {{ input 3 x 8 x 8; {body} }}", tmp_path)
    picture = read_dot(emit_dot([graph], level))
    heads = [key for key in picture.nodes if key.startswith("m/z")]
    assert heads
    assert all(picture.x(key) < picture.x("m/input") for key in heads)
    if body.startswith("stem") and level == "block":
        start = picture.edge("m/a.conv1", "m/z.global_avg_pool1")["pos"].split()[1].split(",")
        bottom = picture.y("m/a.conv1") - float(picture.nodes["m/a.conv1"]["height"]) * 36
        assert float(start[1]) == pytest.approx(bottom, abs=0.5)


def loaded(text: str, folder: Path) -> FlatGraph:
    import resdsl

    spec = folder / "own.res"
    spec.write_text(text + "\n")
    return resdsl.load(spec).flat


def test_stage_boxes_tell_their_steps_and_no_heads(tmp_path: Path) -> None:
    graph = loaded(MIXED, tmp_path)
    picture = read_dot(emit_dot([graph], "stage"))
    lines = [" ", "2 × cbr", "3x3 max pool, /2", "1 × cbr", "16 × 8 × 8", "864 parameters"]
    assert picture.nodes["mixed/one"]["label"].split("\\n") == lines
    assert picture.nodes["mixed/loose steps 1"]["label"] == "2x2 max pool, /2\\n16 × 16 × 16"
    assert picture.nodes["mixed/side"]["label"].split("\\n")[-2:] == ["output 4", "356 parameters"]
    start = picture.edge("mixed/one", "mixed/side")["pos"].split()[1].split(",")
    assert float(start[0]) < picture.x("mixed/one") - 40
    assert "adaptive avg pool, 2x3" in "".join(read_dot(emit_dot([graph], "layer")).labels())


def test_long_shortcuts_reach_over_stages(draw: Draw) -> None:
    picture = draw("long_ways", level="stage")
    assert picture.edge("long_ways/stem", "long_ways/two")["style"] == "dotted"


def test_side_by_side_the_same_blocks_stand_at_one_height(draw: Draw) -> None:
    for level in ("block", "layer"):
        picture = draw("plain", "net", level=level)
        for block in ("conv2.0", "conv3.0", "conv3.1"):
            first = next(node.name for node in load("net").nodes if node.block == block)
            key = block if level == "block" else first
            assert picture.y(f"plain/{key}") == picture.y(f"net/{key}")
        assert picture.x("plain/input") < picture.x("net/input")


def test_a_shortcut_spans_no_room_left_for_a_neighbour(draw: Draw) -> None:
    """Beside a longer network a stage begins lower; its first shortcut is no longer than without the neighbour."""

    def length(picture: Picture) -> float:
        ends = picture.edge("net/conv2.1.add1", "net/conv3.0.add1")["pos"].removeprefix("e,").split()
        return float(ends[1].split(",")[1]) - float(ends[0].split(",")[1])

    alone, beside = draw("net"), draw("net", "deep", most_equal=100)
    assert beside.y("net/conv2.1.add1") - beside.y("net/conv3.0.add1") > 500
    assert length(beside) == pytest.approx(length(alone), abs=2)


def test_the_same_network_twice(draw: Draw) -> None:
    picture = draw("net", "net")
    assert "net 2/input" in picture.nodes


def test_title_and_legend(draw: Draw) -> None:
    labels = draw("net").labels()
    assert labels[0] == "<<B>net</B>>"
    assert labels[1].startswith("10 layers, ")
    assert "identity shortcut" in labels
    assert "shortcut that changes the shape (option B)" in labels
    assert "identity shortcut" not in draw("plain").labels()


def test_stages_have_colours_of_their_own(draw: Draw) -> None:
    picture = draw("net")
    fills = {key: picture.nodes[f"net/{key}"]["fillcolor"] for key in ("conv2.0", "conv2.1", "conv3.0")}
    assert fills["conv2.0"] == fills["conv2.1"] != fills["conv3.0"]


def test_unknown_levels_and_no_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="stage, block, layer"):
        emit_dot([load("net")], "op")
    with pytest.raises(ValueError, match="0 networks"):
        emit_dot([])


def test_a_very_long_network_loses_its_middle(tmp_path: Path) -> None:
    import resdsl

    spec = tmp_path / "long.res"
    spec.write_text("network long {\n input 8\n 2000 x { linear(8 + index) -> relu }\n}\n")
    graph: FlatGraph = resdsl.load(spec).flat
    picture = read_dot(emit_dot([graph], "layer"))
    assert len(picture.nodes) < 4000
    assert any("more …" in label for label in picture.labels())
    heights = [picture.y(key) for key in picture.nodes if key.startswith("long/") and "linear" in key]
    assert all(upper > lower for upper, lower in pairwise(heights))
