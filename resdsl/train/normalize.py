"""Pixels to network inputs."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Normalization:
    """input = (pixel / 255 - mean) / deviation, with `mean` and `deviation` of shape (C, H, W) or (C, 1, 1)."""

    mean: Tensor
    deviation: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """Inputs (N, C, H, W) in float32 of uint8 pixels (N, C, H, W)."""
        return (pixels.float() / 255 - self.mean) / self.deviation

    def to(self, device: torch.device) -> "Normalization":
        """The same on a device."""
        return Normalization(self.mean.to(device), self.deviation.to(device))


def fit_normalization(kind: str, pixels: Tensor) -> Normalization:
    """The normalisation that a recipe names, from the training images (N, C, H, W) in uint8.

    per_pixel_mean subtracts the mean image and does not scale, as He et al. 2015 section 4.2 do; mean_std brings
    each channel to mean 0 and deviation 1.
    """
    channels = pixels.shape[1]
    ones = torch.ones(channels, 1, 1)
    match kind:
        case "per_pixel_mean":
            return Normalization(_mean(pixels, squared=False), ones)
        case "mean_std":
            mean = _mean(pixels, squared=False).mean(dim=(1, 2), keepdim=True)
            square = _mean(pixels, squared=True).mean(dim=(1, 2), keepdim=True)
            return Normalization(mean, (square - mean * mean).clamp_min(1e-12).sqrt())
        case _:
            return Normalization(torch.zeros_like(ones), ones)


def _mean(pixels: Tensor, *, squared: bool) -> Tensor:
    total = torch.zeros(pixels.shape[1:], dtype=torch.float64)
    # In pieces: the whole set in float64 would take eight times its size.
    for piece in torch.split(pixels, 1024):
        values = piece.double() / 255
        total += (values * values if squared else values).sum(dim=0).cpu()
    return (total / len(pixels)).float()
