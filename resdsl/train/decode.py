"""Image files to pixels, one at a time; a corrupt file is an exception of its own, for the caller to count."""

from collections.abc import Callable
from io import BytesIO
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from resdsl.train.errors import DataError
from resdsl.train.sources import Source

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")  # whatever a file is called, no other decoder sees it
PIXEL_LIMIT = 100 << 20  # of one image, by its header: a bomb is refused before it is decoded
FAULTY_SHARE = 0.01  # of an image set: beyond it something is wrong with the set, not with single files

Pixels = NDArray[np.uint8]


class BrokenImageError(Exception):
    """One file cannot be read or decoded; the message names it."""


class View(Protocol):
    """What is cut out of an image; see windows.py."""

    @property
    def sides(self) -> tuple[int, int] | None:
        """(H, W) of what comes out; None where that depends on the image."""

    def __call__(self, image: Image.Image, uniform: Random) -> Image.Image:
        """The view that these numbers choose."""


def decode(source: Source, place: int, channels: int, view: View, uniform: Random) -> Pixels:
    """A view of one image as (H, W, C) in uint8.

    Raises BrokenImageError, and DataError where the view is not of the size that it should have.
    """
    name = source.name(place)
    image = open_image(source, place)
    wanted = view.sides
    # Without resizing, the header tells of a wrong size before anything is decoded.
    if getattr(view, "shorter", 0) is None and wanted not in {None, (image.height, image.width)}:
        assert wanted is not None
        size = f"{wanted[0]} x {wanted[1]}"
        hint = "give the recipe's data `resize`, or begin `augment` with resize_shorter_side or random_resized_crop"
        raise DataError(f"{name} is {image.height} x {image.width}, but the network takes {size}: {hint}")
    try:
        seen = view(image.convert("L" if channels == 1 else "RGB"), uniform)
    except (OSError, SyntaxError, ValueError) as error:
        raise BrokenImageError(f"{name} is corrupt ({error})") from None
    return np.asarray(seen).reshape(seen.height, seen.width, channels)


def open_image(source: Source, place: int) -> Image.Image:
    """The image with its header read and nothing decoded. Raises BrokenImageError."""
    name = source.name(place)
    try:
        image = Image.open(BytesIO(source.read(place)), formats=FORMATS)
    except UnidentifiedImageError:
        raise BrokenImageError(f"{name} is not an image, or is corrupt") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BrokenImageError(f"{name} cannot be read ({error})") from None
    if image.width * image.height > PIXEL_LIMIT:
        raise BrokenImageError(f"{name} is too large ({image.height} x {image.width})")
    return image


class Faults:
    """The corrupt images of a set of `images`: each is told once; too many of them, or one if `strict`, is an error."""

    def __init__(self, images: int, note: Callable[[str], None], *, strict: bool) -> None:
        self._images = images
        self._note = note
        self._strict = strict
        self._messages: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, place: int, message: str, instead: str) -> None:
        """Another one, at this place of the set. Raises DataError."""
        if place in self._messages:
            return
        self._messages[place] = message
        if self._strict:
            raise DataError(f"{message} (the recipe's data are strict)")
        if len(self._messages) > FAULTY_SHARE * self._images:
            share = f"{len(self._messages):,} of {self._images:,} images"
            raise DataError(f"{share} cannot be used, more than {FAULTY_SHARE:.0%}; the last of them: {message}")
        self._note(f"{message}; {instead}; {len(self._messages):,} so far")
