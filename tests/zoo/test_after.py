"""The nets after ResNet beside torchvision and timm; where neither has one, beside a module made from its paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
import torchvision
from torch import Tensor, fx, nn
from torch.nn import functional

import resdsl
from resdsl.emit.torch_layers import StochasticDepth
from tests.zoo.compared import AFTER, REPOOLED, WRITTEN
from tests.zoo.peers import assert_same_function, carry_weights, lively

SPECS = Path(__file__).parents[2] / "specs"


def make_peer(words: str) -> nn.Module:
    library, name = words.split()
    if library == "torchvision":
        return cast(nn.Module, torchvision.models.get_model(name, weights=None))
    timm = pytest.importorskip("timm", reason="timm, the peer of this comparison, is not installed")
    peer = cast(nn.Module, timm.create_model(name))
    for gate in peer.modules():
        if type(gate).__name__ == "SEModule":  # 1x1 convolutions of a 1x1 map in timm, linear layers in the paper
            gate.fc1, gate.fc2 = as_linear(gate.fc1), as_linear(gate.fc2)  # type: ignore[arg-type]
    return peer


def as_linear(conv: nn.Conv2d) -> nn.Module:
    """The same function of a map of one place."""
    linear = nn.Linear(conv.in_channels, conv.out_channels)
    assert conv.bias is not None
    linear.load_state_dict({"weight": conv.weight.flatten(1), "bias": conv.bias})
    return nn.Sequential(nn.Flatten(), linear, nn.Unflatten(1, (conv.out_channels, 1, 1)))


def multiply_adds(module: nn.Module, *size: int) -> int:
    """Of convolutions and linear layers, counted on the way through a module on the meta device."""
    total = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        total += output.numel() * layer.weight[0].numel()

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    module.eval()(torch.empty(1, *size, device="meta"))
    return total


@pytest.mark.parametrize(("spec", "network", "words"), AFTER)
def test_function(spec: str, network: str, words: str) -> None:
    peer = lively(make_peer(words))
    module = resdsl.load(SPECS / spec, network).to_torch()
    pairs = carry_weights(peer, module)
    training_size = (65, 49) if "101" in network else (97, 81)
    assert_same_function(peer, module, pairs, ((224, 224), (97, 81)), training_size=training_size)


@pytest.mark.parametrize(("spec", "network", "words"), REPOOLED)
def test_function_but_for_the_pool(spec: str, network: str, words: str) -> None:
    """The peer's pool pads below and to the right only, as Caffe's; its dropout is for another net of its class."""
    peer = make_peer(words)
    assert isinstance(peer.get_submodule("pool0"), nn.MaxPool2d)
    peer.register_module("pool0", nn.MaxPool2d(3, 2, 1))
    peer.drop_rate = 0.0  # type: ignore[assignment]
    module = resdsl.load(SPECS / spec, network).to_torch()
    pairs = carry_weights(lively(peer), module)
    assert_same_function(peer, module, pairs, ((224, 224), (97, 81)))


@pytest.mark.parametrize(("spec", "network", "words"), AFTER + REPOOLED)
def test_counts(spec: str, network: str, words: str) -> None:
    net = resdsl.load(SPECS / spec, network)
    with torch.device("meta"):
        peer = make_peer(words)
    assert net.parameters == sum(parameter.numel() for parameter in peer.parameters())
    assert net.macs == multiply_adds(peer, 3, 224, 224)


@pytest.mark.parametrize(
    ("network", "depth", "widen", "parameters"),
    [
        ("wide_resnet16_8", 16, 8, 10_961_370),
        ("wide_resnet28_10", 28, 10, 36_479_194),
        ("wide_resnet28_10_dropout", 28, 10, 36_479_194),
        ("wide_resnet40_4", 40, 4, 8_949_210),
    ],
)
def test_wide_nets_for_cifar(network: str, depth: int, widen: int, parameters: int) -> None:
    net = resdsl.load(SPECS / "wide_resnet.res", network)
    blocks, widths, sides = (depth - 4) // 6, [16 * widen, 32 * widen, 64 * widen], [32, 16, 8]
    weights, multiplied, norms, before = [27 * 16], 27 * 16 * 32**2, 0, 16
    for width, side in zip(widths, sides, strict=True):
        convs = [9 * before * width, before * width] + [9 * width * width] * (2 * blocks - 1)
        weights += convs
        multiplied += sum(convs) * side**2
        norms += before + width * (2 * blocks - 1)
        before = width
    assert len(weights) == depth  # the name counts the projections, not the linear layer
    assert net.depth == depth - 2
    assert net.parameters == sum(weights) + 2 * (norms + before) + 10 * (before + 1) == parameters
    assert net.macs == multiplied + 10 * before


class WideBlock(nn.Module):
    """Figure 1d: BN, ReLU, convolution, twice, dropout between them; a new shape projects what the first ReLU gives."""

    def __init__(self, before: int, width: int, stride: int, drop: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.drop = drop
        self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False) if before != width else None

    def forward(self, x: Tensor) -> Tensor:
        active = functional.relu(self.bn1(x))
        y = functional.dropout(functional.relu(self.bn2(self.conv1(active))), self.drop, self.training)
        short: Tensor = x if self.shortcut is None else self.shortcut(active)
        return short + self.conv2(y)  # type: ignore[no-any-return]


def wide(n: int, widen: int, drop: float) -> nn.Module:
    """Table 1."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False)]
    before = 16
    for group, width in enumerate((16 * widen, 32 * widen, 64 * widen)):
        for block in range(n):
            layers.append(WideBlock(before, width, 2 if group and not block else 1, drop))
            before = width
    layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("network", WRITTEN["wide_resnet.res"])
