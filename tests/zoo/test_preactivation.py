"""The nets of He et al. 2016: timm's where it has them, else what the paper's figures show, in plain torch."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import resdsl
from tests.zoo.compared import PREACTIVATION, WRITTEN
from tests.zoo.counting import Count, Shortcut, bare_option_b, gate, none, option_b, projection, residual
from tests.zoo.peers import assert_same_function, carry_weights, lively

SPECS = Path(__file__).parents[2] / "specs"
CIFAR, SHORTCUTS, ACTIVATIONS = "cifar_preact_resnets.res", "resnet110_shortcuts.res", "resnet110_activations.res"
RESIDUAL = "cifar_resnets.res"


# --- timm -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    module: ModuleType = pytest.importorskip("timm", reason="timm, the peer of this comparison, is not installed")
    return module


@pytest.mark.parametrize(("file", "network", "peer"), PREACTIVATION)
def test_counts_of_timm(timm: ModuleType, file: str, network: str, peer: str) -> None:
    net = resdsl.load(SPECS / file, network)
    with torch.device("meta"):
        model = timm.create_model(peer.split()[1])
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 3, 224, 224))
    assert net.parameters == sum(weight.numel() for weight in model.parameters())
    assert net.macs == counter.get_total_flops() // 2
    assert net.summary()["buffers"] == sum(buffer.numel() for buffer in model.buffers() if buffer.dim())


@pytest.mark.parametrize(("file", "network", "peer"), PREACTIVATION)
def test_outputs_and_gradients_of_timm(timm: ModuleType, file: str, network: str, peer: str) -> None:
    model = lively(timm.create_model(peer.split()[1]))
    module = resdsl.load(SPECS / file, network).to_torch(init="torch")
    assert_same_function(model, module, carry_weights(model, module), sizes=((224, 224), (97, 129)))


@pytest.mark.parametrize(
    ("network", "blocks"),
    [
        ("preact50", (3, 4, 6, 3)),
        ("preact101", (3, 4, 23, 3)),
        ("preact152", (3, 8, 36, 3)),
        ("preact200", (3, 24, 36, 3)),
    ],
)
def test_imagenet_nets_cost_what_their_units_give(network: str, blocks: tuple[int, ...]) -> None:
    count = Count()
    count.conv(7, 3, 64, 112)
    residual(
        count, blocks, bare_option_b,
        channels=64, side=56, kernels=(1, 3, 1), striding=1, classes=1000, is_preact=True,
    )  # fmt: skip
    net = resdsl.load(SPECS / "preact_resnets.res", network)
    assert net.depth == int(network.removeprefix("preact"))
    assert Count.of(net) == count


# --- CIFAR: counts --------------------------------------------------------------------------------------------------


def cifar_count(n: int, shortcut: Shortcut, kernels: tuple[int, ...] = (3, 3), *, is_preact: bool = False) -> Count:
    count = Count()
    count.conv(3, 3, 16, 32)
    residual(count, [n] * 3, shortcut, channels=16, side=32, kernels=kernels, classes=10, is_preact=is_preact)
    if not is_preact:
        count.bn(16)
    return count


PLAIN_110 = cifar_count(18, none)
GATED_110 = cifar_count(18, gate)
COUNTS = {
    (CIFAR, "preact110"): (110, cifar_count(18, none, is_preact=True)),
    (CIFAR, "preact164"): (164, cifar_count(18, bare_option_b, (1, 3, 1), is_preact=True)),
    (CIFAR, "preact1001"): (1001, cifar_count(111, bare_option_b, (1, 3, 1), is_preact=True)),
    (CIFAR, "resnet164"): (164, cifar_count(18, option_b, (1, 3, 1))),
    (CIFAR, "resnet1001"): (1001, cifar_count(111, option_b, (1, 3, 1))),
    (CIFAR, "resnet110_one_layer"): (110, cifar_count(36, none, (3,))),
    (CIFAR, "preact110_one_layer"): (110, cifar_count(36, none, (3,), is_preact=True)),
    (SHORTCUTS, "resnet110"): (110, PLAIN_110),
    (SHORTCUTS, "plain110"): (110, PLAIN_110),
    (SHORTCUTS, "constant_scaling110"): (110, PLAIN_110),
    (SHORTCUTS, "frozen_gating110"): (110, PLAIN_110),
    (SHORTCUTS, "exclusive_gating110"): (110, GATED_110),
    (SHORTCUTS, "exclusive_gating110_7"): (110, GATED_110),
    (SHORTCUTS, "exclusive_gating110_0"): (110, GATED_110),
    (SHORTCUTS, "shortcut_gating110"): (110, GATED_110),
    (SHORTCUTS, "shortcut_gating110_0"): (110, GATED_110),
    (SHORTCUTS, "conv_shortcut110"): (110, cifar_count(18, projection)),
    (SHORTCUTS, "dropout_shortcut110"): (110, PLAIN_110),
    (ACTIVATIONS, "resnet110"): (110, PLAIN_110),
    (ACTIVATIONS, "bn_after_addition110"): (110, PLAIN_110),
    (ACTIVATIONS, "relu_before_addition110"): (110, PLAIN_110),
    (ACTIVATIONS, "relu_preactivation110"): (110, PLAIN_110),
    (ACTIVATIONS, "full_preactivation110"): (110, PLAIN_110),
}


@pytest.mark.parametrize(("file", "network"), COUNTS)
def test_cifar_nets_cost_what_their_units_give(file: str, network: str) -> None:
    net = resdsl.load(SPECS / file, network)
    assert (net.depth, Count.of(net)) == COUNTS[file, network]


@pytest.mark.parametrize("file", [CIFAR, SHORTCUTS, ACTIVATIONS])
def test_no_net_is_left_out(file: str) -> None:
    names = {net.name for net in resdsl.check_file(str(SPECS / file)).networks}
    assert names == {network for spec, network in COUNTS if spec == file}


@pytest.mark.parametrize(
    ("network", "module", "bias"),
    [
        ("exclusive_gating110", "conv2.0.gate.conv1", -6.0),
        ("exclusive_gating110_7", "conv3.0.gate.conv1", -7.0),
        ("exclusive_gating110_0", "conv4.1.gate.conv1", 0.0),
        ("shortcut_gating110", "conv2.1.shortcut.branch2.conv1", -6.0),
        ("shortcut_gating110_0", "conv3.0.shortcut.branch2.conv1", 0.0),
    ],
)
def test_where_the_biases_of_gates_begin(network: str, module: str, bias: float) -> None:
    gate_conv = resdsl.load(SPECS / SHORTCUTS, network, n=2).to_torch().get_submodule(module)
    assert isinstance(gate_conv, nn.Conv2d)
    assert gate_conv.bias is not None
    assert torch.equal(gate_conv.bias, torch.full_like(gate_conv.bias, bias))


# --- CIFAR: Figures 2 and 4 in plain torch ----------------------------------------------------------------------------


class Unit(nn.Module):
    """Figure 2a, and what the other units share: f = ReLU of h(x) + F(x), where F is conv, BN, ReLU, conv, BN."""

    expansion = 1

    def __init__(self, before: int, filters: int, stride: int, is_first: bool) -> None:
        super().__init__()
        self.stride, self.new = stride, filters * self.expansion - before
        self.is_first, self.is_changed = is_first, stride != 1 or self.new != 0
        self.make(before, filters)

    def make(self, before: int, filters: int) -> None:
        self.conv1 = nn.Conv2d(before, filters, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)

    def h(self, x: Tensor) -> Tensor:
        """Option A."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new))

    def branch(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return y

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.h(x) + self.branch(x))


