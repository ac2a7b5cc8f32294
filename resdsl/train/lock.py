"""One process to a run folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resdsl.train.errors import TrainError


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a run folder. The system lets go of it when the process ends, in whatever way, and it leaves no file.

    Raises TrainError where another process holds it, or it is not there. File systems
    without locks are taken as they are.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        raise TrainError(f"there is no folder {folder}") from None
    except OSError as error:
        raise TrainError(f"cannot open the run folder {folder}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainError(f"another process is training in {folder}") from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)
