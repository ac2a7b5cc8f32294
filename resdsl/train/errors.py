"""Mistakes of the user that the trainer finds: each is one clear message, shown without a traceback."""


class TrainError(Exception):
    """Training cannot start or go on; the message says why and what to do, in one line.

    Messages quote names of files and classes, which may hold anything: what a terminal would obey is replaced.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(sign if sign.isprintable() else "\ufffd" for sign in message))


class DataError(TrainError):
    """The images are missing, unreadable or do not fit the network."""


class DivergedError(TrainError):
    """The loss is no longer a finite number."""


class CheckpointError(TrainError):
    """A checkpoint cannot be read."""
