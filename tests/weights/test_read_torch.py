"""Files of torch.save: what training programs put around the weights, and how the layers come out."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import resdsl
from resdsl.weights.build import in_natural_order
from resdsl.weights.checkpoint import Checkpoint, checkpoint_of, read_checkpoint
from resdsl.weights.errors import WeightsError
from resdsl.weights.match_names import natural_key
from resdsl.weights.raw import RawLayer


def small_net() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 4, 3, bias=False),
            norm=nn.BatchNorm2d(4),
            zoom=nn.ConvTranspose2d(4, 2, 2),
            layer=nn.LayerNorm(2),
            top=nn.Linear(2, 3),
        )
    )


def tensors_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {layer.names[role]: tensor for layer in checkpoint.layers for role, tensor in layer.tensors.items()}


def assert_holds(checkpoint: Checkpoint, state: dict[str, Tensor], prefix: str = "") -> None:
    wanted = {prefix + name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    got = tensors_of(checkpoint)
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[name], wanted[name].float()) for name in wanted)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "older"])
def test_layers_and_roles(tmp_path: Path, is_zip: bool) -> None:
    net = small_net()
    torch.save(net.state_dict(), tmp_path / "net.pth", _use_new_zipfile_serialization=is_zip)
    checkpoint = read_checkpoint(tmp_path / "net.pth")
    assert (checkpoint.format, checkpoint.order) == ("torch", "definition")
    assert [(layer.name, layer.kind) for layer in checkpoint.layers] == [
        ("stem", "conv"),
        ("norm", "norm"),
        ("zoom", "conv"),
        ("layer", "norm"),
        ("top", "linear"),
    ]
    norm = checkpoint.layers[1]
    assert list(norm.tensors) == ["weight", "bias", "running_mean", "running_var"]
    assert norm.names["running_var"] == "norm.running_var"
    assert norm.inputs is None
    assert checkpoint.ignored == ("norm.num_batches_tracked: a counter or index (int64)",)
    assert_holds(checkpoint, net.state_dict())


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "anything"])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_containers_and_wrappers(tmp_path: Path, key: str, wrapper: str) -> None:
    net = small_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    state = {wrapper + name: tensor for name, tensor in net.state_dict().items()}
    content = {"epoch": 3, "best_acc1": 71.5, "arch": "resnet18", key: state, "optimizer": optimizer.state_dict()}
    torch.save(content, tmp_path / "net.tar")
    checkpoint = read_checkpoint(tmp_path / "net.tar")
    assert [layer.name for layer in checkpoint.layers] == ["stem", "norm", "zoom", "layer", "top"]
    assert_holds(checkpoint, net.state_dict(), wrapper)
    assert "optimizer: optimizer state" in checkpoint.ignored


def test_averaged_weights_only_when_asked_for(tmp_path: Path) -> None:
    net, average = small_net(), small_net()
    torch.save({"state_dict": net.state_dict(), "state_dict_ema": average.state_dict()}, tmp_path / "both.pth")
    plain = read_checkpoint(tmp_path / "both.pth")
    assert_holds(plain, net.state_dict())
    assert "state_dict_ema: averaged weights, not asked for (12 tensors)" in plain.ignored
    assert_holds(read_checkpoint(tmp_path / "both.pth", ema=True), average.state_dict())


def test_averaged_weights_in_the_same_dict() -> None:
    net, average = small_net(), small_net()
    state = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
    state |= {f"model_ema.{name}": tensor for name, tensor in average.state_dict().items()}
    assert_holds(checkpoint_of(state), net.state_dict(), "model.")
    assert_holds(checkpoint_of(state, ema=True), average.state_dict(), "model_ema.")
    beside = {**net.state_dict(), **{f"ema.{name}": tensor for name, tensor in average.state_dict().items()}}
    assert_holds(checkpoint_of(beside), net.state_dict())


def test_a_layer_called_ema_is_no_average() -> None:
    state = {"ema.weight": torch.ones(2, 2), "ema.bias": torch.ones(2), "fc.weight": torch.ones(3, 2)}
    assert len(checkpoint_of(state).layers) == 2


def test_only_averaged_weights_are_taken_with_a_note() -> None:
    checkpoint = checkpoint_of({"ema": small_net().state_dict()})  # type: ignore[dict-item]
    assert checkpoint.notes == ("only averaged weights are there: ema",)


def test_no_averaged_weights_there() -> None:
    with pytest.raises(WeightsError, match="no averaged"):
        checkpoint_of(small_net().state_dict(), ema=True)


def test_two_models_in_one_file() -> None:
    content = {"generator": small_net().state_dict(), "critic": small_net().state_dict()}
    with pytest.raises(WeightsError, match=r"several sets of weights \(generator, critic\)"):
        checkpoint_of(content)  # type: ignore[arg-type]


def test_a_run_of_ours(tmp_path: Path) -> None:
    from resdsl.train.checkpoint import FILE_NAME, random_state, save_checkpoint

    net = resdsl.load(str(Path(resdsl.__file__).parent / "specs" / "resnet20_digits.res"))
    model = net.to_torch()
    average = {
        name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()
    }
    optimizer = torch.optim.AdamW(model.parameters())
    sum(parameter.sum() for parameter in model.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    content = {
        "spec": net.source_text,
        "model": model.state_dict(),
        "average": average,
        "optimizer": optimizer.state_dict(),
        "random": random_state(),
        "normalization": {"mean": torch.zeros(1), "deviation": torch.ones(1)},
    }
    save_checkpoint(tmp_path / FILE_NAME, content)
    assert_holds(read_checkpoint(tmp_path / FILE_NAME), model.state_dict())
    assert_holds(read_checkpoint(tmp_path / FILE_NAME, ema=True), average)


def test_torchvision_names_and_order() -> None:
    checkpoint = checkpoint_of(torchvision.models.resnet18().state_dict())
    names = [layer.name for layer in checkpoint.layers]
    assert names[:4] == ["conv1", "bn1", "layer1.0.conv1", "layer1.0.bn1"]
    assert names[-1] == "fc"
    assert {layer.kind for layer in checkpoint.layers} == {"conv", "norm", "linear"}


def test_a_sorted_dict_has_lost_its_order() -> None:
    state = {f"block{index}.weight": torch.ones(2, 2) for index in (1, 10, 2)}
    checkpoint = checkpoint_of(state)
    assert checkpoint.order == "names"
    assert [layer.name for layer in checkpoint.layers] == ["block1", "block2", "block10"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    net = small_net().to(dtype)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    checkpoint = read_checkpoint(tmp_path / "net.pt")
    assert checkpoint.notes == (f"11 tensors of {str(dtype).removeprefix('torch.')} taken as float32",)
    assert all(tensor.dtype == torch.float32 for tensor in tensors_of(checkpoint).values())
    assert_holds(checkpoint, net.state_dict())


def test_what_has_no_role_is_other() -> None:
    state = {"cls_token": torch.ones(1, 1, 4), "act.weight": torch.ones(4), "fc.weight": torch.ones(2, 4)}
    kinds = {layer.name: (layer.kind, list(layer.tensors)) for layer in checkpoint_of(state).layers}
    assert kinds == {"": ("other", ["cls_token"]), "act": ("other", ["weight"]), "fc": ("linear", ["weight"])}


@given(st.lists(st.text(st.sampled_from("ab0123456789.²"), max_size=12)))
def test_natural_order_takes_any_names(names: list[str]) -> None:
    layers = [RawLayer(name, {}) for name in names]
    assert in_natural_order(reversed(layers)) == in_natural_order(layers)


def test_natural_order_takes_numbers_of_any_length() -> None:
    assert sorted(["a" + "9" * 9999, "a10", "a9", "a010b"], key=natural_key)[:2] == ["a9", "a10"]


def test_a_path_may_be_any_path_like(tmp_path: Path) -> None:
    torch.save(small_net().state_dict(), tmp_path / "net.pth")
    assert read_checkpoint(os.fspath(tmp_path / "net.pth")).path == str(tmp_path / "net.pth")
