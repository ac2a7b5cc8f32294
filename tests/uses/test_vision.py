"""Our networks as backbones of torchvision's detectors and segmenters: they train, and equal torchvision's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.models.segmentation import deeplabv3_resnet50

import resdsl
from resdsl.compiler import compile_network
from resdsl.net import Net
from resdsl.source import SourceFile
from resdsl.vision import deeplab_v3, faster_rcnn_c4, fpn_backbone

SPECS = Path(__file__).parents[2] / "specs"
SMALL = """
network small {
  input 3 x H x W
  rules { same map -> same filters; halve map -> double filters; shortcut -> B }
  stem { conv(7x7, 8, stride = 2) -> bn -> relu -> max_pool(3x3, stride = 2) }
  stage conv2            { basic }
  stage conv3, halve map { basic }
  stage conv4, halve map { basic }
  stage conv5, halve map { basic }
  head { global_avg_pool -> linear(5) }
}
"""
SIZE: dict[str, Any] = {"min_size": 64, "max_size": 64}
# Few regions: what is tested is that gradients arrive, not how well it learns.
FEW: dict[str, Any] = {"rpn_pre_nms_top_n_train": 64, "rpn_post_nms_top_n_train": 32, "box_batch_size_per_image": 16}


def small() -> Net:
    return compile_network(SourceFile("small.res", SMALL))


def scenes(count: int = 3) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Images with bright rectangles, wide ones of class 1 and high ones of class 2, and their boxes."""
    generator = torch.Generator().manual_seed(3)
    images, targets = [], []
    for _ in range(count):
        image = torch.rand(3, 64, 64, generator=generator) * 0.2
        boxes = []
        for label in (1, 2):
            width, height = (32, 16) if label == 1 else (16, 32)
            left, top = torch.randint(0, 32, (2,), generator=generator).tolist()
            image[label - 1, top : top + height, left : left + width] += 0.8
            boxes.append([left, top, left + width, top + height])
        images.append(image)
        targets.append({"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor([1, 2])})
    return images, targets


def losses(model: nn.Module, steps: int, lr: float) -> list[float]:
    """The loss of a detector at each step of training on the scenes."""
    images, targets = scenes()
    model.train()
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], lr=lr, momentum=0.9)
    found = []
    for _ in range(steps):
        loss = sum(model(images, targets).values())
        assert isinstance(loss, Tensor)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found.append(loss.item())
    return found


def test_faster_rcnn_with_a_feature_pyramid_learns() -> None:
    torch.manual_seed(0)
    backbone = fpn_backbone(small(), out_channels=16)
    assert {name: tuple(map_.shape[1:]) for name, map_ in backbone(torch.zeros(1, 3, 96, 96)).items()} == {
        "0": (16, 24, 24), "1": (16, 12, 12), "2": (16, 6, 6), "3": (16, 3, 3), "pool": (16, 2, 2)
    }  # fmt: skip
    found = losses(FasterRCNN(backbone, 3, **SIZE, **FEW), 12, 0.03)
    assert sum(found[-2:]) < 0.75 * sum(found[:2])


