"""Images on the device they are trained on, as batches."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from resdsl.recipe import Recipe
from resdsl.recipe_schema import Call
from resdsl.train.augment import Draws, apply_augment, draw_epoch
from resdsl.train.data import ImageSet
from resdsl.train.normalize import Normalization


class Feed:
    """One image set on a device: uint8 pixels (N, C, H, W) and labels (N,).

    With `flat`, inputs are vectors (N, C * H * W), for networks whose input is one.
    """

    def __init__(self, images: ImageSet, normalization: Normalization, device: torch.device, *, flat: bool) -> None:
        self.pixels = images.pixels.to(device)
        self.labels = images.labels.to(device)
        self.normalization = normalization.to(device)
        self.flat = flat
        self.on_gpu = device.type == "cuda"

    def inputs(self, pixels: Tensor, augment: tuple[Call, ...] = (), draws: tuple[Tensor, ...] = ()) -> Tensor:
        """Network inputs of some pixels (N, C, H, W), normalised and then augmented."""
        images = apply_augment(self.normalization(pixels), augment, draws)
        if self.flat:
            return images.flatten(1)
        return images.contiguous(memory_format=torch.channels_last) if self.on_gpu else images

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, in batches as large as is sensible on the device."""
        size = 2048 if self.on_gpu else 256
        for pixels, labels in zip(torch.split(self.pixels, size), torch.split(self.labels, size), strict=True):
            yield self.inputs(pixels), labels

    def precision(self) -> AbstractContextManager[object]:
        """Around the forward pass: bf16 where the hardware is made for it, else float32."""
        return torch.autocast("cuda", torch.bfloat16) if self.on_gpu else nullcontext()


class TrainingStream:
    """The batches of a run: a pure function of the recipe's seed and the step, so any step can be made again.

    Each epoch is a new permutation of all images. A batch that reaches the end of an epoch goes on with the next
    one, so all batches have the same size and none is left out.
    """

    def __init__(self, feed: Feed, recipe: Recipe) -> None:
        self.feed = feed
        self.recipe = recipe
        self.drawn: dict[int, Draws] = {}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs (batch, C, H, W) and labels (batch,) of a step, counted from 0."""
        draws = self._draws(step)
        pixels, labels = self.feed.pixels[draws.order], self.feed.labels[draws.order]
        return self.feed.inputs(pixels, self.recipe.augment, draws.steps), labels

    def _draws(self, step: int) -> Draws:
        images, size = len(self.feed.labels), self.recipe.batch
        epoch, first = divmod(step * size, images)
        here = self._epoch(epoch).part(first, first + size)
        missing = size - len(here.order)
        return here.join(self._epoch(epoch + 1).part(0, missing)) if missing else here

    def _epoch(self, epoch: int) -> Draws:
        if epoch not in self.drawn:
            pixels = self.feed.pixels
            sides = (pixels.shape[2], pixels.shape[3])
            draws = draw_epoch(self.recipe.augment, len(pixels), sides, self.recipe.seed, epoch)
            # A batch needs at most the epoch before this one besides.
            self.drawn = {old: kept for old, kept in self.drawn.items() if old == epoch - 1}
            self.drawn[epoch] = draws.to(pixels.device)
        return self.drawn[epoch]
