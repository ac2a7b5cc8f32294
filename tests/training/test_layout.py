"""ImageNet's layouts, free sizes, corrupt images, synthetic ones: what is read, left out, replaced or refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from resdsl.recipe_types import Call, Value
from resdsl.train.errors import DataError
from tests.training.reading import InMemory, read

WNIDS = ("n01440764", "n01443537", "n15075141")


def form(name: str, **args: Value) -> Call:
    return Call(name, tuple(({"validation": 0, "resize": 0, "strict": False} | args).items()))


def load(data: Call, place: Path | None, *, side: int = 16, notes: list[str] | None = None) -> InMemory:
    return read(data, place, (3, side, side), len(WNIDS), ([] if notes is None else notes).append)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """ImageNet's folders with pictures of different sizes, 4 a class for training and 2 for the test."""
    root = tmp_path / "imagenet"
    generator = torch.Generator().manual_seed(1)
    for split, count in (("train", 4), ("val", 2)):
        for label in WNIDS:
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                height, width = torch.randint(20, 60, (2,), generator=generator).tolist()
                small = (height // 8 + 1, width // 8 + 1, 3)
                pixels = torch.randint(256, small, generator=generator, dtype=torch.uint8)
                name = f"{label}_{number}.JPEG" if split == "train" else f"ILSVRC2012_val_{label[-3:]}{number}.JPEG"
                Image.fromarray(pixels.numpy()).resize((width, height)).save(root / split / label / name, quality=95)
    return root


def flatten(root: Path, labels: str) -> None:
    """val/ without folders, and a file of labels in Kaggle's form, or in Caffe's with numbers or names."""
    rows = []
    for number, label in enumerate(WNIDS):
        for path in sorted((root / "val" / label).iterdir()):
            path.rename(root / "val" / path.name)
            kaggle = f"{path.stem},{label} 1 2 3 4 {label} 5 6 7 8"
            rows.append({"kaggle": kaggle, "number": f"{path.name} {number}", "name": f"{path.name} {label}"}[labels])
        (root / "val" / label).rmdir()
    if labels == "kaggle":
        (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    else:
        (root / "val.txt").write_text("\n".join(rows))


def test_imagenet_as_torchvision_sees_it(imagenet: Path) -> None:
    data = load(form("imagenet"), imagenet)
    transforms = torchvision.transforms.Compose(
        [torchvision.transforms.Resize(18), torchvision.transforms.CenterCrop(16), torchvision.transforms.PILToTensor()]
    )
    for part, split in ((data.train, "train"), (data.test, "val")):
        other = torchvision.datasets.ImageFolder(str(imagenet / split), transforms)
        assert part.labels.tolist() == other.targets
        expected = torch.stack([image for image, _ in other])
        # Only the window that is cut out is resized here: the same up to rounding.
        assert (part.pixels.int() - expected.int()).abs().max() <= 1
    assert data.classes == WNIDS


@pytest.mark.parametrize("labels", ["kaggle", "number", "name"])
def test_flat_validation_images(imagenet: Path, labels: str) -> None:
    expected = load(form("imagenet"), imagenet).test
    flatten(imagenet, labels)
    data = load(form("imagenet"), imagenet).test
    # In the order of the files' names, which is not that of the classes.
    assert data.labels.tolist() == [2, 2, 1, 1, 0, 0]
    assert torch.equal(data.pixels[data.labels.argsort(stable=True)], expected.pixels)


def test_kaggles_archive(imagenet: Path) -> None:
    flatten(imagenet, "kaggle")
    inner = imagenet.parent / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC"
    inner.mkdir(parents=True)
    for split in ("train", "val"):
        (imagenet / split).rename(inner / split)
    (imagenet / "LOC_val_solution.csv").rename(imagenet.parent / "kaggle" / "LOC_val_solution.csv")
    assert load(form("imagenet"), imagenet.parent / "kaggle").test.labels.tolist() == [2, 2, 1, 1, 0, 0]


def test_flat_validation_images_without_labels(imagenet: Path) -> None:
    flatten(imagenet, "kaggle")
    path = imagenet / "LOC_val_solution.csv"
    text = path.read_text()
    path.write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(DataError, match=r"csv has no label for ILSVRC2012_val_1411.JPEG"):
        load(form("imagenet"), imagenet)
    path.write_text(text.replace(WNIDS[1], "n00000000"))
    with pytest.raises(DataError, match=r"line 4: there is no class n00000000 under train/"):
        load(form("imagenet"), imagenet)
    path.unlink()
    with pytest.raises(DataError, match=r"LOC_val_solution.csv or val.txt is not beside it"):
        load(form("imagenet"), imagenet)


def test_missing_data_say_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"need --data DIR: .*get ILSVRC2012_img_train.tar \(138 GB\).*image-net.org"):
        load(form("imagenet"), None)
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(DataError, match=r"there is no .*cifar1 \(did you mean .*cifar10\?\); .*171 MB"):
        load(Call("cifar10", (("validation", 0),)), tmp_path / "cifar1", side=32)


def test_images_of_different_sizes_need_resizing(imagenet: Path) -> None:
    with pytest.raises(DataError, match=r"but the network takes 16 x 16: give the recipe's data `resize`"):
        load(form("folder"), imagenet)
    assert load(form("folder", resize=16), imagenet).train.shape == (3, 16, 16)
    with pytest.raises(DataError, match="resize = 15 is smaller than the network's 16 x 16"):
        load(form("folder", resize=15), imagenet)


def many(root: Path, corrupt: tuple[int, ...]) -> Path:
    """200 training images and 3 for the test; the numbers in `corrupt` are cut short."""
    for number in range(201):
        folder = root / "train" / WNIDS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:03}.png"
        Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
        if number in corrupt:
            path.write_bytes(path.read_bytes()[:50])
    for label in WNIDS:
        (root / "test" / label).mkdir(parents=True)
        shutil.copy(root / "train" / WNIDS[0] / "000.png", root / "test" / label / "0.png")
    return root


