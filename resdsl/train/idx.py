"""MNIST's idx files (LeCun et al. 1998; FashionMNIST of Xiao et al. 2017 has the same), plain or gzipped."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resdsl.train.data import ImageSet, Loaded, in_channels
from resdsl.train.errors import DataError
from resdsl.train.missing import expected

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
SPLIT_FILES = {"train": "train", "test": "t10k"}
NAMES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
}  # fmt: skip
SIDE = 28
LIMIT = 1 << 20  # images
UNSIGNED_BYTES = 0x08  # the type code of an idx header


def load_idx(form: str, place: Path, channels: int) -> Loaded:
    """Class names, training and test images of MNIST or FashionMNIST. Raises DataError."""
    for folder in (place, place / "raw", place / FOLDERS[form] / "raw"):
        if _find(folder, "train-images-idx3-ubyte") is not None:
            train, test = (_split(folder, prefix) for prefix in SPLIT_FILES.values())
            return NAMES[form], in_channels(train, channels), in_channels(test, channels)
    raise DataError(f"{place} holds no train-images-idx3-ubyte or train-images-idx3-ubyte.gz; {expected(form)}")


def _split(folder: Path, prefix: str) -> ImageSet:
    pixels = _read(folder, f"{prefix}-images-idx3-ubyte", (SIDE, SIDE))
    labels = _read(folder, f"{prefix}-labels-idx1-ubyte", ())
    if len(pixels) != len(labels) or not len(labels):
        raise DataError(f"{folder} has {len(pixels)} images but {len(labels)} labels under {prefix}")
    if int(labels.max()) > 9:
        raise DataError(f"{folder} has a label {int(labels.max())} under {prefix}; there are ten classes, 0 to 9")
    return ImageSet(pixels.unsqueeze(1), labels.long())


def _read(folder: Path, name: str, sides: tuple[int, ...]) -> Tensor:
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder} has neither {name} nor {name}.gz")
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(8 + 4 * len(sides))
            if len(header) != 8 + 4 * len(sides):
                raise DataError(f"{path} is cut short")
            magic, images, *found = struct.unpack(f">{2 + len(sides)}I", header)
            if magic != UNSIGNED_BYTES << 8 | len(sides) + 1 or tuple(found) != sides or images > LIMIT:
                wanted = "images of 28 x 28" if sides else "labels"
                raise DataError(f"{path} is not an idx file of {wanted}")
            size = images * math.prod(sides)
            # One byte more than there should be: whatever the file unpacks to, no more of it is read.
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    if len(content) != size:
        raise DataError(f"{path} is {'longer' if len(content) > size else 'shorter'} than its header says")
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(images, *sides).copy())


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