class Plain(Unit):
    def h(self, x: Tensor) -> Tensor:
        return torch.zeros(())


class ConstantScaling(Unit):
    def h(self, x: Tensor) -> Tensor:
        return 0.5 * super().h(x)


class FrozenGating(ConstantScaling):
    def branch(self, x: Tensor) -> Tensor:
        return 0.5 * super().branch(x)


class ExclusiveGating(Unit):
    def make(self, before: int, filters: int) -> None:
        self.gate = nn.Conv2d(before, filters, 1, self.stride)
        super().make(before, filters)

    def forward(self, x: Tensor) -> Tensor:
        g = torch.sigmoid(self.gate(x))
        return functional.relu((1 - g) * self.h(x) + g * self.branch(x))


class ShortcutGating(ExclusiveGating):
    def forward(self, x: Tensor) -> Tensor:
        g = torch.sigmoid(self.gate(x))
        return functional.relu((1 - g) * self.h(x) + self.branch(x))


class ConvShortcut(Unit):
    def make(self, before: int, filters: int) -> None:
        super().make(before, filters)
        width = filters * self.expansion
        self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, self.stride, bias=False), nn.BatchNorm2d(width))

    def h(self, x: Tensor) -> Tensor:
        y: Tensor = self.shortcut(x)
        return y


class OptionB(ConvShortcut):
    def make(self, before: int, filters: int) -> None:
        super().make(before, filters)
        if not self.is_changed:
            self.shortcut = nn.Sequential()


class DropoutShortcut(Unit):
    def h(self, x: Tensor) -> Tensor:
        return functional.dropout(super().h(x), 0.5, self.training)


