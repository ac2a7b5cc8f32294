"""Weights of other implementations carried over: what comes out must compute the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import nn

import resdsl
from tests.weights.sources import Block, CifarNet, expect_equal_outputs, expect_same, lively

SPECS = Path(__file__).parents[2] / "specs"
CIFAR = str(SPECS / "families" / "resnet_cifar.res")


def load(spec: str, network: str | None = None) -> resdsl.Net:
    return resdsl.load(SPECS / spec, network)


# --- libraries -----------------------------------------------------------------------------------------------------

PEERS: dict[str, tuple[str, str, Callable[[], nn.Module]]] = {
    "torchvision resnet18": ("resnet18.res", "resnet18", torchvision.models.resnet18),
    "torchvision resnet50": ("resnet50.res", "resnet50_v15", torchvision.models.resnet50),
    "torchvision resnext": ("resnext.res", "resnext50_32x4d", torchvision.models.resnext50_32x4d),
    "torchvision densenet": ("densenet121.res", "densenet121", torchvision.models.densenet121),
    "torchvision googlenet": (
        "googlenet.res",
        "googlenet_bn",
        lambda: torchvision.models.googlenet(init_weights=False, aux_logits=False),
    ),
    "timm seresnet50": (
        "se_resnet50.res",
        "se_resnet50",
        lambda: timm.create_model("seresnet50", zero_init_last=False),
    ),
    "timm resnet50d": ("resnet50_d.res", "resnet50_d", lambda: timm.create_model("resnet50d", zero_init_last=False)),
    "timm resnetv2": ("preact_resnets.res", "preact50", lambda: timm.create_model("resnetv2_50")),
}


@pytest.mark.parametrize("name", PEERS)
def test_libraries(name: str) -> None:
    spec, network, make = PEERS[name]
    peer = lively(make())
    net = load(spec, network)
    receipt = expect_same(net, peer, sizes=[(97, 65)])
    assert receipt.counts()["fresh"] == receipt.counts()["left over"] == 0
    assert not receipt.by_order


def test_shortcuts_of_the_branchs_shape() -> None:
    """conv3 and the projection of the first block have one shape."""
    receipt = expect_same(load("resnet50.res", "resnet50_v15"), lively(torchvision.models.resnet50()), sizes=[(64, 64)])
    assert receipt.source_of("conv2.0.conv3.weight") == "layer1.0.conv3.weight"
    assert receipt.source_of("conv2.0.shortcut.conv1.weight") == "layer1.0.downsample.0.weight"
    rows = {row.target: row.how for row in receipt.rows}
    assert rows["conv2.0.conv3.weight"] == "role in name"
    assert rows["stem.conv1.weight"] == "only one of its shape"


def test_auxiliary_heads() -> None:
    peer = lively(torchvision.models.googlenet(init_weights=False))
    net = load("googlenet.res", "googlenet_bn")
    both = net.to_torch(auxiliary=True)
    assert resdsl.load_weights(both, peer.state_dict()).counts()["left over"] == 0
    first, second = (
        row
        for row in resdsl.load_weights(both, peer.state_dict()).rows
        if row.source.endswith("conv.conv.weight") and "aux" in row.source
    )
    assert first.target.startswith("auxiliary1")
    assert second.target.startswith("auxiliary2")
    without = expect_same(net, peer, sizes=[(97, 65)])
    assert all(row.source.startswith("aux") and "is not in this module" in row.how for row in without.left_over)


# --- CIFAR repositories --------------------------------------------------------------------------------------------


def test_a_parallel_checkpoint_of_a_cifar_repository() -> None:
    peer = lively(CifarNet(3))
    state = {f"module.{name}": value for name, value in peer.state_dict().items()}
    receipt = expect_same(resdsl.load(CIFAR, n=3, option="B"), peer, state)
    assert receipt.source_of("conv3.0.shortcut.conv1.weight") == "module.layer2.0.shortcut.0.weight"
    assert receipt.source_of("head.linear1.weight") == "module.linear.weight"


def test_zeros_on_both_sides_are_a_matter_of_the_spec() -> None:
    """akamaster's option A: the weights fit either way, the function shows the difference."""
    peer = lively(CifarNet(2, option="A"))
    net = resdsl.load(CIFAR, n=2, option="A")
    with pytest.raises(AssertionError):
        expect_same(net, peer)
    from resdsl.compiler import compile_network, open_source

    expect_same(compile_network(open_source(CIFAR), arguments="n = 2, option = A(at = both)"), peer)


