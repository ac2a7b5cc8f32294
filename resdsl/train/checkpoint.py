"""Checkpoints: everything a run needs to go on, or a model to be used, in one file that is never half written.

A run keeps its two latest. The new one is whole and flushed to the disk before anything happens to the older ones, so
whenever a run is killed, there is a good one; a checksum over the content tells whether a file is one.
"""

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from resdsl.files import flush_folder, replace_file
from resdsl.train.errors import CheckpointError, StorageError, is_full_disk

VERSION = 3
FILE_NAME = "checkpoint.pt"
PREVIOUS = "checkpoint-previous.pt"
NEXT = "checkpoint-next.pt"  # there only while one takes the place of another

# From the newest to the oldest: between the two renamings of keep_checkpoint the newest is still called NEXT.
_BY_AGE = (NEXT, FILE_NAME, PREVIOUS)


def keep_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Make this the newest checkpoint of a run folder, and the newest so far the previous one.

    Raises StorageError where the disk is full; the checkpoints so far are as they were.
    """
    newest = folder / FILE_NAME
    try:
        save_checkpoint(folder / NEXT, content)
    except OSError as error:
        if not is_full_disk(error):
            raise
        kept = "the checkpoint before it is" if newest.exists() else "there is no earlier one"
        message = f"no space left in {folder} for the checkpoint of iteration {content['progress']['step']:,}"
        raise StorageError(f"{message}: {kept}{' kept' if newest.exists() else ''}") from None
    with suppress(FileNotFoundError):
        os.replace(newest, folder / PREVIOUS)
    os.replace(folder / NEXT, newest)
    flush_folder(folder)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values; an earlier file stays until the new one is complete on the disk."""
    whole = _on_cpu({"version": VERSION, **content})
    whole["checksum"] = checksum(whole)
    replace_file(path, lambda file: _save(whole, file))


def load_newest(folder: Path, note: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest good checkpoint of a run folder, its tensors on the CPU; None where there is none at all.

    A damaged one is told through `note`, and the one before it taken. Raises CheckpointError where all are damaged,
    or one is of another version.
    """
    failures = []
    for name in _BY_AGE:
        path = folder / name
        if path.exists():
            try:
                content = load_checkpoint(path)
            except DamagedError as error:
                failures.append(error)
                continue
            for failure in failures:
                note(f"{failure}: going on from the one before, of iteration {content['progress']['step']:,}")
            _drop_all_but(folder, name)
            return content
    if failures:
        raise failures[0]
    return None


def _drop_all_but(folder: Path, name: str) -> None:
    # A damaged file must not become the previous one in place of the good one.
    if name == NEXT:
        with suppress(FileNotFoundError):
            os.replace(folder / FILE_NAME, folder / PREVIOUS)
    else:
        with suppress(FileNotFoundError):
            os.unlink(folder / NEXT)
    if name != FILE_NAME:
        os.replace(folder / name, folder / FILE_NAME)
    flush_folder(folder)


class DamagedError(CheckpointError):
    """A file that is no checkpoint, or no longer."""


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What save_checkpoint wrote, tensors on the CPU; never runs code from the file. Raises CheckpointError."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        with file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, pickle.UnpicklingError):
        raise DamagedError(f"{path} is not a checkpoint, or is damaged") from None
    if not isinstance(content, dict) or "version" not in content:
        raise DamagedError(f"{path} is not a checkpoint of a run")
    if content["version"] != VERSION:
        raise CheckpointError(f"{path} was written by another version of resdsl")
    if content.pop("checksum", None) != checksum(content):
        raise DamagedError(f"{path} is damaged: its checksum is wrong")
    return content


def checksum(content: object) -> str:
    """A checksum of tensors and plain values in dicts and lists: of their values, not of how a file holds them."""
    digest = blake2b(digest_size=16)
    for piece in _pieces(content):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: object) -> Iterator[bytes | memoryview]:
    match value:
        case Tensor():
            yield f"{value.dtype} {tuple(value.shape)}".encode()
            plain = value.contiguous().reshape(-1)
            if plain.numel():
                yield plain.view(torch.uint8).numpy().data
        case dict():
            yield f"dict {len(value)}".encode()
            for key, item in value.items():
                yield repr(key).encode()
                yield from _pieces(item)
        case list() | tuple():
            yield f"list {len(value)}".encode()
            for item in value:
                yield from _pieces(item)
        case _:
            yield repr(value).encode()


def _on_cpu(value: Any) -> Any:
    # Once for both the checksum and the file, which then needs no GPU to be read.
    match value:
        case Tensor():
            return value.detach().cpu()
        case dict():
            return {key: _on_cpu(item) for key, item in value.items()}
        case list() | tuple():
            return [_on_cpu(item) for item in value]
        case _:
            return value


class _Watched:
    """A file that remembers why it could not be written: torch.save tells of a full disk as an error of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """As of the file itself."""
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """As of the file itself."""
        self._file.flush()


def _save(content: dict[str, Any], file: BinaryIO) -> None:
    watched = _Watched(file)
    try:
        torch.save(content, watched)  # type: ignore[arg-type]
    except RuntimeError:
        if watched.error is None:
            raise
        raise watched.error from None


def random_state() -> dict[str, Any]:
    """The states of torch's own generators, which dropout and stochastic depth draw from."""
    gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": gpu}


def set_random_state(state: dict[str, Any]) -> None:
    """Go on drawing where random_state was taken; states of GPUs that are not here are left aside."""
    torch.set_rng_state(state["cpu"].cpu())
    if torch.cuda.is_available():
        for number, gpu in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(gpu.cpu(), number)
