"""CIFAR-10's and CIFAR-100's own batch files (https://www.cs.toronto.edu/~kriz/cifar.html): a folder or the tar.gz.

They are pickles; they are read by a reader that knows arrays and plain values only.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from tarfile import TarError
from tarfile import open as open_tar

import numpy as np
import torch

from resdsl.train.data import ImageSet, Loaded, in_channels
from resdsl.train.errors import DataError

BATCH_LIMIT = 256 << 20  # bytes of one batch file; CIFAR-100's largest has 155 MB


@dataclass(frozen=True, slots=True)
class _Layout:
    """The files of one of the two sets and the keys in them."""

    folder: str
    archive: str
    meta: str
    names: str
    labels: str
    train: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        return (self.meta, *self.train, *self.test)


_LAYOUTS = {
    "cifar10": _Layout(
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        "batches.meta",
        "label_names",
        "labels",
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        ("test_batch",),
    ),
    "cifar100": _Layout(
        "cifar-100-python",
        "cifar-100-python.tar.gz",
        "meta",
        "fine_label_names",
        "fine_labels",
        ("train",),
        ("test",),
    ),
}

_Read = Callable[[str], bytes]


def find_batches(form: str, place: Path, channels: int) -> Loaded | None:
    """Class names, training and test images where `place` is the folder with the batch files, the one that holds it,
    the tar.gz as it is downloaded, or the folder with that; None where it is neither. Raises DataError.
    """
    layout = _LAYOUTS[form]
    if place.is_file():
        return _from_tar(layout, place, channels)
    for folder in (place, place / layout.folder):
        # CIFAR-100's `train` is a folder in other layouts.
        if (folder / layout.meta).is_file() or (folder / layout.train[0]).is_file():
            return _from_folder(layout, folder, channels)
    archive = place / layout.archive
    return _from_tar(layout, archive, channels) if archive.is_file() else None


def _from_folder(layout: _Layout, folder: Path, channels: int) -> Loaded:
    return _load(layout, folder, lambda name: (folder / name).read_bytes(), channels)


def _from_tar(layout: _Layout, archive: Path, channels: int) -> Loaded | None:
    contents: dict[str, bytes] = {}
    try:
        with open_tar(archive, "r|*") as tar:
            for number, member in enumerate(tar):
                folder, name = ("", "", *PurePosixPath(member.name).parts)[-2:]
                if member.isreg() and folder == layout.folder and name in layout.files:
                    if member.size > BATCH_LIMIT:
                        raise DataError(f"{archive}: {member.name} is larger than any batch file of CIFAR")
                    file = tar.extractfile(member)
                    assert file is not None
                    contents[name] = file.read()
                elif not contents and number > 16:
                    return None  # a tar of something else
                if len(contents) == len(layout.files):
                    break
    except (TarError, EOFError, OSError) as error:
        if not contents:
            return None
        raise DataError(f"{archive} cannot be read ({error})") from None
    return _load(layout, archive, contents.__getitem__, channels) if contents else None


def _load(layout: _Layout, place: Path, read: _Read, channels: int) -> Loaded:
    meta = _unpickled(layout, place, layout.meta, read).get(layout.names)
    if not isinstance(meta, list) or not all(isinstance(name, str) for name in meta):
        raise DataError(f"{place / layout.meta} does not name the classes")
    train, test = (_joined(layout, place, files, len(meta), read) for files in (layout.train, layout.test))
    return tuple(meta), in_channels(train, channels), in_channels(test, channels)


def _joined(layout: _Layout, place: Path, files: tuple[str, ...], classes: int, read: _Read) -> ImageSet:
    pixels, labels = [], []
    for name in files:
        batch = _unpickled(layout, place, name, read)
        rows, numbers = batch.get("data"), batch.get(layout.labels)
        if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
            raise DataError(f"{place / name} does not hold rows of 3 x 32 x 32 bytes")
        if not isinstance(numbers, list) or len(numbers) != len(rows) or not set(numbers) <= set(range(classes)):
            raise DataError(f"{place / name} does not hold one label a row")
        pixels.append(torch.from_numpy(rows.reshape(-1, 3, 32, 32).copy()))
        labels.append(torch.tensor(numbers))
    return ImageSet(pixels[0] if len(pixels) == 1 else torch.cat(pixels), torch.cat(labels))


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain values and NumPy arrays; every other name in the file is refused, so that nothing can run."""

    def find_class(self, module: str, name: str) -> object:
        if module in {"numpy", "numpy.core.multiarray", "numpy._core.multiarray"} and name in {"ndarray", "dtype"}:
            return getattr(np, name)
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]  # noqa: SLF001 (what the files name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong there")


def _unpickled(layout: _Layout, place: Path, name: str, read: _Read) -> dict[str, object]:
    try:
        # The files were written by Python 2, whose strings are bytes.
        content = _ArrayUnpickler(BytesIO(read(name)), encoding="latin1").load()
    except (FileNotFoundError, KeyError):
        raise DataError(f"{place} has no {name}; its Python version has the files {', '.join(layout.files)}") from None
    except Exception as error:  # noqa: BLE001 (a corrupt pickle can raise anything)
        raise DataError(f"{place / name} cannot be read as a batch file of CIFAR ({error})") from None
    if not isinstance(content, dict):
        raise DataError(f"{place / name} cannot be read as a batch file of CIFAR")
    return content
