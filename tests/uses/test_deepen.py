"""Deeper networks of trained ones: equal outputs, blocks that learn, and refusals that name the block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import resdsl
from resdsl.compiler import compile_network
from resdsl.emit.torch_module import NetModule
from resdsl.net import Net
from resdsl.source import SourceFile
from resdsl.transfer.deepening import DeepenError, deepen

SPECS = Path(__file__).parents[2] / "specs"
CIFAR = SPECS / "families" / "resnet_cifar.res"
BLOCKS = """
network tested(n = 2, block = basic, option = B, first = relu, extra = false, eps = 1e-5) {
  input 3 x 16 x 16
  rules { same map -> same filters; halve map -> double filters; shortcut -> option; default bn(eps = eps) }
  stem { conv(3x3, 8) -> bn -> first }
  if extra { stage e { 2 x basic } }
  stage a            { n x block }
  stage c, halve map { n x block }
  auxiliary side { global_avg_pool -> linear(3) }
  head { bn -> relu -> global_avg_pool -> linear(10) }
}

shortcut bare { same shape -> identity; shape changes -> bare_projection }

block weighed {
  residual {
    conv(3x3, filters, stride = stride) -> bn -> relu -> conv(3x3, filters) -> bn
    squeeze_excitation(ratio = 2)
  }
  relu
}

block twice {
  residual { conv(3x3, filters, stride = stride) -> bn }
  residual { conv(3x3, filters) -> bn }
}

block dropped {
  residual { conv(3x3, filters, stride = stride) -> bn -> stochastic_depth(0.5) }
  relu
}

block activated { residual { conv(3x3, filters, stride = stride) -> bn -> relu } }

block curved { residual { conv(3x3, filters, stride = stride) -> bn -> tanh } }

block normalised {
  residual { conv(3x3, filters, stride = stride) -> relu -> conv(3x3, filters) }
  bn -> relu
}

block loose { residual { conv(3x3, filters, stride = stride) -> bn -> sigmoid } }
"""


def block_net(arguments: str) -> Net:
    return compile_network(SourceFile("tested.res", BLOCKS), arguments=arguments)


def trained(net: Net, **options: Any) -> NetModule:
    """A module whose normalisations have statistics, as after training."""
    torch.manual_seed(0)
    module = net.to_torch(**options).train()
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.uniform_(-0.2, 0.2)
        for _ in range(3):
            module(torch.randn(8, *(int(str(extent)) for extent in net.input_shape)))
    return module.eval()


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("option", ["A", "B"])
def test_a_deeper_net_gives_the_same_outputs(option: str) -> None:
    shallow = trained(resdsl.load(CIFAR, n=2, option=option))
    before = {name: value.clone() for name, value in shallow.state_dict().items()}
    deep = deepen(shallow, resdsl.load(CIFAR, n=4, option=option))
    assert not deep.training
    for size in (32, 19):
        assert torch.equal(deep(images(size)), shallow(images(size)))
    assert all(torch.equal(value, before[name]) for name, value in shallow.state_dict().items())
    assert torch.equal(deep.train()(images(32)), shallow.train()(images(32)))


def test_only_the_last_normalisation_of_an_added_block_is_zero() -> None:
    deep = deepen(trained(resdsl.load(CIFAR, n=2)), resdsl.load(CIFAR, n=3))
    zeros = [name for name, value in deep.named_parameters() if name.startswith("conv") and not value.any()]
    assert zeros == [f"{stage}.2.bn{n}.{role}" for stage in ("conv2", "conv3", "conv4") for n, role in
                     ((1, "bias"), (2, "weight"), (2, "bias"))]  # fmt: skip
    weight = deep.get_parameter("conv2.2.conv1.weight")
    assert weight.std().item() == pytest.approx((2 / 144) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    "arguments",
    [
        "block = weighed",
        "block = twice",
        "block = dropped",
        "block = preact_basic, option = bare, first = identity",
        "block = bottleneck(expansion = 1)",
        "block = basic, first = identity",
        "block = curved",
    ],
)
def test_blocks_that_can_be_the_identity_and_learn(arguments: str) -> None:
    shallow = trained(block_net(arguments))
    deep = deepen(shallow, block_net(f"n = 3, {arguments}"))
    assert torch.equal(deep.eval()(images(16)), shallow.eval()(images(16)))
    deep.train()
    optimizer = torch.optim.SGD(deep.parameters(), lr=0.1)
    for _ in range(6):
        optimizer.zero_grad()
        deep(images(16)).square().mean().backward()
        optimizer.step()
    added = {name: weight.grad for name, weight in deep.named_parameters() if name.startswith(("a.2", "c.2"))}
    assert added
    assert all(grad is not None and grad.any() for name, grad in added.items() if name.endswith("conv1.weight"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("block = plain", "the added block 'a.2' cannot begin as the identity: it has no shortcut"),
        ("block = basic, option = none", "'a.2' cannot begin as the identity: it has no shortcut"),
        ("block = basic, option = C", "its shortcut C is not the identity, but leads through 'a.2.shortcut.bn1'"),
        ("block = highway, option = A", "'a.2' cannot begin as the identity: it is gated"),
        ("block = activated", "its branch ends in `relu`, which stops zeros or the gradients that"),
        ("block = loose", "its branch ends in `sigmoid`"),
        ("block = normalised", "its sum passes through 'a.2.bn1'"),
    ],
)
def test_blocks_that_cannot(arguments: str, message: str) -> None:
    shallow = trained(block_net(arguments))
    with pytest.raises(DeepenError, match=message):
        deepen(shallow, block_net(f"n = 3, {arguments}"))


def test_a_whole_stage_can_be_added() -> None:
    shallow = trained(block_net(""))
    deep = deepen(shallow, block_net("extra = true"))
    assert torch.equal(deep(images(16)), shallow(images(16)))
    with pytest.raises(DeepenError, match=r"'e.0' .* it ends in a relu, and 'stem.bn1', from which it starts, can be"):
        deepen(trained(block_net("first = identity")), block_net("extra = true, first = identity"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("n = 2", "tested has no more blocks than the trained network"),
        ("n = 1", "tested has no 'a.1.conv1', which the trained network has"),
        ("n = 3, option = A", "tested has no 'c.0.shortcut.conv1'"),
        ("n = 3, block = basic(shortcut = C)", "'a.0.shortcut' cannot begin as the identity: it has no shortcut"),
        ("n = 3, eps = 0.5", r"the outputs differ by 0\.\d+ of the largest value for an input of 3 x 16 x 16 in evalu"),
    ],
)
def test_networks_that_do_not_fit(arguments: str, message: str) -> None:
    with pytest.raises(DeepenError, match=message):
        deepen(trained(block_net("")), block_net(arguments))


def test_ops_that_read_something_else() -> None:
    text = """