def test_faster_rcnn_in_the_papers_form_learns() -> None:
    torch.manual_seed(0)
    model = faster_rcnn_c4(small(), 3, **SIZE, **FEW)
    found = losses(model, 8, 0.02)
    assert sum(found[-2:]) < 0.75 * sum(found[:2])
    assert not any(layer.training for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
    (result, *_) = model.eval()(scenes(1)[0])
    assert result["boxes"].shape[1] == 4


def test_the_papers_form_on_resnet101() -> None:
    """He et al. 2015, appendix A: conv1 to conv4 are shared, conv5 and the mean see each region; no layer is twice."""
    net = resdsl.load(SPECS / "resnet101.res")
    with torch.device("meta"):
        whole = net.to_torch()
        model = faster_rcnn_c4(net, 21)
        features = model.backbone(torch.empty(1, 3, 600, 1000))
        regions = model.roi_heads.box_head(torch.empty(300, 1024, 14, 14))
    assert features["conv4"].shape == (1, 1024, 38, 63)
    assert regions.shape == (300, 2048)
    parts = [*model.backbone.state_dict(), *model.roi_heads.box_head.body.state_dict()]
    assert parts == [name for name in whole.state_dict() if not name.startswith("head")]
    trained = [name for name, weight in model.backbone.named_parameters() if weight.requires_grad]
    assert trained
    assert not [name for name in trained if "bn" in name]


def in_our_words(name: str) -> str:
    """A name of torchvision's detectors and segmenters in ours: only those of the residual network's layers differ."""
    found = re.fullmatch(r"(backbone\.(?:body\.)?)(conv1|bn1|layer\d\.\d+)\.(.*)", name)
    if found is None:
        return name
    part = found[2]
    if part.startswith("layer"):
        stage, block = part.removeprefix("layer").split(".")
        part = f"conv{int(stage) + 1}.{block}"
    else:
        part = f"stem.{part}"
    rest = found[3].replace("downsample.0", "shortcut.conv1").replace("downsample.1", "shortcut.bn1")
    return f"{found[1]}{part}.{rest}"


def resnet50() -> Net:
    """The form that torchvision has."""
    return resdsl.load(SPECS / "resnet50.res", "resnet50_v15")


def test_faster_rcnn_on_resnet50_is_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3, **SIZE)
    with torch.device("meta"):
        backbone = fpn_backbone(resnet50())
    ours = FasterRCNN(backbone, 3, **SIZE)
    weights = {in_our_words(name): value.clone() for name, value in theirs.state_dict().items()}
    ours.load_state_dict(weights, strict=True, assign=True)
    images, targets = scenes(2)
    results: list[Any] = []
    for model in (theirs, ours):
        torch.manual_seed(1)  # the samples of anchors and regions
        with torch.no_grad():
            results.append((model.train()(images, targets), model.eval()(images)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)
    assert len(results[0][1][0]["boxes"]) > 0


def masks(targets: list[dict[str, Tensor]]) -> Tensor:
    """The class of each pixel, (N, H, W), of the scenes' boxes."""
    result = torch.zeros(len(targets), 64, 64, dtype=torch.long)
    for mask, target in zip(result, targets, strict=True):
        for (left, top, right, bottom), label in zip(target["boxes"].long().tolist(), target["labels"], strict=True):
            mask[top:bottom, left:right] = label
    return result


@pytest.mark.parametrize("stride", [8, 16])
def test_deeplab_learns(stride: int) -> None:
    torch.manual_seed(0)
    model = deeplab_v3(small().retarget(output_stride=stride), 3, auxiliary="conv4").train()
    assert model.backbone.tap_strides == {"aux": min(stride, 16), "out": stride}
    images, targets = scenes()
    expected = masks(targets)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    found = []
    for _ in range(8):
        result = model(torch.stack(images))
        loss = functional.cross_entropy(result["out"], expected) + 0.4 * functional.cross_entropy(
            result["aux"], expected
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        found.append(loss.item())
    assert sum(found[-2:]) < 0.75 * sum(found[:2])


def test_deeplab_needs_a_fine_map() -> None:
    with pytest.raises(ValueError, match=r"'conv5' has stride 32, not 8 or 16: give net.retarget\(output_stride=16\)"):
        deeplab_v3(small(), 3)


def test_deeplab_on_resnet50_is_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=3, aux_loss=True)
    with torch.device("meta"):
        ours = deeplab_v3(resnet50().retarget(output_stride=8), 3, auxiliary="conv4")
    weights = {in_our_words(name): value for name, value in theirs.state_dict().items()}
    ours.load_state_dict(weights, strict=True, assign=True)
    images = torch.randn(1, 3, 65, 65)
    with torch.inference_mode():
        torch.testing.assert_close(dict(ours.eval()(images)), dict(theirs.eval()(images)), rtol=1e-4, atol=1e-4)


def test_weights_of_the_whole_serve_both_parts() -> None:
    net = small()
    weights = net.to_torch().state_dict()
    model = faster_rcnn_c4(net, 3, weights=weights)
    for part in (model.backbone, model.roi_heads.box_head.body):
        assert all(torch.equal(value, weights[name]) for name, value in part.state_dict().items())
    del weights["conv5.basic1.conv2.weight"]
    with pytest.raises(ValueError, match=r"conv5.basic1.conv2.weight .* has no counterpart in the file"):
        faster_rcnn_c4(net, 3, weights=weights)


def test_weights_of_another_library_go_under_a_pyramid(tmp_path: Path) -> None:
    """A path, too; the stages below the taps and the head of other classes are not needed."""
    peer = models.resnet50(num_classes=7).eval()
    path = tmp_path / "resnet50.pth"
    torch.save(peer.state_dict(), path)
    net = resdsl.load(SPECS / "resnet50.res", "resnet50_v15").retarget(input="3 x 64 x 64")
    backbone = fpn_backbone(net, ["conv2", "conv3"], out_channels=8, weights=path)
    assert torch.equal(backbone.body.get_parameter("conv3.0.conv1.weight"), peer.get_parameter("layer2.0.conv1.weight"))
    paper = resdsl.load(SPECS / "resnet50.res").retarget(input="3 x 64 x 64")
    with pytest.raises(ValueError, match="resnet50_v15 is equal"):
        fpn_backbone(paper, ["conv2", "conv3"], weights=peer.state_dict())
    atrous = deeplab_v3(net.retarget(output_stride=16), 3, weights=path)
    assert torch.equal(atrous.backbone.get_parameter("stem.conv1.weight"), peer.get_parameter("conv1.weight"))
    with pytest.raises(TypeError, match="weights are a path or a state dict, not a int"):
        fpn_backbone(net, weights=3)  # type: ignore[arg-type]
