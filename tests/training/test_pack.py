"""Packed files: what goes in comes out, resized where asked, and nothing that is damaged passes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import pytest
import torch
from PIL import Image

from resdsl.cli.main import main
from resdsl.recipe_types import Call
from resdsl.train.decode import open_image
from resdsl.train.errors import DataError
from resdsl.train.layout import list_images
from resdsl.train.pack import HEADER, MAGIC
from tests.training.reading import InMemory, read

FOLDER = Call("folder", (("validation", 0), ("resize", 0), ("strict", False)))


FIRST_OFFSET = struct.pack("<Q", HEADER.size)


def load(place: Path, *, side: int = 8) -> InMemory:
    return read(FOLDER, place, (3, side, side), 2)


@pytest.fixture
def packed(image_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "images.pack"
    assert main(["pack", str(image_folder), "-o", str(path)]) == 0
    return path


def test_small_images_keep_every_pixel(image_folder: Path, packed: Path) -> None:
    folder, file = load(image_folder), load(packed)
    assert file.classes == folder.classes
    for ours, theirs in ((file.train, folder.train), (file.test, folder.test)):
        assert torch.equal(ours.pixels, theirs.pixels)
        assert torch.equal(ours.labels, theirs.labels)


def test_large_images_are_resized(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (60, 40), (9, 99, 199)).save(image_folder / "train/cat/0.png")
    path = tmp_path / "images.pack"
    assert main(["pack", str(image_folder), "-o", str(path), "--size", "20", "--quality", "95"]) == 0
    assert "12 train and 4 test images of 2 classes" in (output := capsys.readouterr().out)
    assert "1 images were resized" in output
    listing = list_images("folder", path)
    with open_image(listing.source, 0) as image:
        assert (image.format, image.size) == ("JPEG", (30, 20))
        red, green, blue = image.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
        assert abs(red - 9) + abs(green - 99) + abs(blue - 199) < 9
    with open_image(listing.source, 1) as image:
        assert (image.format, image.size) == ("PNG", (8, 8))


def test_corrupt_images(image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "images.pack"
    for number in range(200):
        Image.new("RGB", (8, 8)).save(image_folder / f"train/cat/{number}.png")
    (image_folder / "train/cat/5.png").write_bytes(b"hello")
    assert main(["pack", str(image_folder), "-o", str(path), "--strict-data"]) == 1
    assert "cat/5.png is not an image" in capsys.readouterr().err
    assert not path.exists()
    assert main(["pack", str(image_folder), "-o", str(path)]) == 0
    assert "1 corrupt ones were left out" in capsys.readouterr().out
    assert len(load(path).train) == 205


def change(place: int) -> Callable[[bytes], bytes]:
    def spoil(content: bytes) -> bytes:
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return spoil


def new_index(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """With another index whose checksum is right: damage that somebody made on purpose."""
    _, begin, _, _ = HEADER.unpack_from(content)
    index = change(content[begin:])
    return HEADER.pack(MAGIC, begin, len(index), blake2b(index, digest_size=32).digest()) + content[64:begin] + index


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:20], "is cut short"),
        (lambda content: content[:-1], "is cut short, or longer than it was"),
        (lambda content: content + b"1", "is cut short, or longer than it was"),
        (change(-2), "the checksum of its index is wrong"),
        (change(200), "its checksum is wrong"),
        (lambda c: new_index(c, lambda index: b""), "is not a file of `resdsl pack`"),
        (lambda c: new_index(c, lambda index: struct.pack("<Q", 1 << 60) + index[8:]), "its head is too large"),
        (lambda c: new_index(c, lambda index: index.replace(b'"train": 12', b'"train": -9')), "a split is empty"),
        (lambda c: new_index(c, lambda index: index.replace(b'"train": 12', b'"train": 99')), "is not a file of"),
        (lambda c: new_index(c, lambda index: index.replace(b'["cat", "dog"]', b'["cat"]       ')), "has no class"),
        (lambda c: new_index(c, lambda index: index.replace(b"classes", b"clauses")), "is not a file of"),
        (lambda c: new_index(c, lambda index: index.replace(FIRST_OFFSET, b"\xff" * 8, 1)), "outside the file"),
    ],
)
def test_damaged_files(packed: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    packed.write_bytes(spoil(packed.read_bytes()))
    with pytest.raises(DataError, match=message):
        load(packed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "-o", "x"], "there is no nowhere"),
        ([".", "-o", "x"], "holds no images under train/"),
        (["images.pack", "-o", "images.pack"], "write to another file"),
        ([".", "-o", "x", "--quality", "101"], "101 is not a whole number from 1 to 100"),
        ([".", "-o", "x", "--size", "-1"], "argument --size"),
    ],
)
def test_mistakes(
    packed: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(packed.parent)
    assert main(["pack", *arguments]) in {1, 2}
    assert message in capsys.readouterr().err
    assert not Path("x").exists()
