"""What a few ops need beyond torch.nn. The emitted source carries a copy of those it uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """In training drops its input with a probability and scales it up otherwise (Huang et al. 2016).

    Args:
        drop: probability of dropping, in [0, 1].
        per: "sample" draws for each image of the batch, "batch" once for all.
    """

    def __init__(self, drop: float, per: str = "sample") -> None:
        super().__init__()
        self.drop = drop
        self.per = per

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to the same shape."""
        if not self.training or self.drop == 0.0:
            return x
        if self.drop == 1.0:
            return x * 0.0
        size = x.shape[0] if self.per == "sample" else 1
        kept = torch.empty([size] + [1] * (x.dim() - 1), dtype=x.dtype, device=x.device)
        return x * kept.bernoulli_(1.0 - self.drop).div_(1.0 - self.drop)


def scale_channels(x: Tensor, *factors: Tensor) -> Tensor:
    """(N, C, H, W) times one factor a channel, (N, C) or (N, C, 1, 1), or one a place."""
    for factor in factors:
        x = x * (factor if factor.dim() == 4 else factor[:, :, None, None])
    return x


def dilated_max_pool(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    extra: tuple[int, int] = (0, 0),
) -> Tensor:
    """Largest value under a dilated window, (N, C, H, W) to (N, C, H', W'); all pairs are (down, across).

    Unlike nn.MaxPool2d it takes a padding of more than half the kernel, and `extra` places below and to the right.
    """
    around = (padding[1], padding[1] + extra[1], padding[0], padding[0] + extra[0])
    x = nn.functional.pad(x, around, value=float("-inf"))
    x = nn.functional.max_pool2d(x, kernel, stride, 0, dilation)
    return x.masked_fill(x == float("-inf"), 0.0) if any(extra) else x


def dilated_avg_pool(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    count_padding: bool = True,
    extra: tuple[int, int] = (0, 0),
) -> Tensor:
    """Mean under a dilated window, (N, C, H, W) to (N, C, H', W'); all pairs are (down, across).

    The zeros of `padding` count if `count_padding` says so; those of `extra`, below and to the right, never do.
    """
    around = (padding[1], padding[1], padding[0], padding[0])
    beyond = (0, extra[1], 0, extra[0])
    window = x.new_ones(1, 1, *kernel)
    places = nn.functional.pad(torch.ones_like(x[:1, :1]), around, value=float(count_padding))
    counts = nn.functional.conv2d(nn.functional.pad(places, beyond), window, None, stride, 0, dilation)
    values = nn.functional.pad(nn.functional.pad(x, around), beyond)
    channels = x.shape[1]
    sums = nn.functional.conv2d(values, window.expand(channels, -1, -1, -1), None, stride, 0, dilation, channels)
    return sums / counts.clamp(min=1.0)
