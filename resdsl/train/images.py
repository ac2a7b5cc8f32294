"""Image sets from disk: a folder or a tar of train/<class>/* and test/<class>/*, or CIFAR-10's own batch files."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from tarfile import BLOCKSIZE, TarError
from tarfile import open as open_tar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from resdsl.recipe_schema import Call
from resdsl.train.cifar import BATCH_FOLDER, load_batches
from resdsl.train.data import ImageSet, NetworkInput, Progress
from resdsl.train.errors import DataError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp"}
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")  # whatever a file is called, no other decoder sees it
FILE_LIMIT = 32 << 20  # bytes of one image file
TOTAL_LIMIT = 8 << 30  # bytes of a tar's images together, and of all pixels once decoded
SPLITS = ("train", "test")

LAYOUT = "a folder, or a tar of it, with train/<class>/<image> and test/<class>/<image>"
Loaded = tuple[tuple[str, ...], ImageSet, ImageSet]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One image file: where it belongs, what to call it in a message, and its bytes on demand."""

    split: str
    label: str
    name: str
    read: Callable[[], bytes]


def load_images(data: Call, takes: NetworkInput, place: Path | None, progress: Progress) -> Loaded:
    """Class names, training and test images of a folder or tar. Raises DataError for whatever is wrong with it."""
    expected = f"{LAYOUT}{f', or the folder {BATCH_FOLDER}' if data.name == 'cifar10' else ''}"
    if place is None:
        raise DataError(f"the recipe's data {data.name} need --data DIR: {expected}")
    if not place.exists():
        raise DataError(f"there is no {place}; --data takes {expected}")
    if data.name == "cifar10":
        for folder in (place, place / BATCH_FOLDER):
            if (folder / "data_batch_1").exists():
                return _in_channels(load_batches(folder), takes.channels)
    entries = list(_folder_entries(place) if place.is_dir() else _tar_entries(place))
    for split in SPLITS:
        if not any(entry.split == split for entry in entries):
            raise DataError(f"{place} holds no images under {split}/<class>/; it must be {expected}")
    names = _class_names(place, entries)
    sides = takes.sides or _sides_of_first(entries[0])
    _check_total(place, entries, takes.channels * sides[0] * sides[1])
    train, test = _decode_all(entries, names, takes.channels, sides, progress)
    return names, train, test


def _folder_entries(root: Path) -> Iterator[_Entry]:
    for split in SPLITS:
        for folder in _listing(root / split):
            if folder.is_dir():
                files = (path for path in _listing(folder) if path.suffix.lower() in SUFFIXES)
                yield from (_Entry(split, folder.name, str(path), path.read_bytes) for path in files)


def _listing(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from None


def _tar_entries(archive: Path) -> list[_Entry]:
    # Read in one pass into memory: nothing is unpacked, so no name in the archive can reach the disk.
    entries: list[_Entry] = []
    total = 0
    try:
        with open_tar(archive, "r|*") as tar:
            for member in tar:
                total += member.size + BLOCKSIZE  # its header, so that empty members count too
                if member.size > FILE_LIMIT or total > TOTAL_LIMIT:
                    raise DataError(f"{archive} is too large to be read into memory, at {member.name}: unpack it first")
                parts = PurePosixPath(member.name).parts[-3:]
                if not member.isreg() or len(parts) != 3 or parts[0] not in SPLITS or parts[1].startswith("."):
                    continue
                if PurePosixPath(parts[2]).suffix.lower() not in SUFFIXES or parts[2].startswith("."):
                    continue
                file = tar.extractfile(member)
                assert file is not None
                entries.append(_Entry(parts[0], parts[1], f"{archive}:{member.name}", BytesIO(file.read()).getvalue))
            # tarfile takes a cut between two files for the end; a whole archive ends in two blocks of zeros.
            assert tar.fileobj is not None
            if tar.fileobj.read(BLOCKSIZE) != bytes(BLOCKSIZE):
                raise TarError("it is cut short")
    except (TarError, EOFError, OSError) as error:
        raise DataError(f"{archive} is neither a folder nor a readable tar ({error})") from None
    return sorted(entries, key=lambda entry: entry.name)


def _class_names(place: Path, entries: list[_Entry]) -> tuple[str, ...]:
    train, test = ({entry.label for entry in entries if entry.split == split} for split in SPLITS)
    if odd := sorted(train ^ test):
        where, other = ("train", "test") if odd[0] in train else ("test", "train")
        raise DataError(f"{place} has images of class {odd[0]} under {where}/ but none under {other}/")
    return tuple(sorted(train))


def _sides_of_first(entry: _Entry) -> tuple[int, int]:
    with _opened(entry) as image:
        return image.height, image.width


def _check_total(place: Path, entries: list[_Entry], pixels: int) -> None:
    if len(entries) * pixels > TOTAL_LIMIT:
        needed = len(entries) * pixels / (1 << 30)
        raise DataError(f"the {len(entries):,} images of {place} need {needed:.0f} GiB of memory; the limit is 8")


def _decode_all(
    entries: list[_Entry], names: tuple[str, ...], channels: int, sides: tuple[int, int], progress: Progress
) -> list[ImageSet]:
    sets = []
    done = 0
    # PIL decodes outside the interpreter's lock, so threads do help.
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for split in SPLITS:
            members = [entry for entry in entries if entry.split == split]
            pixels = torch.empty(len(members), channels, *sides, dtype=torch.uint8)
            target = pixels.numpy()
            for first in range(0, len(members), 512):
                part = members[first : first + 512]
                for place, decoded in enumerate(pool.map(lambda entry: _decode(entry, channels, sides), part), first):
                    target[place] = decoded
                done += len(part)
                progress(done, len(entries))
            sets.append(ImageSet(pixels, torch.tensor([names.index(entry.label) for entry in members])))
    return sets


def _decode(entry: _Entry, channels: int, sides: tuple[int, int]) -> NDArray[np.uint8]:
    with _opened(entry) as image:
        # The header says the size: a picture of another size, or a bomb, is refused before it is decoded.
        if (image.height, image.width) != sides:
            wanted = f"{sides[0]} x {sides[1]}"
            raise DataError(f"{entry.name} is {image.height} x {image.width}, but the network takes {wanted}")
        try:
            decoded = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{entry.name} is corrupt ({error})") from None
    return decoded.reshape(*sides, channels).transpose(2, 0, 1)


def _opened(entry: _Entry) -> Image.Image:
    try:
        return Image.open(BytesIO(entry.read()), formats=FORMATS)
    except UnidentifiedImageError:
        raise DataError(f"{entry.name} is not an image, or is corrupt") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{entry.name} cannot be read ({error})") from None


def _in_channels(loaded: Loaded, channels: int) -> Loaded:
    names, train, test = loaded
    return (names, train, test) if channels == 3 else (names, _gray(train), _gray(test))


def _gray(images: ImageSet) -> ImageSet:
    # ITU-R 601 luma, as PIL's convert("L") weighs the colours.
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    parts = [
        (part * weights).sum(dim=1, keepdim=True).round().to(torch.uint8) for part in torch.split(images.pixels, 4096)
    ]
    return ImageSet(torch.cat(parts), images.labels)