def test_gates() -> None:
    class Highway(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.H = nn.Conv2d(8, 8, 3, padding=1)
            self.T = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gate = self.T(x).sigmoid()
            output: torch.Tensor = self.H(x).relu() * gate + x * (1 - gate)
            return output

    peer = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Highway(), Highway())
    net = network("conv(3x3, 8)\n stage one, filters 8 { 2 x highway }")
    receipt = expect_same(net, peer.eval())
    assert receipt.source_of("one.1.gate.conv1.weight") == "2.T.weight"


def network(body: str, head: str = "network tiny { input 3 x 32 x 32;") -> resdsl.Net:
    from resdsl.compiler import compile_network
    from resdsl.source import SourceFile

    return compile_network(SourceFile("tiny.res", f"{head}\n{body}\n}}"))


# --- one's own ------------------------------------------------------------------------------------------------------


def test_an_older_spec_shifts_nothing() -> None:
    older, newer = resdsl.load(CIFAR, n=2).to_torch(), resdsl.load(CIFAR, n=3).to_torch()
    with pytest.raises(resdsl.WeightsError, match=r"conv2\.2\.conv1\.weight"):
        resdsl.load_weights(newer, older.state_dict())
    receipt = resdsl.load_weights(newer, older.state_dict(), allow_fresh=["conv2.2", "conv3.2", "conv4.2"])
    assert all(row.target == row.source for row in receipt.loaded)
    assert {row.target.rpartition(".")[0].rpartition(".")[0] for row in receipt.fresh} == {
        "conv2.2",
        "conv3.2",
        "conv4.2",
    }


def test_a_renamed_part() -> None:
    old = network(
        "stem { conv(3x3, 8) -> bn -> relu }\n stage a, filters 8 { 3 x basic }\n head { global_avg_pool -> linear(4) }"
    )
    new = network(
        "stem { conv(3x3, 8) -> bn -> relu }\n stage b, filters 8 { 3 x basic }\n head { global_avg_pool -> linear(4) }"
    )
    source, model = old.to_torch().eval(), new.to_torch()
    resdsl.load_weights(model, source.state_dict())
    expect_equal_outputs(model, source, [(32, 32)])


def test_only_a_part_of_the_network_is_there() -> None:
    peer = lively(torchvision.models.resnet18())
    model = load("resnet18.res").to_torch(taps=["conv3"]).eval()
    receipt = resdsl.load_weights(model, peer.state_dict())
    assert {row.how.partition(".")[0] for row in receipt.left_over} == {"conv4", "conv5", "head"}
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        theirs = peer.layer2(peer.layer1(peer.maxpool(peer.relu(peer.bn1(peer.conv1(images))))))  # type: ignore[operator]
        torch.testing.assert_close(model(images)["conv3"], theirs)


def test_a_net_of_1202_layers_takes_at_most_two_seconds() -> None:
    model = resdsl.load(CIFAR, n=200).to_torch(init="torch")
    state = {}
    for name, value in model.state_dict().items():
        layer, _, role = name.rpartition(".")
        state[f"net.{layer.replace('conv', 'c').replace('bn', 'norm')}.{role}"] = value
    start = time.process_time()
    receipt = resdsl.load_weights(model, state)
    assert time.process_time() - start < 2
    assert receipt.counts()["fresh"] == receipt.counts()["left over"] == 0
    assert all(row.source == "net." + row.target.replace("conv", "c").replace("bn", "norm") for row in receipt.rows)


def test_modules_not_made_here() -> None:
    with pytest.raises(resdsl.WeightsError, match=r"does not come from Net\.to_torch"):
        resdsl.load_weights(Block(3, 3, 1), Block(3, 3, 1).state_dict())
