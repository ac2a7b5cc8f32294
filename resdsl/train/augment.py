"""Random changes of training images, drawn for each image by itself and applied to whole batches on their device.

Every draw is a pure function of (seed, epoch): a run that starts again in the middle sees the same images, and the
device makes no difference, since numbers are drawn on the CPU, once an epoch.
"""

from dataclasses import dataclass
from hashlib import blake2b

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from resdsl.recipe_schema import Call
from resdsl.train.errors import DataError


@dataclass(frozen=True, slots=True)
class Draws:
    """The random numbers of one epoch of N images, or of a part of it: `order` holds indices (N,), and each step of
    the augmentation has one entry: (N, 2) places for a crop, (N,) truths for a flip, (N, 0) for a pad.
    """

    order: Tensor
    steps: tuple[Tensor, ...]

    def part(self, first: int, end: int) -> "Draws":
        """The draws of the images at places `first` to `end` of the epoch."""
        return Draws(self.order[first:end], tuple(step[first:end] for step in self.steps))

    def join(self, later: "Draws") -> "Draws":
        """These images and then the others."""
        pairs = zip(self.steps, later.steps, strict=True)
        return Draws(torch.cat([self.order, later.order]), tuple(torch.cat(pair) for pair in pairs))

    def to(self, device: torch.device) -> "Draws":
        """The same on a device."""
        return Draws(self.order.to(device), tuple(step.to(device) for step in self.steps))


def keyed_generator(seed: int, *key: int | str) -> torch.Generator:
    """A generator on the CPU whose numbers depend on the seed and the key alone."""
    digest = blake2b(repr((seed, *key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def draw_epoch(augment: tuple[Call, ...], images: int, sides: tuple[int, int], seed: int, epoch: int) -> Draws:
    """Order and augmentation of one epoch over N = `images` images of `sides` (H, W)."""
    order = torch.randperm(images, generator=keyed_generator(seed, "order", epoch))
    height, width = sides
    steps = []
    for place, step in enumerate(augment):
        generator = keyed_generator(seed, "augment", epoch, place)
        match step.name:
            case "pad":
                height, width = (side + 2 * step.integer("pixels") for side in (height, width))
                steps.append(torch.empty(images, 0))
            case "random_crop":
                size = step.integer("size")
                tops = torch.randint(height - size + 1, (images,), generator=generator)
                lefts = torch.randint(width - size + 1, (images,), generator=generator)
                steps.append(torch.stack([tops, lefts], dim=1))
                height = width = size
            case _:
                steps.append(torch.rand(images, generator=generator) < step.number("p"))
    return Draws(order, tuple(steps))


def apply_augment(images: Tensor, augment: tuple[Call, ...], draws: tuple[Tensor, ...]) -> Tensor:
    """Augmented images (N, C, H', W') of normalised ones (N, C, H, W), with one entry of `draws` for each step."""
    for step, drawn in zip(augment, draws, strict=True):
        match step.name:
            case "pad":
                images = F.pad(images, [step.integer("pixels")] * 4)
            case "random_crop":
                images = crop(images, drawn[:, 0], drawn[:, 1], step.integer("size"))
            case _:
                images = torch.where(drawn[:, None, None, None], images.flip(3), images)
    return images


def crop(images: Tensor, tops: Tensor, lefts: Tensor, size: int) -> Tensor:
    """Squares (N, C, size, size) of images (N, C, H, W), each at its own place (N,)."""
    windows = images.unfold(2, size, 1).unfold(3, size, 1)  # a view (N, C, tops, lefts, size, size): nothing is copied
    return windows[torch.arange(len(images), device=images.device), :, tops, lefts]


def check_augment(augment: tuple[Call, ...], sides: tuple[int, int]) -> None:
    """Raise DataError where images of `sides` (H, W) do not come out of the augmentation with the same size."""
    height, width = sides
    for step in augment:
        match step.name:
            case "pad":
                height, width = (side + 2 * step.integer("pixels") for side in (height, width))
            case "random_crop":
                size = step.integer("size")
                if size > min(height, width):
                    raise DataError(
                        f"random_crop({size}) does not fit into {height} x {width}: crop less, or pad before"
                    )
                height = width = size
            case _:
                pass
    if (height, width) != sides:
        message = f"the augmentation turns images of {sides[0]} x {sides[1]} into {height} x {width}, unlike the test's"
        raise DataError(f"{message}: end it with random_crop({sides[0]})")
