"""Images from disk, either decoded into memory at once or left in their files for workers to read."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import torch

from resdsl.recipe_types import Call
from resdsl.train.cifar import find_batches
from resdsl.train.data import FileSet, ImageSet, Loaded, NetworkInput, Note, Progress
from resdsl.train.decode import BrokenImageError, Faults, Pixels, decode, open_image
from resdsl.train.errors import DataError
from resdsl.train.idx import FOLDERS, load_idx
from resdsl.train.layout import Listing, Part, list_images
from resdsl.train.missing import require_place
from resdsl.train.sources import Source
from resdsl.train.windows import RESIZING, CentralView, Sides, random_view, split_augment

MIXED_SIZES = ("folder", "imagenet")  # the other data sets have images of one size
AROUND_CROP = 8 / 7  # shorter side of an evaluated image over the crop's: 256 for 224, as usual
NOT_RANDOM = Random(0)  # noqa: S311 (central views draw nothing from it)


def load_images(
    data: Call,
    takes: NetworkInput,
    place: Path | None,
    augment: tuple[Call, ...],
    limit: int,
    progress: Progress,
    note: Note,
) -> Loaded:
    """Class names, training and test images; streamed where `augment` resizes them or more than `limit` bytes are
    needed. Raises DataError for whatever is wrong with them.
    """
    place = require_place(data.name, place)
    if data.name in FOLDERS:
        return load_idx(data.name, place, takes.channels)
    if data.name in {"cifar10", "cifar100"} and (batches := find_batches(data.name, place, takes.channels)):
        return batches
    return _load_files(data, list_images(data.name, place), takes, augment, limit, progress, note)


def _load_files(
    data: Call,
    listing: Listing,
    takes: NetworkInput,
    augment: tuple[Call, ...],
    limit: int,
    progress: Progress,
    note: Note,
) -> Loaded:
    strict = bool(dict(data.args).get("strict"))
    resizes = data.name in MIXED_SIZES and any(step.name in RESIZING for step in augment)
    cut = random_view(split_augment(augment)[0]) if resizes else None
    sides = takes.sides or (cut.sides if cut else _sides_of_first(listing))
    if cut is not None and cut.sides != sides:
        raise DataError(f"the augmentation gives {cut.size} x {cut.size}, but the network takes {takes.text}")
    central = CentralView(sides, _shorter_side(data, sides, resizes=resizes))
    images = len(listing.train.places) + len(listing.test.places)
    shape = (takes.channels, *sides)
    if cut is not None or images * takes.channels * sides[0] * sides[1] > limit:

        def in_files(part: Part) -> FileSet:
            return FileSet(listing.source, part.places, part.labels, shape, cut or central, central, note, strict)

        return listing.classes, in_files(listing.train), in_files(listing.test)

    def in_memory(part: Part, before: int) -> ImageSet:
        faults = Faults(len(part.places), note, strict=strict)
        return decode_all(listing.source, part, shape, central, faults, lambda done: progress(before + done, images))

    train = in_memory(listing.train, 0)
    return listing.classes, train, in_memory(listing.test, len(listing.train.places))


def _shorter_side(data: Call, sides: Sides, *, resizes: bool) -> int | None:
    wanted = dict(data.args).get("resize")
    if isinstance(wanted, int) and wanted:
        if wanted < max(sides):
            raise DataError(f"resize = {wanted} is smaller than the network's {sides[0]} x {sides[1]}")
        return wanted
    return round(max(sides) * AROUND_CROP) if resizes or data.name == "imagenet" else None


def _sides_of_first(listing: Listing) -> Sides:
    for place in listing.train.places.tolist()[:100]:
        try:
            image = open_image(listing.source, place)
        except BrokenImageError:
            continue
        return image.height, image.width
    raise DataError(f"{listing.source.name(int(listing.train.places[0]))} and the images behind it are corrupt")


def decode_all(
    source: Source,
    part: Part,
    shape: tuple[int, int, int],
    view: CentralView,
    faults: Faults,
    progress: Callable[[int], None],
) -> ImageSet:
    """All images of a part in memory, as (N, C, H, W) of `shape` each; corrupt ones are left out. Raises DataError."""
    places = part.places.tolist()
    pixels = torch.empty(len(places), *shape, dtype=torch.uint8)
    target = pixels.numpy()
    kept: list[int] = []

    def read(place: int) -> Pixels | BrokenImageError:
        try:
            return decode(source, place, shape[0], view, NOT_RANDOM)
        except BrokenImageError as error:
            return error

    # Pillow decodes outside the interpreter's lock, so threads do help.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for first in range(0, len(places), 512):
            for index, image in enumerate(pool.map(read, places[first : first + 512]), first):
                if isinstance(image, BrokenImageError):
                    faults.add(index, str(image), "left out")
                else:
                    target[len(kept)] = image.transpose(2, 0, 1)
                    kept.append(index)
            progress(min(first + 512, len(places)))
    return ImageSet(pixels[: len(kept)], part.labels[torch.tensor(kept, dtype=torch.long)])
