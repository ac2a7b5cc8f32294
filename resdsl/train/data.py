"""The data sets a recipe can name, as uint8 tensors in memory, checked against the network they are for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from resdsl.recipe_schema import Call
from resdsl.train.augment import keyed_generator
from resdsl.train.errors import DataError

Progress = Callable[[int, int], None]  # images read, images in all


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Pixels (N, C, H, W) in uint8 and labels (N,) in int64."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Tensor) -> "ImageSet":
        """The images at these places, in that order."""
        return ImageSet(self.pixels[places], self.labels[places])


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set split up; `classes` names the labels 0, 1, ..."""

    classes: tuple[str, ...]
    train: ImageSet
    validation: ImageSet | None
    test: ImageSet


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
            side = data.integer("size") if data.name == "digits" else 32
            for channels in (1, 3):
                if length == channels * side * side:
                    return NetworkInput(channels, (side, side), flat=True)
            raise DataError(f"a network with input {length} does not fit images of {side} x {side}")
        case _:
            raise DataError(f"the network's input {' x '.join(map(str, shape))} is not an image")


def load_data(data: Call, takes: NetworkInput, classes: int, place: Path | None, progress: Progress) -> DataSet:
    """The recipe's data set. `place` is the folder or tar that holds the images, None where none was given.

    Raises DataError where it is missing, unreadable, or does not fit the network.
    """
    if takes.channels not in {1, 3}:
        raise DataError(f"images have 1 or 3 channels, but the network takes {takes.text}")
    if data.name == "digits":
        names, train, test = load_digits(data, takes.channels)
    else:
        from resdsl.train.images import load_images

        names, train, test = load_images(data, takes, place, progress)
    _check_fit(names, train, takes, classes)
    validation = None
    if wanted := data.integer("validation"):
        if wanted > len(train) - len(names):
            raise DataError(f"validation = {wanted} leaves too few of the {len(train)} training images")
        kept, held_out = split_evenly(train.labels, wanted)
        train, validation = train.take(kept), train.take(held_out)
    return DataSet(names, train, validation, test)


def load_digits(data: Call, channels: int) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """scikit-learn's digits (Alpaydin and Kaynak 1998), 1,797 of 8 x 8, upsampled; the same split each time."""
    try:
        from sklearn.datasets import load_digits as read_digits
    except ImportError:
        raise DataError("the digits come with scikit-learn: pip install 'resdsl[demo]'") from None
    bunch = read_digits()
    gray = torch.from_numpy(bunch.images).float().unsqueeze(1) * (255 / 16)
    size = data.integer("size")
    large = F.interpolate(gray, size=(size, size), mode="bilinear", align_corners=False)
    pixels = large.round().to(torch.uint8).repeat(1, channels, 1, 1)
    whole = ImageSet(pixels, torch.from_numpy(bunch.target).long())
    kept, held_out = split_evenly(whole.labels, data.integer("test"))
    return tuple(str(digit) for digit in range(10)), whole.take(kept), whole.take(held_out)


def split_evenly(labels: Tensor, held_out: int) -> tuple[Tensor, Tensor]:
    """Places (N - held_out,) and (held_out,), drawn so that every class keeps its share; the same ones each time."""
    generator = keyed_generator(0, "split")
    shuffled = torch.randperm(len(labels), generator=generator)
    # Sorting the shuffled images by their rank within the class and cutting evenly takes the same share of each.
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    ranks = (torch.arange(len(labels)) * held_out) // len(labels)
    chosen = torch.diff(ranks, append=torch.tensor([held_out])) > 0
    return by_class[~chosen].sort().values, by_class[chosen].sort().values


def _check_fit(names: tuple[str, ...], train: ImageSet, takes: NetworkInput, classes: int) -> None:
    if len(names) != classes:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise DataError(f"the network tells {classes} classes apart, but the data have {len(names)}: {shown}")
    height, width = train.pixels.shape[2:]
    if takes.sides not in {None, (height, width)}:
        raise DataError(f"the network takes {takes.text}, but the images are {height} x {width}")
