"""The nets before residual learning: equal to torchvision's where it has them, else to what their papers state."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import GoogLeNetOutputs

import resdsl
from resdsl.net import Net
from tests.zoo.compared import BEFORE, WRITTEN
from tests.zoo.peers import assert_close, assert_same_function, carry_weights, lively

SPECS = Path(__file__).parents[2] / "specs"
VGGS = [f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "_bn")]
OPTIONS = {
    "googlenet": {"aux_logits": True, "transform_input": False, "init_weights": False},
    **{name: {"init_weights": False} for name in VGGS},
}


def ours(file: str, network: str) -> Net:
    return resdsl.load(SPECS / file, network)


def theirs(name: str) -> nn.Module:
    module: nn.Module = getattr(torchvision.models, name)(weights=None, **OPTIONS.get(name, {}))
    return module


@pytest.mark.parametrize(("file", "network", "peer"), BEFORE)
def test_counts(file: str, network: str, peer: str) -> None:
    net = ours(file, network)
    with torch.device("meta"):
        model = theirs(peer.split()[1]).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, *net.input_shape))  # type: ignore[arg-type]
        module = net.to_torch(auxiliary=True)
    numbers = [sum(weight.numel() for weight in side.parameters()) for side in (model, module)]
    assert numbers[0] == numbers[1]
    assert net.parameters == sum(
        weight.numel() for name, weight in model.named_parameters() if not name.startswith("aux")
    )
    assert net.macs == counter.get_total_flops() // 2
    least = torchvision.models.get_model_weights(peer.split()[1]).DEFAULT.meta["min_size"]
    assert net.summary()["minimum_input"] == [3, *least]


def test_alexnet() -> None:
    peer, module = theirs("alexnet"), ours("alexnet.res", "alexnet").to_torch(init="torch")
    assert_same_function(peer, module, carry_weights(peer, module), [(224, 224), (193, 161)])


@pytest.mark.parametrize("name", VGGS)
def test_vgg(name: str) -> None:
    peer = lively(theirs(name))
    with torch.device("meta"):  # all its numbers come from the peer; to draw 138 million first takes a second
        module = ours("vgg.res", name).to_torch()
    module.to_empty(device="cpu")
    assert_same_function(peer, module, carry_weights(peer, module), [(224, 224), (97, 81)])


def test_googlenet_bn() -> None:
    """All three outputs in training mode, their dropouts drawn alike; the trunk's in evaluation mode."""
    peer = lively(theirs("googlenet"))
    for name in ("inception5a", "inception5b", "fc"):  # behind the auxiliary heads, as ours are
        peer.register_module(name, peer._modules.pop(name))
    module = ours("googlenet.res", "googlenet_bn").to_torch(init="torch", auxiliary=True)

    def outputs(result: object) -> Iterable[Tensor]:
        match result:
            case GoogLeNetOutputs():
                return result.logits, result.aux_logits1, result.aux_logits2
            case tuple():
                return result if module.training else result[:1]
        assert isinstance(result, Tensor)
        return (result,)

    assert_same_function(peer, module, carry_weights(peer, module), [(224, 224), (193, 161)], outputs=outputs)


# --- by hand, from the papers' tables, where nobody else has the net ------------------------------------------------

Weights = dict[str, Tensor]


def conv(images: Tensor, weights: Weights, name: str, stride: int = 1, padding: int | None = None) -> Tensor:
    kernel = weights[f"{name}.weight"]
    around = kernel.shape[-1] // 2 if padding is None else padding
    return functional.conv2d(images, kernel, weights[f"{name}.bias"], stride, around)


