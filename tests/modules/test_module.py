"""The torch module: paths, places, arguments, outputs besides the last, and what torch can do with it."""

from __future__ import annotations

import copy
import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import resdsl
from resdsl.compiler import compile_network
from resdsl.emit.torch_module import place_of
from resdsl.net import Net
from resdsl.source import SourceFile
from resdsl.syntax.format import format_source

SPECS = Path(__file__).parents[2] / "specs"
SMALL = """
# A net with everything that modules can be asked for.
network small(n = 2, width = 8, option = A) {
  input 3 x 16 x 16
  rules { same map -> same filters; halve map -> double filters; shortcut -> option }
  stem { conv(3x3, width) -> bn -> relu as early }
  stage conv2            { n x basic }
  auxiliary side(weight = 0.3) { global_avg_pool -> linear(4) }
  stage conv3, halve map { n x basic }
  head { global_avg_pool -> linear(5) }
}
"""


def compiled(text: str, arguments: str = "") -> Net:
    return compile_network(SourceFile("small.res", text), arguments=arguments)


def small(**options: Any) -> fx.GraphModule:
    torch.manual_seed(0)
    return compiled(SMALL).to_torch(**options)


IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))


# --- names ---------------------------------------------------------------------------------------------------------


def test_paths_read_as_the_papers_names() -> None:
    module = small()
    assert isinstance(module.get_submodule("conv3.0.conv1"), nn.Conv2d)
    assert [name for name, _ in module.named_children()] == ["stem", "conv2", "conv3", "head"]
    assert [name for name, _ in module.get_submodule("conv2.1").named_children()] == [
        "conv1", "bn1", "relu1", "conv2", "bn2", "relu2"
    ]  # fmt: skip
    assert list(module.state_dict())[:2] == ["stem.conv1.weight", "stem.bn1.weight"]
    assert module.__class__.__name__ == "small"


def test_state_dict_is_stable_under_compilation_and_layout() -> None:
    keys = list(small().state_dict())
    untidy = SMALL.replace("{\n", "{\n# words\n").replace("; ", "\n") + "\n\nblock unused { relu }"
    formatted = format_source(SourceFile("small.res", SMALL))
    for text in (SMALL, untidy, formatted):
        assert list(compiled(text).to_torch().state_dict()) == keys
    module = compiled(formatted).to_torch()
    module.load_state_dict(small().state_dict())
    assert torch.equal(module.eval()(IMAGES), small().eval()(IMAGES))


@pytest.mark.parametrize(
    "name",
    ["forward", "training", "type", "half", "graph", "meta", "code", "children", "class", "self", "x", "__init__"],
)
def test_names_that_torch_has_taken(name: str) -> None:
    text = f"network n {{\n  input 3 x 8 x 8\n  stage {name} {{ conv(3x3, 4) as {name} -> bn }}\n}}\n"
    module = compiled(text).to_torch()
    assert module(IMAGES).shape == (2, 4, 16, 16)
    path = next(iter(module.state_dict())).removesuffix(".weight")
    assert path.count(name) == 2
    assert place_of(module, path) == f"small.res:3:{12 + len(name)}"


def test_place_of() -> None:
    assert resdsl.place_of is place_of
    module = small()
    assert place_of(module, "stem.conv1") == place_of(module, "stem.conv1.weight") == "small.res:6:10"
    place = place_of(module, "conv3.0.conv1")
    assert place.endswith("residual.res:6:5")
    assert (SPECS / "library" / "residual.res").read_text().splitlines()[5].strip().startswith("conv(3x3, filters, str")
    with pytest.raises(KeyError):
        place_of(module, "nowhere.conv1")


# --- first weights -------------------------------------------------------------------------------------------------


def weighted(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]


WIDE = "width = 64"


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        ("he", lambda fan_in, fan_out: 2 / fan_in),
        ("he_fan_out", lambda fan_in, fan_out: 2 / fan_out),
        ("xavier", lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    ],
)
def test_first_weights(init: str, variance: Any) -> None:
    torch.manual_seed(1)
    module = compiled(SMALL, WIDE).to_torch(init=init)
    for name, layer in weighted(module):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        window = math.prod(weight.shape[2:])
        expected = math.sqrt(variance(weight.shape[1] * window, weight.shape[0] * window))
        # The standard deviation of n draws is off by about 1/sqrt(2 n) of itself.
        assert weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * weight.numel())), name
        assert abs(weight.mean().item()) < 5 * expected / math.sqrt(weight.numel())
    for name, bias in module.named_parameters():
        if name.endswith("bias"):
            assert not any(bias.tolist()), name


