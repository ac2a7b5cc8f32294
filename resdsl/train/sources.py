"""Where the bytes of image files lie: in files of a folder, in pieces of one large file, or in memory.

Sources are sent to worker processes, and hold a million images as a few arrays rather than as a million objects.
"""

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FILE_LIMIT = 32 << 20  # bytes of one image file

Places = NDArray[np.int64]


class Source(Protocol):
    """Image files, counted from 0."""

    def read(self, place: int) -> bytes:
        """The bytes of one file. Raises OSError where they cannot be had or are not those that were written."""

    def name(self, place: int) -> str:
        """What to call it in a message."""


class Names:
    """Many texts as one, so that processes that only read them share their memory."""

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [os.fsencode(text) for text in texts]
        self._joined = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __getitem__(self, place: int) -> str:
        return os.fsdecode(self._joined[self._ends[place] : self._ends[place + 1]])


class FileSource:
    """Files by their paths."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = Names(paths)

    def read(self, place: int) -> bytes:
        """The whole file. Raises OSError, also where it is too large for an image."""
        with open(self._paths[place], "rb") as file:
            return _within_limit(file.read(FILE_LIMIT + 1))

    def name(self, place: int) -> str:
        """Its path."""
        return self._paths[place]


class SegmentSource:
    """Pieces of one file, which is a plain tar or a packed file; with `checksums`, CRC-32 of each piece."""

    def __init__(
        self, path: Path, offsets: Places, sizes: Places, names: Names, checksums: NDArray[np.uint32] | None = None
    ) -> None:
        self._path = path
        self._offsets, self._sizes, self._checksums = offsets, sizes, checksums
        self._names = names
        self._map: NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, object]:
        # A worker opens the file itself: the map of another process cannot be sent.
        return self.__dict__ | {"_map": None}

    def read(self, place: int) -> bytes:
        """The piece. Raises OSError where it is not the one that was packed."""
        if self._map is None:
            self._map = np.memmap(self._path, dtype=np.uint8, mode="r")
        begin = int(self._offsets[place])
        content = _within_limit(self._map[begin : begin + int(self._sizes[place])].tobytes())
        if self._checksums is not None and zlib.crc32(content) != self._checksums[place]:
            raise OSError("its checksum is wrong")
        return content

    def name(self, place: int) -> str:
        """The file and the piece's name in it."""
        return f"{self._path}:{self._names[place]}"


class MemorySource:
    """Files of a compressed tar, read in one pass."""

    def __init__(self, contents: Sequence[bytes], names: Sequence[str]) -> None:
        self._contents, self._names = contents, Names(names)

    def read(self, place: int) -> bytes:
        """The whole file."""
        return self._contents[place]

    def name(self, place: int) -> str:
        """The tar and the name in it."""
        return self._names[place]


def _within_limit(content: bytes) -> bytes:
    if len(content) > FILE_LIMIT:
        raise OSError(f"it has more than {FILE_LIMIT >> 20} MiB")
    return content
