"""The three formats of Keras 3, written by Keras itself, and the topology that two of them hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from resdsl.weights.checkpoint import Checkpoint, SourceLayer, read_checkpoint
from tests.weights.keras_models import import_keras, save_in_all_formats, small_model

# Keras asks torch for arrays the way numpy 1 did.
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

ENDINGS = (".keras", ".h5", ".weights.h5")
WITH_TOPOLOGY = ENDINGS[:2]


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return import_keras(tmp_path_factory.mktemp("keras"))


@pytest.fixture(scope="module")
def model(keras: Any) -> Any:
    made = small_model(keras)
    drawn = np.random.default_rng(0)
    made.set_weights([drawn.uniform(0.1, 1, weight.shape) for weight in made.get_weights()])
    made.compile(optimizer="adam", loss="mse")
    return made


@pytest.fixture(scope="module")
def checkpoints(model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    paths = save_in_all_formats(model, tmp_path_factory.mktemp("models"))
    return {ending: read_checkpoint(path) for ending, path in paths.items()}


@pytest.fixture(params=ENDINGS)
def checkpoint(request: pytest.FixtureRequest, checkpoints: dict[str, Checkpoint]) -> Checkpoint:
    return checkpoints[request.param]


def by_name(checkpoint: Checkpoint) -> dict[str, SourceLayer]:
    return {layer.name: layer for layer in checkpoint.layers}


def test_layers_and_shapes(checkpoint: Checkpoint) -> None:
    shapes = {
        layer.name: (layer.kind, {role: tuple(tensor.shape) for role, tensor in layer.tensors.items()})
        for layer in checkpoint.layers
    }
    vectors = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (4,))
    assert shapes == {
        "stem": ("conv", {"weight": (4, 3, 3, 3)}),
        "norm_b": ("norm", vectors),
        "deep": ("conv", {"weight": (8, 1, 3, 3)}),
        "grouped": ("conv", {"weight": (8, 2, 1, 1), "bias": (8,)}),
        "norm_a": ("norm", dict.fromkeys(("bias", "running_mean", "running_var"), (8,))),
        "apart/depthwise": ("conv", {"weight": (8, 1, 3, 3)}),
        "apart/pointwise": ("conv", {"weight": (5, 8, 1, 1), "bias": (5,)}),
        "top": ("linear", {"weight": (7, 175), "bias": (7,)}),
    }
    assert checkpoint.format == "keras"
    assert any("optimizer" in reason for reason in checkpoint.ignored)


def test_the_same_function_in_pytorch(checkpoint: Checkpoint, model: Any) -> None:
    """The model written in PyTorch with the tensors as read gives what Keras gives."""
    layers = by_name(checkpoint)

    def conv(name: str, x: torch.Tensor, **options: Any) -> torch.Tensor:
        tensors = layers[name].tensors
        return functional.conv2d(x, tensors["weight"], tensors.get("bias"), **options)

    def norm(name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
        tensors = layers[name].tensors
        mean, variance = tensors["running_mean"], tensors["running_var"]
        return functional.batch_norm(x, mean, variance, tensors.get("weight"), tensors["bias"], eps=eps)

    images = torch.rand(2, 10, 12, 3)
    x = functional.pad(images.permute(0, 3, 1, 2), (1, 2, 0, 1))
    x = norm("norm_b", conv("stem", x, stride=2), 1.001e-5).relu()
    x = conv("deep", x, groups=4, padding=1) + conv("grouped", x, groups=2).relu()
    x = conv("apart/pointwise", conv("apart/depthwise", norm("norm_a", x, 1e-3), groups=8, padding=2, dilation=2))
    top = layers["top"].tensors
    x = functional.linear(x.permute(0, 2, 3, 1).flatten(1), top["weight"], top["bias"]).softmax(1)
    expected = torch.as_tensor(model(images, training=False)).detach().cpu()
    # The logits lie far apart, so that their last digits show in the probabilities: their logarithms are compared.
    assert torch.allclose(x.clamp_min(1e-30).log(), expected.clamp_min(1e-30).log(), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("ending", WITH_TOPOLOGY)
def test_the_topology(checkpoints: dict[str, Checkpoint], ending: str) -> None:
    layers = by_name(checkpoints[ending])
    assert checkpoints[ending].order == "keras depth order"
    assert {name: layer.inputs for name, layer in layers.items()} == {
        "stem": (),
        "norm_b": ("stem",),
        "deep": ("norm_b",),
        "grouped": ("norm_b",),
        "norm_a": ("deep", "grouped"),
        "apart/depthwise": ("norm_a",),
        "apart/pointwise": ("apart/depthwise",),
        "top": ("apart/pointwise",),
    }


@pytest.mark.parametrize("ending", WITH_TOPOLOGY)
def test_facts(checkpoints: dict[str, Checkpoint], ending: str) -> None:
    layers = by_name(checkpoints[ending])
    stem = {"strides": (2, 2), "dilation": (1, 1), "groups": 1, "padding": ((0, 1), (1, 2))}
    assert layers["stem"].facts == stem
    assert layers["norm_b"].facts == {"eps": 1.001e-5}
    assert layers["grouped"].facts["activation"] == "relu"
    assert layers["grouped"].facts["groups"] == 2
    assert layers["grouped"].facts["padding"] == "valid"
    assert layers["apart/depthwise"].facts["dilation"] == (2, 2)
    assert layers["top"].facts == {"activation": "softmax", "flattened": (5, 7, 5)}


def test_weights_alone_have_no_topology(checkpoints: dict[str, Checkpoint]) -> None:
    checkpoint = checkpoints[".weights.h5"]
    assert checkpoint.order == "names"
    assert all(layer.inputs is None and not layer.facts for layer in checkpoint.layers)


def test_numbered_groups_without_names(keras: Any, tmp_path: Path) -> None:
    """Earlier versions of Keras 3 write no names into .weights.h5; layers of a class are still in their order."""
    h5py = pytest.importorskip("h5py")
    layers = [keras.layers.Conv2D(2, 1, name=f"n{11 - index}") for index in range(12)]
    model = keras.Sequential([keras.Input((4, 4, 2)), *layers])
    model.save_weights(tmp_path / "net.weights.h5")
    model.save(tmp_path / "net.keras")
    with h5py.File(tmp_path / "net.weights.h5", "r+") as file:
        for group in file["layers"].values():
            del group["vars"].attrs["name"]
    checkpoint = read_checkpoint(tmp_path / "net.weights.h5")
    numbers = ["layers/conv2d", *(f"layers/conv2d_{index}" for index in range(1, 12))]
    assert [layer.name for layer in checkpoint.layers] == numbers
    complete = read_checkpoint(tmp_path / "net.keras")
    assert [layer.name for layer in complete.layers] == [f"n{11 - index}" for index in range(12)]
    assert complete.layers[3].inputs == ("n9",)
    for bare, named in zip(checkpoint.layers, complete.layers, strict=True):
        assert torch.equal(bare.tensors["weight"], named.tensors["weight"])


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_model_in_a_model(keras: Any, tmp_path: Path, ending: str) -> None:
    inner_image = keras.Input((6, 6, 3))
    inner_maps = keras.layers.Conv2D(4, 3, name="in_a")(inner_image)
    inner = keras.Model(inner_image, keras.layers.Conv2D(4, 3, name="in_b")(inner_maps), name="trunk")
    image = keras.Input((6, 6, 3))
    maps = keras.layers.Activation("relu")(inner(keras.layers.Conv2D(3, 1, name="before")(image)))
    model = keras.Model(image, keras.layers.Dense(2, name="top")(keras.layers.GlobalAveragePooling2D()(maps)))
    checkpoint = read_checkpoint(save_in_all_formats(model, tmp_path)[ending])
    layers = by_name(checkpoint)
    assert sorted(layers) == ["before", "in_a", "in_b", "top"]
    if ending in WITH_TOPOLOGY:
        assert [layer.inputs for layer in checkpoint.layers] == [(), ("before",), ("in_a",), ("in_b",)]
        assert "flattened" not in layers["top"].facts


def test_bfloat16_weights(keras: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="bfloat16", name="top")])
    model.save_weights(tmp_path / "net.weights.h5")
    checkpoint = read_checkpoint(tmp_path / "net.weights.h5")
    assert checkpoint.notes == ("2 tensors of bfloat16 taken as float32",)
    kernel = model.layers[0].kernel.value.detach().float().cpu()
    assert torch.equal(checkpoint.layers[0].tensors["weight"], kernel.T)


def test_resnet50_of_keras(keras: Any, tmp_path: Path) -> None:
    keras.applications.ResNet50(weights=None).save(tmp_path / "resnet50.keras")
    checkpoint = read_checkpoint(tmp_path / "resnet50.keras")
    layers = by_name(checkpoint)
    assert len(layers) == 107
    assert layers["conv1_conv"].facts["padding"] == ((3, 3), (3, 3))
    assert layers["conv3_block1_1_conv"].facts["strides"] == (2, 2)
    assert layers["conv2_block1_1_bn"].facts["eps"] == 1.001e-5
    assert layers["conv2_block1_0_conv"].inputs == layers["conv2_block1_1_conv"].inputs == ("conv1_bn",)
    assert set(layers["conv3_block1_1_conv"].inputs or ()) == {
        "conv2_block1_0_bn",
        "conv2_block1_3_bn",
        "conv2_block2_3_bn",
        "conv2_block3_3_bn",
    }
