"""Keras' own ResNets beside ours, with all of their arguments: equal counts, outputs, gradients and statistics."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import resdsl
from tests.zoo.compared import KERAS
from tests.zoo.peers import assert_close

SPEC = Path(__file__).parents[2] / "specs" / "keras_resnets.res"
NETS = {network: peer.removeprefix("Keras ") for _, network, peer in KERAS}
SHALLOW = ["keras_resnet50", "keras_resnet50v2"]
ROLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Keras on its torch backend, in double precision, with the images' channels last as it is by default.

    In single precision the two libraries round differently, and a ReLU that opens here and not there spoils gradients.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
    library: ModuleType = pytest.importorskip("keras", reason="Keras, the peer of this comparison, is not installed")
    if library.config.backend() != "torch":
        pytest.skip("Keras was imported before, with another backend than torch")
    before = library.config.floatx(), library.config.dtype_policy(), library.config.image_data_format()
    library.config.set_floatx("float64")
    library.config.set_dtype_policy("float64")
    library.config.set_image_data_format("channels_last")
    narrow = library.src.backend.result_type

    def wide(*kinds: object) -> str:
        return "float64" if any(str(kind).endswith("float64") for kind in kinds) else narrow(*kinds)

    with pytest.MonkeyPatch.context() as patch:
        # Whatever the policy says, Keras' batch normalisation and means compute in single precision.
        patch.setattr(library.src.backend, "result_type", wide)
        patch.setattr(library.src.backend.common.dtypes, "result_type", wide)
        yield library
    library.config.set_floatx(before[0])
    library.config.set_dtype_policy(before[1])
    library.config.set_image_data_format(before[2])


def ours_and_theirs(
    keras: ModuleType, name: str, size: tuple[int, int], channels: int = 3, **arguments: Any
) -> tuple[resdsl.Net, fx.GraphModule, Any]:
    """Our net, its module and Keras' model of the same arguments with the same random weights."""
    make = getattr(keras.applications, NETS[name])
    theirs = make(weights=None, input_shape=(*size, channels), **arguments)
    randomise(theirs)
    height, width = size
    in_our_words = {key: "none" if value is None else value for key, value in arguments.items()}
    net = resdsl.load(SPEC, name, height=height, width=width, channels=channels, **in_our_words)
    module = net.to_torch().double()
    carry(theirs, module)
    return net, module, theirs


def randomise(model: Any) -> None:
    """Weights, biases and statistics as after training: no bias is 0, no BN does nothing."""
    generator = torch.Generator().manual_seed(0)
    for variable in model.weights:
        role, shape = variable.path.split("/")[-1], tuple(variable.shape)
        noise = torch.rand(shape, generator=generator)
        match role:
            case "kernel":
                value = (noise - 0.5) * math.sqrt(12 * 1.5 / math.prod(shape[:-1]))
            case "moving_variance":
                value = 0.5 + noise
            case "gamma":
                value = 0.5 + 0.5 * noise
            case _:
                value = 0.4 * noise - 0.2
        variable.assign(value)


def our_name(layer: str, is_v2: bool) -> str:
    """Our name of a layer of Keras': `conv3_block1_0_conv` is `conv3.0.shortcut.conv1`."""
    fixed = {"conv1_conv": "stem.conv1", "conv1_bn": "stem.bn1", "post_bn": "post_bn", "predictions": "head.linear1"}
    if layer in fixed:
        return fixed[layer]
    found = re.fullmatch(r"(conv\d)_block(\d+)_(preact|\d)_(conv|bn)", layer)
    assert found, f"Keras has a layer that ours lacks: {layer}"
    stage, block, number, kind = found.groups()
    place = f"{stage}.{int(block) - 1}"
    if number == "0":
        return f"{place}.shortcut.{kind}1"
    if kind == "bn" and is_v2:
        return f"{place}.bn{1 if number == 'preact' else int(number) + 1}"
    return f"{place}.{kind}{number}"


