"""Statistics of batch normalisation computed anew after training, by plain averaging instead of a moving average."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from resdsl.train.errors import TrainError


class _Sums:
    """Sums over what enters one layer: number, values and squares a channel, in float64."""

    def __init__(self, layer: _BatchNorm) -> None:
        self.layer = layer
        self.count = 0
        self.mean = torch.zeros(layer.num_features, dtype=torch.float64, device=_of(layer.running_mean).device)
        self.squares = torch.zeros_like(self.mean)  # of the distances from the mean

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].detach().transpose(0, 1).flatten(1).double()
        count = values.shape[1]
        mean = values.mean(dim=1)
        apart = mean - self.mean
        # Chan et al. 1983: sums of squares of two parts, without the loss of digits of E[x^2] - E[x]^2.
        whole = self.count + count
        self.squares += (values - mean.unsqueeze(1)).square().sum(dim=1) + apart.square() * (self.count * count / whole)
        self.mean += apart * (count / whole)
        self.count = whole

    def store(self) -> None:
        _of(self.layer.running_mean).copy_(self.mean)
        _of(self.layer.running_var).copy_(self.squares / max(self.count - 1, 1))


@torch.inference_mode()
def precise_statistics(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Set running_mean and running_var of every batch normalisation to those of the images; how many layers there are.

    Each batch (N, C, H, W) is normalised by its own statistics, as in training, and every image has the same weight;
    all else (dropout, stochastic depth) is as in a test. With one batch these are exactly the statistics of the
    images; the variance is the one torch keeps, divided by n - 1. Normalisations that are fixed stay as they are.
    Raises TrainError where a batch leaves a normalisation one value a channel, of which there is no variance.
    """
    was_training = model.training
    model.eval()
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    # Those that are fixed do not follow train().
    layers = [layer for layer in layers if layer.train().training]
    sums = [_Sums(layer) for layer in layers]
    handles = [layer.register_forward_pre_hook(entry) for layer, entry in zip(layers, sums, strict=True)]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0  # the statistics stay while they are measured
        for batch in batches:
            model(batch)
    except ValueError as error:
        raise TrainError(f"the statistics of batch normalisation need larger batches ({error})") from None
    finally:
        for layer, handle, momentum in zip(layers, handles, momenta, strict=True):
            handle.remove()
            layer.momentum = momentum
    for entry in sums:
        entry.store()
    model.train(was_training)
    return len(layers)


def _of(statistics: Tensor | None) -> Tensor:
    assert statistics is not None, "only layers that keep statistics are measured"
    return statistics
