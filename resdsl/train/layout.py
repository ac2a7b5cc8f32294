"""Which images a folder or tar holds: train/<class>/* and test/<class>/* (or val/), and ImageNet's flat val/."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tarfile import BLOCKSIZE, TarError, TarInfo
from tarfile import open as open_tar

import numpy as np
import torch
from torch import Tensor

from resdsl.suggest import closest
from resdsl.train.decode import SUFFIXES
from resdsl.train.errors import DataError
from resdsl.train.missing import expected
from resdsl.train.pack import is_packed, open_pack
from resdsl.train.sources import (
    FILE_LIMIT,
    FileSource,
    MemorySource,
    Names,
    Places,
    SegmentSource,
    Source,
)

MEMORY_LIMIT = 8 << 30  # bytes of the images of a compressed tar, which is read as a whole
SPLITS = ("train", "test", "val")
KAGGLE_FOLDER = "ILSVRC/Data/CLS-LOC"
LABEL_FILES = ("LOC_val_solution.csv", "val.txt")
LABEL_FILE_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Images of a source (N,) and the numbers of their classes (N,)."""

    places: Places
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of a data set, none of them decoded; classes are numbered in the order of their names."""

    classes: tuple[str, ...]
    source: Source
    train: Part
    test: Part


@dataclass(frozen=True, slots=True)
class _Found:
    """One image file: where it belongs, and its name or path."""

    split: str
    label: str
    name: str


def list_images(form: str, place: Path) -> Listing:
    """The images at `place` for the recipe's data form. Raises DataError for whatever is wrong with it."""
    if is_packed(place):
        packed = open_pack(place)
        return Listing(packed.classes, packed.source, *(Part(*packed.parts[split]) for split in ("train", "test")))
    if place.is_dir():
        root = place / KAGGLE_FOLDER if (place / KAGGLE_FOLDER).is_dir() else place
        found = list(_in_folder(root))
        if not any(image.split in {"test", "val"} for image in found):
            found += _flat_validation(root, place)
        return _listing(form, place, found, FileSource([image.name for image in found]))
    return _in_tar(form, place)


def _listing(form: str, place: Path, found: list[_Found], source: Source) -> Listing:
    held_out = "test" if any(image.split == "test" for image in found) else "val"
    for split in ("train", held_out):
        if not any(image.split == split for image in found):
            where = "train/<class>/" if split == "train" else "test/<class>/ or val/<class>/"
            raise DataError(f"{place} holds no images under {where}{_guess(place, split)}; {expected(form)}")
    classes = _class_names(place, found, held_out)
    numbers = {name: number for number, name in enumerate(classes)}

    def part(split: str) -> Part:
        places = [index for index, image in enumerate(found) if image.split == split]
        labels = torch.tensor([numbers[found[index].label] for index in places])
        return Part(np.array(places, np.int64), labels)

    return Listing(classes, source, part("train"), part(held_out))


def _class_names(place: Path, found: list[_Found], held_out: str) -> tuple[str, ...]:
    train, test = ({image.label for image in found if image.split == split} for split in ("train", held_out))
    if odd := sorted(train ^ test):
        where, other = ("train", held_out) if odd[0] in train else (held_out, "train")
        guess = closest(odd[0], sorted((test if odd[0] in train else train) - (train & test)))
        meant = f" (is it {guess} there?)" if guess else ""
        raise DataError(f"{place} has images of class {odd[0]} under {where}/ but none under {other}/{meant}")
    return tuple(sorted(train))


def _guess(place: Path, split: str) -> str:
    if not place.is_dir():
        return ""
    folders = [name for name, is_folder in _entries(place) if is_folder]
    if inside := [name for name in folders if (place / name / "train").is_dir()]:
        return f" (did you mean {place / inside[0]}?)"
    others = [name for name in folders if name not in SPLITS]
    usual = {"train": ("training", "train_set"), "val": ("testing", "valid", "validation", "test_set")}[split]
    guess = next((name for name in others if name.lower() in usual), None) or closest(split, others)
    return f" (rename {guess}/ to {'test' if split == 'val' else split}/?)" if guess else ""


