"""The closest network of the zoo, named when a checkpoint does not fit."""

from __future__ import annotations

import torch
import torchvision

import resdsl
from resdsl.weights.checkpoint import checkpoint_of
from resdsl.weights.closest import closest_network


def test_a_network_of_torchvision_is_found() -> None:
    found = closest_network(checkpoint_of(torchvision.models.resnet34().state_dict()))
    assert found is not None
    assert (found.fitting, found.layers, found.layers_of_checkpoint) == (73, 73, 73)
    assert str(found).startswith("closest in the zoo: specs/resnet")
    assert str(found).endswith("73 of 73 layers fit")


def test_networks_that_fit_equally_are_named() -> None:
    found = closest_network(checkpoint_of(torchvision.models.resnet50().state_dict()))
    assert "specs/resnet50.res, network resnet50 or resnet50_v15" in str(found)


def test_another_head_and_another_depth() -> None:
    found = closest_network(checkpoint_of(torchvision.models.resnet50(num_classes=7).state_dict()))
    assert found is not None
    assert (found.fitting, found.layers) == (106, 107)


def test_nothing_is_close() -> None:
    assert closest_network(checkpoint_of({"fc.weight": torch.ones(17, 19)})) is None


def test_reading_is_not_loaded_with_the_package() -> None:
    assert "WeightsError" not in vars(resdsl)
