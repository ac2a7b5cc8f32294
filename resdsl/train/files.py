"""Output files that are either the old ones or the new ones, never half of either."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file beside `path`, flush it to the disk and rename it to `path`.

    Whatever fails on the way, an earlier `path` stays as it was. Raises OSError (a full disk, a missing folder).
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """The same for a text, in UTF-8."""
    replace_file(path, lambda file: file.write(text.encode()))


def _flush_folder(folder: Path) -> None:
    # The new name survives a power cut only once the folder itself is on the disk.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
