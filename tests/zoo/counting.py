"""Costs by arithmetic alone: what a network must cost, from its table in the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resdsl.net import Net

Shortcut = Callable[["Count", int, int, int, bool], None]
"""Adds a shortcut to the count, given the channels before and behind, the side of the map behind it, and whether the
shape changes."""


@dataclass
class Count:
    """What the layers added so far cost together; maps are square, `side` is that of a layer's output."""

    parameters: int = 0
    macs: int = 0
    buffers: int = 0
    activations: int = 0

    def conv(self, kernel: int, before: int, filters: int, side: int, *, bias: bool = False) -> None:
        self.parameters += kernel * kernel * before * filters + bias * filters
        self.macs += kernel * kernel * before * filters * side * side
        self.activations += filters * side * side

    def bn(self, channels: int) -> None:
        self.parameters += 2 * channels
        self.buffers += 2 * channels

    def linear(self, features: int, classes: int) -> None:
        self.parameters += features * classes + classes
        self.macs += features * classes
        self.activations += classes

    @classmethod
    def of(cls, net: Net) -> Count:
        """What the compiler says of a network."""
        summary = net.summary()
        return cls(net.parameters, net.macs, summary["buffers"], summary["activations"])


def none(count: Count, before: int, behind: int, side: int, is_changed: bool) -> None:
    """Nothing to learn: identity, option A, or no shortcut at all."""


def projection(count: Count, before: int, behind: int, side: int, is_changed: bool) -> None:
    count.conv(1, before, behind, side)
    count.bn(behind)


def option_b(count: Count, before: int, behind: int, side: int, is_changed: bool) -> None:
    if is_changed:
        projection(count, before, behind, side, is_changed)


def bare_option_b(count: Count, before: int, behind: int, side: int, is_changed: bool) -> None:
    if is_changed:
        count.conv(1, before, behind, side)


def gate(count: Count, before: int, behind: int, side: int, is_changed: bool) -> None:
    count.conv(1, before, behind, side, bias=True)


def residual(
    count: Count, blocks: Sequence[int], shortcut: Shortcut, *,
    channels: int, side: int, kernels: Sequence[int] = (3, 3), striding: int = 0, classes: int, is_preact: bool = False,
) -> None:  # fmt: skip
    """Stages that halve the map and double the filters, the pool and the classifier.

    Args:
        channels: those of the map that the first stage takes, and the filters of that stage.
        kernels: of a block's convolutions; (1, 3, 1) is a bottleneck, which ends in four times the filters.
        striding: the convolution that strides in a stage's first block.
        is_preact: BN stands before each convolution rather than behind it, and once behind the last block.
    """
    filters = channels
    for stage, number in enumerate(blocks):
        for index in range(number):
            before, stride, start = channels, 2 if stage and not index else 1, side
            for place, kernel in enumerate(kernels):
                width = filters * 4 if place == 2 else filters
                if place == striding:
                    side = start // stride
                count.conv(kernel, channels, width, side)
                count.bn(channels if is_preact else width)
                channels = width
            shortcut(count, before, channels, side, stride != 1 or before != channels)
        filters *= 2
    if is_preact:
        count.bn(channels)
    count.linear(channels, classes)
