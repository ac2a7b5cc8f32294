"""A second module over the same weights, made to be computed with fewer kernels."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd


class Twin(nn.Module):
    """Computes what a model does, from the model's own weights and statistics, which it changes as the model would.

    With `half`, for bf16 autocast, kernels and matrices are cast to bf16 all at once instead of one by one, which would
    be two kernels a layer; `collect` brings their gradients to the model's weights. Values are those of autocast, bit
    for bit. The counters of batch normalisation, which count for nothing where there is a momentum, go up all at once.
    """

    def __init__(self, model: nn.Module, *, half: bool) -> None:
        super().__init__()
        self.net = deepcopy(model)
        self._counters: list[Tensor] = []
        cast: dict[Tensor, Tensor] = {}
        copies = dict(self.net.named_modules())
        for path, theirs in model.named_modules():
            ours = copies[path]
            is_cast = half and isinstance(theirs, _ConvNd | nn.Linear)
            for name, weight in theirs.named_parameters(recurse=False):
                if is_cast and weight not in cast:
                    cast[weight] = nn.Parameter(weight.detach().bfloat16(), requires_grad=weight.requires_grad)
                setattr(ours, name, cast[weight] if is_cast else weight)
            for name, buffer in theirs.named_buffers(recurse=False):
                setattr(ours, name, buffer)
            if (
                isinstance(theirs, _BatchNorm)
                and theirs.momentum is not None
                and theirs.num_batches_tracked is not None
            ):
                self._counters.append(theirs.num_batches_tracked)
                ours.num_batches_tracked = None
        self._masters, self._cast = list(cast), list(cast.values())
        self.train(model.training)

    def forward(self, inputs: Tensor) -> Any:
        """What the model gives."""
        with torch.no_grad():
            if self._cast:
                torch._foreach_copy_(self._cast, self._masters)
            if self.training and self._counters:
                torch._foreach_add_(self._counters, 1)
        return self.net(inputs)

    @torch.no_grad()
    def collect(self) -> None:
        """Add the gradients of what was cast to those of the model's weights; behind each backward pass."""
        triples = [(master, cast, cast.grad) for master, cast in zip(self._masters, self._cast, strict=True)]
        found = [(master, cast, gradient) for master, cast, gradient in triples if gradient is not None]
        if not found:
            return
        gradients = [torch.empty_like(master) for master, _, _ in found]
        torch._foreach_copy_(gradients, [gradient for _, _, gradient in found])
        for (master, cast, _), gradient in zip(found, gradients, strict=True):
            cast.grad = None
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