def test_equal_layers_begin_with_different_weights() -> None:
    module = small()
    first, second = module.get_submodule("conv2.0.conv2"), module.get_submodule("conv2.1.conv2")
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    assert not torch.equal(first.weight, second.weight)
    assert first.weight.data_ptr() != second.weight.data_ptr()
    statistics = [layer.running_mean for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len({tensor.data_ptr() for tensor in statistics if tensor is not None}) == len(statistics)


def test_grouped_and_transposed_fans() -> None:
    text = (
        "network n {\n  input 64 x 8 x 8\n"
        "  conv(3x3, 128, groups = 4) -> transposed_conv(3x3, 64) -> depthwise_conv(5x5)\n}\n"
    )
    module = compiled(text).to_torch()
    for name, fan_in in (("conv1", 16 * 9), ("transposed_conv1", 128 * 9), ("depthwise_conv1", 25)):
        weight = module.get_parameter(f"{name}.weight")
        assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.1), name


def test_torch_initialisation_is_torchs_own() -> None:
    torch.manual_seed(3)
    module = compiled("network n {\n  input 3 x 8 x 8\n  conv(3x3, 16)\n}\n").to_torch(init="torch")
    torch.manual_seed(3)
    assert torch.equal(module.get_parameter("conv1.weight"), nn.Conv2d(3, 16, 3).weight)


def test_stated_biases_and_gains() -> None:
    text = (
        "network n {\n  input 3 x 8 x 8\n"
        "  conv(1x1, 4, bias = -2) -> relu -> conv(1x1, 4) -> bn(gain = 0) -> conv(1x1, 4)\n}\n"
    )
    for init in ("he", "torch"):
        module = compiled(text).to_torch(init=init)
        assert module.get_parameter("conv1.bias").tolist() == [-2.0] * 4
        assert "conv2.bias" not in module.state_dict()
        assert module.get_parameter("bn1.weight").tolist() == [0.0] * 4
        assert (module.get_parameter("conv3.bias").tolist() == [0.0] * 4) == (init == "he")


def test_a_highways_gate_is_shut_at_first() -> None:
    module = resdsl.load(SPECS / "highway.res", "highway19").to_torch()
    assert set(module.get_parameter("conv1.0.gate.conv1.bias").tolist()) == {-2.0}
    assert set(module.get_parameter("conv1.0.transform.conv1.bias").tolist()) == {0.0}


def test_unknown_initialisation() -> None:
    with pytest.raises(ValueError, match="did you mean 'xavier'"):
        small(init="xavir")


def test_bn_arguments_replace_the_specs() -> None:
    text = SMALL.replace("rules {", "rules { default bn(eps = 1e-3);")
    layers = [layer for layer in compiled(text).to_torch().modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {(layer.eps, layer.momentum) for layer in layers} == {(1e-3, 0.1)}
    module = compiled(text).to_torch(bn_eps=2e-5, bn_momentum=0.01)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {(layer.eps, layer.momentum) for layer in layers} == {(2e-5, 0.01)}


# --- outputs -------------------------------------------------------------------------------------------------------


def test_taps_are_maps_by_name() -> None:
    module, plain = small(taps=("early", "conv2", "conv3", "conv3.0.bn1")), small()
    for one in (module, plain):
        one.eval()
    maps = module(IMAGES)
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "early": (2, 8, 16, 16),
        "conv2": (2, 8, 16, 16),
        "conv3": (2, 16, 8, 8),
        "conv3.0.bn1": (2, 16, 8, 8),
    }
    assert not any(name.startswith("head") for name in module.state_dict())
    assert torch.equal(plain.get_submodule("head.linear1")(maps["conv3"].mean((2, 3))), plain(IMAGES))
    assert maps["conv3.0.bn1"].min() < 0, "a later layer wrote over the map"


def test_unknown_tap() -> None:
    with pytest.raises(ValueError, match="did you mean 'conv2'"):
        small(taps=["cnv2"])


def test_auxiliary_heads_are_outputs_on_request() -> None:
    module = small(auxiliary=True).eval()
    output, side = module(IMAGES)
    assert (output.shape, side.shape) == ((2, 5), (2, 4))
    assert compiled(SMALL).auxiliary_weights == (0.3,)
    plain = small().eval()
    assert not any(name.startswith("side") for name in plain.state_dict())
    plain.load_state_dict({name: value for name, value in module.state_dict().items() if not name.startswith("side")})
    assert torch.equal(plain(IMAGES), output)