class OneLayer(Unit):
    def make(self, before: int, filters: int) -> None:
        self.conv1 = nn.Conv2d(before, filters, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)

    def branch(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn1(self.conv1(x))
        return y


class BNAfterAddition(Unit):
    def forward(self, x: Tensor) -> Tensor:
        y = self.h(x) + self.conv2(functional.relu(self.bn1(self.conv1(x))))
        return functional.relu(self.bn2(y))


class ReLUBeforeAddition(Unit):
    def forward(self, x: Tensor) -> Tensor:
        return self.h(x) + functional.relu(self.branch(x))


class PreActivation(Unit):
    """Equation 9: x + F(f(x)). The first unit of a net finds f behind conv1; a changed shape is that of f(x)."""

    def f(self, x: Tensor) -> Tensor:
        return functional.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        activated = x if self.is_first else self.f(x)
        return self.h(activated if self.is_changed else x) + self.branch(activated)


class FullPreActivation(PreActivation):
    def make(self, before: int, filters: int) -> None:
        if not self.is_first:
            self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, filters, 3, self.stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)

    def f(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn1(x))

    def branch(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(functional.relu(self.bn2(self.conv1(x))))
        return y


class OneLayerPreActivation(FullPreActivation):
    def make(self, before: int, filters: int) -> None:
        if not self.is_first:
            self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, filters, 3, self.stride, 1, bias=False)

    def branch(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(x)
        return y


class Bottleneck(ConvShortcut):
    """1x1, 3x3, 1x1, with a projection where the shape changes (option B)."""

    expansion = 4

    def make(self, before: int, filters: int) -> None:
        if self.is_changed:
            super().make(before, filters)
        self.conv1 = nn.Conv2d(before, filters, 1, self.stride, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * filters)

    def h(self, x: Tensor) -> Tensor:
        return super().h(x) if self.is_changed else x

    def branch(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        out: Tensor = self.bn3(self.conv3(y))
        return out


class PreActivationBottleneck(PreActivation):
    """The projection of a changed shape has no BN of its own: it takes f(x)."""

    expansion = 4

    def make(self, before: int, filters: int) -> None:
        if not self.is_first:
            self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, filters, 1, self.stride, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(filters)
        self.conv3 = nn.Conv2d(filters, 4 * filters, 1, bias=False)
        if self.is_changed:
            self.shortcut = nn.Conv2d(before, 4 * filters, 1, self.stride, bias=False)

    def h(self, x: Tensor) -> Tensor:
        return self.shortcut(x) if self.is_changed else x

    def f(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn1(x))

    def branch(self, x: Tensor) -> Tensor:
        y = self.conv2(functional.relu(self.bn2(self.conv1(x))))
        out: Tensor = self.conv3(functional.relu(self.bn3(y)))
        return out


def cifar_net(unit: type[Unit], n: int) -> nn.Module:
    """conv1, three stages of n units, the extra activation of pre-activation units, the pool and the classifier."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    channels = 16
    for stage, filters in enumerate((16, 32, 64)):
        for index in range(n):
            layers.append(unit(channels, filters, 2 if stage and not index else 1, not stage and not index))
            channels = filters * unit.expansion
    if issubclass(unit, PreActivation):
        layers += [nn.ReLU()] if unit is PreActivation else [nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


UNITS: list[tuple[str, str, type[Unit]]] = [
    (RESIDUAL, "resnet20", Unit),
    (RESIDUAL, "plain20", Plain),
    (RESIDUAL, "resnet20_B", OptionB),
    (RESIDUAL, "resnet20_C", ConvShortcut),
    (CIFAR, "preact110", FullPreActivation),
    (CIFAR, "preact164", PreActivationBottleneck),
    (CIFAR, "resnet164", Bottleneck),
    (CIFAR, "resnet110_one_layer", OneLayer),
    (CIFAR, "preact110_one_layer", OneLayerPreActivation),
    (SHORTCUTS, "resnet110", Unit),
    (SHORTCUTS, "plain110", Plain),
    (SHORTCUTS, "constant_scaling110", ConstantScaling),
    (SHORTCUTS, "frozen_gating110", FrozenGating),
    (SHORTCUTS, "exclusive_gating110", ExclusiveGating),
    (SHORTCUTS, "shortcut_gating110", ShortcutGating),
    (SHORTCUTS, "conv_shortcut110", ConvShortcut),
    (SHORTCUTS, "dropout_shortcut110", DropoutShortcut),
    (ACTIVATIONS, "resnet110", Unit),
    (ACTIVATIONS, "bn_after_addition110", BNAfterAddition),
    (ACTIVATIONS, "relu_before_addition110", ReLUBeforeAddition),
    (ACTIVATIONS, "relu_preactivation110", PreActivation),
    (ACTIVATIONS, "full_preactivation110", FullPreActivation),
]


@pytest.mark.parametrize(("file", "network", "unit"), UNITS)
def test_cifar_nets_compute_what_the_figures_show(file: str, network: str, unit: type[Unit]) -> None:
    peer = lively(cifar_net(unit, 3))
    module = resdsl.load(SPECS / file, network, n=3).to_torch(init="torch")
    assert_same_function(peer, module, carry_weights(peer, module), sizes=((32, 32), (29, 37)), batch=4)


@pytest.mark.parametrize("file", [RESIDUAL, CIFAR, SHORTCUTS, ACTIVATIONS])
def test_every_net_said_to_be_compared_is(file: str) -> None:
    assert [network for spec, network, _ in UNITS if spec == file] == WRITTEN[file]
