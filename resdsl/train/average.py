"""A moving average of the weights, evaluated in their place."""

from copy import deepcopy

import torch
from torch import Tensor, nn


class WeightAverage:
    """average <- decay * average + (1 - decay) * weights after every step; BN's statistics are taken as they are.

    With `warmup` the decay begins at 1/10 and grows as (1 + n) / (10 + n) after n steps, so that the average soon
    forgets the weights it began with.
    """

    def __init__(self, model: nn.Module, decay: float, *, warmup: bool = False) -> None:
        self.model = deepcopy(model)
        self.decay = decay
        self.warmup = warmup
        self._average: list[Tensor] = list(self.model.parameters())
        self._weights: list[Tensor] = list(model.parameters())
        pairs = list(zip(self.model.buffers(), model.buffers(), strict=True))
        # One kind of number at a time, so that each takes one kernel.
        self._buffers = [
            tuple(zip(*(pair for pair in pairs if pair[0].dtype == kind), strict=True))
            for kind in dict.fromkeys(kept.dtype for kept, _ in pairs)
        ]

    def decay_at(self, step: int) -> float:
        """The decay after the update of a step, counted from 0."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, decay: Tensor) -> None:
        """After the update of the weights in a step; `decay`, without dimensions, is that of `decay_at`."""
        if self.warmup:
            moves = torch._foreach_sub(self._weights, self._average)  # noqa: SLF001 (it has no other name)
            torch._foreach_mul_(moves, 1 - decay)
            torch._foreach_add_(self._average, moves)
        else:
            torch._foreach_lerp_(self._average, self._weights, 1 - self.decay)
        for kept, new in self._buffers:
            torch._foreach_copy_(kept, new)
