"""Folders and tars that are wrong: each gives one clear error before any training."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from resdsl.recipe_types import Call
from resdsl.train.errors import DataError
from tests.training.reading import InMemory, read

FOLDER = Call("folder", (("validation", 0), ("resize", 0), ("strict", False)))
CIFAR = Call("cifar10", (("validation", 0),))


def load(data: Call, place: Path | None) -> InMemory:
    return read(data, place, (3, 8, 8), 2)


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


def rename(before: str, after: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / before).rename(root / after)

    return spoil


def put_deeper(root: Path) -> None:
    aside = root.with_name("aside")
    root.rename(aside)
    root.mkdir()
    aside.rename(root / "mine")


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
        (shutil.rmtree, "there is no .*images; --data takes a folder, a tar of it or .* with train/<class>/<image>"),
        (remove_everything, "holds no images under train/<class>/; --data takes a folder"),
        (remove_tests, "holds no images under test/<class>/"),
        (empty_a_class, "images of class dog under test/ but none under train/"),
        (add_class, "tells 2 classes apart, but the data have 3: cat, dog, eel"),
        (rename("train", "Training"), r"under train/<class>/ \(rename Training/ to train/\?\)"),
        (rename("test", "valid"), r"or val/<class>/ \(rename valid/ to test/\?\)"),
        (put_deeper, r"under train/<class>/ \(did you mean .*images/mine\?\)"),
        (rename("train/dog", "train/dogs"), r"class dog under test/ but none under train/ \(is it dogs there\?\)"),
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
    # "That file" must have been named before.
    message = r"the recipe's data cifar10 need --data DIR: get https:.*; --data takes that file, .*cifar-10-batches-py"
    with pytest.raises(DataError, match=message):
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


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("w", "train/cat/big.png cannot be read .it has more than 32 MiB"),
        ("w:gz", "is compressed and too large to be read into memory, at train/cat/big.png"),
    ],
)
def test_a_file_that_is_too_large(image_folder: Path, tmp_path: Path, mode: str, message: str) -> None:
    archive = tmp_path / "images.tar"
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        tar.add(image_folder, ".")
        big = tarfile.TarInfo("train/cat/big.png")
        big.size = 33 << 20
        tar.addfile(big, BytesIO(bytes(big.size)))
    with pytest.raises(DataError, match=message):
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