def tensors_of(model: Any) -> dict[str, Any]:
    """Keras' variables by the names that their tensors have in our module."""
    is_v2 = any(layer.name == "post_bn" for layer in model.layers)
    found = {}
    for layer in model.layers:
        for variable in layer.weights:
            found[f"{our_name(layer.name, is_v2)}.{ROLES[variable.path.split('/')[-1]]}"] = variable
    return found


def in_torch_layout(tensor: Tensor) -> Tensor:
    """Kernels (H, W, I, O) as (O, I, H, W), those of dense layers (I, O) as (O, I)."""
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T if tensor.ndim == 2 else tensor


def carry(model: Any, module: nn.Module) -> None:
    """Keras' weights into our module: each tensor of either side has its partner."""
    state = module.state_dict()
    values = {name: in_torch_layout(variable.value.detach()) for name, variable in tensors_of(model).items()}
    counters = {name: value for name, value in state.items() if name.endswith("num_batches_tracked")}
    module.load_state_dict(values | counters, strict=True)


def result_of(model: Any, images: Tensor, training: bool = False) -> Tensor:
    """Keras' output for images (N, C, H, W), maps as (N, C, H, W) too."""
    result: Tensor = model(images.permute(0, 2, 3, 1), training=training)
    return result.permute(0, 3, 1, 2) if result.ndim == 4 else result


def images_for(net: resdsl.Net, batch: int = 1) -> Tensor:
    channels, height, width = (int(str(size)) for size in net.input_shape)
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def assert_same_outputs(net: resdsl.Net, module: nn.Module, theirs: Any) -> None:
    module.eval()
    images = images_for(net)
    with torch.inference_mode():
        found, expected = module(images), result_of(theirs, images)
    assert tuple(found.shape[1:]) == net.output_shape
    assert_close(found, expected, TOLERANCE, "output")


