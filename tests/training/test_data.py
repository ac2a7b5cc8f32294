"""Data sets: folders, tars, digits, synthetic images; their splits, and whether they fit the network."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import torch

from resdsl.recipe_types import Call
from resdsl.train.data import load_data, network_input, split_evenly
from resdsl.train.errors import DataError
from resdsl.train.samples import load_digits
from tests.training.reading import InMemory, held, read

FOLDER = Call("folder", (("validation", 0),))
CIFAR = Call("cifar10", (("validation", 0),))


def load(data: Call, place: Path | None, *, shape: tuple[object, ...] = (3, 8, 8), classes: int = 2) -> InMemory:
    return read(data, place, shape, classes)


def digits(**args: int) -> Call:
    return Call("digits", tuple(({"size": 32, "test": 360, "validation": 0} | args).items()))


def test_digits() -> None:
    data = load(digits(), None, shape=(3, 32, 32), classes=10)
    assert data.train.pixels.shape == (1437, 3, 32, 32)
    assert data.test.pixels.shape == (360, 3, 32, 32)
    assert data.train.pixels.dtype == torch.uint8
    assert data.classes == tuple("0123456789")
    assert torch.equal(data.train.pixels[:, 0], data.train.pixels[:, 2])
    assert data.train.pixels.min() == 0
    assert data.train.pixels.max() == 255


def test_digits_are_split_once_and_evenly() -> None:
    first, second = (load(digits(validation=200), None, shape=(1, 32, 32), classes=10) for _ in range(2))
    assert first.validation is not None
    assert second.validation is not None
    assert len(first.train) == 1437 - 200
    assert torch.equal(first.validation.pixels, second.validation.pixels)
    for part in (first.test, first.validation):
        shares = torch.bincount(part.labels) / len(part)
        assert (shares - 0.1).abs().max() < 0.015


def test_digits_keep_their_size_where_it_is_eight() -> None:
    from sklearn.datasets import load_digits as original

    _, train, test = load_digits(digits(size=8), 1)
    train, test = held(train), held(test)
    assert len(train) + len(test) == 1797
    whole = torch.cat([train.pixels, test.pixels]).long().sum()
    assert int(whole) == int(torch.from_numpy(original().images * (255 / 16)).float().round().sum())


def test_splits_are_disjoint_and_complete() -> None:
    labels = torch.arange(1000) % 7
    kept, held_out = split_evenly(labels, 130)
    assert len(held_out) == 130
    assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(1000))
    counts = torch.bincount(labels[held_out])
    assert counts.max() - counts.min() <= 1


def check_cats_and_dogs(data: InMemory) -> None:
    assert data.classes == ("cat", "dog")
    assert data.train.pixels.shape == (12, 3, 8, 8)
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    assert data.train.pixels[:, 0, 0, 0].tolist() == [40] * 6 + [200] * 6
    assert sorted(data.train.pixels[6:, 1, 3, 3].tolist()) == [200, 201, 202, 203, 204, 205]


def test_folder(image_folder: Path) -> None:
    check_cats_and_dogs(load(FOLDER, image_folder))
    check_cats_and_dogs(load(CIFAR, image_folder))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("top", [".", "some/folder"])
def test_tar(image_folder: Path, tmp_path: Path, mode: str, top: str) -> None:
    archive = tmp_path / "images.tar"
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        tar.add(image_folder, top)
    before = sorted(tmp_path.rglob("*"))
    check_cats_and_dogs(load(FOLDER, archive))
    assert sorted(tmp_path.rglob("*")) == before


def test_progress_is_reported(image_folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    load_data(FOLDER, network_input((3, 8, 8), FOLDER), 2, image_folder, lambda done, total: seen.append((done, total)))
    assert seen == [(12, 16), (16, 16)]


def test_gray_images_for_a_network_with_one_channel(image_folder: Path) -> None:
    data = load(FOLDER, image_folder, shape=(1, 8, 8))
    assert data.train.pixels.shape == (12, 1, 8, 8)


def test_free_sizes_take_the_images_size(image_folder: Path) -> None:
    assert load(FOLDER, image_folder, shape=(3, "H", "W")).train.pixels.shape == (12, 3, 8, 8)


def test_vectors_are_images_in_a_row() -> None:
    assert network_input((784,), digits(size=28)).flat
    with pytest.raises(DataError, match="input 100 does not fit images of 32 x 32"):
        network_input((100,), CIFAR)


def test_validation_is_taken_from_the_training_images(image_folder: Path) -> None:
    data = load(Call("folder", (("validation", 4),)), image_folder)
    assert data.validation is not None
    assert (len(data.train), data.validation.labels.tolist()) == (8, [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("data", "shape", "classes", "message"),
    [
        (digits(), (3, 32, 32), 7, "tells 7 classes apart, but the data have 10"),
        (digits(), (3, 28, 28), 10, "takes 3 x 28 x 28, but the images are 32 x 32"),
        (digits(), (4, 32, 32), 10, "images have 1 or 3 channels, but the network takes 4 x 32 x 32"),
        (digits(), (2, 3, 4, 5), 10, "the network's input 2 x 3 x 4 x 5 is not an image"),
        (digits(validation=1430), (3, 32, 32), 10, "leaves too few of the 1437 training images"),
    ],
)
def test_data_that_do_not_fit(data: Call, shape: tuple[object, ...], classes: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(data, None, shape=shape, classes=classes)
