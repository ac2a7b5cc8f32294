"""A model whose gradients are the means over all processes, and batch normalisation over all of them."""

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from resdsl.train.distributed import World


def spread(model: nn.Module, world: World, *, sync_bn: bool) -> nn.Module:
    """What to call in the model's place while training; its tensors become those of the writer.

    Buffers, such as running statistics, are each process's own until they are asked for. With `sync_bn` batch
    normalisation takes the statistics of all processes' images, and so all have the same running ones.
    """
    if world.size == 1:
        return model
    device = next(model.parameters()).device
    if sync_bn:
        synchronize_batch_norm(model)
    with warnings.catch_warnings():
        # broadcast_buffers has a new name since torch 2.15, which older ones do not know.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            model,
            device_ids=[device.index] if device.type == "cuda" else None,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            # Else the gradients are arranged anew after the first step, and with more than two processes added up in
            # another order: a run that goes on would not end with the same bits.
            find_unused_parameters=True,
        )


def without_exchange(model: nn.Module) -> AbstractContextManager[object]:
    """Within it, gradients stay in their process, to be added to those of the next part of the batch."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def synchronize_batch_norm(model: nn.Module) -> None:
    """Let batch normalisation, where it is trained, take the mean and variance over the images of all processes.

    The state dict stays as it is. On GPUs it is torch's own, which knows no other device.
    """
    for module in list(model.modules()):
        if type(module) in _SYNCED and not _is_on_gpu(module):
            module.__class__ = _SYNCED[type(module)]
        for name, child in module.named_children():
            if type(child) in _SYNCED and _is_on_gpu(child):
                setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))  # type: ignore[no-untyped-call]


def _is_on_gpu(module: nn.Module) -> bool:
    tensors = (*module.parameters(), *module.buffers())
    return any(tensor.device.type == "cuda" for tensor in tensors)


class _SumOfAll(torch.autograd.Function):
    """The sum over all processes; each one's loss is a function of it, so that their gradients are added up, too."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        """The sum of all processes' tensors."""
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The sum of all processes' gradients."""
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class _Synced(_BatchNorm):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own word
        """Normalised (N, C, ...) by the statistics of all processes' images; all have N of them."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        places = [0, *range(2, input.ndim)]
        shape = [1, -1] + [1] * (input.ndim - 2)
        count = input.numel() // input.shape[1] * dist.get_world_size()
        mean = _sum(input.sum(places)) / count
        centred = input - mean.view(shape)
        variance = _sum(centred.square().sum(places)) / count
        self._follow(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        scale = (variance + self.eps).rsqrt()
        if not self.affine:
            return centred * scale.view(shape)
        return centred * (scale * self.weight).view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        # Without a momentum it is the plain average of all batches.
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


def _sum(own: Tensor) -> Tensor:
    total: Tensor = _SumOfAll.apply(own)
    return total


class _Synced1d(_Synced, nn.BatchNorm1d):
    pass


class _Synced2d(_Synced, nn.BatchNorm2d):
    pass


class _Synced3d(_Synced, nn.BatchNorm3d):
    pass


_SYNCED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: _Synced1d,
    nn.BatchNorm2d: _Synced2d,
    nn.BatchNorm3d: _Synced3d,
}
