"""Mistakes of the user that the trainer finds: each is one clear message, shown without a traceback."""

import errno


class TrainError(Exception):
    """Training cannot start or go on; the message says why and what to do, in one line.

    Messages quote names of files and classes, which may hold anything: what a terminal would obey is replaced.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_printable(message))


class DataError(TrainError):
    """The images are missing, unreadable or do not fit the network."""


class DivergedError(TrainError):
    """The loss or the weights are no longer finite numbers."""


class MemoryShortError(TrainError):
    """The device's memory does not suffice."""


class StorageError(TrainError):
    """The disk is full; what was saved before is whole."""


class ResumeError(TrainError):
    """A run cannot go on with what it is given now; the lines of `difference` show how that differs."""

    def __init__(self, message: str, difference: list[str] | None = None) -> None:
        super().__init__(message)
        self.difference = [_printable(line.replace("\t", "    ")) for line in difference or []]


class CheckpointError(TrainError):
    """A checkpoint cannot be read."""


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)


def is_full_disk(error: OSError) -> bool:
    """Whether there is no space left, or no more than the user may have."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}
