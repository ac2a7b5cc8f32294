"""Faults that a review of backbones, freezing, deepening and retargeting found, each with the smallest case."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn

import resdsl
from resdsl.cli.main import main
from resdsl.compiler import check_source, compile_network
from resdsl.diagnostics import CompileError, Diagnostic
from resdsl.net import Net
from resdsl.source import SourceFile
from resdsl.transfer.deepening import DeepenError, deepen
from resdsl.vision import deeplab_v3, faster_rcnn_c4, fpn_backbone

SPECS = Path(resdsl.__file__).parent / "specs"
FAMILY = str(SPECS / "families/resnet_cifar.res")


def small() -> Net:
    return resdsl.load(FAMILY, n=1)


def of(*lines: str, before: str = "", takes: str = "3 x 32 x 32") -> Net:
    body = "\n".join(lines)
    return compile_network(SourceFile("t.res", f"{before}\nnetwork n {{\ninput {takes}\n{body}\n}}\n"))


def only_mistake(text: str) -> Diagnostic:
    (diagnostic,) = check_source(SourceFile("t.res", text)).diagnostics
    return diagnostic


# --- output stride -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("takes", ["4 x 45 x 67", "4 x H x W"])
@pytest.mark.parametrize("pool", ["avg_pool", "max_pool"])
def test_a_pool_rounds_up_along_the_side_that_still_strides(pool: str, takes: str) -> None:
    steps = ("subsample(2x1)", f"{pool}(2x2, stride = 2, ceil = true)", "conv(3x3, 4)")
    plain = of(*steps, takes=takes)
    dense = of("rules { output stride 2 }", *steps, takes=takes)
    first, second = plain.to_torch().eval(), dense.to_torch().eval()
    second.load_state_dict(first.state_dict())
    images = torch.randn(1, 4, 45, 67)
    with torch.no_grad():
        torch.testing.assert_close(second(images)[:, :, ::2], first(images))
    if isinstance(dense.output_shape[1], int):
        assert tuple(second(images).shape[1:]) == dense.output_shape


def test_the_picture_of_a_dilated_pool_says_so() -> None:
    net = of("rules { output stride 2 }", "conv(3x3, 4, stride = 2)", "subsample(2)", "max_pool(3x3, stride = 1)")
    assert "3x3 max pool, dilation 2" in net.to_dot("layer")


# --- the language --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", ["max(size, 3) > 99", "[size, 2][0] > 99", "sum([size, 1]) > 99"])
def test_a_requirement_shows_the_values_in_functions_and_lists(condition: str) -> None:
    text = f"network n(size = 64) {{\n require {condition}\n input 3 x size x size\n conv(3x3, 4)\n}}"
    assert only_mistake(text).primary.text == "size is 64"


@pytest.mark.parametrize("paper", ["", "  "])
def test_a_paper_without_a_name_is_none(paper: str) -> None:
    text = f'network n {{\n input 3 x 8 x 8\n conv(3x3, 4)\n published {{ paper "{paper}" }}\n}}'
    assert only_mistake(text).code == "R0507"


def test_the_hint_for_sizes_without_spaces_is_right() -> None:
    with pytest.raises(CompileError) as caught:
        small().retarget(input="3xHxW")
    assert caught.value.diagnostics[0].hints == ("put spaces around the x: `3 x H x W`",)


@pytest.mark.parametrize("value", [224, b"3 x 4 x 4", 3.5])
def test_an_input_of_another_kind_is_named(value: object) -> None:
    with pytest.raises(TypeError, match="input is a text or sizes such as"):
        small().retarget(input=value)  # type: ignore[arg-type]


# --- modules -------------------------------------------------------------------------------------------------------


def test_pickles_and_copies_of_pickles_keep_what_taps_say() -> None:
    module = small().to_torch(taps=["conv2", "conv4"], start="stem")
    again = copy.deepcopy(pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(module)))))
    assert (again.tap_channels, again.tap_strides) == (module.tap_channels, module.tap_strides)
    assert resdsl.place_of(again, "conv3.0.conv1") == resdsl.place_of(module, "conv3.0.conv1")
    images = torch.randn(2, 16, 32, 32)
    assert torch.equal(again(images)["conv4"], module(images)["conv4"])


def test_torch_script_takes_a_module() -> None:
    module = small().to_torch().eval()
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(torch.jit.script(module)(images), module(images))


@pytest.mark.parametrize("taps", ["conv4", 3, [3]])
def test_taps_of_another_kind_are_named(taps: object) -> None:
    with pytest.raises(TypeError, match="such as"):
        small().to_torch(taps=taps)  # type: ignore[arg-type]


def test_a_start_of_another_kind_is_named() -> None:
    with pytest.raises(TypeError, match="a place is a text"):
        small().to_torch(start=3)  # type: ignore[arg-type]


# --- freezing ------------------------------------------------------------------------------------------------------


def test_updated_after_fixed_lets_the_statistics_follow() -> None:
    model = small().to_torch()
    resdsl.freeze(model, "stem")
    resdsl.freeze(model, "stem", batch_norm="updated")
    assert model.train().get_submodule("stem.bn1").training
    assert not model.get_parameter("stem.bn1.weight").requires_grad


def test_each_frozen_parameter_is_named_once() -> None:
    frozen = resdsl.freeze(small().to_torch(), "stem", "stem.bn1", "stem")
    assert frozen.parameters == ("stem.conv1.weight", "stem.bn1.weight", "stem.bn1.bias")


@pytest.mark.parametrize("name", [["stem"], 3])
def test_a_part_of_another_kind_is_named(name: object) -> None:
    with pytest.raises(TypeError, match="a part is named by a text"):
        resdsl.freeze(small().to_torch(), name)  # type: ignore[arg-type]


def test_a_normalisation_without_statistics_cannot_be_fixed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(ValueError, match="'1' keeps no running statistics"):
        resdsl.freeze(model, "0", "1")
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_frozen_model_can_be_traced() -> None:
    model = small().to_torch()
    resdsl.fix_batch_norm(model)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(fx.symbolic_trace(model)(images), model(images))


# --- torchvision ---------------------------------------------------------------------------------------------------


def _truncated(net: Net) -> dict[str, Tensor]:
    return {name: tensor[:1] if tensor.ndim else tensor for name, tensor in net.to_torch().state_dict().items()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: fpn_backbone(net, []), "at least one stage"),
        (lambda net: fpn_backbone(net, ["conv2", "head"]), "'head' gives a vector"),
        (lambda net: fpn_backbone(net, ["conv4", "conv2"]), "from large to small"),
        (lambda net: fpn_backbone(net, ["conv2"], weights=_truncated(net)), r"stem.conv1.weight is 1 x 3 x 3 x 3"),
        (lambda net: faster_rcnn_c4(net, 2, shared="conv3", last="head"), "'head' gives a vector"),
        (lambda net: deeplab_v3(net, 2, last="head"), "'head' gives a vector"),
        (lambda net: deeplab_v3(net, 2, last="conv4", auxiliary="conv4"), "both classifiers"),
    ],
)
def test_what_cannot_be_a_backbone_is_said_at_once(make: Callable[[Net], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(small())


def test_a_module_is_no_weights() -> None:
    with pytest.raises(TypeError, match="a state dict, not a resnet_cifar"):
        fpn_backbone(small(), ["conv2"], weights=small().to_torch())  # type: ignore[arg-type]


# --- deepening -----------------------------------------------------------------------------------------------------


def _pair(body: str) -> tuple[Net, Net]:
    def net(count: int) -> Net:
        lines = ("stem { conv(3x3, 4) -> bn -> relu }", f"stage s, filters 4 {{ {count} x own }}")
        return of(*lines, before=f"block own {{ {body} }}", takes="3 x 8 x 8")

    return net(1), net(3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("residual { conv(3x3, 4) -> bn(affine = false) }; relu", "its branch ends in `bn`"),
        ("residual { conv(3x3, 4) -> bn; multiply { branch {} branch {} } }; relu", "no gradient reaches 's.1.bn1'"),
        ("residual { conv(3x3, 4) -> bn -> scale(0) }; relu", "no gradient reaches 's.1.bn1'"),
    ],
)
def test_an_added_block_that_could_not_learn_is_named(body: str, message: str) -> None:
    shallow, deep = _pair(body)
    with pytest.raises(DeepenError, match=rf"the added block 's.1' .*{message}"):
        deepen(shallow.to_torch(), deep)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_deepen_works_where_gradients_are_off(mode: Callable[[], AbstractContextManager[None]]) -> None:
    shallow, deep = _pair("basic")
    with mode():
        deepened = deepen(shallow.to_torch(), deep)
    assert not deepened.get_parameter("s.2.basic1.bn2.weight").any()


def test_deepen_does_not_write_over_the_trained_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "trained.pt"
    torch.save(small().to_torch().state_dict(), weights)
    before = weights.read_bytes()
    order = ["deepen", FAMILY, "--set", "n=1", "--weights", str(weights), "-o", str(weights)]
    assert main([*order, "--set-to", "n=2"]) == 1
    assert "would be lost" in capsys.readouterr().err
    assert weights.read_bytes() == before


def test_a_parameter_of_the_deeper_network_is_set_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "trained.pt"
    torch.save(small().to_torch().state_dict(), weights)
    order = ["deepen", FAMILY, "--set", "n=1", "--weights", str(weights), "-o", str(tmp_path / "deep.pt")]
    assert main([*order, "--set-to", "n=2", "--set-to", "n=3"]) == 1
    assert "R0212" in capsys.readouterr().err


def test_the_same_network_by_name_keeps_the_parameters_set(tmp_path: Path) -> None:
    weights, out = tmp_path / "trained.pt", tmp_path / "deep.pt"
    torch.save(resdsl.load(FAMILY, n=1, option="B").to_torch().state_dict(), weights)
    order = ["deepen", FAMILY, "--network", "resnet_cifar", "--to", "resnet_cifar", "--set", "n=1", "--set", "option=B"]
    assert main([*order, "--set-to", "n=2", "--weights", str(weights), "-o", str(out)]) == 0
