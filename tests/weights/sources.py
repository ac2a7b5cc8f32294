"""Modules whose weights are carried over: as repositories write them, made lively, and what must come out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

import resdsl
from resdsl.weights.receipt import Receipt


def lively(module: nn.Module) -> nn.Module:
    """The module in evaluation mode, with normalisations that differ from each other."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_(0, 0.1, generator=generator)
                layer.running_var.uniform_(0.8, 1.2, generator=generator)
                if layer.affine:
                    layer.weight.uniform_(0.5, 1.0, generator=generator)
                    layer.bias.normal_(0, 0.1, generator=generator)
    return module.eval()


def expect_same(
    net: resdsl.Net,
    peer: nn.Module,
    state: Mapping[str, Tensor] | None = None,
    sizes: Iterable[tuple[int, int]] = ((32, 32), (25, 29)),
    **options: object,
) -> Receipt:
    """Load the peer's weights, or the state given, into the net's module, and compare outputs."""
    model = net.to_torch(init="torch")
    receipt: Receipt = resdsl.load_weights(model, peer.state_dict() if state is None else state, **options)  # type: ignore[arg-type]
    expect_equal_outputs(model, peer, sizes)
    return receipt


def expect_equal_outputs(model: fx.GraphModule, peer: nn.Module, sizes: Iterable[tuple[int, int]]) -> None:
    """Both give the same on random images."""
    model.eval()
    for size in sizes:
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            ours, theirs = model(images), peer(images)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


class Block(nn.Module):
    """A block as in the repository of kuangliu (option B) or that of akamaster (option A)."""

    def __init__(self, channels: int, filters: int, stride: int, option: str = "B") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.shortcut: nn.Module = nn.Sequential()
        if stride != 1 or channels != filters:
            self.shortcut = PadBoth(filters) if option == "A" else projection(channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        return functional.relu(out)


def projection(channels: int, filters: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))


class PadBoth(nn.Module):
    """Every second place, and zeros for the new filters on both sides."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.filters = filters

    def forward(self, x: Tensor) -> Tensor:
        more = (self.filters - x.shape[1]) // 2
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more))


class CifarNet(nn.Module):
    """A residual net of 6n + 2 layers."""

    def __init__(self, n: int, option: str = "B", classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(n)))
        self.layer2 = nn.Sequential(*(Block(16 if i == 0 else 32, 32, 1 + (i == 0), option) for i in range(n)))
        self.layer3 = nn.Sequential(*(Block(32 if i == 0 else 64, 64, 1 + (i == 0), option) for i in range(n)))
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        scores: Tensor = self.linear(out.mean((2, 3)))
        return scores
