"""A moving average of the weights, evaluated in their place."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class WeightAverage:
    """average <- decay * average + (1 - decay) * weights after every step; BN's statistics are taken as they are."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = deepcopy(model)
        self.decay = decay
        self._average: list[Tensor] = list(self.model.parameters())
        self._weights: list[Tensor] = list(model.parameters())
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """After an update of the weights."""
        torch._foreach_lerp_(self._average, self._weights, 1 - self.decay)
        for kept, new in self._buffers:
            kept.copy_(new)
