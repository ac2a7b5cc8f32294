"""CIFAR-10 itself, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from resdsl.cli.main import main
from resdsl.recipe import build_recipe
from resdsl.recipe_types import Call, SettingValue
from resdsl.train.data import load_data, network_input
from resdsl.train.normalize import fit_normalization
from resdsl.train.stream import open_feed, open_stream, training_pixels
from tests.training.reading import read

BESIDE_THE_CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def cifar10() -> Path:
    named = os.environ.get("RESDSL_CIFAR10")
    found = [Path(named)] if named else sorted(BESIDE_THE_CHECKOUT.glob("*/data/cifar10_jpeg.tar.xz"))
    if not found:
        pytest.skip("CIFAR-10 is not at hand: name its folder or tar in RESDSL_CIFAR10")
    return found[0]


@pytest.mark.slow
def test_cifar10(cifar10: Path) -> None:
    data = Call("cifar10", (("validation", 5000),))
    loaded = read(data, cifar10, (3, 32, 32), 10)
    assert (len(loaded.train), len(loaded.test)) == (45_000, 10_000)
    assert loaded.train.pixels.shape == (45_000, 3, 32, 32)
    assert loaded.validation is not None
    assert loaded.validation.labels.bincount().tolist() == [500] * 10
    assert loaded.classes[0] == "airplane"
    # The mean colour of CIFAR-10, as everyone measures it.
    mean = loaded.train.pixels.float().mean(dim=(0, 2, 3)) / 255
    assert (mean - mean.new_tensor([0.4914, 0.4822, 0.4465])).abs().max() < 0.01


@pytest.mark.slow
def test_packing_keeps_every_pixel(cifar10: Path, tmp_path: Path) -> None:
    data = Call("cifar10", (("validation", 0),))
    packed = tmp_path / "cifar10.pack"
    assert main(["pack", str(cifar10), "-o", str(packed)]) == 0
    whole, again = (read(data, place, (3, 32, 32), 10) for place in (cifar10, packed))
    assert torch.equal(whole.train.pixels, again.train.pixels)
    assert torch.equal(whole.test.labels, again.test.labels)


@pytest.mark.slow
def test_the_same_batches_from_workers(cifar10: Path) -> None:
    data = Call("cifar10", (("validation", 0),))
    steps = (("pad", "pixels", 4), ("random_crop", "size", 32), ("flip", "p", 0.5))
    augment = tuple(Call(name, ((argument, value),)) for name, argument, value in steps)
    settings: dict[str, SettingValue] = {
        "data": data,
        "augment": augment,
        "optimizer": Call("sgd", (("lr", 0.1),)),
        "iterations": 10,
    }
    recipe = build_recipe(settings)
    takes = network_input((3, 32, 32), data)
    batches = []
    for in_files in (False, True):
        loaded = load_data(data, takes, 10, cifar10, lambda done, total: None, augment=augment, in_files=in_files)
        normalization = fit_normalization("none", training_pixels(loaded.train))
        stream = open_stream(open_feed(loaded.train, normalization, torch.device("cpu"), flat=False), recipe)
        batches.append([stream.batch(step) for step in (0, 1, 390)])
        stream.close()
    for (inputs, labels), (others, other_labels) in zip(*batches, strict=True):
        assert torch.equal(inputs, others)
        assert isinstance(labels, torch.Tensor)
        assert isinstance(other_labels, torch.Tensor)
        assert torch.equal(labels, other_labels)
