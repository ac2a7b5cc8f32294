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
