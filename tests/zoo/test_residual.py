"""The nets of He et al. 2015: torchvision's, as it has them or with shortcut or stride changed; counts by formula."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.resnet import BasicBlock, Bottleneck

import resdsl
from resdsl.net import Net
from tests.zoo.compared import CHANGED, RESIDUAL
from tests.zoo.counting import Count, none, option_b, projection, residual
from tests.zoo.peers import assert_same_function, carry_weights, lively

SPECS = Path(__file__).parents[2] / "specs"
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
SHORTCUTS = {"A": none, "B": option_b, "C": projection, "none": none}


def ours(file: str, network: str) -> Net:
    return resdsl.load(SPECS / file, network)


def theirs(peer: str) -> nn.Module:
    module: nn.Module = getattr(torchvision.models, peer.split()[1])(weights=None)
    return module


def in_our_words(name: str) -> str:
    """The name of a tensor of torchvision in our net: the same structure, the paper's names."""
    part, _, rest = name.partition(".")
    if part in ("conv1", "bn1"):
        return f"stem.{name}"
    if part == "fc":
        return f"head.linear1.{rest}"
    stage, block, rest = f"conv{int(part.removeprefix('layer')) + 1}", *rest.split(".", 1)
    for theirs_, ours_ in (("downsample.0", "shortcut.conv1"), ("downsample.1", "shortcut.bn1")):
        rest = rest.replace(theirs_, ours_)
    return f"{stage}.{block}.{rest}"


@pytest.fixture
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# --- torchvision ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "network", "peer"), RESIDUAL)
def test_counts(file: str, network: str, peer: str) -> None:
    net = ours(file, network)
    with torch.device("meta"):
        model = theirs(peer)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 3, 224, 224))
    assert net.parameters == sum(weight.numel() for weight in model.parameters())
    assert net.macs == counter.get_total_flops() // 2
    assert net.summary()["buffers"] == sum(buffer.numel() for buffer in model.buffers() if buffer.dim())


@pytest.mark.parametrize(("file", "network", "peer"), RESIDUAL)
def test_state_dicts_have_one_order(file: str, network: str, peer: str) -> None:
    """Not needed to load weights by name, but it makes checkpoints of optimizers fit, too."""
    with torch.device("meta"):
        model, module = theirs(peer), ours(file, network).to_torch()
    expected = [(in_our_words(name), value.shape) for name, value in model.state_dict().items()]
    assert [(name, value.shape) for name, value in module.state_dict().items()] == expected


@pytest.mark.parametrize(("file", "network", "peer"), RESIDUAL)
def test_outputs_and_gradients(file: str, network: str, peer: str) -> None:
    model, module = lively(theirs(peer)), ours(file, network).to_torch(init="torch")
    pairs = carry_weights(model, module)
    weights = (name for name in model.state_dict() if not name.endswith("num_batches_tracked"))
    assert pairs == {in_our_words(name): name for name in weights}
    assert_same_function(model, module, pairs, sizes=((224, 224), (97, 129)))


@pytest.mark.usefixtures("doubles")
def test_gradients_of_resnet18_in_double_precision() -> None:
    model, module = lively(theirs("torchvision resnet18")), ours("resnet18.res", "resnet18").to_torch(init="torch")
    model.float().double()  # weights are loaded in single precision
    pairs = carry_weights(model, module)
    assert_same_function(model, module, pairs, sizes=((40, 40),), batch=3, tolerance=1e-11)


class ZeroPad(nn.Module):
    """Option A in plain torch: every second place, zeros for the new filters."""

    def __init__(self, stride: int, new: int) -> None:
        super().__init__()
        self.stride, self.new = stride, new

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))


