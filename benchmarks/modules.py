"""Torch modules: making them, and a training step on the CPU."""

from __future__ import annotations

import os
import time

import torch
import torchvision
from torch import nn

import resdsl
from benchmarks.front_end import SPECS
from benchmarks.measure import Ratio, compare, seconds


class _Basic(nn.Module):
    """The modules of one basic block, as one would write them by hand."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.relu2 = nn.ReLU(inplace=True)


def _by_hand(n: int) -> nn.Module:
    """The CIFAR net of 6n + 2 layers with option A, initialised as He et al. do."""
    blocks = [_Basic(16, 16, 1) for _ in range(n)]
    blocks += [_Basic(16, 32, 2), *(_Basic(32, 32, 1) for _ in range(n - 1))]
    blocks += [_Basic(32, 64, 2), *(_Basic(64, 64, 1) for _ in range(n - 1))]
    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
    net = nn.Sequential(*stem, *blocks, nn.Linear(64, 10))
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def measure_building(rounds: int) -> Ratio:
    """`to_torch` of ResNet-1202 over the same modules by hand."""
    net = resdsl.load(os.path.join(SPECS, "families", "resnet_cifar.res"), n=200)
    expected = sum(parameter.numel() for parameter in _by_hand(200).parameters())
    assert net.parameters == expected == sum(parameter.numel() for parameter in net.to_torch().parameters())
    return compare(
        "`to_torch()` of ResNet-1202 over building the same modules by hand",
        lambda: seconds(net.to_torch),
        lambda: seconds(lambda: _by_hand(200)),
        rounds=rounds,
        limit=1.5,
    )


def measure_step(rounds: int, batch: int = 4) -> Ratio:
    """Forward and backward of ResNet-50 (v1.5) over torchvision's, with the same weights and input."""
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None)
    ours = resdsl.load(os.path.join(SPECS, "resnet50.res"), "resnet50_v15").to_torch()
    _copy_weights(theirs, ours)
    images = torch.randn(batch, 3, 224, 224)
    labels = torch.randint(1000, (batch,))
    ours.eval(), theirs.eval()
    with torch.no_grad():
        difference = (ours(images) - theirs(images)).abs().max().item()
    assert difference < 1e-3, f"the nets differ by {difference}"
    ours.train(), theirs.train()
    return compare(
        f"forward and backward of ResNet-50 over torchvision's, batch {batch}, {torch.get_num_threads()} threads",
        lambda: _step_seconds(ours, images, labels),
        lambda: _step_seconds(theirs, images, labels),
        rounds=rounds,
        limit=1.02,
    )


def _step_seconds(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    net.zero_grad(set_to_none=True)
    start = time.perf_counter()
    torch.autograd.backward(nn.functional.cross_entropy(net(images), labels))
    return time.perf_counter() - start


def _copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy by order, torchvision's projections (last in a block) before or after as shapes demand."""
    values = [value for name, value in source.state_dict().items() if "downsample" not in name]
    shortcuts = [value for name, value in source.state_dict().items() if "downsample" in name]
    state = target.state_dict()
    trunk = [name for name in state if ".shortcut." not in name]
    side = [name for name in state if ".shortcut." in name]
    target.load_state_dict(dict(zip([*trunk, *side], [*values, *shortcuts], strict=True)))