network joined(n = 2, late = false) {
  input 3 x 16 x 16
  conv(3x3, 8) as early -> relu as later
  stage a, filters 8 { n x basic }
  if late { add(later) } else { add(early) }
}
"""
    shallow, deep, other = (
        compile_network(SourceFile("joined.res", text), arguments=arguments)
        for arguments in ("", "n = 3", "n = 3, late = true")
    )
    deepen(trained(shallow), deep)
    with pytest.raises(
        DeepenError, match=r"'add1' reads 'a.1.relu2', 'later' in the deeper .* and 'a.1.relu2', 'early' in"
    ):
        deepen(trained(shallow), other)


def test_other_shapes_and_values_that_are_not_finite() -> None:
    shallow = trained(resdsl.load(CIFAR, n=2))
    with pytest.raises(
        DeepenError, match=r"'head.linear1.weight' is \(10, 64\) in the trained .* \(5, 64\) in the deeper"
    ):
        deepen(shallow, resdsl.load(CIFAR, n=3, classes=5))
    with torch.no_grad():
        shallow.get_parameter("conv3.0.conv1.weight")[0, 0, 0, 0] = float("nan")
    with pytest.raises(DeepenError, match="outputs are not all finite"):
        deepen(shallow, resdsl.load(CIFAR, n=3))


def test_the_form_of_the_module_stays() -> None:
    tapped = trained(block_net(""), taps={"c": "out"}, bn_eps=1e-3)
    deep = deepen(tapped, block_net("n = 3"))
    assert list(deep(images(16))) == ["out"]
    assert {norm.eps for norm in deep.modules() if isinstance(norm, nn.BatchNorm2d)} == {1e-3}
    assert len(deepen(trained(block_net(""), auxiliary=True), block_net("n = 3"))(images(16))) == 2
    assert (
        deepen(trained(block_net("")).double(), block_net("n = 3")).get_parameter("a.2.conv1.weight").dtype
        is torch.float64
    )


def test_frozen_networks_can_be_deepened() -> None:
    shallow = trained(block_net(""))
    resdsl.freeze(shallow, "stem", "a")
    deep = deepen(shallow, block_net("n = 3"))
    assert torch.equal(deep(images(16)), shallow(images(16)))
    assert not shallow.get_parameter("stem.conv1.weight").requires_grad


def test_only_whole_modules_of_ours() -> None:
    with pytest.raises(DeepenError, match="begins at 'a': deepen the whole network"):
        deepen(block_net("").to_torch(start="a"), block_net("n = 3"))
    with pytest.raises(DeepenError, match="only a module that `to_torch` gave"):
        deepen(nn.Linear(2, 2), block_net("n = 3"))


def test_it_is_public() -> None:
    assert resdsl.deepen is deepen