# --- what torch does with it ---------------------------------------------------------------------------------------


def bottlenecks(option: str) -> Net:
    text = SMALL.replace("basic", "preact_bottleneck(expansion = 2)")
    return compiled(text, f"option = {option}")


def nets() -> dict[str, Net]:
    family = resdsl.load(SPECS / "families" / "resnet_cifar.res", n=1)
    highway = resdsl.load(SPECS / "highway.res", widths=[4, 4, 4], layers=[1, 1, 1])
    return {"A": family, "highway": highway, "preactivation": bottlenecks("B"), "none": bottlenecks("none")}


@pytest.mark.parametrize("name", ["A", "highway", "preactivation", "none"])
def test_export_and_compile_change_nothing(name: str) -> None:
    torch.manual_seed(0)
    net = nets()[name]
    module = net.to_torch().eval()
    channels, height, width = net.input_shape
    images = torch.randn(2, channels, height, width)  # type: ignore[arg-type]
    expected = module(images)
    exported = torch.export.export(module, (images,))
    torch.testing.assert_close(exported.module()(images), expected)
    compiled_module = torch.compile(module, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled_module(images), expected)
    torch._dynamo.reset()


def test_compile_with_gradients() -> None:
    torch.manual_seed(0)
    module = nets()["A"].to_torch().double().train()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    twin = copy.deepcopy(module)
    module(images).square().sum().backward()
    torch.compile(twin, backend="aot_eager", fullgraph=True)(images).square().sum().backward()
    torch._dynamo.reset()
    for (name, weight), other in zip(module.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(other.grad, weight.grad, msg=f"gradient of {name}")


def test_free_sizes_can_be_exported() -> None:
    net = compiled(SMALL.replace("16 x 16", "H x W"))
    module = net.to_torch().eval()
    size = torch.export.Dim("H", min=4, max=200)
    exported = torch.export.export(module, (torch.randn(2, 3, 24, 24),), dynamic_shapes=({2: size},))
    images = torch.randn(2, 3, 37, 24)
    torch.testing.assert_close(exported.module()(images), module(images))


def test_copies_share_nothing() -> None:
    module = small()
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert all(weight.any() for name, weight in module.named_parameters() if name.endswith("conv1.weight"))
    assert place_of(twin, "stem.conv1") == "small.res:6:10"


def test_state_dict_survives_a_file() -> None:
    module = small()
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    twin = small(init="torch")
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(twin.eval()(IMAGES), module.eval()(IMAGES))


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the ops that fill new memory."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        storages = {value.untyped_storage().data_ptr() for value in args if isinstance(value, Tensor)}
        if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in storages:
            self.made.append(func.overloadpacket.__name__)
        return result


@pytest.mark.parametrize("at", ["end", "both"])
def test_option_a_makes_two_maps(at: str) -> None:
    """Subsampling and padding make one each, the sum goes into the branch's map."""
    text = f"""network n {{
      input 4 x 8 x 8
      residual(shortcut = A(at = {at})) {{ conv(3x3, 6, stride = 2) }}
    }}"""
    module = compiled(text).to_torch().eval()
    images = torch.randn(1, 4, 8, 8)
    with torch.no_grad(), Allocations() as allocations:
        module(images)
    assert allocations.made.count("convolution") == 1
    assert len([name for name in allocations.made if name != "convolution"]) == 2, allocations.made
    shortcut = functional.pad(images[:, :, ::2, ::2], (0, 0, 0, 0, *((0, 2) if at == "end" else (1, 1))))
    torch.testing.assert_close(module(images), module.get_submodule("conv1")(images) + shortcut)


def test_gradients_of_option_a_keep_the_layout() -> None:
    """Else every layer before the shortcut computes in the slower layout, as it does behind a slice."""
    text = """network n {
      input 4 x 8 x 8
      residual(shortcut = A) { conv(3x3, 6, stride = 2) }
    }"""
    images = torch.randn(2, 4, 8, 8, requires_grad=True).contiguous(memory_format=torch.channels_last)
    found: list[Tensor] = []
    images.register_hook(found.append)  # type: ignore[no-untyped-call]
    module = compiled(text).to_torch().to(memory_format=torch.channels_last)
    module(images).square().sum().backward()
    assert found[0].is_contiguous(memory_format=torch.channels_last)
