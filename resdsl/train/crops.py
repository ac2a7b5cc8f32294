"""The views of an image that a test averages over: one crop, ten crops, or the whole image at several scales."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from resdsl.train.errors import DataError
from resdsl.train.normalize import Normalization

Sides = tuple[int, int]


class Views(Protocol):
    """How a test looks at images."""

    @property
    def name(self) -> str:
        """For tables: 10 crops of 256."""

    @property
    def resize(self) -> int | None:
        """The shorter side that images are best read at; None for the data's own way of testing."""

    def of(self, pixels: Tensor, normalization: Normalization) -> Iterator[Tensor]:
        """Network inputs (N, C, h, w), one batch a view, of uint8 pixels (N, C, H, W). Raises DataError."""


@dataclass(frozen=True, slots=True)
class OneCrop:
    """The images as the run's own tests take them."""

    name: str = "1 crop"
    resize: None = None

    def of(self, pixels: Tensor, normalization: Normalization) -> Iterator[Tensor]:
        """The images themselves."""
        yield normalized(pixels, normalization)


@dataclass(frozen=True, slots=True)
class TenCrops:
    """Four corners and the centre, `sides` in size, and their mirror images: Krizhevsky et al. 2012, section 4.1.

    They are cut from images of shorter side `resize`; or, with None, from images of the crops' own size with `pad`
    zeros around them after normalisation, which are crops that training with that padding could have drawn.
    """

    sides: Sides
    resize: int | None
    pad: int = 0

    @property
    def name(self) -> str:
        """For tables."""
        return f"10 crops of {self.resize}" if self.resize else f"10 crops, pad {self.pad}"

    def of(self, pixels: Tensor, normalization: Normalization) -> Iterator[Tensor]:
        """Upper left, upper right, lower left, lower right, centre, and the same of the mirrored image."""
        from torchvision.transforms.v2.functional import ten_crop

        if self.resize is None:
            padded = F.pad(normalized(pixels, normalization), [self.pad] * 4)
            yield from ten_crop(padded, list(self.sides))
            return
        large = resized(pixels, self.resize)
        if large.shape[2] < self.sides[0] or large.shape[3] < self.sides[1]:
            found, wanted = " x ".join(map(str, large.shape[2:])), " x ".join(map(str, self.sides))
            raise DataError(f"crops of {wanted} do not fit into images of {found}: give a larger --shorter-side")
        for crop in ten_crop(large, list(self.sides)):
            yield normalized(crop, normalization)


@dataclass(frozen=True, slots=True)
class Scales:
    """Whole images, resized so that the shorter side is each of `sizes`: He et al. 2015, section 3.4."""

    sizes: tuple[int, ...]

    @property
    def name(self) -> str:
        """For tables."""
        return f"scales {', '.join(map(str, self.sizes))}" if len(self.sizes) > 1 else f"scale {self.sizes[0]}"

    @property
    def resize(self) -> int:
        """Images are best read at the largest scale; smaller ones come as they are."""
        return max(self.sizes)

    def of(self, pixels: Tensor, normalization: Normalization) -> Iterator[Tensor]:
        """A batch for each scale."""
        for size in self.sizes:
            yield normalized(resized(pixels, size), normalization)


def resized(pixels: Tensor, shorter: int) -> Tensor:
    """Images (N, C, H, W) whose shorter side is `shorter`, the other in proportion, rounded down; uint8, bilinear."""
    from torchvision.transforms.v2.functional import resize

    if min(pixels.shape[2:]) == shorter:
        return pixels
    return resize(pixels, [shorter], antialias=True)  # type: ignore[no-any-return]


def normalized(pixels: Tensor, normalization: Normalization) -> Tensor:
    """Inputs of pixels of any size. A mean image only fits images of its size: others take its mean over the places."""
    mean = normalization.mean
    if mean.shape[1:] not in {(1, 1), pixels.shape[2:]}:
        mean = mean.mean(dim=(1, 2), keepdim=True)
        return Normalization(mean, normalization.deviation)(pixels)
    return normalization(pixels)
