"""CIFAR-10's own batch files (https://www.cs.toronto.edu/~kriz/cifar.html), as torchvision keeps them."""

import pickle
from pathlib import Path

import numpy as np
import torch

from resdsl.train.data import ImageSet
from resdsl.train.errors import DataError

BATCH_FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILES = ("test_batch",)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain values and NumPy arrays; every other name in the file is refused, so that nothing can run."""

    def find_class(self, module: str, name: str) -> object:
        if module in {"numpy", "numpy.core.multiarray", "numpy._core.multiarray"} and name in {"ndarray", "dtype"}:
            return getattr(np, name)
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]  # noqa: SLF001 (what the files name)
        raise pickle.UnpicklingError(f"{module}.{name} does not belong there")


def load_batches(folder: Path) -> tuple[tuple[str, ...], ImageSet, ImageSet]:
    """Class names, training and test images of the six batch files. Raises DataError."""
    meta = _read(folder / "batches.meta").get("label_names")
    if not isinstance(meta, list) or not all(isinstance(name, str) for name in meta):
        raise DataError(f"{folder / 'batches.meta'} does not name the classes")
    train, test = (_joined(folder, files, len(meta)) for files in (TRAIN_FILES, TEST_FILES))
    return tuple(meta), train, test


def _joined(folder: Path, files: tuple[str, ...], classes: int) -> ImageSet:
    pixels, labels = [], []
    for name in files:
        batch = _read(folder / name)
        rows, numbers = batch.get("data"), batch.get("labels")
        if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
            raise DataError(f"{folder / name} does not hold rows of 3 x 32 x 32 bytes")
        if not isinstance(numbers, list) or len(numbers) != len(rows) or not set(numbers) <= set(range(classes)):
            raise DataError(f"{folder / name} does not hold one label a row")
        pixels.append(torch.from_numpy(rows.reshape(-1, 3, 32, 32).copy()))
        labels.append(torch.tensor(numbers))
    return ImageSet(torch.cat(pixels), torch.cat(labels))


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            # The files were written by Python 2, whose strings are bytes.
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise DataError(f"{path.parent} has no {path.name}; CIFAR-10's Python version has six batch files") from None
    except Exception as error:  # noqa: BLE001 (a corrupt pickle can raise anything)
        raise DataError(f"{path} cannot be read as a CIFAR-10 batch ({error})") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} cannot be read as a CIFAR-10 batch")
    return content
