"""What boxes, titles and legends say: pools, joins, rates, labels, shortcuts, costs; where auxiliary heads stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import resdsl
from resdsl.emit.dot import emit_dot
from resdsl.emit.picture.draw import _short
from resdsl.emit.picture.labels import with_ranges, without_rates
from tests.pictures.conftest import SPEC, Picture, read_dot

Draw = Callable[..., Picture]


def lines(picture: Picture, key: str) -> list[str]:
    return picture.nodes[key]["label"].split("\\n")


def bold(picture: Picture) -> list[str]:
    return [label.removeprefix("<<B>").removesuffix("</B>>") for label in picture.labels() if label.startswith("<<B>")]


def drawn(text: str, folder: Path, level: str = "block", name: str | None = None) -> Picture:
    spec = folder / "own.res"
    spec.write_text(text + "\n")
    return read_dot(emit_dot([resdsl.load(spec, name).flat], level))


def test_a_block_tells_its_pool_under_its_label(draw: Draw) -> None:
    picture = draw("transitions")
    assert lines(picture, "transitions/down1") == [" ", "1x1 conv, 16", "2x2 avg pool, /2"]
    assert {"down1", "last_dense", "first_layer"} <= set(bold(picture))


def test_a_concat_with_the_input_is_told(draw: Draw) -> None:
    assert lines(draw("dense_net"), "dense_net/one.0") == [" ", "3x3 conv, 8", "concat with the input"]
    assert lines(draw("branches"), "branches/one.inception1")[-1] == "concat"
    assert "3 concats with the input" in lines(draw("dense_net", level="stage"), "dense_net/one")
    assert "concat with the input" in lines(draw("transitions", level="stage"), "transitions/two")
    assert "concat" not in draw("branches", level="stage").nodes["branches/one"]["label"]


def test_an_empty_and_an_identity_branch_are_the_input_alike(tmp_path: Path) -> None:
    for branch in ("branch {}", "branch { identity }"):
        text = f"block d {{ concat {{ {branch} branch {{ conv(3x3, 4) }} }} }}\nnetwork m {{ input 3 x 8 x 8; d }}"
        assert "concat with the input" in drawn(text, tmp_path).nodes["m/d1"]["label"]


@pytest.mark.parametrize(("join", "word"), [("add", "sum"), ("multiply", "gate: 1x1 conv, 3")])
def test_branches_say_how_they_join(join: str, word: str, tmp_path: Path) -> None:
    branches = "branch { conv(3x3, 3) } branch { conv(1x1, 3) }"
    picture = drawn(f"block b {{ {join} {{ {branches} }} }}\nnetwork m {{ input 3 x 8 x 8; b }}", tmp_path)
    assert lines(picture, "m/b1")[-1] == word


def test_a_concat_before_a_gate_is_told(tmp_path: Path) -> None:
    text = """
block weighed {
  concat { branch {} branch { conv(3x3, 4) } }
  squeeze_excitation(4)
}
network m { input 4 x 8 x 8; weighed }
"""
    told = ["3x3 conv, 4", "concat with the input", "gate: avg pool → fc 2 → fc 8"]
    assert lines(drawn(text, tmp_path), "m/weighed1")[1:] == told


def test_all_boxes_of_parts_and_between_say_their_shape_inside(draw: Draw) -> None:
    picture = draw("transitions", level="stage")
    assert lines(picture, "transitions/loose steps 1")[-2:] == ["16 × 16 × 16", "576 parameters"]
    assert "down1" in bold(picture)
    assert lines(picture, "transitions/loose steps 2") == ["2x2 max pool, /2", "24 × 8 × 8"]
    assert not [
        label for label in picture.labels() if label.count(" × ") == 2 and label[0].isdigit() and "\\n" not in label
    ]


def test_rates_are_told_and_folded(draw: Draw) -> None:
    picture = draw("stochastic")
    told = ["3x3 conv, 16", "dropout 0.1", "3x3 conv, 16", "scale 0.97 to 0.5", "stochastic depth 0.033 to 0.5"]
    assert lines(picture, "stochastic/one.0") == told
    assert "× 15" in bold(picture)
    assert "differ in their rates" in picture.frames["cluster stochastic/plate one.0"]["tooltip"]
    layers = draw("stochastic", level="layer")
    assert {"dropout 0.1", "scale 0.97 to 0.5", "stochastic depth 0.033 to 0.5"} <= set(layers.labels())
    single = draw("stochastic", most_equal=20)
    assert lines(single, "stochastic/one.1")[-1] == "stochastic depth 0.067"
    assert "stochastic depth 0.033 to 0.5" in lines(draw("stochastic", level="stage"), "stochastic/one")


def test_a_dropout_outside_blocks_stays_a_strip(draw: Draw) -> None:
    picture = draw("stochastic")
    assert "dropout 0.25" in picture.labels()
    assert picture.nodes["stochastic/head.dropout1"]["label"] == "dropout 0.25"


def test_ranges_of_rates() -> None:
    assert without_rates("dropout 0.5") == without_rates("dropout 0.25") != without_rates("scale 0.5")
    assert with_ranges(["scale 1 → stochastic depth 0"] * 2) == "scale 1 → stochastic depth 0"
    texts = ["scale 0.9 → dropout 0.1", "scale 0.7 → dropout 9e-05", "scale 0.8 → dropout 0.2"]
    assert with_ranges(texts) == "scale 0.9 to 0.7 → dropout 9e-05 to 0.2"
    assert with_ranges(["3x3 conv, 64", "3x3 conv, 64"]) == "3x3 conv, 64"


def test_a_shortcut_that_changes_the_shape_starts_behind_the_preactivation(draw: Draw) -> None:
    picture = draw("preact")
    assert picture.edge("preact/conv3.0.relu1", "preact/conv3.0.add1")["style"] == "dotted"
    assert picture.nodes["preact/conv3.0.bn1"]["label"] == "bn"
    assert picture.y("preact/conv3.0.relu1") > picture.y("preact/conv3.0")
    assert "style" not in picture.edge("preact/conv2.1.add1", "preact/conv3.0.bn1")
    assert "preact/conv2.1.relu1" not in picture.nodes


def test_all_that_lies_on_a_shortcut_belongs_to_it(draw: Draw) -> None:
    """Here a product of two convolutions, which are no layers of the block's own chain."""
    picture = draw("carries")
    assert lines(picture, "carries/conv2.0") == ["3x3 conv, 16"] * 2
    assert bold(picture).count("carried") == 4
    tooltip = picture.edge("carries/stem.conv1", "carries/conv2.0.add1")["tooltip"]
    assert tooltip.count("1x1 conv") == 2


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("A", "1 padded with zeros, 1 identity"),
        ("A(average = true)", "1 padded with zeros, 1 identity"),
        ("B", "1 projection, 1 identity"),
        ("preact_B", "1 projection, 1 identity"),
        ("average_down", "1 projection, 1 identity"),
        ("carried", "2 carried"),
        ("pooled", "1 padded with zeros, 1 identity"),
    ],
)
def test_shortcuts_are_told_in_words(option: str, words: str, tmp_path: Path) -> None:
    text = SPEC.read_text().replace(
        "network net(classes = 10, option = B,", f"network net(classes = 10, option = {option},"
    )
    assert f"shortcuts: {words}" in lines(drawn(text, tmp_path, "stage", "net"), "net/conv3")


