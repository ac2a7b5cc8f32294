"""Adaptations, permissions and refusals of load_weights; after a refusal nothing has changed."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import resdsl
from resdsl.compiler import compile_network
from resdsl.source import SourceFile
from tests.weights.keras_models import import_keras
from tests.weights.sources import CifarNet, expect_equal_outputs, expect_same, lively

# Keras asks torch for arrays the way numpy 1 did.
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
SPECS = Path(__file__).parents[2] / "specs"
CIFAR = str(SPECS / "families" / "resnet_cifar.res")
TINY = """
network tiny(classes = 10, inputs = 3, affine = true) {
  input inputs x 16 x 16
  stem { conv(3x3, 8) -> bn(affine = affine) -> relu }
  stage one, filters 8 { squeeze_excitation(ratio = 2) }
  head { max_pool(4x4, stride = 4, padding = 0) -> flatten -> linear(classes) }
}
"""


def tiny(arguments: str = "", text: str = TINY) -> resdsl.Net:
    return compile_network(SourceFile("tiny.res", text), arguments=arguments)


class Peer(nn.Module):
    """The tiny network with 1x1 convolutions where ours has linear layers."""

    def __init__(self, *, bias: bool = False, affine: bool = True, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=bias)
        self.bn = nn.BatchNorm2d(8, affine=affine)
        self.down = nn.Conv2d(8, 4, 1)
        self.up = nn.Conv2d(4, 8, 1)
        self.fc = nn.Conv2d(8, classes, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x)).relu()
        x = x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        output: Tensor = self.fc(nn.functional.max_pool2d(x, 4)).flatten(1)
        return output


SIZE = [(16, 16)]


def test_linear_layers_and_convolutions() -> None:
    receipt = expect_same(tiny(), lively(Peer()), sizes=SIZE)
    assert {row.how for row in receipt.adapted} == {
        "a 1x1 convolution as a linear layer",
        "a 4x4 convolution as a linear layer",
    }


def test_a_bias_before_a_normalisation_is_folded() -> None:
    receipt = expect_same(tiny(), lively(Peer(bias=True)), sizes=SIZE)
    (row,) = (row for row in receipt.adapted if row.target == "stem.bn1.running_mean")
    assert row.source == "bn.running_mean - conv.bias"
    assert "evaluation mode" in row.how


def test_normalisations_without_scale_and_shift() -> None:
    receipt = expect_same(tiny(), lively(Peer(affine=False)), sizes=SIZE)
    assert {row.target for row in receipt.adapted if "as the file has none" in row.how} == {
        "stem.bn1.weight",
        "stem.bn1.bias",
    }
    peer = lively(Peer())
    with pytest.raises(resdsl.WeightsError, match=r"stem\.bn1 has no weight"):
        resdsl.load_weights(tiny("affine = false").to_torch(), peer.state_dict())
    norm = peer.get_submodule("bn")
    nn.init.ones_(norm.get_parameter("weight"))
    nn.init.zeros_(norm.get_parameter("bias"))
    assert "changes nothing" in expect_same(tiny("affine = false"), peer, sizes=SIZE).left_over[0].how


def test_other_classes() -> None:
    model = tiny("classes = 7").to_torch()
    first = model.get_parameter("head.linear1.weight").clone()
    with pytest.raises(
        resdsl.WeightsError, match=r"head\.linear1\.weight is 7 x 128, in the file fc\.weight is 10 x 8 x 4 x 4"
    ):
        resdsl.load_weights(model, Peer().state_dict())
    receipt = resdsl.load_weights(model, Peer().state_dict(), allow_fresh=["head"])
    assert receipt.counts() == {"loaded": 7, "adapted": 2, "fresh": 2, "left over": 2}
    assert [row.target for row in receipt.fresh] == ["head.linear1.weight", "head.linear1.bias"]
    assert torch.equal(first, model.get_parameter("head.linear1.weight"))
    # What fits is loaded although it might be fresh.
    assert not resdsl.load_weights(tiny().to_torch(), Peer().state_dict(), allow_fresh=["head"]).fresh


@pytest.mark.parametrize(("channels", "way"), [(1, "sum"), (2, "repeat"), (4, "repeat")])
def test_other_input_channels(channels: int, way: str) -> None:
    peer = lively(Peer())
    model = tiny(f"inputs = {channels}").to_torch().eval()
    with pytest.raises(resdsl.WeightsError, match=rf'\(adapt_input="{way}"\)'):
        resdsl.load_weights(model, peer.state_dict())
    with pytest.raises(resdsl.WeightsError, match=r"stem\.conv1\.weight"):
        resdsl.load_weights(model, peer.state_dict(), adapt_input="repeat" if way == "sum" else "sum")
    receipt = resdsl.load_weights(model, peer.state_dict(), adapt_input=way)
    assert "channels" in next(row.how for row in receipt.adapted if row.target == "stem.conv1.weight")
    grey = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        # A grey image in all channels looks the same to both.
        torch.testing.assert_close(
            model(grey.expand(-1, channels, -1, -1)), peer(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5
        )


def test_permissions_for_single_tensors() -> None:
    model, state = tiny("classes = 7").to_torch(), Peer().state_dict()
    with pytest.raises(resdsl.WeightsError, match=r"head\.linear1\.bias is 7, in the file fc\.bias is 10"):
        resdsl.load_weights(model, state, allow_fresh=["head.linear1.weight"])
    names = ["head.linear1.weight", "head.linear1.bias"]
    assert [row.target for row in resdsl.load_weights(model, state, allow_fresh=names).fresh] == names


def test_names_of_permissions() -> None:
    model, state = tiny().to_torch(), Peer().state_dict()
    with pytest.raises(resdsl.WeightsError, match="did you mean 'head'"):
        resdsl.load_weights(model, state, allow_fresh=["haed"])
    with pytest.raises(resdsl.WeightsError, match="'' names nothing of the network"):
        resdsl.load_weights(model, state, allow_fresh=[""])
    with pytest.raises(resdsl.WeightsError, match="'nothing' names nothing of the file"):
        resdsl.load_weights(model, state, allow_left_over=["nothing"])
    state["extra.weight"] = torch.zeros(3, 3)
    with pytest.raises(resdsl.WeightsError, match=r"extra\.weight \(3 x 3\) is left over"):
        resdsl.load_weights(model, state)
    assert [row.source for row in resdsl.load_weights(model, state, allow_left_over=["extra"]).left_over] == [
        "extra.weight"
    ]
    with pytest.raises(resdsl.WeightsError, match="not one of sum, repeat"):
        resdsl.load_weights(model, state, adapt_input="mean")


@pytest.mark.parametrize("fault", ["other net", "shape", "missing", "nan", "empty"])
def test_a_refusal_changes_nothing(fault: str) -> None:
    model = tiny().to_torch()
    before = copy.deepcopy(model.state_dict())
    state = Peer().state_dict()
    match fault:
        case "other net":
            state = CifarNet(1).state_dict()
        case "shape":
            state["bn.weight"] = torch.zeros(9)
        case "missing":
            del state["up.weight"], state["up.bias"]
        case "nan":
            state["fc.bias"][3] = float("nan")
        case "empty":
            state = {}
    with pytest.raises(resdsl.WeightsError) as caught:
        resdsl.load_weights(model, state)
    if fault == "other net":
        assert "closest in the zoo" in str(caught.value)
        assert "stem.conv1.weight is 8 x 3 x 3 x 3, in the file conv1.weight is 16 x 3 x 3 x 3" in str(caught.value)
    if fault == "shape":
        assert "stem.bn1.weight is 8, in the file bn.weight is 9" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_module_without_memory() -> None:
    with torch.device("meta"):
        model = tiny().to_torch()
    with pytest.raises(resdsl.WeightsError, match="meta device"):
        resdsl.load_weights(model, Peer().state_dict())


def test_the_receipt() -> None:
    receipt = resdsl.load_weights(tiny("classes = 7").to_torch(), Peer().state_dict(), allow_fresh=["head"])
    content = receipt.as_dict()
    assert content["network"] == "tiny"
    assert content["counts"]["loaded"] == 7
    assert len(content["tensors"]) == 13
    assert content["tensors"][0] == {
        "target": "stem.conv1.weight",
        "source": "conv.weight",
        "status": "loaded",
        "how": "only one of its shape",
        "shape": [8, 3, 3, 3],
    }
    assert "head.linear1.weight: fresh, allowed" in str(receipt)
    with pytest.raises(KeyError):
        receipt.source_of("nobody")


# --- Keras ---------------------------------------------------------------------------------------------------------


def keras_net(keras: Any, *, padding: Any = 1, strides: tuple[int, int] = (1, 2)) -> Any:
    """A pre-activation net whose shortcut and last convolution have one shape, then a flattened map."""
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.ZeroPadding2D(padding)(image)
    x = layers.Conv2D(8, 3, strides=strides[0])(x)
    x = layers.BatchNormalization(epsilon=1e-3)(x)
    x = layers.ReLU()(x)
    shortcut = layers.BatchNormalization()(layers.Conv2D(8, 1, strides=strides[1])(x))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 1, strides=strides[1])(x)))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1)(x))
    x = layers.ReLU()(layers.Add()([shortcut, x]))
    x = layers.Dense(10)(layers.Flatten()(x))
    return keras.Model(image, x)


FROM_KERAS = """
network tiny {
  input 3 x 16 x 16
  stem { conv(3x3, 8) -> bn -> relu }
  stage one, halve map, filters 8, shortcut C {
    residual {
      conv(1x1, 8, stride = stride) -> bn -> relu
      conv(1x1, 8) -> bn
    }
    relu
  }
  head { flatten -> linear(10) }
}
"""


@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5"])
def test_keras(ending: str, tmp_path: Path) -> None:
    keras = import_keras(tmp_path)
    peer = keras_net(keras)
    generator = torch.Generator().manual_seed(0)
    for variable in peer.variables:
        values = torch.rand(tuple(variable.shape), generator=generator)
        variable.assign(
            (values + 0.5 if "variance" in variable.path or "gamma" in variable.path else values - 0.5).numpy()
        )
    path = tmp_path / f"net{ending}"
    (peer.save_weights if ending == ".weights.h5" else peer.save)(path)
    model = tiny(text=FROM_KERAS).to_torch(bn_eps=1e-3)
    receipt = resdsl.load_weights(model, path)
    hows = {row.how for row in receipt.adapted}
    assert any("channels first" in how for how in hows)
    assert any("folded" in how for how in hows)

    class Wrapped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = peer(x.permute(0, 2, 3, 1))
            return output.detach()

    expect_equal_outputs(model, Wrapped(), SIZE)
    assert bool(receipt.by_order) == (ending == ".weights.h5"), "only the other formats hold the topology"


TWINS = """
network twins {
  input 3 x 8 x 8
  stem { conv(3x3, 8, bias = true) -> relu }
  stage one, filters 8 { concat { branch { conv(1x1, 4, bias = true) } branch { conv(1x1, 4, bias = true) } } }
  head { flatten -> linear(10) }
}
"""


@pytest.mark.parametrize("names", [("left", "right"), ("b", "a"), ("conv_1", "conv_2")])
def test_a_topology_does_not_tell_twins_apart(names: tuple[str, str], tmp_path: Path) -> None:
    keras = import_keras(tmp_path)
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.Concatenate()([layers.Conv2D(4, 1, name=name)(x) for name in names])
    keras.Model(image, layers.Dense(10)(layers.Flatten()(x))).save(tmp_path / "net.keras")
    receipt = resdsl.load_weights(tiny(text=TWINS).to_torch(), tmp_path / "net.keras")
    flagged = {row.source.split("/")[0] for row in receipt.by_order}
    decided = {row.how for row in receipt.rows if "weight" in row.target and row.target.startswith("one")}
    assert decided == ({"numbers in names"} if names[0] == "conv_1" else {"order only"}), flagged


def test_another_epsilon_moves_the_variance(tmp_path: Path) -> None:
    keras = import_keras(tmp_path)
    path = tmp_path / "net.keras"
    keras_net(keras).save(path)
    model = tiny(text=FROM_KERAS).to_torch()
    receipt = resdsl.load_weights(model, path)
    assert any("shifted from epsilon 0.001 to 1e-05" in row.how for row in receipt.adapted)
    torch.testing.assert_close(model.get_buffer("stem.bn1.running_var"), torch.full((8,), 1 + 1e-3 - 1e-5))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"padding": ((0, 2), (1, 1))}, "padding"),
        ({"strides": (2, 1)}, "stem.conv1 has strides 1, 1, in the file"),
    ],
)
def test_what_the_file_says_of_layers_must_hold(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    keras = import_keras(tmp_path)
    path = tmp_path / "net.keras"
    keras_net(keras, **options).save(path)
    with pytest.raises(resdsl.WeightsError, match=words):
        resdsl.load_weights(tiny(text=FROM_KERAS).to_torch(), path)


# --- properties ----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_names_and_order_do_not_matter_where_shapes_decide(seed: int, is_shuffled: bool) -> None:
    random = Random(seed)
    text = """