def test_corrupt_images_are_named_and_left_out(tmp_path: Path) -> None:
    notes: list[str] = []
    data = load(form("folder"), many(tmp_path, (7, 50)), notes=notes).train
    assert len(data) == 199
    assert sorted(data.pixels[:, 0, 0, 0].tolist()) == sorted(set(range(201)) - {7, 50})
    assert torch.equal(data.pixels[:, 0, 5, 5].long() % 3, data.labels)
    assert len(notes) == 2
    assert f"{WNIDS[1]}/007.png is" in notes[0]
    assert notes[1].endswith("left out; 2 so far")


def test_strict_data_have_no_corrupt_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"007.png .*the recipe's data are strict"):
        load(form("folder", strict=True), many(tmp_path, (7,)))


def test_too_many_corrupt_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"3 of 201 images cannot be used, more than 1%; .*n15075141/050.png"):
        load(form("folder"), many(tmp_path, (7, 9, 50)))


def synthetic(**args: int) -> Call:
    given = {"images": 90, "classes": 3, "size": 16, "channels": 3, "seed": 0, "validation": 0} | args
    return Call("synthetic", tuple(given.items()))


def test_synthetic_images() -> None:
    first, second, other = (load(synthetic(seed=seed), None) for seed in (1, 1, 2))
    assert (len(first.train), len(first.test), first.train.shape) == (90, 9, (3, 16, 16))
    assert torch.equal(first.train.pixels, second.train.pixels)
    assert torch.equal(first.train.labels, second.train.labels)
    assert not torch.equal(first.train.pixels, other.train.pixels)
    assert sorted(set(first.train.labels.tolist())) == [0, 1, 2]
    with pytest.raises(DataError, match="takes 3 channels, but the data are synthetic"):
        load(synthetic(channels=1), None)
    with pytest.raises(DataError, match=r"needs [\d,]+ MiB, but there are"):
        load(synthetic(images=10**9), None)
