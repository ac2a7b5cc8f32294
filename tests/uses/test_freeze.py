"""Freezing by name: what does not train, for how long, and how it is undone."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import resdsl
from resdsl.compiler import compile_network
from resdsl.emit.torch_module import NetModule
from resdsl.source import SourceFile
from resdsl.transfer.freezing import Frozen, fix_batch_norm, freeze, unfreeze

SMALL = """
network small {
  input 3 x 16 x 16
  rules { same map -> same filters; halve map -> double filters; shortcut -> B }
  stem { conv(3x3, 8) -> bn -> relu }
  stage conv2            { 1 x basic }
  stage conv3, halve map { 1 x basic }
  stage class            { basic }
  head { global_avg_pool -> linear(8) -> bn -> linear(5) }
}
"""
IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def small() -> NetModule:
    torch.manual_seed(0)
    return compile_network(SourceFile("small.res", SMALL)).to_torch()


def step(model: nn.Module) -> set[str]:
    """The tensors that a step of training changes."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.1)
    model(IMAGES).square().mean().backward()
    optimizer.step()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def saved_and_loaded(model: NetModule) -> Any:
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model


def test_what_is_frozen_is_told() -> None:
    model = small()
    frozen = freeze(model, "stem", "conv2")
    assert frozen.parameters[:3] == ("stem.conv1.weight", "stem.bn1.weight", "stem.bn1.bias")
    assert frozen.batch_norms == ("stem.bn1", "conv2.0.bn1", "conv2.0.bn2")
    assert all(model.get_parameter(name).requires_grad is False for name in frozen.parameters)


@pytest.mark.parametrize(
    "through",
    [lambda model: model, copy.deepcopy, saved_and_loaded, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["itself", "deepcopy", "state dict", "pickle"],
)
def test_frozen_parts_stay_as_they_are(through: Callable[[NetModule], nn.Module]) -> None:
    model = small()
    names = list(model.state_dict())
    freeze(model, "stem", "conv2")
    assert list(model.state_dict()) == names
    changed = step(through(model))
    assert {name.partition(".")[0] for name in changed} == {"conv3", "class_", "head"}


def test_statistics_can_follow_the_data() -> None:
    model = small()
    assert freeze(model, "stem", batch_norm="updated").batch_norms == ()
    changed = {name for name in step(model) if name.startswith("stem")}
    assert changed == {"stem.bn1.running_mean", "stem.bn1.running_var", "stem.bn1.num_batches_tracked"}


def test_fixed_batch_norm_is_one_function_in_both_modes() -> None:
    model = small()
    step(model)
    fixed = fix_batch_norm(model)
    assert set(fixed.parameters) == {f"{name}.{role}" for name in fixed.batch_norms for role in ("weight", "bias")}
    assert torch.equal(model.train()(IMAGES), model.eval()(IMAGES))
    assert {name for name in step(model) if "bn" in name} == set()


def test_unfreezing_undoes_it() -> None:
    model = small()
    everything = step(copy.deepcopy(model))
    freeze(model, "stem", "conv2", "head")
    thawed = unfreeze(model, "stem")
    assert thawed == Frozen(("stem.conv1.weight", "stem.bn1.weight", "stem.bn1.bias"), ("stem.bn1",))
    assert type(model.get_submodule("stem.bn1")) is nn.BatchNorm2d
    unfreeze(model)
    assert step(model) == everything
    assert all(module.training for module in model.modules())


def test_names_are_paths_and_those_of_the_spec() -> None:
    model = small()
    assert freeze(model, "class") == freeze(model, "class_")
    assert len(freeze(model, "conv3.0.shortcut").parameters) == 3
    outer = nn.Sequential(model)
    assert freeze(outer, "0.head").batch_norms == ("0.head.bn1",)
    assert type(model.get_submodule("head.bn1")).__name__ == "FixedBatchNorm1d"


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (("conv9",), {}, "there is no part 'conv9'; known are stem, conv2, .*; did you mean 'conv2'"),
        (("conv3.0.bm1",), {}, "did you mean 'conv3.0.bn1'"),
        ((), {}, "name the parts to freeze"),
        (("stem",), {"batch_norm": "off"}, "batch_norm is 'fixed' or 'updated', not 'off'"),
    ],
)
def test_wrong_names(names: tuple[str, ...], options: dict[str, str], message: str) -> None:
    model = small()
    with pytest.raises(ValueError, match=message):
        freeze(model, *names, **options)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_cannot_be_fixed_is_refused() -> None:
    model = nn.ModuleDict({"a": nn.BatchNorm2d(2), "b": nn.BatchNorm3d(2)})
    with pytest.raises(ValueError, match="'b' is a BatchNorm3d"):
        fix_batch_norm(model)
    assert type(model["a"]) is nn.BatchNorm2d


def test_they_are_public() -> None:
    assert (resdsl.freeze, resdsl.unfreeze, resdsl.fix_batch_norm) == (freeze, unfreeze, fix_batch_norm)


def test_gradients_pass_through_frozen_layers() -> None:
    model = small()
    freeze(model, "conv3")
    images: Tensor = IMAGES.clone().requires_grad_()
    model(images).sum().backward()
    assert images.grad is not None
    assert model.get_parameter("stem.conv1.weight").grad is not None
