"""Data sets: every form they come in, and every way they can be wrong."""

from __future__ import annotations

import pickle
import shutil
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resdsl.recipe_schema import Call
from resdsl.train.data import DataSet, load_data, load_digits, network_input, split_evenly
from resdsl.train.errors import DataError

FOLDER = Call("folder", (("validation", 0),))
CIFAR = Call("cifar10", (("validation", 0),))


def silent(done: int, total: int) -> None:
    pass


def load(data: Call, place: Path | None, *, shape: tuple[object, ...] = (3, 8, 8), classes: int = 2) -> DataSet:
    return load_data(data, network_input(shape, data), classes, place, silent)


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


def check_cats_and_dogs(data: DataSet) -> None:
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


def python2_batch(labels: list[int]) -> bytes:
    """A batch file opcode by opcode as Python 2 and its NumPy wrote it, each image filled with its label."""
    content = b"".join(bytes([label]) * 3072 for label in labels)
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    shape = b"(K\x01K" + bytes([len(labels)]) + b"M\x00\x0c\x86"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = shape + dtype + b"\x89T" + len(content).to_bytes(4, "little") + content + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + state + b"U\x06labels" + numbers + b"u."


@pytest.fixture
def batch_folder(tmp_path: Path) -> Path:
    """CIFAR-10's own format with 20 images; each one is filled with its label."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [f"class{number}" for number in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / name).write_bytes(python2_batch(list(range(10)) * 2))
    return folder


@pytest.mark.parametrize("inside", [True, False])
def test_cifar_batches(batch_folder: Path, *, inside: bool) -> None:
    place = batch_folder if inside else batch_folder.parent
    data = load(CIFAR, place, shape=(3, 32, 32), classes=10)
    assert (len(data.train), len(data.test)) == (100, 20)
    assert torch.equal(data.train.pixels[:, 2, 31, 31].long(), data.train.labels)
    assert data.classes[3] == "class3"


def test_cifar_batches_in_gray(batch_folder: Path) -> None:
    data = load(CIFAR, batch_folder, shape=(1, 32, 32), classes=10)
    assert torch.equal(data.test.pixels[:, 0, 0, 0].long(), data.test.labels)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this ran",)


def test_a_batch_file_cannot_run_code(batch_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (batch_folder / "data_batch_2").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(DataError, match="data_batch_2 cannot be read"):
        load(CIFAR, batch_folder, shape=(3, 32, 32), classes=10)
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a CIFAR-10 batch"),
        (pickle.dumps([1]), "cannot be read as a CIFAR-10 batch"),
        (pickle.dumps({"labels": [1]}), "does not hold rows of 3 x 32 x 32 bytes"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}), "does not hold one label a row"),
    ],
)
def test_damaged_batch_files(batch_folder: Path, content: bytes, message: str) -> None:
    (batch_folder / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(CIFAR, batch_folder, shape=(3, 32, 32), classes=10)


def test_a_missing_batch_file(batch_folder: Path) -> None:
    (batch_folder / "data_batch_4").unlink()
    with pytest.raises(DataError, match="has no data_batch_4"):
        load(CIFAR, batch_folder, shape=(3, 32, 32), classes=10)


def remove_tests(root: Path) -> None:
    shutil.rmtree(root / "test")


def remove_everything(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def empty_a_class(root: Path) -> None:
    for path in (root / "train" / "dog").iterdir():
        path.unlink()


def add_class(root: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(root / split / "cat", root / split / "eel")


def enlarge_one(root: Path) -> None:
    Image.new("RGB", (9, 8)).save(root / "train" / "dog" / "3.png")


def cut_one(root: Path) -> None:
    path = root / "train" / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:50])


def garble_one(root: Path) -> None:
    (root / "test" / "cat" / "1.png").write_bytes(b"hello")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "there is no .*images; --data takes a folder, or a tar of it, with train/<class>/<image>"),
        (remove_everything, "holds no images under train/<class>/; it must be a folder"),
        (remove_tests, "holds no images under test/<class>/"),
        (empty_a_class, "images of class dog under test/ but none under train/"),
        (add_class, "tells 2 classes apart, but the data have 3: cat, dog, eel"),
        (enlarge_one, r"dog/3.png is 8 x 9, but the network takes 8 x 8"),
        (cut_one, r"dog/3.png (is corrupt|is not an image)"),
        (garble_one, r"cat/1.png is not an image, or is corrupt"),
    ],
)
def test_folders_that_are_wrong(image_folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(image_folder)
    with pytest.raises(DataError, match=message):
        load(FOLDER, image_folder)


def test_no_folder_given() -> None:
    with pytest.raises(DataError, match=r"the recipe's data cifar10 need --data DIR: .*cifar-10-batches-py"):
        load(CIFAR, None)


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\x1f\x8b\x08broken"])
def test_files_that_are_no_tar(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "images.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"is neither a folder nor a readable tar|holds no images"):
        load(FOLDER, archive)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_cut_tar(image_folder: Path, tmp_path: Path, mode: str, share: float) -> None:
    archive = tmp_path / "images.tar"
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        tar.add(image_folder, ".")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match="neither a folder nor a readable tar"):
        load(FOLDER, archive)


def test_a_plain_tar_cut_between_two_files(image_folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(image_folder, ".")
    with tarfile.open(archive) as tar:
        last = tar.getmembers()[-1]
    archive.write_bytes(archive.read_bytes()[: last.offset])
    with pytest.raises(DataError, match="it is cut short"):
        load(FOLDER, archive)


def test_a_picture_that_pretends_to_be_another_format(image_folder: Path) -> None:
    (image_folder / "train/cat/0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    with pytest.raises(DataError, match=r"cat/0.png is not an image"):
        load(FOLDER, image_folder)


def test_names_cannot_command_a_terminal(image_folder: Path) -> None:
    (image_folder / "train" / "c\x1b[2Jow").mkdir()
    shutil.copy(image_folder / "train/cat/0.png", image_folder / "train" / "c\x1b[2Jow")
    with pytest.raises(DataError) as caught:
        load(FOLDER, image_folder)
    assert "\x1b" not in str(caught.value)


def test_a_tar_that_is_too_large(image_folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(image_folder, ".")
        big = tarfile.TarInfo("train/cat/big.png")
        big.size = 33 << 20
        tar.addfile(big, BytesIO(bytes(big.size)))
    with pytest.raises(DataError, match=r"too large to be read into memory, at train/cat/big.png"):
        load(FOLDER, archive)


def test_a_tar_writes_nothing_outside_and_follows_no_link(image_folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(image_folder, ".")
        tar.add(image_folder / "train/cat/0.png", "../../train/cat/escaped.png")
        link = tarfile.TarInfo("train/cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    data = load(FOLDER, archive)
    assert len(data.train) == 13
    assert not list(tmp_path.parent.rglob("escaped.png"))


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
