"""Random changes of training images, drawn for each image by itself and applied to whole batches on their device.

Every draw is a pure function of (seed, epoch, place in the epoch): a run that starts again in the middle sees the same
images, and the device makes no difference, since numbers are drawn on the CPU, once an epoch. They do not depend on
the size of an image, so images of many sizes can be changed one by one with the same numbers.

A chain of steps has two parts. The first `steps_on_pixels` act on pixels between 0 and 255; then comes normalisation;
the rest acts on what the network takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from resdsl.recipe_augment import ON_PIXELS
from resdsl.recipe_types import Call
from resdsl.train.colours import colour_jitter, lighting
from resdsl.train.errors import DataError
from resdsl.train.geometry import PLACES, crop_of_resized, erase, random_crop, random_resized_crop
from resdsl.train.mix import draw_mix
from resdsl.train.policies import rand_augment, trivial_augment


@dataclass(frozen=True, slots=True)
class Draws:
    """The random numbers of one epoch of N images, or of a part of it: `order` holds indices (N,), each step of the
    augmentation has one entry (N, its numbers), and `mix` those of mixing, where the recipe has it.
    """

    order: Tensor
    steps: tuple[Tensor, ...]
    mix: Tensor | None = None

    def part(self, first: int, end: int) -> "Draws":
        """The draws of the images at places `first` to `end` of the epoch."""
        return self._each(lambda numbers: numbers[first:end])

    def rows(self, places: Tensor) -> "Draws":
        """The draws of the images at some places."""
        return self._each(lambda numbers: numbers[places])

    def join(self, later: "Draws") -> "Draws":
        """These images and then the others."""
        pairs = zip(self.steps, later.steps, strict=True)
        mix = None if self.mix is None or later.mix is None else torch.cat([self.mix, later.mix])
        return Draws(torch.cat([self.order, later.order]), tuple(torch.cat(pair) for pair in pairs), mix)

    def to(self, device: torch.device) -> "Draws":
        """The same on a device."""
        return self._each(lambda numbers: numbers.to(device))

    def tensors(self) -> list[Tensor]:
        """All numbers, in an order of their own."""
        return [self.order, *self.steps, *([] if self.mix is None else [self.mix])]

    def like(self, tensors: Sequence[Tensor]) -> "Draws":
        """Draws with other numbers in the places of `tensors`."""
        steps = tuple(tensors[1 : 1 + len(self.steps)])
        return Draws(tensors[0], steps, None if self.mix is None else tensors[-1])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Draws":
        return self.like([change(numbers) for numbers in self.tensors()])


def keyed_generator(seed: int, *key: int | str) -> torch.Generator:
    """A generator on the CPU whose numbers depend on the seed and the key alone."""
    digest = blake2b(repr((seed, *key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def draw_epoch(augment: tuple[Call, ...], images: int, seed: int, epoch: int, mix: Call | None = None) -> Draws:
    """Order, augmentation and mixing of one epoch over N = `images` images."""
    order = torch.randperm(images, generator=keyed_generator(seed, "order", epoch))
    steps = []
    for place, step in enumerate(augment):
        generator = keyed_generator(seed, "augment", epoch, place)
        draw = torch.randn if step.name == "lighting" else torch.rand
        steps.append(draw(images, _numbers(step), generator=generator))
    drawn = None if mix is None else draw_mix(mix, images, keyed_generator(seed, "mix", epoch))
    return Draws(order, tuple(steps), drawn)


def _numbers(step: Call) -> int:
    """How many random numbers a step needs for one image."""
    match step.name:
        case "random_crop":
            return 2
        case "flip" | "resize_shorter_side":
            return 1
        case "random_resized_crop":
            return PLACES
        case "random_erasing":
            return PLACES + 1
        case "colour_jitter":
            return 8
        case "lighting" | "trivial_augment":
            return 3
        case "rand_augment":
            return 2 * step.integer("operations")
        case _:
            return 0


def steps_on_pixels(augment: tuple[Call, ...]) -> int:
    """How many steps come before normalisation: all up to the last one that changes pixels."""
    places = [place for place, step in enumerate(augment) if step.name in ON_PIXELS]
    if not places:
        return 0
    last = places[-1]
    return last + (2 if augment[last].name == "resize_shorter_side" else 1)


def apply_augment(
    pixels: Tensor, augment: tuple[Call, ...], draws: tuple[Tensor, ...], normalize: Callable[[Tensor], Tensor]
) -> Tensor:
    """Network inputs (N, C, H', W') of pixels (N, C, H, W) in uint8, with one entry of `draws` for each step."""
    split = steps_on_pixels(augment)
    changed = change_pixels(pixels, augment[:split], draws[:split]) if split else pixels
    return change_inputs(normalize(changed), augment[split:], draws[split:])


def change_pixels(pixels: Tensor, augment: tuple[Call, ...], draws: tuple[Tensor, ...]) -> Tensor:
    """Pixels (N, C, H', W') in float32, between 0 and 255 but for `lighting`, of pixels (N, C, H, W)."""
    images = pixels.float()
    shorter: tuple[Call, Tensor] | None = None
    for step, drawn in zip(augment, draws, strict=True):
        match step.name:
            case "resize_shorter_side":
                shorter = step, drawn  # random_crop follows, and both are done at once
            case "random_crop" if shorter is not None:
                resize, lengths = shorter
                sides = resize.integer("smallest"), resize.integer("largest")
                images = crop_of_resized(images, lengths, drawn, sides, step.integer("size"))
                shorter = None
            case "random_resized_crop":
                images = random_resized_crop(images, drawn, step)
            case "colour_jitter":
                images = colour_jitter(images, drawn, step)
            case "lighting":
                images = lighting(images, drawn, step.number("deviation"))
            case "rand_augment":
                images = rand_augment(images, drawn, step.integer("magnitude"))
            case "trivial_augment":
                images = trivial_augment(images, drawn)
            case _:
                images = _change(images, step, drawn)
    return images


def change_inputs(images: Tensor, augment: tuple[Call, ...], draws: tuple[Tensor, ...]) -> Tensor:
    """Inputs (N, C, H', W') of normalised images (N, C, H, W)."""
    for step, drawn in zip(augment, draws, strict=True):
        match step.name:
            case "pad":
                images = F.pad(images, [step.integer("pixels")] * 4)
            case "random_erasing":
                images = erase(images, drawn, step)
            case _:
                images = _change(images, step, drawn)
    return images


def _change(images: Tensor, step: Call, drawn: Tensor) -> Tensor:
    if step.name == "random_crop":
        return random_crop(images, drawn, step.integer("size"))
    assert step.name == "flip", step.name
    return torch.where((drawn < step.number("p"))[:, :, None, None], images.flip(3), images)


def check_augment(augment: tuple[Call, ...], sides: tuple[int, int], channels: int = 3) -> None:
    """Raise DataError where images of `sides` (H, W) do not come out of the augmentation with the same size, or a step
    needs colours that they do not have.
    """
    height, width = sides
    scaled = False
    for step in augment:
        match step.name:
            case "pad":
                height, width = (side + 2 * step.integer("pixels") for side in (height, width))
            case "resize_shorter_side":
                height = width = step.integer("smallest")
                scaled = True
            case "random_crop":
                size = step.integer("size")
                if size > min(height, width):
                    advice = "scale to a larger size" if scaled else "crop less, or pad before"
                    raise DataError(f"random_crop({size}) does not fit into {height} x {width}: {advice}")
                height = width = size
            case "random_resized_crop":
                height = width = step.integer("size")
            case "lighting" if channels != 3:
                raise DataError("lighting is a change of colours, but the images are gray")
            case _:
                pass
    if (height, width) != sides:
        message = f"the augmentation turns images of {sides[0]} x {sides[1]} into {height} x {width}, unlike the test's"
        raise DataError(f"{message}: end it with random_crop({sides[0]})")