def test_function_of_wide_nets(network: str) -> None:
    """With two blocks a group and a width of 2: the same blocks, in a second."""
    peer = lively(wide(2, 2, 0.3 if "dropout" in network else 0.0))
    module = resdsl.load(SPECS / "wide_resnet.res", network, n=2, widen=2).to_torch()
    assert_same_function(peer, module, carry_weights(peer, module), ((32, 32), (33, 47)))


def test_dropout_of_the_wide_nets_is_between_the_convolutions() -> None:
    module = resdsl.load(SPECS / "wide_resnet.res", "wide_resnet28_10_dropout", n=1, widen=1).to_torch()
    names = [str(node.target) for node in module.graph.nodes]
    assert names.index("conv2.0.relu2") + 1 == names.index("conv2.0.dropout1") == names.index("conv2.0.conv2") - 1
    assert module.get_submodule("conv2.0.dropout1").p == 0.3
    without = resdsl.load(SPECS / "wide_resnet.res", "wide_resnet28_10", n=1, widen=1).to_torch()
    assert not [layer for layer in without.modules() if isinstance(layer, nn.Dropout)]


class PyramidBlock(nn.Module):
    """Han et al. 2017, Figure 6d: BN around and between the convolutions, ReLU between them only."""

    def __init__(self, before: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        kernels = [1, 3, 1] if bottleneck else [3, 3]
        widths = [before, width, width, 4 * width] if bottleneck else [before, width, width]
        strides = [1, stride, 1] if bottleneck else [stride, 1]
        self.branch = nn.Sequential()
        for index, (kernel, step) in enumerate(zip(kernels, strides, strict=True)):
            inner, outer = widths[index : index + 2]
            self.branch.append(nn.BatchNorm2d(inner))
            if index:
                self.branch.append(nn.ReLU())
            self.branch.append(nn.Conv2d(inner, outer, kernel, step, kernel // 2, bias=False))
        self.branch.append(nn.BatchNorm2d(widths[-1]))
        self.stride, self.out = stride, widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        short = functional.avg_pool2d(x, 2, 2, ceil_mode=True) if self.stride == 2 else x
        zeros = short.new_zeros(len(short), self.out - short.shape[1], *short.shape[2:])
        return torch.cat([short, zeros], dim=1) + self.branch(x)  # type: ignore[no-any-return]


def pyramid(n: int, alpha: int, bottleneck: bool) -> nn.Module:
    """Section 3.1: filters grow by alpha / 3n in every block, from 16."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)]
    before, exact = 16, 16.0
    for block in range(3 * n):
        exact += alpha / (3 * n)
        layers.append(PyramidBlock(before, round(exact), 2 if block in (n, 2 * n) else 1, bottleneck))
        before = round(exact) * (4 if bottleneck else 1)
    layers += [nn.BatchNorm2d(before), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("network", "n", "alpha", "bottleneck", "published"),
    [
        ("pyramidnet110_48", 18, 48, False, 1.7e6),
        ("pyramidnet110_84", 18, 84, False, 3.8e6),
        ("pyramidnet110_270", 18, 270, False, 28.3e6),
        ("pyramidnet164_270", 18, 270, True, 27.0e6),
        ("pyramidnet272_200", 30, 200, True, 26.0e6),
    ],
)
def test_counts_of_pyramids(network: str, n: int, alpha: int, bottleneck: bool, published: float) -> None:
    net = resdsl.load(SPECS / "pyramidnet.res", network)
    with torch.device("meta"):
        peer = pyramid(n, alpha, bottleneck)
    assert net.parameters == sum(parameter.numel() for parameter in peer.parameters())
    assert net.macs == multiply_adds(peer, 3, 32, 32)
    assert published == pytest.approx(net.parameters, rel=0.05)


@pytest.mark.parametrize("network", WRITTEN["pyramidnet.res"])
def test_function_of_pyramids(network: str) -> None:
    peer = lively(pyramid(3, 40, "net110" not in network))
    module = resdsl.load(SPECS / "pyramidnet.res", network, n=3, alpha=40).to_torch()
    pairs = carry_weights(peer, module)
    assert_same_function(peer, module, pairs, ((32, 32), (33, 47)))


def survival(block: int) -> float:
    """Huang et al. 2016, Equation 4 with p_L = 0.5; the blocks of the 110 layers count from 1 to 54."""
    return 1 - block / 54 * 0.5


@pytest.fixture
def stochastic_depth() -> fx.GraphModule:
    module = resdsl.load(SPECS / "stochastic_depth110.res").to_torch()
    lively(module)
    return module


def huang(module: nn.Module, images: Tensor, weigh: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The net with the given module's layers; `weigh` says what becomes of a block's branch."""
    get = module.get_submodule
    x = functional.relu(get("stem.bn1")(get("stem.conv1")(images)))
    for block in range(1, 55):
        path = f"conv{(block - 1) // 18 + 2}.{(block - 1) % 18}"
        first, second = get(f"{path}.conv1"), get(f"{path}.conv2")
        branch = get(f"{path}.bn2")(second(functional.relu(get(f"{path}.bn1")(first(x)))))
        short = x if branch.shape == x.shape else functional.avg_pool2d(x, 2, 2)
        zeros = short.new_zeros(len(short), branch.shape[1] - short.shape[1], *short.shape[2:])
        x = functional.relu(torch.cat([short, zeros], dim=1) + weigh(block, branch))
    return get("head.linear1")(x.mean((2, 3)))  # type: ignore[no-any-return]


def test_stochastic_depth_after_training(stochastic_depth: fx.GraphModule) -> None:
    stochastic_depth.eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = huang(stochastic_depth, images, lambda block, branch: survival(block) * branch)
        torch.testing.assert_close(stochastic_depth(images), expected, rtol=1e-4, atol=1e-5)


def test_stochastic_depth_in_training(stochastic_depth: fx.GraphModule) -> None:
    survived: list[bool] = []

    def note(_: nn.Module, __: object, output: Tensor) -> None:
        survived.append(bool(output.abs().sum() > 0))

    for layer in stochastic_depth.modules():
        if isinstance(layer, StochasticDepth):
            layer.register_forward_hook(note)
    images = torch.randn(4, 3, 32, 32)
    stochastic_depth.train()
    torch.manual_seed(0)
    with torch.no_grad():
        found = stochastic_depth(images)
        alive = list(survived)
        expected = huang(stochastic_depth, images, lambda block, branch: branch * alive[block - 1])
    assert len(alive) == 54
    assert 28 <= sum(alive) <= 53  # 40.25 are expected
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_survival_falls_over_the_whole_net(stochastic_depth: fx.GraphModule) -> None:
    drops = [layer.drop for layer in stochastic_depth.modules() if isinstance(layer, StochasticDepth)]
    assert [1 - drop for drop in drops] == pytest.approx([survival(block) for block in range(1, 55)])
