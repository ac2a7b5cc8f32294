"""CIFAR-10 itself, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resdsl.recipe_schema import Call
from resdsl.train.data import load_data, network_input

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
    loaded = load_data(data, network_input((3, 32, 32), data), 10, cifar10, lambda done, total: None)
    assert (len(loaded.train), len(loaded.test)) == (45_000, 10_000)
    assert loaded.train.pixels.shape == (45_000, 3, 32, 32)
    assert loaded.validation is not None
    assert loaded.validation.labels.bincount().tolist() == [500] * 10
    assert loaded.classes[0] == "airplane"
    # The mean colour of CIFAR-10, as everyone measures it.
    mean = loaded.train.pixels.float().mean(dim=(0, 2, 3)) / 255
    assert (mean - mean.new_tensor([0.4914, 0.4822, 0.4465])).abs().max() < 0.01
