"""Our residual nets are torchvision's: same counts, and with its weights the same outputs and gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import resdsl
from resdsl.net import Net

SPECS = Path(__file__).parents[2] / "specs"
NETS = {
    18: ("resnet_imagenet.res", "resnet18"),
    34: ("resnet34.res", "resnet34"),
    # torchvision's bottleneck nets are v1.5: they stride on the 3x3.
    50: ("resnet_imagenet.res", "resnet50_v15"),
    101: ("resnet_imagenet.res", "resnet101_v15"),
    152: ("resnet_imagenet.res", "resnet152_v15"),
}


def ours(depth: int) -> Net:
    file, network = NETS[depth]
    return resdsl.load(SPECS / file, network)


def theirs(depth: int) -> nn.Module:
    module: nn.Module = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    return module


def in_our_words(name: str) -> str:
    """The name of a weight of torchvision in our net: the same structure, the paper's names."""
    part, _, rest = name.partition(".")
    if part in ("conv1", "bn1"):
        return f"stem.{name}"
    if part == "fc":
        return f"head.linear1.{rest}"
    stage, block, rest = f"conv{int(part.removeprefix('layer')) + 1}", *rest.split(".", 1)
    for theirs_, ours_ in (("downsample.0", "shortcut.conv1"), ("downsample.1", "shortcut.bn1")):
        rest = rest.replace(theirs_, ours_)
    return f"{stage}.{block}.{rest}"


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    target.load_state_dict({in_our_words(name): value for name, value in source.state_dict().items()}, strict=True)


def lively(module: nn.Module) -> nn.Module:
    """The module with normalisations that do something: statistics and scales as after training."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
                layer.running_var.uniform_(0.8, 1.2)  # type: ignore[union-attr]
                layer.weight.uniform_(0.3, 0.6)
                layer.bias.uniform_(-0.1, 0.1)
    return module


def gradients(module: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    functional.cross_entropy(module(images), labels).backward()  # type: ignore[no-untyped-call]
    return {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("depth", NETS)
def test_counts(depth: int) -> None:
    net = ours(depth)
    with torch.device("meta"):
        model = theirs(depth)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 3, 224, 224))
    assert net.parameters == sum(weight.numel() for weight in model.parameters())
    assert net.macs == counter.get_total_flops() // 2
    assert net.summary()["buffers"] == sum(buffer.numel() for buffer in model.buffers() if buffer.dim())


@pytest.mark.parametrize("depth", NETS)
def test_state_dicts_have_one_order(depth: int) -> None:
    """Not needed to load weights by name, but it makes checkpoints of optimizers fit, too."""
    with torch.device("meta"):
        model, module = theirs(depth), ours(depth).to_torch()
    names = {in_our_words(name): value.shape for name, value in model.state_dict().items()}
    assert names == {name: value.shape for name, value in module.state_dict().items()}


@pytest.mark.parametrize("depth", NETS)
def test_outputs(depth: int) -> None:
    torch.manual_seed(depth)
    model, module = lively(theirs(depth)).eval(), ours(depth).to_torch(init="torch").eval()
    copy_weights(model, module)
    with torch.inference_mode():
        for size in ((64, 64), (75, 75)) if depth < 101 else ((45, 75),):
            images = torch.randn(1, 3, *size)
            torch.testing.assert_close(module(images), model(images), rtol=1e-4, atol=1e-4)


def test_gradients_of_resnet18() -> None:
    torch.manual_seed(0)
    model, module = lively(theirs(18)).train().double(), ours(18).to_torch(init="torch").train().double()
    copy_weights(model, module)
    images, labels = torch.randn(3, 3, 40, 40, dtype=torch.float64), torch.tensor([1, 2, 999])
    found = gradients(module, images, labels)
    expected = {in_our_words(name): grad for name, grad in gradients(model, images, labels).items()}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=f"gradient of {name}")
    statistics = {in_our_words(name): buffer for name, buffer in model.named_buffers()}
    for name, buffer in module.named_buffers():
        torch.testing.assert_close(buffer, statistics[name])