class Nothing(nn.Module):
    """The shortcut of a plain net."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


def with_option(model: nn.Module, option: str) -> nn.Module:
    """A net of torchvision, which has option B, with another one."""
    for module in list(model.modules()):
        if not isinstance(module, BasicBlock | Bottleneck):
            continue
        last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
        before, behind = module.conv1.in_channels, last.num_features
        if option == "none":
            module.downsample = Nothing()
        elif option == "A" and module.downsample is not None:
            module.downsample = ZeroPad(module.stride, behind - before)
        elif option == "C" and module.downsample is None:
            module.downsample = nn.Sequential(nn.Conv2d(before, behind, 1, bias=False), nn.BatchNorm2d(behind))
    return model


def with_stride_on_the_first_1x1(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
    return model


@pytest.mark.parametrize(("file", "network", "peer"), CHANGED)
def test_what_torchvision_lacks_is_torchvision_changed(file: str, network: str, peer: str) -> None:
    option = "none" if network.startswith("plain") else network.partition("_")[2].removeprefix("v15_")
    model = with_option(theirs(peer), option)
    if "v15" not in network:
        with_stride_on_the_first_1x1(model)
    lively(model)
    module = ours(file, network).to_torch(init="torch")
    assert_same_function(model, module, carry_weights(model, module), sizes=((224, 224), (65, 97)))


# --- Table 1 and the options of section 4.1 -------------------------------------------------------------------------

IMAGENET_FILES = (
    "resnet18.res",
    "resnet34.res",
    "resnet50.res",
    "resnet101.res",
    "resnet152.res",
    "resnet_options.res",
)


def names_in(*files: str) -> list[tuple[str, str]]:
    return [(file, net.name) for file in files for net in resdsl.check_file(str(SPECS / file)).networks]


@pytest.mark.parametrize(("file", "network"), names_in(*IMAGENET_FILES))
def test_imagenet_nets_cost_what_the_table_gives(file: str, network: str) -> None:
    match = re.fullmatch(r"(resnet|plain)(\d+)(_v15)?(?:_([AC]))?", network)
    assert match is not None
    depth, is_bottleneck = int(match[2]), int(match[2]) >= 50
    count = Count()
    count.conv(7, 3, 64, 112)
    count.bn(64)
    residual(
        count, BLOCKS[depth], SHORTCUTS["none" if match[1] == "plain" else match[4] or "B"],
        channels=64, side=56, classes=1000,
        kernels=(1, 3, 1) if is_bottleneck else (3, 3), striding=1 if match[3] else 0,
    )  # fmt: skip
    net = ours(file, network)
    assert net.depth == depth
    assert Count.of(net) == count


def test_every_option_of_every_depth_is_there() -> None:
    names = {name for _, name in names_in(*IMAGENET_FILES)}
    nets = [f"resnet{depth}" for depth in BLOCKS] + [f"resnet{depth}_v15" for depth in (50, 101, 152)]
    assert names == {net + option for net in nets for option in ("", "_A", "_C")} | {"plain18", "plain34"}


@pytest.mark.parametrize(("depth", "most"), [(34, 30), (152, 15)])
def test_a_spec_is_as_short_as_its_table(depth: int, most: int) -> None:
    lines = (SPECS / f"resnet{depth}.res").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.partition("#")[0].strip()) for line in lines) <= most


# --- section 4.2 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "network"), names_in("cifar_resnets.res", "resnet110_cifar.res", "resnet20_digits.res")
)
def test_cifar_nets_cost_what_section_4_2_gives(file: str, network: str) -> None:
    match = re.fullmatch(r"(resnet|plain)(\d+)(?:_([BC]))?", network)
    assert match is not None
    depth = int(match[2])
    count = Count()
    count.conv(3, 3, 16, 32)
    count.bn(16)
    shortcut = SHORTCUTS["none" if match[1] == "plain" else match[3] or "A"]
    residual(count, [(depth - 2) // 6] * 3, shortcut, channels=16, side=32, classes=10)
    net = ours(file, network)
    assert net.depth == depth
    assert Count.of(net) == count


def test_every_depth_of_section_4_2_is_there() -> None:
    names = {name for _, name in names_in("cifar_resnets.res")}
    depths = (20, 32, 44, 56, 110, 1202)
    residuals = {f"resnet{depth}{option}" for depth in depths for option in ("", "_B", "_C")}
    assert names == residuals | {f"plain{depth}" for depth in depths}


def test_a_head_for_cifar_100() -> None:
    assert resdsl.load(SPECS / "families" / "resnet_cifar.res", n=3, classes=100).parameters == 269_722 + 5_850
