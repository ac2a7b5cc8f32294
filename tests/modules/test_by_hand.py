"""Blocks against modules written by hand, in training: outputs, gradients and running statistics are the same.

The hand-written modules overwrite nothing, so this also proves that what the compiled ones overwrite is never missed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from resdsl.compiler import compile_network
from resdsl.source import SourceFile


class Hand:
    """The weights of a compiled module, for a forward function written by hand."""

    def __init__(self, module: nn.Module) -> None:
        self.weights: dict[str, Tensor] = dict(module.named_parameters())
        self.statistics = {name: buffer.clone() for name, buffer in module.named_buffers()}
        self._path = ""

    def below(self, path: str) -> Hand:
        """The weights below a path."""
        hand = copy.copy(self)
        hand._path = f"{path}."
        return hand

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        bias = self.weights.get(f"{self._path}{name}.bias")
        return functional.conv2d(x, self.weights[f"{self._path}{name}.weight"], bias, stride, padding)

    def bn(self, name: str, x: Tensor) -> Tensor:
        mean, variance = (
            self.statistics[f"{self._path}{name}.running_mean"],
            self.statistics[f"{self._path}{name}.running_var"],
        )
        return functional.batch_norm(
            x,
            mean,
            variance,
            self.weights[f"{self._path}{name}.weight"],
            self.weights[f"{self._path}{name}.bias"],
            training=True,
        )

    def linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(
            x, self.weights[f"{self._path}{name}.weight"], self.weights[f"{self._path}{name}.bias"]
        )


Forward = Callable[[Hand, Tensor], Tensor]


def basic(hand: Hand, x: Tensor) -> Tensor:
    y = functional.relu(hand.bn("bn1", hand.conv("conv1", x, stride=2)))
    y = hand.bn("bn2", hand.conv("conv2", y))
    return functional.relu(y + hand.bn("shortcut.bn1", hand.conv("shortcut.conv1", x, stride=2, padding=0)))


def padded(hand: Hand, x: Tensor) -> Tensor:
    y = functional.relu(hand.bn("bn1", hand.conv("conv1", x, stride=2)))
    y = hand.bn("bn2", hand.conv("conv2", y))
    return functional.relu(y + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 2)))


def bottleneck(hand: Hand, x: Tensor) -> Tensor:
    y = functional.relu(hand.bn("bn1", hand.conv("conv1", x, padding=0)))
    y = functional.relu(hand.bn("bn2", hand.conv("conv2", y)))
    return functional.relu(hand.bn("bn3", hand.conv("conv3", y, padding=0)) + x)


def preact_same(hand: Hand, x: Tensor) -> Tensor:
    y = functional.relu(hand.bn("bn1", x))
    return hand.conv("conv2", functional.relu(hand.bn("bn2", hand.conv("conv1", y)))) + x


def preact_changed(hand: Hand, x: Tensor) -> Tensor:
    shared = functional.relu(hand.bn("bn1", x))
    y = hand.conv("conv2", functional.relu(hand.bn("bn2", hand.conv("conv1", shared, stride=2))))
    return y + hand.conv("shortcut.conv1", shared, stride=2, padding=0)


def highway(hand: Hand, x: Tensor) -> Tensor:
    gate = torch.sigmoid(hand.conv("gate.conv1", x))
    transform = functional.relu(hand.conv("transform.conv1", x))
    return torch.lerp(x, transform, gate)


def highway_as_published(hand: Hand, x: Tensor) -> Tensor:
    """Srivastava et al. 2015, equation 3."""
    gate = torch.sigmoid(hand.conv("gate.conv1", x))
    return functional.relu(hand.conv("transform.conv1", x)) * gate + x * (1 - gate)


def squeezed(hand: Hand, x: Tensor) -> Tensor:
    """Hu et al. 2018."""
    y = hand.bn("bn1", hand.conv("conv1", x))
    weights = functional.relu(hand.linear("branch2.linear1", y.mean((2, 3))))
    return functional.relu(y * torch.sigmoid(hand.linear("branch2.linear2", weights))[:, :, None, None] + x)


def dense(hand: Hand, x: Tensor) -> Tensor:
    y = hand.conv("conv1", functional.relu(x))
    z = hand.conv("conv2", torch.cat((y, functional.relu(x)), 1))
    return functional.elu(torch.cat((functional.silu(z), functional.hardswish(z)), 1), 0.5)


def tangled(hand: Hand, x: Tensor) -> Tensor:
    y = hand.conv("here", x)
    z = functional.leaky_relu(hand.bn("branch1.bn1", y), 0.1) + functional.mish(y)
    return functional.selu(z + y + x)


CASES: dict[str, tuple[str, str, int, Forward]] = {  # the text, where its modules are, the channels of its input
    "basic": ("basic(stride = 2, shortcut = B)", "s.basic1", 4, basic),
    "option A": ("basic(stride = 2, shortcut = A)", "s.basic1", 4, padded),
    "bottleneck": ("bottleneck", "s.bottleneck1", 24, bottleneck),
    "preactivation": ("preact_basic", "s.preact_basic1", 6, preact_same),
    "preactivation, projected": (
        "preact_basic(stride = 2, shortcut = bare_projection)", "s.preact_basic1", 4, preact_changed
    ),
    "highway": ("highway", "s.highway1", 6, highway),
    "highway as published": ("highway", "s.highway1", 6, highway_as_published),
    "squeeze and excitation": (
        (
            "residual { conv(3x3, 4) -> bn\nmultiply { branch { identity } "
            "branch { global_avg_pool -> linear(2) -> relu -> linear(4) -> sigmoid } } }\nrelu"
        ),
        "s", 4, squeezed,
    ),
    "dense": (
        (
            "relu as first -> conv(3x3, 4) -> concat(first) -> conv(3x3, 4)\n"
            "concat { branch { silu } branch { hard_swish } }\nelu(alpha = 0.5)"
        ),
        "s", 4, dense,
    ),
    "tangled": (
        (
            "residual { conv(3x3, 4) as here\nadd { branch { bn -> leaky_relu(slope = 0.1) } branch { mish } }\n"
            "add(here) }\nselu"
        ),
        "s", 4, tangled,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("has_stem", [False, True], ids=["of the input", "of a step's map"])
def test_block(case: str, has_stem: bool) -> None:
    """Behind a step the block's input is a map that a careless block could overwrite."""
    text, path, channels, forward = CASES[case]
    stem = f"stem {{ conv(1x1, {channels}) -> bn }}" if has_stem else ""
    text = f"network n {{\n  input {channels} x 7 x 7\n  {stem}\n  stage s, filters 6 {{ {text} }}\n}}\n"
    torch.manual_seed(4)
    module = compile_network(SourceFile("n.res", text)).to_torch().double().train()
    hand = Hand(module)
    x = torch.randn(3, channels, 7, 7, dtype=torch.float64, requires_grad=True)
    y = hand.bn("stem.bn1", hand.conv("stem.conv1", x, padding=0)) if has_stem else x
    found, expected = module(x), forward(hand.below(path), y)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    gradients, by_hand = (
        torch.autograd.grad((result * weights).sum(), [x, *module.parameters()]) for result in (found, expected)
    )
    for gradient, other in zip(gradients, by_hand, strict=True):
        torch.testing.assert_close(gradient, other)
    for name, buffer in module.named_buffers():
        if "running" in name:
            torch.testing.assert_close(buffer, hand.statistics[name])
