"""Output files that are either the old ones or the new ones, never half of either."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a new file in the same folder, flush it to the disk, and give it the name `path`.

    A reader sees all of the old content or all of the new. A link is followed, an existing file keeps its
    permissions, and whatever fails on the way, an earlier file stays as it was.

    Raises:
        OSError: with the file's name: a full disk, a missing folder, a path that is no regular file.
    """
    shown = os.fspath(path)
    target = os.path.realpath(shown)
    mode = _permissions_to_keep(target)
    beside = os.path.join(os.path.dirname(target), f".resdsl-{os.urandom(6).hex()}.tmp")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, shown) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        if isinstance(error, OSError):
            raise type(error)(error.errno, error.strerror, shown) from None
        raise
    flush_folder(os.path.dirname(target))


def replace_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """`replace_file` for data at hand."""
    replace_file(path, lambda file: file.write(data))


def replace_text(path: str | os.PathLike[str], text: str) -> None:
    """`replace_file` for text, as UTF-8 with the line ends it has."""
    replace_bytes(path, text.encode())


def _permissions_to_keep(target: str) -> int | None:
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(None, "Not a regular file", target)
    return stat.S_IMODE(mode)


def flush_folder(folder: str | os.PathLike[str]) -> None:
    """Write the names in a folder to the disk: until then a power cut takes a new or changed one back."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