network odd {
  input 3 x 8 x 8
  stem { conv(3x3, 5) -> bn -> relu }
  one { conv(3x3, 7) -> bn -> relu -> conv(1x1, 11) -> bn -> relu }
  head { global_avg_pool -> linear(13) -> relu -> linear(4) }
}
""".replace("one {", "stage one, filters 7 {")
    model = tiny(text=text).to_torch()
    layers: dict[str, list[tuple[str, Tensor]]] = {}
    for name, value in model.state_dict().items():
        layers.setdefault(name.rpartition(".")[0], []).append((name.rpartition(".")[2], torch.rand_like(value.float())))
    order = list(layers)
    if is_shuffled:
        random.shuffle(order)
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    names = {
        layer: ".".join("".join(random.choices(alphabet, k=6)) for _ in range(random.randint(1, 3))) for layer in order
    }
    state = {
        f"{names[layer]}.{role}": value
        for layer in order
        for role, value in layers[layer]
        if role != "num_batches_tracked"
    }
    receipt = resdsl.load_weights(model, state)
    for layer in order:
        assert all(
            row.source.startswith(names[layer] + ".") for row in receipt.rows if row.target.startswith(layer + ".")
        )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_names_do_not_matter_where_the_order_is_that_of_definition(seed: int) -> None:
    """Equal shapes, random names in the modules' own tree, the order in which the modules were made."""
    random = Random(seed)
    model = resdsl.load(CIFAR, n=2, option="B").to_torch(init="torch")
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    words: dict[str, str] = {}

    def renamed(path: str) -> str:
        pieces = path.split(".")
        known = [".".join(pieces[: end + 1]) for end in range(len(pieces))]
        return ".".join(words.setdefault(prefix, "".join(random.choices(alphabet, k=8))) for prefix in known)

    state = {}
    for name, value in model.state_dict().items():
        layer, _, role = name.rpartition(".")
        state[f"{renamed(layer)}.{role}"] = value
    receipt = resdsl.load_weights(model, state)
    for row in receipt.rows:
        layer, _, role = row.target.rpartition(".")
        assert row.source == f"{renamed(layer)}.{role}"


def test_saved_weights_come_back(tmp_path: Path) -> None:
    from resdsl.weights.save import save_weights

    model = tiny().to_torch()
    for name in ("net.safetensors", "net.pth"):
        save_weights(tmp_path / name, model.state_dict(), {"network": "tiny"})
        other = tiny().to_torch()
        receipt = resdsl.load_weights(other, tmp_path / name)
        assert {row.how for row in receipt.rows} == {"same name"}
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in model.state_dict().items())
    with pytest.raises(resdsl.WeightsError, match=r"\.safetensors"):
        save_weights(tmp_path / "net.h5", {}, {})
    assert sorted(os.listdir(tmp_path)) == ["net.pth", "net.safetensors"]
