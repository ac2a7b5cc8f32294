"""safetensors and npz: named arrays and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from resdsl.weights.checkpoint import read_checkpoint
from resdsl.weights.errors import WeightsError


def test_safetensors_in_natural_order(tmp_path: Path) -> None:
    state = {f"layer{index}.conv.weight": torch.randn(2, 3, 1, 1) for index in (1, 2, 10)}
    state["layer2.conv.bias"] = torch.randn(2)
    save_file(state, tmp_path / "net.safetensors", {"format": "pt"})
    checkpoint = read_checkpoint(tmp_path / "net.safetensors")
    assert (checkpoint.format, checkpoint.order) == ("safetensors", "names")
    assert [layer.name for layer in checkpoint.layers] == ["layer1.conv", "layer2.conv", "layer10.conv"]
    assert torch.equal(checkpoint.layers[1].tensors["bias"], state["layer2.conv.bias"])


def test_safetensors_of_a_whole_network(tmp_path: Path) -> None:
    net = torchvision.models.resnet18().half()
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, tmp_path / "half.safetensors")
    checkpoint = read_checkpoint(tmp_path / "half.safetensors")
    assert len(checkpoint.layers) == 41
    assert checkpoint.notes == ("102 tensors of float16 taken as float32",)


def test_npz_in_the_order_written(tmp_path: Path) -> None:
    arrays = {
        "stem.weight": np.ones((2, 3, 1, 1)),
        "fc.weight": np.ones((4, 2), np.float32),
        "fc.bias": np.ones(4, ">f4"),
    }
    np.savez(tmp_path / "net.npz", **arrays)  # type: ignore[arg-type]
    checkpoint = read_checkpoint(tmp_path / "net.npz")
    assert (checkpoint.format, checkpoint.order) == ("npz", "definition")
    assert [(layer.name, layer.kind) for layer in checkpoint.layers] == [("stem", "conv"), ("fc", "linear")]
    assert checkpoint.notes == ("1 tensor of float64 taken as float32",)


def test_kernels_are_turned_into_the_layout_of_pytorch(tmp_path: Path) -> None:
    conv, dense = np.random.rand(3, 5, 2, 4), np.random.rand(4, 7)
    norm = {f"net/norm/{name}": np.ones(4) for name in ("scale", "bias", "mean", "var")}
    np.savez(tmp_path / "net.npz", **{"net/conv/kernel": conv, "net/dense/kernel": dense}, **norm)  # type: ignore[arg-type]
    layers = {layer.name: layer for layer in read_checkpoint(tmp_path / "net.npz").layers}
    assert np.allclose(layers["net/conv"].tensors["weight"], conv.transpose(3, 2, 0, 1))
    assert np.allclose(layers["net/dense"].tensors["weight"], dense.T)
    assert (layers["net/norm"].kind, list(layers["net/norm"].tensors)) == (
        "norm",
        ["weight", "bias", "running_mean", "running_var"],
    )


def test_npz_with_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", **{"a.weight": np.array([{"a": 1}], object)})  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="Python objects"):
        read_checkpoint(tmp_path / "net.npz")


def test_npz_with_text_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", **{"a.weight": np.array(["text"])})  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=r"a\.weight holds no numbers"):
        read_checkpoint(tmp_path / "net.npz")