def test_gated_shortcuts_are_told(draw: Draw) -> None:
    assert "gated shortcuts: 2 identities" in lines(draw("gated", level="stage"), "gated/one")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "7"), (999, "999"), (1000, "1.00 k"), (999_499, "999 k"), (999_600, "1.00 M"), (6_998_552, "7.00 M"),
        (9_996_000, "10.0 M"), (25_549_352, "25.5 M"), (61_000_000, "61.0 M"), (138_357_544, "138 M"),
        (1_582_671_872, "1.58 G"), (1_234_000_000_000, "1,234 G"),
    ],
)  # fmt: skip
def test_costs_have_three_digits(value: int, words: str) -> None:
    assert _short(value) == words


def test_costs_are_without_auxiliary_heads(draw: Draw) -> None:
    assert draw("supervised").labels()[2].endswith("multiply-adds, without auxiliary heads")
    assert "auxiliary" not in draw("net").labels()[2]


def test_the_legend_shows_the_commonest_strip_of_the_network(draw: Draw, tmp_path: Path) -> None:
    text = "network m {\n input 3 x 8 x 8; conv(3x3, 4) -> lrn; conv(3x3, 4) -> relu; conv(3x3, 4) -> relu\n}"
    assert drawn(text, tmp_path, "layer").nodes["legend strips"]["label"] == "relu"
    assert draw("branches", level="layer").nodes["legend strips"]["label"] == "relu"
    assert draw("stochastic").nodes["legend strips"]["label"] == "dropout 0.25"
    assert "legend strips" not in draw("branches").nodes


def test_heads_that_reach_beside_each_other_do_not_cross(draw: Draw) -> None:
    """The earlier one stands farther out, so that its wire passes above the later one."""
    for level in ("block", "layer"):
        picture = draw("supervised", level=level)
        outputs = [picture.x(f"supervised/{name}:output") for name in ("a", "b", "c")]
        assert outputs == sorted(outputs)
        assert len(set(outputs)) == 3


def test_heads_of_one_part_leave_it_to_both_sides_and_apart(draw: Draw) -> None:
    picture = draw("supervised", level="stage")
    trunk = picture.x("supervised/one")
    assert picture.x("supervised/a") < picture.x("supervised/c") < trunk < picture.x("supervised/b")
    starts = [picture.edge("supervised/one", f"supervised/{name}")["pos"].split()[1] for name in ("a", "b", "c")]
    assert len(set(starts)) == 3
    heights = [float(start.split(",")[1]) for start in starts]
    assert heights[0] > heights[2]
    top = picture.y("supervised/one") + float(picture.nodes["supervised/one"]["height"]) * 36
    assert all(top - height < 40 for height in heights)


def test_any_number_of_heads_leaves_within_its_part(tmp_path: Path) -> None:
    heads = "\n".join(f"auxiliary h{i} {{ linear(2) }}; linear(8)" for i in range(20))
    picture = drawn(f"network m {{\ninput 8\nstage one {{\nlinear(8)\n{heads}\n}}\n}}", tmp_path, "stage")
    half = float(picture.nodes["m/one"]["height"]) * 36
    starts = [float(edge["pos"].split()[1].split(",")[1]) for tail, _, edge in picture.edges if tail == "m/one"]
    assert len(starts) == 20
    assert all(abs(start - picture.y("m/one")) < half for start in starts)
