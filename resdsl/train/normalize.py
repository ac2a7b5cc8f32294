"""Pixels to network inputs."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

PIECE = 1024  # images


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


def fit_normalization(kind: str, pixels: Tensor | Iterable[Tensor]) -> Normalization:
    """The normalisation that a recipe names, from the training images (N, C, H, W) in uint8, whole or in pieces.

    per_pixel_mean subtracts the mean image and does not scale, as He et al. 2015 section 4.2 do; mean_std brings
    each channel to mean 0 and deviation 1; none needs no images and looks at one piece only.
    """
    # In pieces: the whole set in float64 would take eight times its size.
    pieces = iter(torch.split(pixels, PIECE) if isinstance(pixels, Tensor) else pixels)
    if kind == "none":
        ones = torch.ones(next(pieces).shape[1], 1, 1)
        return Normalization(torch.zeros_like(ones), ones)
    mean, square = _means(pieces)
    if kind == "per_pixel_mean":
        return Normalization(mean.float(), torch.ones(len(mean), 1, 1))
    mean, square = (moment.mean(dim=(1, 2), keepdim=True) for moment in (mean, square))
    return Normalization(mean.float(), (square - mean * mean).clamp_min(1e-12).sqrt().float())


def _means(pieces: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean image and mean of the squares (C, H, W) in float64, of pixels between 0 and 1."""
    images = 0
    total, squares = torch.zeros(2, dtype=torch.float64)
    for piece in pieces:
        values = piece.double() / 255
        total = total + values.sum(dim=0).cpu()
        squares = squares + (values * values).sum(dim=0).cpu()
        images += len(piece)
    return total / images, squares / images