def assert_same_training(net: resdsl.Net, module: nn.Module, theirs: Any, batch: int) -> None:
    """Equal outputs, gradients and running statistics after a step."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    module.train()
    images = images_for(net, batch)
    found, expected = module(images), result_of(theirs, images, training=True)
    assert_close(found, expected, TOLERANCE, "output in training mode")
    for result in (found, expected):
        (result * torch.linspace(-1, 1, result.numel(), dtype=torch.float64).reshape(result.shape)).sum().backward()
    theirs_by_name = tensors_of(theirs)
    for name, layer in module.named_modules():
        gradients = {role: parameter.grad for role, parameter in layer.named_parameters(recurse=False)}
        if not gradients:
            continue
        expected_gradients = {role: in_torch_layout(theirs_by_name[f"{name}.{role}"].value.grad) for role in gradients}
        # A bias that a BN takes away again has a gradient of 0 but for rounding, so the layer's largest is the measure.
        scale = max(gradient.abs().max().item() for gradient in expected_gradients.values())
        for role, gradient in gradients.items():
            assert gradient is not None
            difference = (gradient - expected_gradients[role]).abs().max().item() / scale
            assert difference <= TOLERANCE, f"gradient of {name}.{role} differs by {difference:.1e}"
    for name, buffer in module.named_buffers():
        role = name.rpartition(".")[2]
        if role == "running_mean":
            assert_close(buffer, theirs_by_name[name].value, TOLERANCE, name)
        elif role == "running_var":
            # torch keeps the unbiased variance of a batch, Keras the biased one.
            count = batch * math.prod(net.graph.nodes[name.removesuffix(".running_var")]["shape"][1:])
            kept = 0.99 * before[name]
            unbiased = kept + (theirs_by_name[name].value - kept) * count / (count - 1)
            assert_close(buffer, unbiased, TOLERANCE, name)


def macs_of(keras: ModuleType, model: Any) -> int:
    """Multiply-adds by Keras' own shapes: the places of a layer's output times what is summed and written at each."""
    layers = [layer for layer in model.layers if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))]
    return sum(math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape) for layer in layers)


def count_of(variables: list[Any]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


@pytest.mark.parametrize("name", NETS)
def test_counts_and_outputs_are_those_of_keras(keras: ModuleType, name: str) -> None:
    net, module, theirs = ours_and_theirs(keras, name, (75, 64))
    assert net.parameters == count_of(theirs.trainable_weights)
    assert net.summary()["buffers"] == count_of(theirs.non_trainable_weights)
    assert net.parameters + net.summary()["buffers"] == theirs.count_params()
    assert net.macs == macs_of(keras, theirs)
    assert_same_outputs(net, module, theirs)


@pytest.mark.parametrize(("size", "batch"), [((224, 224), 1), ((131, 97), 2)])
@pytest.mark.parametrize("name", NETS)
def test_outputs_and_gradients_are_those_of_keras(
    keras: ModuleType, name: str, size: tuple[int, int], batch: int
) -> None:
    net, module, theirs = ours_and_theirs(keras, name, size, classifier_activation=None)
    assert_same_outputs(net, module, theirs)
    assert_same_training(net, module, theirs, batch)


ARGUMENTS: list[dict[str, Any]] = [
    {"include_top": False},
    {"include_top": False, "pooling": "avg"},
    {"include_top": False, "pooling": "max", "channels": 1},
    {"classes": 10, "channels": 1},
    {"classes": 7, "classifier_activation": "sigmoid", "channels": 4},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda arguments: "-".join(map(str, arguments.values())))
@pytest.mark.parametrize("name", SHALLOW)
@pytest.mark.filterwarnings("ignore:This model usually expects 1 or 3 input channels")
def test_every_argument_does_what_it_does_in_keras(keras: ModuleType, name: str, arguments: dict[str, Any]) -> None:
    net, module, theirs = ours_and_theirs(keras, name, (67, 45), **arguments)
    assert net.parameters + net.summary()["buffers"] == theirs.count_params()
    assert_same_outputs(net, module, theirs)


@pytest.mark.parametrize("name", SHALLOW)
def test_the_least_size_is_that_of_keras(keras: ModuleType, name: str) -> None:
    net, module, theirs = ours_and_theirs(keras, name, (32, 33))
    assert_same_outputs(net, module, theirs)
    for size in ((31, 224), (224, 31)):
        with pytest.raises(ValueError, match="at least 32x32"):
            getattr(keras.applications, NETS[name])(weights=None, input_shape=(*size, 3))
        with pytest.raises(resdsl.CompileError) as caught:
            resdsl.load(SPEC, name, height=size[0], width=size[1])
        (diagnostic,) = caught.value.diagnostics
        assert (diagnostic.code, diagnostic.hints) == ("R0505", ("Keras takes images of at least 32 x 32",))


@pytest.mark.parametrize("name", SHALLOW)
def test_a_free_size_is_keras_default_without_its_top(keras: ModuleType, name: str, tmp_path: Path) -> None:
    spec = tmp_path / "free.res"
    spec.write_text(f'use "keras_resnets.res"\nnetwork free = {name}(include_top = false) {{ input 3 x H x W }}\n')
    net = resdsl.load(spec)
    theirs = getattr(keras.applications, NETS[name])(weights=None, include_top=False)
    assert theirs.input_shape == (None, None, None, 3)
    randomise(theirs)
    module = net.to_torch().double().eval()
    carry(theirs, module)
    for height, width in ((64, 64), (33, 70)):
        images = torch.rand(1, 3, height, width, dtype=torch.float64)
        with torch.inference_mode():
            assert_close(module(images), result_of(theirs, images), TOLERANCE, f"output for {height} x {width}")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("keras_resnet50", ".keras"), ("keras_resnet50v2", ".weights.h5"), ("keras_resnet101v2", ".h5")],
)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_file_of_keras_loads_by_structure_as_by_name(
    keras: ModuleType, name: str, suffix: str, tmp_path: Path
) -> None:
    net, module, theirs = ours_and_theirs(keras, name, (64, 64))
    file = tmp_path / f"theirs{suffix}"
    if suffix == ".weights.h5":
        theirs.save_weights(file)
    else:
        theirs.save(file)
    loaded = net.to_torch().double()
    receipt = resdsl.load_weights(loaded, file)
    file.unlink()
    assert receipt.rows == receipt.loaded
    assert len(receipt.rows) == len(theirs.weights)
    expected = module.state_dict()
    assert [name for name, value in loaded.state_dict().items() if not torch.equal(value, expected[name])] == []