def linear(vectors: Tensor, weights: Weights, name: str) -> Tensor:
    return functional.linear(vectors, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def of(net: Net, auxiliary: bool = False) -> tuple[nn.Module, Weights]:
    torch.manual_seed(0)
    module = net.to_torch(init="torch", auxiliary=auxiliary).eval()
    return module, {name: value.detach() for name, value in module.state_dict().items()}


def normalised(maps: Tensor) -> Tensor:
    """Krizhevsky et al. 2012, section 3.3: each map by the squares of the five around it."""
    squares, count = maps.square(), maps.shape[1]
    sums = [squares[:, max(0, i - 2) : min(count, i + 3)].sum(1) for i in range(count)]
    return maps / (2 + 1e-4 * torch.stack(sums, 1)).pow(0.75)


def test_alexnet_2012() -> None:
    """On two GPUs, as in Figure 2: `weights` hold the filters of the first before those of the second."""
    net = ours("alexnet.res", "alexnet_2012")
    module, weights = of(net)

    def gpu(number: int, maps: Tensor, name: str) -> Tensor:
        own = {role: weights[f"{name}.{role}"].chunk(2)[number] for role in ("weight", "bias")}
        padding = own["weight"].shape[-1] // 2
        return functional.conv2d(maps, own["weight"], own["bias"], padding=padding).relu()

    def both(halves: Iterable[Tensor]) -> Tensor:
        return torch.cat(list(halves), 1)

    images = torch.randn(1, 3, 227, 227) * 50
    maps = functional.max_pool2d(normalised(conv(images, weights, "conv1.conv1", 4, 0).relu()), 3, 2)
    maps = both(gpu(i, half, "conv2.conv1") for i, half in enumerate(maps.chunk(2, 1)))
    maps = conv(functional.max_pool2d(normalised(maps), 3, 2), weights, "conv3.conv1").relu()
    halves = [gpu(i, half, "conv4.conv1") for i, half in enumerate(maps.chunk(2, 1))]
    maps = functional.max_pool2d(both(gpu(i, half, "conv5.conv1") for i, half in enumerate(halves)), 3, 2)
    vector = maps.flatten(1)
    for name in ("head.0.linear1", "head.1.linear1"):
        vector = linear(vector, weights, name).relu()
    with torch.inference_mode():
        assert_close(module(images), linear(vector, weights, "head.linear1"), 1e-5, "output")
    # Section 3.5 counts the neurons, 650,000 in all; those of the first layer are too few for its 96 maps of 55 x 55.
    neurons = [96 * 55 * 55, 186_624, 64_896, 64_896, 43_264, 4_096, 4_096, 1_000]
    assert net.summary()["activations"] == sum(neurons)


INCEPTIONS = {  # Table 1 of Szegedy et al. 2014: input, map, the six columns, multiply-adds in millions
    "3a": (192, 28, 64, 96, 128, 16, 32, 32, 128),
    "3b": (256, 28, 128, 128, 192, 32, 96, 64, 304),
    "4a": (480, 14, 192, 96, 208, 16, 48, 64, 73),
    "4b": (512, 14, 160, 112, 224, 24, 64, 64, 88),
    "4c": (512, 14, 128, 128, 256, 24, 64, 64, 100),
    "4d": (512, 14, 112, 144, 288, 32, 64, 64, 119),
    "4e": (528, 14, 256, 160, 320, 32, 128, 128, 170),
    "5a": (832, 7, 256, 160, 320, 32, 128, 128, 54),
    "5b": (832, 7, 384, 192, 384, 48, 128, 128, 71),
}


def test_googlenet_counts() -> None:
    net = ours("googlenet.res", "googlenet")
    parameters = 64 * (3 * 49 + 1) + 64 * (64 + 1) + 192 * (64 * 9 + 1) + 1000 * (1024 + 1)
    macs = 112 * 112 * 64 * 3 * 49 + 56 * 56 * (64 * 64 + 192 * 64 * 9) + 1024 * 1000
    for channels, side, c1, r3, c3, r5, c5, pool, printed in INCEPTIONS.values():
        weights = channels * (c1 + r3 + r5 + pool) + 9 * r3 * c3 + 25 * r5 * c5
        # The table's number for 5a is that of 48 filters where its column says 32.
        assert weights * side * side / 1e6 == pytest.approx(printed, rel=0.06)
        parameters += weights + c1 + r3 + c3 + r5 + c5 + pool
        macs += weights * side * side
    assert (net.parameters, net.macs) == (parameters, macs)
    assert net.auxiliary_weights == (0.3, 0.3)


def test_googlenet() -> None:
    module, weights = of(ours("googlenet.res", "googlenet"), auxiliary=True)

    def pool(maps: Tensor) -> Tensor:
        return functional.max_pool2d(maps, 3, 2, ceil_mode=True)

    def inception(maps: Tensor, name: str) -> Tensor:
        def way(maps: Tensor, number: int, count: int) -> Tensor:
            for index in range(count):
                path = f"inception{name[0]}.inception{name}.branch{number}.conv{index + 1}"
                maps = conv(maps, weights, path).relu()
            return maps

        pooled = functional.max_pool2d(maps, 3, 1, 1)
        return torch.cat([way(maps, 1, 1), way(maps, 2, 2), way(maps, 3, 2), way(pooled, 4, 1)], 1)

    def auxiliary(maps: Tensor, name: str) -> Tensor:
        path = f"{name}.auxiliary_head1"
        maps = conv(functional.avg_pool2d(maps, 5, 3), weights, f"{path}.conv1").relu()
        return linear(linear(maps.flatten(1), weights, f"{path}.linear1").relu(), weights, f"{path}.linear2")

    images = torch.randn(1, 3, 224, 224) * 50
    maps = functional.local_response_norm(pool(conv(images, weights, "stem.conv1", 2).relu()), 5)
    maps = conv(conv(maps, weights, "stem.conv2").relu(), weights, "stem.conv3").relu()
    maps = pool(functional.local_response_norm(maps, 5))
    heads: list[Tensor] = []
    for name in INCEPTIONS:
        maps = inception(maps, name)
        if name in ("4a", "4d"):
            heads.append(auxiliary(maps, f"auxiliary{len(heads) + 1}"))
        if name in ("3b", "4e"):
            maps = pool(maps)
    expected = [linear(maps.mean((2, 3)), weights, "head.linear1"), *heads]
    with torch.inference_mode():
        for found, value in zip(module(images), expected, strict=True):
            assert_close(found, value, 1e-5, "output")


DROPOUTS = {  # the share of each and what it follows, `mean` being the global pool
    ("alexnet.res", "alexnet_2012"): [(0.5, "head.0.relu1"), (0.5, "head.1.relu1")],
    ("googlenet.res", "googlenet"): [
        (0.7, "auxiliary1.auxiliary_head1.relu2"), (0.7, "auxiliary2.auxiliary_head1.relu2"),
        (0.4, "mean"),
    ],
    ("highway.res", "highway19"): [
        (0.2, "x"), (0.2, "conv1.max_pool1"), (0.2, "conv2.max_pool1"), (0.2, "mean"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("file", "network"), DROPOUTS)
def test_dropouts(file: str, network: str) -> None:
    """What comparisons in evaluation mode cannot see."""
    module = ours(file, network).to_torch(init="torch", auxiliary=True)
    found = []
    for node in module.graph.nodes:
        layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, nn.Dropout):
            (before,) = node.all_input_nodes
            found.append((layer.p, str(before.target)))
    assert found == DROPOUTS[file, network]


@pytest.mark.parametrize(("name", "layers"), [("highway19", (4, 5, 5)), ("highway32", (9, 9, 9))])
def test_highway(name: str, layers: tuple[int, ...]) -> None:
    """y = H(x) T(x) + x (1 - T(x)): Srivastava et al. 2015, equation 3."""
    net = ours("highway.res", name)
    module, weights = of(net)
    images = torch.randn(2, 3, 32, 32)
    maps = images
    for stage, count in enumerate(layers, 1):
        maps = conv(maps, weights, f"conv{stage}.conv1").relu()
        for index in range(count):
            gate = conv(maps, weights, f"conv{stage}.{index}.gate.conv1").sigmoid()
            transform = conv(maps, weights, f"conv{stage}.{index}.transform.conv1").relu()
            maps = transform * gate + maps * (1 - gate)
        maps = functional.max_pool2d(maps, 2) if stage < len(layers) else maps
    vector = conv(maps, weights, "head.conv1").relu().mean((2, 3))
    with torch.inference_mode():
        assert_close(module(images), linear(vector, weights, "head.linear1"), 1e-5, "output")
    gates = {value for key, values in weights.items() if "gate" in key and "bias" in key for value in values.tolist()}
    assert gates == {-2.0}


def test_highway19_counts() -> None:
    """What Caffe prints, layer by layer, for the file that its authors published."""
    net = resdsl.load(SPECS / "highway.res", "highway19", classes=100)
    printed = [[896] + 4 * [18_496], [23_120] + 5 * [115_360], [92_288] + 5 * [295_168], [12_900, 10_100]]
    assert [stage["parameters"] for stage in net.stages] == [sum(stage) for stage in printed]
    assert net.parameters == 2_265_928
    assert net.summary()["depth"] == sum(map(len, printed)) == 19


def test_highway32_alternates() -> None:
    weights = ours("highway.res", "highway32").to_torch().state_dict()
    for stage in (1, 2, 3):
        kernels = [weights[f"conv{stage}.{index}.gate.conv1.weight"].shape[-1] for index in range(9)]
        assert [weights[f"conv{stage}.conv1.weight"].shape[-1], *kernels] == 5 * [3, 1]


@pytest.mark.parametrize("name", WRITTEN["mlp_shortcut.res"])
def test_mlp(name: str) -> None:
    net = ours("mlp_shortcut.res", name)
    module, weights = of(net, auxiliary=True)
    images = torch.randn(4, 784)
    first = linear(images, weights, "hidden1.linear1").tanh()
    second = linear(first, weights, "hidden2.linear1").tanh()
    third = linear(second, weights, "hidden3.linear1").tanh()
    has_shortcut = name == "mlp_shortcut"
    across = linear(images, weights, "head.shortcut.linear1") if has_shortcut else 0.0
    expected = (
        linear(third, weights, "head.linear1") + across,
        linear(first, weights, "classifier1.linear1"),
        linear(second, weights, "classifier2.linear1"),
    )
    with torch.inference_mode():
        for found, value in zip(module(images), expected, strict=True):
            assert_close(found, value, 1e-6, "output")
    widths = [784, 300, 300, 300, 10]
    layers = sum((before + 1) * after for before, after in pairwise(widths))
    assert net.parameters == layers + has_shortcut * 784 * 10
    assert net.auxiliary_weights == (0.3, 0.3)
