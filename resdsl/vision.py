"""Networks as backbones of torchvision's detectors and segmenters: the few lines between its classes and ours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.segmentation import DeepLabV3
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from resdsl.emit.torch_module import NetModule
from resdsl.net import Net
from resdsl.transfer.freezing import fix_batch_norm
from resdsl.weights.load import load_checkpoint, open_checkpoint
from resdsl.weights.permissions import Permissions
from resdsl.weights.wording import NO_CHOICES

Weights = Mapping[str, Tensor] | str | os.PathLike[str]
STAGES = ("conv2", "conv3", "conv4", "conv5")
# The rates of Chen et al. 2017 (arXiv 1706.05587, section 4.1) for output stride 16, and doubled for 8.
_ATROUS_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
_ROI_SIZE = 14
_ANCHORS = ((32, 64, 128, 256, 512),)
_ASPECTS = ((0.5, 1.0, 2.0),)


class FpnBackbone(nn.Module):
    """A network (`body`) under a feature pyramid (`fpn`, Lin et al. 2017).

    Gives the maps of `taps` with `out_channels` channels each, named "0", "1" and so on as torchvision's detectors
    expect, and "pool", every second place of the last.
    """

    def __init__(self, body: NetModule, out_channels: int) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(list(body.tap_channels.values()), out_channels, LastLevelMaxPool())
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) to the pyramid's maps."""
        maps: dict[str, Tensor] = self.fpn(self.body(x))
        return maps


def fpn_backbone(
    net: Net,
    taps: Iterable[str] = STAGES,
    *,
    out_channels: int = 256,
    weights: Weights | None = None,
) -> FpnBackbone:
    """The backbone of torchvision's FasterRCNN, MaskRCNN and their like.

    Args:
        net: the network.
        taps: stages whose maps the pyramid takes, each half as large as the one before.
        out_channels: channels of the pyramid's maps.
        weights: a state dict of the whole network, or the path of one, of any library: see resdsl.load_weights.

    Raises:
        TypeError: weights that are neither a state dict nor a path.
        ValueError: an unknown tap, none, or one that is no map; taps in another order; weights that do not fit.
    """
    if isinstance(taps, str):
        raise TypeError(f"taps are a list of places, such as ['conv4', 'conv5'], not {taps!r}")
    stages = list(taps)
    if not stages:
        raise ValueError("a pyramid stands on at least one stage")
    body = net.to_torch(taps={tap: str(level) for level, tap in enumerate(stages)})
    _require_maps(net, *stages)
    strides = [stride if isinstance(stride, tuple) else (stride, stride) for stride in body.tap_strides.values()]
    if strides != sorted(strides):
        raise ValueError(f"the maps of {', '.join(stages)} do not go from large to small: their strides are {strides}")
    return FpnBackbone(_loaded(body, weights), out_channels)


class RegionHead(nn.Module):
    """The last stages of a network (`body`) on the map of each region, then the mean over that map."""

    def __init__(self, body: NetModule) -> None:
        super().__init__()
        self.body = body
        self.out_channels = body.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), a map for each region, to (N, F)."""
        (result,) = self.body(x).values()
        return result.mean((2, 3))  # type: ignore[no-any-return]


def faster_rcnn_c4(
    net: Net,
    classes: int,
    *,
    shared: str = "conv4",
    last: str = "conv5",
    weights: Weights | None = None,
    **options: Any,
) -> FasterRCNN:
    """Faster R-CNN on a residual network as in He et al. 2015, appendix A.

    The layers up to `shared` see the whole image, once; regions are pooled from its map to 14 x 14, and those from
    there to `last`, with the mean over the map, take the part of VGG-16's fully connected layers. Batch
    normalisations are fixed (`resdsl.unfreeze` undoes it), so `weights` should be given.

    Args:
        net: the network.
        classes: classes of objects, the background counted as one.
        shared: the stage whose map the regions are taken from.
        last: the last stage.
        weights: a state dict of the whole network, or the path of one, of any library: it serves both parts.
        options: further arguments of torchvision's FasterRCNN.

    Raises:
        ValueError: an unknown stage, or one that gives no map; weights that do not fit.
    """
    body = _loaded(net.to_torch(taps=[shared]), weights)
    _require_maps(net, shared, last)
    head = RegionHead(_loaded(net.to_torch(start=shared, taps=[last]), weights, verify=False))
    fix_batch_norm(body)
    fix_batch_norm(head)
    parts = {
        "rpn_anchor_generator": AnchorGenerator(_ANCHORS, _ASPECTS),
        "box_roi_pool": MultiScaleRoIAlign([shared], output_size=_ROI_SIZE, sampling_ratio=2),
        "box_head": head,
        "box_predictor": FastRCNNPredictor(head.out_channels, classes),
    }
    return FasterRCNN(body, **{**parts, **options})


def deeplab_v3(
    net: Net,
    classes: int,
    *,
    last: str = "conv5",
    auxiliary: str | None = None,
    weights: Weights | None = None,
) -> DeepLabV3:
    """DeepLabV3 (Chen et al. 2017) on a network with output stride 8 or 16, `net.retarget(output_stride=16)`.

    Args:
        net: the network.
        classes: classes of pixels, the background counted as one.
        last: the stage that the atrous pyramid stands on; its stride decides the pyramid's rates.
        auxiliary: a stage with a classifier of its own for training, such as `conv4`.
        weights: a state dict of the whole network, or the path of one, of any library: see resdsl.load_weights.

    Raises:
        ValueError: another output stride; an unknown stage, or one that gives no map; weights that do not fit.
    """
    if auxiliary == last:
        raise ValueError(f"both classifiers would stand on {last!r}: give another stage for the auxiliary one")
    taps = {last: "out"} if auxiliary is None else {auxiliary: "aux", last: "out"}
    body = _loaded(net.to_torch(taps=taps), weights)
    _require_maps(net, *taps)
    stride = body.tap_strides["out"]
    if not isinstance(stride, int) or stride not in _ATROUS_RATES:
        raise ValueError(f"{last!r} has stride {stride}, not 8 or 16: give net.retarget(output_stride=16)")
    classifier = DeepLabHead(body.tap_channels["out"], classes, _ATROUS_RATES[stride])
    extra = None if auxiliary is None else FCNHead(body.tap_channels["aux"], classes)
    return DeepLabV3(body, classifier, extra)


def _require_maps(net: Net, *places: str) -> None:
    nodes = net.flat.by_name()
    for place in places:
        name = net.flat.place_node(place)
        if name is not None and len(nodes[name].shape if name in nodes else net.input_shape) != 3:
            raise ValueError(f"{place!r} gives a vector, not a map")


def _loaded(part: NetModule, weights: Weights | None, *, verify: bool = True) -> NetModule:
    if weights is None:
        return part
    if not isinstance(weights, Mapping | str | os.PathLike):
        raise TypeError(f"weights are a path or a state dict, not a {type(weights).__name__}")
    load_checkpoint(part, open_checkpoint(weights), Permissions(wording=NO_CHOICES), verify)
    return part
