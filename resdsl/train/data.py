"""The data sets a recipe can name, as uint8 tensors in memory or as files for workers to read, checked against the
network they are for.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resdsl.recipe_types import Call
from resdsl.train.augment import keyed_generator
from resdsl.train.decode import View
from resdsl.train.errors import DataError
from resdsl.train.memory import free_memory
from resdsl.train.sources import Places, Source

Progress = Callable[[int, int], None]  # images read, images in all
Note = Callable[[str], None]  # one line that the user should see

MEMORY_LIMIT = 8 << 30  # bytes of a set in memory, however much there is
MEMORY_SHARE = 0.5  # of the memory that is free, on the machine and on the device
GATHERED = 1024  # images copied at once


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Pixels (N, C, H, W) in uint8 and labels (N,) in int64."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def take(self, places: Tensor) -> "ImageSet":
        """The images at these places, in that order."""
        return ImageSet(self.pixels[places], self.labels[places])

    def split(self, kept: Tensor, held_out: Tensor) -> "tuple[ImageSet, ImageSet]":
        """Two sets of the images at these rising places; the first one stays in this set's memory, which is reused."""
        second = self.take(held_out)
        # An image never moves behind its place, so that nothing is overwritten before it is read.
        for first in range(0, len(kept), GATHERED):
            part = kept[first : first + GATHERED]
            self.pixels[first : first + len(part)] = self.pixels[part]
        return ImageSet(self.pixels[: len(kept)], self.labels[kept]), second


@dataclass(frozen=True, slots=True)
class FileSet:
    """Images that stay in their files: places (N,) in a source, labels (N,), and how an image is seen.

    `view` is that of training, `central` that of evaluation; both give `shape` (C, H, W). On one machine so many
    processes as `readers` read it, each with workers of its own.
    """

    source: Source
    places: Places
    labels: Tensor
    shape: tuple[int, int, int]
    view: View
    central: View
    note: Note
    strict: bool
    readers: int = 1

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Tensor) -> "FileSet":
        """The images at these places, in that order."""
        chosen = np.asarray(self.places)[places.numpy()]
        return replace(self, places=chosen, labels=self.labels[places])

    def split(self, kept: Tensor, held_out: Tensor) -> "tuple[FileSet, FileSet]":
        """Two sets of the images at these places."""
        return self.take(kept), self.take(held_out)


Images = ImageSet | FileSet
Loaded = tuple[tuple[str, ...], Images, Images]  # class names, training and test images


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set split up; `classes` names the labels 0, 1, ..."""

    classes: tuple[str, ...]
    train: Images
    validation: Images | None
    test: Images


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """What a network takes: channels C with sides (H, W), or None for sides that are free; or a vector."""

    channels: int
    sides: tuple[int, int] | None
    flat: bool

    @property
    def text(self) -> str:
        """For messages: 3 x 32 x 32."""
        height, width = self.sides or ("H", "W")
        return f"{self.channels} x {height} x {width}"


def network_input(shape: tuple[object, ...], data: Call) -> NetworkInput:
    """What images a network with this input shape takes; sizes that are not integers are free.

    A vector is read as gray or colour images in a row. Raises DataError for a shape that images do not have.
    """
    match shape:
        case (int(channels), int(height), int(width)):
            return NetworkInput(channels, (height, width), flat=False)
        case (int(channels), _, _):
            return NetworkInput(channels, None, flat=False)
        case (int(length),):
            side = _side(data, length)
            for channels in (1, 3):
                if length == channels * side * side:
                    return NetworkInput(channels, (side, side), flat=True)
            raise DataError(f"a network with input {length} does not fit images of {side} x {side}")
        case _:
            raise DataError(f"the network's input {' x '.join(map(str, shape))} is not an image")


def _side(data: Call, length: int) -> int:
    """Height and width of the images that a vector of this length may hold."""
    match data.name:
        case "digits" | "synthetic":
            return data.integer("size")
        case "mnist" | "fashion_mnist":
            return 28
        case "cifar10" | "cifar100":
            return 32
        case _:
            gray = isqrt(length)
            return gray if gray * gray == length else isqrt(length // 3)


def load_data(
    data: Call,
    takes: NetworkInput,
    classes: int,
    place: Path | None,
    progress: Progress,
    *,
    augment: tuple[Call, ...] = (),
    device: torch.device | None = None,
    note: Note = lambda text: None,
    in_files: bool = False,
) -> DataSet:
    """The recipe's data set. `place` is the folder or file that holds the images, None where none was given.

    Sets that fit into memory are read now; others, and those whose augmentation resizes them, are read by workers
    while the run goes on; with `in_files`, so are all sets of image files. `note` hears of each corrupt image. Raises
    DataError where data are missing, unreadable, or do not fit the network.
    """
    if takes.channels not in {1, 3}:
        raise DataError(f"images have 1 or 3 channels, but the network takes {takes.text}")
    limit = memory_limit(device or torch.device("cpu"))
    match data.name:
        case "digits" | "synthetic":
            from resdsl.train.samples import load_digits, load_synthetic

            is_digits = data.name == "digits"
            loaded = load_digits(data, takes.channels) if is_digits else load_synthetic(data, takes.channels, limit)
        case _:
            from resdsl.train.images import load_images

            loaded = load_images(data, takes, place, augment, 0 if in_files else limit, progress, note)
    names, train, test = loaded
    _check_fit(names, train, takes, classes)
    validation: Images | None = None
    if wanted := data.integer("validation"):
        if wanted > len(train) - len(names):
            raise DataError(f"validation = {wanted} leaves too few of the {len(train)} training images")
        train, validation = train.split(*split_evenly(train.labels, wanted))
    return DataSet(names, train, validation, test)


def memory_limit(device: torch.device) -> int:
    """How many bytes of pixels may be held at once, on the machine and then on the device."""
    return min(MEMORY_LIMIT, int(MEMORY_SHARE * free_memory(device)))


def split_evenly(labels: Tensor, held_out: int) -> tuple[Tensor, Tensor]:
    """Places (N - held_out,) and (held_out,), drawn so that every class keeps its share; the same ones each time."""
    generator = keyed_generator(0, "split")
    shuffled = torch.randperm(len(labels), generator=generator)
    # Sorting the shuffled images by their rank within the class and cutting evenly takes the same share of each.
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    ranks = (torch.arange(len(labels)) * held_out) // len(labels)
    chosen = torch.diff(ranks, append=torch.tensor([held_out])) > 0
    return by_class[~chosen].sort().values, by_class[chosen].sort().values


def in_channels(images: ImageSet, channels: int) -> ImageSet:
    """The images with 1 or 3 channels: gray as ITU-R 601 luma, which is Pillow's, or gray three times."""
    if images.shape[0] == channels:
        return images
    if channels == 3:
        return ImageSet(images.pixels.repeat(1, 3, 1, 1), images.labels)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    parts = [
        (part * weights).sum(dim=1, keepdim=True).round().to(torch.uint8) for part in torch.split(images.pixels, 4096)
    ]
    return ImageSet(torch.cat(parts), images.labels)


def _check_fit(names: tuple[str, ...], train: Images, takes: NetworkInput, classes: int) -> None:
    if len(names) != classes:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise DataError(f"the network tells {classes} classes apart, but the data have {len(names)}: {shown}")
    _, height, width = train.shape
    if takes.sides not in {None, (height, width)}:
        raise DataError(f"the network takes {takes.text}, but the images are {height} x {width}")
