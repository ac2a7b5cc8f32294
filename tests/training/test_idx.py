"""MNIST's and FashionMNIST's files: as torchvision reads them, plain and gzipped, and every way they can be damaged."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from resdsl.recipe_types import Call
from resdsl.train.errors import DataError
from tests.training.reading import InMemory, read

MNIST = Call("mnist", (("validation", 0),))
FASHION = Call("fashion_mnist", (("validation", 0),))


def load(data: Call, place: Path, *, shape: tuple[object, ...] = (1, 28, 28)) -> InMemory:
    return read(data, place, shape, 10)


def write_set(root: Path, name: str) -> Path:
    """Both splits with random pixels, as torchvision lays them out."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(1)
    for prefix, count in (("train", 30), ("t10k", 10)):
        pixels = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        header = struct.pack(">4I", 0x803, count, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels.tobytes())
    return folder


def zip_all(folder: Path) -> None:
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


@pytest.mark.parametrize("data", [MNIST, FASHION])
def test_as_torchvision_reads_them(tmp_path: Path, data: Call) -> None:
    theirs = {"mnist": torchvision.datasets.MNIST, "fashion_mnist": torchvision.datasets.FashionMNIST}[data.name]
    folder = write_set(tmp_path, theirs.__name__)
    ours = load(data, tmp_path)
    for part, is_train in ((ours.train, True), (ours.test, False)):
        other = theirs(tmp_path, train=is_train)
        assert torch.equal(part.pixels[:, 0], other.data)
        assert torch.equal(part.labels, other.targets)
    zip_all(folder)
    for place in (tmp_path, folder, folder.parent):
        assert torch.equal(load(data, place).train.pixels, ours.train.pixels)


def test_colour_and_vectors(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "MNIST")
    colour = load(MNIST, folder, shape=(3, 28, 28)).train
    assert colour.shape == (3, 28, 28)
    assert torch.equal(colour.pixels[:, 0], colour.pixels[:, 2])
    assert load(MNIST, folder, shape=(784,)).train.shape == (1, 28, 28)


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return spoil


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (rewrite(IMAGES, lambda content: content[:9]), "is cut short"),
        (rewrite(IMAGES, lambda content: content[:-1]), "is shorter than its header says"),
        (rewrite(IMAGES, lambda content: content + b"1"), "is longer than its header says"),
        (rewrite(IMAGES, lambda content: b"\0\0\x0d\3" + content[4:]), "is not an idx file of images of 28 x 28"),
        (rewrite(IMAGES, lambda content: content[:4] + b"\xff" * 4 + content[8:]), "is not an idx file of images"),
        (rewrite(LABELS, lambda content: content[:-1] + b"\x0a"), "has a label 10 under train"),
        (rewrite(LABELS, lambda _: struct.pack(">2I", 0x801, 3) + bytes(3)), "has 30 images but 3 labels under train"),
        (lambda folder: (folder / LABELS).unlink(), "has neither train-labels-idx1-ubyte nor"),
        (lambda folder: (folder / IMAGES).unlink(), r"holds no train-images.*get the four files of http"),
        (lambda folder: (folder / IMAGES).rename(folder / f"{IMAGES}.gz"), "cannot be read .Not a gzipped file"),
    ],
)
def test_damaged_files(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    folder = write_set(tmp_path, "MNIST")
    spoil(folder)
    with pytest.raises(DataError, match=message):
        load(MNIST, folder)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "MNIST")
    zip_all(folder)
    huge = struct.pack(">4I", 0x803, 30, 28, 28) + bytes(64 << 20)
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(huge))
    with pytest.raises(DataError, match="is longer than its header says"):
        load(MNIST, folder)
