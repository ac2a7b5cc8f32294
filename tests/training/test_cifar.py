"""CIFAR's own files: as torchvision reads them, from a folder or the tar.gz, and never as a program."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from resdsl.recipe_types import Call
from resdsl.train.errors import DataError
from tests.training.reading import InMemory, read

CIFAR = Call("cifar10", (("validation", 0),))
CIFAR100 = Call("cifar100", (("validation", 0),))


def load(data: Call, place: Path, *, shape: tuple[object, ...] = (3, 32, 32), classes: int = 10) -> InMemory:
    return read(data, place, shape, classes)


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
        (b"", "cannot be read as a batch file of CIFAR"),
        (pickle.dumps([1]), "cannot be read as a batch file of CIFAR"),
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


@pytest.fixture
def hundred_folder(tmp_path: Path) -> Path:
    """CIFAR-100's own format with random pixels."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class{n:02}" for n in range(100)]}, protocol=2))
    generator = np.random.default_rng(1)
    for name, count in (("train", 200), ("test", 100)):
        labels = [number % 100 for number in range(count)]
        content = {"data": generator.integers(0, 256, (count, 3072), dtype=np.uint8), "fine_labels": labels}
        (folder / name).write_bytes(pickle.dumps(content, protocol=4))
    return folder


def archive_of(folder: Path) -> Path:
    archive = folder.parent / f"{folder.name}.tar.gz".replace("-batches-py", "-python").replace("batches-", "")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    return archive


@pytest.mark.parametrize("whole", [True, False])
def test_the_archive_is_read_in_place(batch_folder: Path, *, whole: bool) -> None:
    expected = load(CIFAR, batch_folder)
    archive = archive_of(batch_folder)
    batch_folder.rename(batch_folder.with_name("elsewhere"))
    data = load(CIFAR, archive if whole else archive.parent)
    assert torch.equal(data.train.pixels, expected.train.pixels)
    assert torch.equal(data.train.labels, expected.train.labels)
    assert data.classes == expected.classes
    assert sorted(path.name for path in archive.parent.iterdir()) == ["cifar-10-python.tar.gz", "elsewhere"]


def test_an_archive_of_the_folder_around(batch_folder: Path) -> None:
    """As `tar -C DIR .` makes it: the first member is the folder itself, `.`."""
    expected = load(CIFAR, batch_folder)
    archive = batch_folder.parent / "mine.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("."))
        tar.add(batch_folder, f"./{batch_folder.name}")
    assert torch.equal(load(CIFAR, archive).train.pixels, expected.train.pixels)


def test_an_archive_that_lacks_a_file(batch_folder: Path) -> None:
    (batch_folder / "data_batch_5").unlink()
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz has no data_batch_5"):
        load(CIFAR, archive_of(batch_folder))


def test_an_archive_that_is_cut(hundred_folder: Path) -> None:
    archive = archive_of(hundred_folder)
    archive.write_bytes(archive.read_bytes()[:-200_000])
    with pytest.raises(DataError, match=r"cifar-100-python.tar.gz (cannot be read|has no)"):
        load(CIFAR100, archive, classes=100)


def test_as_torchvision_reads_them(batch_folder: Path, hundred_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files of this test are not those whose checksums torchvision knows.
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: True)
    theirs = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}
    for data, folder, classes in ((CIFAR, batch_folder, 10), (CIFAR100, hundred_folder, 100)):
        ours = load(data, folder.parent, classes=classes)
        for part, is_train in ((ours.train, True), (ours.test, False)):
            other = theirs[data.name](folder.parent, train=is_train)
            assert np.array_equal(part.pixels.permute(0, 2, 3, 1).numpy(), other.data)
            assert part.labels.tolist() == other.targets
            assert list(ours.classes) == other.classes
