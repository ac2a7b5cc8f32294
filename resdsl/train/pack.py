"""Packed files: many images in one file that is read by memory map, made by `resdsl pack`.

Layout, integers little-endian:

    64 bytes    magic "RESPACK1", offset and size of the index (u64 each), BLAKE2b of the index (32 bytes), 8 zeros
    images      the files of the images, one behind the other
    index       size of the head (u64), the head, then for N images: offsets (N u64), sizes (N u32), labels (N u32),
                CRC-32 (N u32), ends of the names (N u64), the names in UTF-8

The head is JSON: {"classes": [...], "splits": {"train": count, "test": count}}; images lie in the order of the splits.
An image whose file needs no resizing keeps its bytes, whatever its format; others become JPEG.
"""

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resdsl.files import replace_file
from resdsl.train.decode import BrokenImageError, Faults, open_image
from resdsl.train.errors import DataError
from resdsl.train.sources import FILE_LIMIT, Names, Places, SegmentSource, Source
from resdsl.train.windows import resized_sides

if TYPE_CHECKING:
    from resdsl.train.layout import Listing

MAGIC = b"RESPACK1"
HEADER = struct.Struct("<8sQQ32s8x")
INDEX_LIMIT = 1 << 30
HEAD_LIMIT = 64 << 20
SPLITS = ("train", "test")
_COLUMNS = (("offsets", "<u8"), ("sizes", "<u4"), ("labels", "<u4"), ("checksums", "<u4"), ("name_ends", "<u8"))


@dataclass(frozen=True, slots=True)
class Packed:
    """An opened file: places and labels of each split's images."""

    classes: tuple[str, ...]
    source: Source
    parts: dict[str, tuple[Places, Tensor]]


@dataclass(frozen=True, slots=True)
class PackReport:
    """What was packed: images by split, those that were resized, those left out as corrupt, bytes of the file."""

    images: dict[str, int]
    classes: int
    resized: int
    corrupt: int
    bytes: int


def is_packed(path: Path) -> bool:
    """Whether a file begins as packed files do."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def open_pack(path: Path) -> Packed:
    """Read the index and check all of it; images are checked as they are read. Raises DataError."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER.size)
            length = os.fstat(file.fileno()).st_size
            if len(header) != HEADER.size:
                raise DataError(f"{path} is cut short")
            _, begin, size, digest = HEADER.unpack(header)
            if not HEADER.size <= begin <= length or size != length - begin or size > INDEX_LIMIT:
                raise DataError(f"{path} is cut short, or longer than it was")
            file.seek(begin)
            index = file.read(size)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if blake2b(index, digest_size=32).digest() != digest:
        raise DataError(f"{path} is damaged: the checksum of its index is wrong")
    try:
        return _parsed(path, index, begin)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        raise DataError(f"{path} is not a file of `resdsl pack` ({error})") from None


def _parsed(path: Path, index: bytes, end: int) -> Packed:
    (head_size,) = struct.unpack_from("<Q", index)
    if head_size > min(HEAD_LIMIT, len(index) - 8):
        raise ValueError("its head is too large")
    head = json.loads(index[8 : 8 + head_size])
    classes = tuple(str(name) for name in head["classes"])
    counts = [int(head["splits"][split]) for split in SPLITS]
    if min(counts) < 1:
        raise ValueError("a split is empty")
    images = sum(counts)
    columns: dict[str, NDArray[np.unsignedinteger]] = {}
    at = 8 + head_size
    for name, kind in _COLUMNS:
        columns[name] = np.frombuffer(index, kind, images, at)
        at += columns[name].nbytes
    offsets, sizes = columns["offsets"].astype(np.int64), columns["sizes"].astype(np.int64)
    labels = columns["labels"].astype(np.int64)
    if labels.max() >= len(classes):
        raise ValueError("a label has no class")
    if offsets.min() < HEADER.size or max(offsets.max(), (offsets + sizes).max()) > end or sizes.max() > FILE_LIMIT:
        raise ValueError("an image lies outside the file")
    names = _names(index[at:], columns["name_ends"].astype(np.int64))
    source = SegmentSource(path, offsets, sizes, names, columns["checksums"].astype(np.uint32))
    places = np.split(np.arange(images), [counts[0]])
    parts = {split: (part, torch.from_numpy(labels[part])) for split, part in zip(SPLITS, places, strict=True)}
    return Packed(classes, source, parts)


