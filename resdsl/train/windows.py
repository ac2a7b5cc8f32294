"""Which part of an image a network sees, where images differ in size: resized and cut while they are decoded.

A view is a pure function of the image and a few uniform numbers, so that any worker at any time gives the same one.
Resizing is bilinear with antialiasing (Pillow's), and an image is never resized beyond the window that is cut out.
"""

import math
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from PIL import Image

from resdsl.recipe_types import Call
from resdsl.train.errors import DataError

RESIZING = ("resize_shorter_side", "random_resized_crop")
ATTEMPTS = 10  # at a random area and ratio that fit into the image; then the largest central window

Sides = tuple[int, int]  # (H, W)


@dataclass(frozen=True, slots=True)
class CentralView:
    """The shorter side resized to `shorter` pixels, then the central window of `sides`.

    With `shorter` None images must have `sides` as they are. With `sides` None the whole image is kept, and a smaller
    one is as it is: of what was enlarged no other size can be made without loss.
    """

    sides: Sides | None
    shorter: int | None

    def __call__(self, image: Image.Image, uniform: Random) -> Image.Image:
        """The view; nothing about it is random."""
        if self.shorter is None:
            return image
        if self.sides is None:
            whole = resized_sides((image.height, image.width), min(self.shorter, *image.size))
            return window(image, whole, (0, 0), whole)
        resized = resized_sides((image.height, image.width), self.shorter)
        # A single pixel more goes to the right and the bottom, as torchvision's CenterCrop rounds.
        top, left = (round((whole - part) / 2) for whole, part in zip(resized, self.sides, strict=True))
        return window(image, resized, (top, left), self.sides)


@dataclass(frozen=True, slots=True)
class RandomView:
    """The steps of an augmentation that resize, and the crop that follows: they give squares of `size`."""

    steps: tuple[Call, ...]
    size: int

    @property
    def sides(self) -> Sides:
        """Height and width of what comes out."""
        return self.size, self.size

    def __call__(self, image: Image.Image, uniform: Random) -> Image.Image:
        """The view that these numbers choose."""
        first = self.steps[0]
        whole = (image.height, image.width)
        if first.name == "random_resized_crop":
            place, part = random_part(whole, first, uniform)
            return image.crop(_box(place, part)).resize((self.size, self.size), Image.Resampling.BILINEAR)
        shorter = uniform.randint(first.integer("smallest"), first.integer("largest"))
        resized = resized_sides(whole, shorter)
        top, left = (uniform.randint(0, side - self.size) for side in resized)
        return window(image, resized, (top, left), self.sides)


def split_augment(augment: tuple[Call, ...]) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """The steps that need the image as it is in its file, and those behind them, for images of one size."""
    match [step.name for step in augment[:2]]:
        case ["random_resized_crop", *_]:
            count = 1
        case ["resize_shorter_side", *_]:
            count = 2  # random_crop follows it in every recipe
        case _:
            count = 0
    if late := next((step.name for step in augment[count:] if step.name in RESIZING), ""):
        raise DataError(f"{late} must come first in the augmentation, and only once")
    return augment[:count], augment[count:]


def random_view(steps: tuple[Call, ...]) -> RandomView:
    """The view of these leading steps. Raises DataError where the crop does not fit into the smallest size."""
    first, size = steps[0], steps[-1].integer("size")
    if first.name == "resize_shorter_side" and first.integer("smallest") < size:
        raise DataError(f"random_crop({size}) does not fit into {first.to_text()}")
    return RandomView(steps, size)


def uniform_numbers(seed: int, epoch: int, index: int) -> Random:
    """The random numbers of one image in one epoch."""
    digest = blake2b(repr((seed, "view", epoch, index)).encode(), digest_size=16).digest()
    return Random(int.from_bytes(digest, "little"))  # noqa: S311 (no secret)


def resized_sides(whole: Sides, shorter: int) -> Sides:
    """(H, W) with the shorter side as wished; the longer one is rounded down, as torchvision's Resize does."""
    height, width = whole
    if height <= width:
        return shorter, int(shorter * width / height)
    return int(shorter * height / width), shorter


def window(image: Image.Image, resized: Sides, place: Sides, part: Sides) -> Image.Image:
    """The window of (H, W) = `part` at (top, left) = `place` of the image resized to `resized`."""
    if resized == (image.height, image.width):
        return image.crop(_box(place, part))
    down, across = image.height / resized[0], image.width / resized[1]
    left, top, right, bottom = _box(place, part)
    # Pixels around the box count, too: the window is that of the resized image, but only the window is computed.
    box = (left * across, top * down, min(right * across, image.width), min(bottom * down, image.height))
    return image.resize((part[1], part[0]), Image.Resampling.BILINEAR, box=box)


def random_part(whole: Sides, step: Call, uniform: Random) -> tuple[Sides, Sides]:
    """(top, left) and (H, W) of a random area and ratio (Szegedy et al. 2014, section 6)."""
    height, width = whole
    most = math.log(step.number("aspect"))
    for _ in range(ATTEMPTS):
        area = height * width * uniform.uniform(step.number("smallest"), step.number("largest"))
        ratio = math.exp(uniform.uniform(-most, most))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            return (uniform.randint(0, height - down), uniform.randint(0, width - across)), (down, across)
    ratio = min(max(width / height, math.exp(-most)), math.exp(most))
    across, down = min(width, round(height * ratio)), min(height, round(width / ratio))
    return ((height - down) // 2, (width - across) // 2), (down, across)


def _box(place: Sides, part: Sides) -> tuple[int, int, int, int]:
    return place[1], place[0], place[1] + part[1], place[0] + part[0]