def _in_folder(root: Path) -> Iterator[_Found]:
    for split in SPLITS:
        for label, is_folder in _entries(root / split):
            if is_folder:
                folder = os.path.join(root, split, label)
                for name, _ in _entries(Path(folder)):
                    if name.lower().endswith(SUFFIXES):
                        yield _Found(split, label, os.path.join(folder, name))


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Names in a folder and whether each is a folder itself, sorted; those that begin with a dot are left out."""
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from None


def _flat_validation(root: Path, place: Path) -> list[_Found]:
    images = [name for name, is_folder in _entries(root / "val") if not is_folder and name.lower().endswith(SUFFIXES)]
    if not images:
        return []
    candidates = [folder / name for folder in (place, root, root / "val") for name in LABEL_FILES]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise DataError(f"{root / 'val'} has no folders by class, and {' or '.join(LABEL_FILES)} is not beside it")
    labels = _labels_of(path, [name for name, is_folder in _entries(root / "train") if is_folder])
    found = []
    for name in images:
        label = labels.get(PurePosixPath(name).stem)
        if label is None:
            raise DataError(f"{path} has no label for {name}")
        found.append(_Found("val", label, str(root / "val" / name)))
    return found


def _labels_of(path: Path, classes: list[str]) -> dict[str, str]:
    """Class by image of a file whose lines are `image,wnid box ...` (Kaggle's) or `image wnid-or-number` (Caffe's)."""
    if path.stat().st_size > LABEL_FILE_LIMIT:
        raise DataError(f"{path} is larger than any file of labels")
    labels = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or words[0] == "ImageId":
            continue
        label = words[1] if len(words) > 1 else ""
        if label.isdecimal() and len(label) < 9 and int(label) < len(classes):
            label = classes[int(label)]
        if label not in classes:
            raise DataError(f"{path}, line {number}: there is no class {label or '(nothing)'} under train/")
        labels[PurePosixPath(words[0]).stem] = label
    return labels


def _in_tar(form: str, archive: Path) -> Listing:
    try:
        is_plain = _is_plain_tar(archive)
        images = sorted(_tar_images(archive, is_plain=is_plain), key=lambda image: image.found.name)
    except (TarError, EOFError, OSError) as error:
        raise DataError(f"{archive} is neither a folder nor a readable tar ({error})") from None
    found = [image.found for image in images]
    names = [image.name for image in found]
    source: Source
    if is_plain:
        offsets = np.array([image.offset for image in images], np.int64)
        sizes = np.array([image.size for image in images], np.int64)
        source = SegmentSource(archive, offsets, sizes, Names(names))
    else:
        source = MemorySource([image.content for image in images], [f"{archive}:{name}" for name in names])
    return _listing(form, archive, found, source)


@dataclass(frozen=True, slots=True)
class _TarImage:
    """An image in a tar; `content` is empty where the tar can be read at `offset` later."""

    found: _Found
    offset: int
    size: int
    content: bytes


def _is_plain_tar(archive: Path) -> bool:
    try:
        with open_tar(archive, "r:"):
            return True
    except TarError:
        return False


def _tar_images(archive: Path, *, is_plain: bool) -> Iterator[_TarImage]:
    # Nothing is unpacked to the disk, so no name in the archive can reach it.
    total = 0
    with open_tar(archive, "r:" if is_plain else "r|*") as tar:
        for member in tar:
            total += member.size + BLOCKSIZE  # its header, so that empty members count too
            if not is_plain and (member.size > FILE_LIMIT or total > MEMORY_LIMIT):
                message = f"is compressed and too large to be read into memory, at {member.name}"
                raise DataError(f"{archive} {message}: decompress it, or unpack it and use the folder")
            found = _member(member)
            if found is None:
                continue
            content = b""
            if not is_plain:
                file = tar.extractfile(member)
                assert file is not None
                content = file.read()
            yield _TarImage(found, member.offset_data, member.size, content)
        # tarfile takes a cut between two files for the end; a whole archive ends in two blocks of zeros.
        assert tar.fileobj is not None
        if is_plain:
            tar.fileobj.seek(tar.offset + BLOCKSIZE)
        if tar.fileobj.read(BLOCKSIZE) != bytes(BLOCKSIZE):
            raise TarError("it is cut short")


def _member(member: TarInfo) -> _Found | None:
    parts = PurePosixPath(member.name).parts[-3:]
    if not member.isreg() or len(parts) != 3 or parts[0] not in SPLITS or parts[1].startswith("."):
        return None
    if not parts[2].lower().endswith(SUFFIXES) or parts[2].startswith("."):
        return None
    return _Found(parts[0], parts[1], member.name)
