"""Data sets that need no files: scikit-learn's digits, and random images for benchmarks."""

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)

from resdsl.recipe_types import Call
from resdsl.train.augment import keyed_generator
from resdsl.train.data import ImageSet, Loaded, split_evenly
from resdsl.train.errors import DataError


def load_digits(data: Call, channels: int) -> Loaded:
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


def load_synthetic(data: Call, channels: int, limit: int) -> Loaded:
    """Uniformly random pixels and labels, fixed by the data's seed; a tenth as many for the test.

    `limit` is the memory that there is, in bytes. Raises DataError.
    """
    images, classes, size = data.integer("images"), data.integer("classes"), data.integer("size")
    if data.integer("channels") != channels:
        raise DataError(f"the network takes {channels} channels, but the data are {data.to_text()}")
    if (needed := images * channels * size * size * 11 // 10) > limit:
        raise DataError(f"{data.to_text()} needs {needed >> 20:,} MiB, but there are {limit >> 20:,}: use fewer images")
    train, test = (
        _random_images(data.integer("seed"), split, count, classes, (channels, size, size))
        for split, count in (("train", images), ("test", max(1, images // 10)))
    )
    return tuple(str(number) for number in range(classes)), train, test


def _random_images(seed: int, split: str, count: int, classes: int, shape: tuple[int, int, int]) -> ImageSet:
    generator = keyed_generator(seed, "synthetic", split)
    labels = torch.randint(classes, (count,), generator=generator)
    pixels = torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, labels)