def _names(joined: bytes, ends: Places) -> Names:
    bounds = [0, *ends.tolist()]
    if bounds != sorted(bounds) or bounds[-1] != len(joined):
        raise ValueError("its names are not in order")
    return Names([joined[begin:end].decode() for begin, end in pairwise(bounds)])


def write_pack(
    listing: "Listing",
    path: Path,
    *,
    shorter: int,
    quality: int,
    progress: Callable[[int, int], None],
    note: Callable[[str], None],
    strict: bool = False,
) -> PackReport:
    """Pack images into a file at `path`, written beside and renamed; corrupt ones are named and left out.

    Images whose shorter side is above `shorter` pixels are resized to it and become JPEG of `quality`; 0 resizes none.
    Raises DataError for too many corrupt images, OSError where the file cannot be written.
    """
    writer = _Writer(listing, shorter, quality, progress, note, strict=strict)
    replace_file(path, writer.write)
    return PackReport(writer.counts, len(listing.classes), writer.resized, writer.corrupt, path.stat().st_size)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One image to write, or what is wrong with it."""

    content: bytes
    is_resized: bool
    fault: str


class _Writer:
    def __init__(
        self,
        listing: "Listing",
        shorter: int,
        quality: int,
        progress: Callable[[int, int], None],
        note: Callable[[str], None],
        *,
        strict: bool,
    ) -> None:
        self._listing, self._shorter, self._quality = listing, shorter, quality
        self._progress, self._note, self._strict = progress, note, strict
        self.counts = dict.fromkeys(SPLITS, 0)
        self.resized = self.corrupt = 0

    def write(self, file: BinaryIO) -> None:
        file.write(bytes(HEADER.size))  # filled in when the rest is there
        columns: dict[str, list[int]] = {name: [] for name, _ in _COLUMNS}
        names = bytearray()
        at = HEADER.size
        for split, name, label, piece in self._pieces():
            file.write(piece.content)
            names += name.encode(errors="replace")
            row = (at, len(piece.content), label, zlib.crc32(piece.content), len(names))
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            at += len(piece.content)
            self.counts[split] += 1
            self.resized += piece.is_resized
        head = json.dumps({"classes": self._listing.classes, "splits": self.counts}).encode()
        arrays = (np.array(columns[name], kind).tobytes() for name, kind in _COLUMNS)
        index = b"".join([struct.pack("<Q", len(head)), head, *arrays, names])
        file.write(index)
        file.seek(0)
        file.write(HEADER.pack(MAGIC, at, len(index), blake2b(index, digest_size=32).digest()))

    def _pieces(self) -> Iterator[tuple[str, str, int, _Piece]]:
        parts = {"train": self._listing.train, "test": self._listing.test}
        total, done = sum(len(part.places) for part in parts.values()), 0
        # Pillow decodes, resizes and encodes outside the interpreter's lock, so threads do help.
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for split, part in parts.items():
                faults = Faults(len(part.places), self._note, strict=self._strict)
                for first in range(0, len(part.places), 256):
                    places = part.places[first : first + 256].tolist()
                    for number, piece in enumerate(pool.map(self._piece, places), start=first):
                        if piece.fault:
                            faults.add(number, piece.fault, "left out")
                            continue
                        name = self._listing.source.name(int(part.places[number]))
                        yield split, f"{split}/{os.path.basename(name)}", int(part.labels[number]), piece
                    done += len(places)
                    self._progress(done, total)
                self.corrupt += len(faults)

    def _piece(self, place: int) -> _Piece:
        source = self._listing.source
        try:
            image = open_image(source, place)
            if not self._shorter or min(image.size) <= self._shorter:
                image.load()
                return _Piece(source.read(place), is_resized=False, fault="")
            picture = image if image.mode in {"L", "RGB"} else image.convert("RGB")
            height, width = resized_sides((image.height, image.width), self._shorter)
            smaller = picture.resize((width, height), Image.Resampling.BILINEAR)
        except BrokenImageError as error:
            return _Piece(b"", is_resized=False, fault=str(error))
        except (OSError, SyntaxError, ValueError) as error:
            return _Piece(b"", is_resized=False, fault=f"{source.name(place)} is corrupt ({error})")
        buffer = BytesIO()
        smaller.save(buffer, "JPEG", quality=self._quality)
        return _Piece(buffer.getvalue(), is_resized=True, fault="")
