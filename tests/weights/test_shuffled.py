"""A state dict in any order is matched as in the right one, or the receipt says that only the order decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from random import Random

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import resdsl
from resdsl.compiler import compile_network
from resdsl.source import SourceFile
from resdsl.weights import checkpoint
from resdsl.weights.match import match_layers
from resdsl.weights.match_names import is_numbered_before, is_shuffled, natural_key
from resdsl.weights.target import Target

SPECS = Path(__file__).parents[2] / "specs"
PEERS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "resnet18": ("resnet18.res", torchvision.models.resnet18),
    "resnet50_v15": ("resnet50.res", torchvision.models.resnet50),
    "densenet121": ("densenet121.res", torchvision.models.densenet121),
    "googlenet_bn": ("googlenet.res", lambda: torchvision.models.googlenet(init_weights=False)),
    "se_resnet50": ("se_resnet50.res", lambda: timm.create_model("seresnet50")),
    "resnet50_d": ("resnet50_d.res", lambda: timm.create_model("resnet50d")),
    "resnext50_32x4d": ("resnext.res", torchvision.models.resnext50_32x4d),
    "preact50": ("preact_resnets.res", lambda: timm.create_model("resnetv2_50")),
    "vgg11": ("vgg.res", torchvision.models.vgg11),
    "vgg11_bn": ("vgg.res", torchvision.models.vgg11_bn),
}


@cache
def both_sides(network: str) -> tuple[Target, dict[str, Tensor]]:
    spec, make = PEERS[network]
    with torch.device("meta"):
        state = {name: value for name, value in make().state_dict().items() if "num_batches" not in name}
        return Target(resdsl.load(SPECS / spec, network).to_torch(auxiliary=network == "googlenet_bn")), state


def pairs_of(target: Target, state: dict[str, Tensor]) -> dict[str, tuple[str, str]]:
    """For each layer its source and what decided; values play no part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "usable_weights", lambda _, tensors: (tensors, [], []))
        sources = checkpoint.checkpoint_of(state)
    match = match_layers(target, sources)
    return {
        layer.name: ("" if s is None else sources.layers[s].name, reason)
        for layer, s, reason in zip(target.layers, match.pairs, match.reasons, strict=True)
    }


def shuffled(names: Iterable[str], way: str, random: Random) -> list[str]:
    """Tensors, layers, or the parts behind each prefix in any order; parts keep together what is behind a prefix."""
    listed = list(names)
    if way == "tensors":
        return random.sample(listed, len(listed))
    parts: dict[str, list[str]] = {}
    for name in listed:
        parts.setdefault(name.rpartition(".")[0] if way == "layers" else name.partition(".")[0], []).append(name)
    if way == "parts":
        for first, some in parts.items():
            bare = [name.partition(".")[2] for name in some]
            if all(bare):
                parts[first] = [f"{first}.{rest}" for rest in shuffled(bare, way, random)]
    return [name for first in random.sample(sorted(parts), len(parts)) for name in parts[first]]


@pytest.mark.parametrize("network", PEERS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), way=st.sampled_from(["tensors", "layers", "parts"]))
def test_the_order_of_a_state_dict_does_not_matter(network: str, seed: int, way: str) -> None:
    target, state = both_sides(network)
    expected = pairs_of(target, state)
    assert "order only" not in {reason for _, reason in expected.values()}
    found = pairs_of(target, {name: state[name] for name in shuffled(state, way, Random(seed))})
    for layer, (source, reason) in found.items():
        assert source
        assert source == expected[layer][0] or reason == "order only", (layer, source, reason)


@pytest.mark.parametrize("way", ["reversed", "sorted", "by role"])
@pytest.mark.parametrize("network", PEERS)
def test_other_orders(network: str, way: str) -> None:
    """safetensors sorts names as text, others keep parameters apart from buffers."""
    target, state = both_sides(network)
    orders = {
        "reversed": list(reversed(state)),
        "sorted": sorted(state),
        "by role": sorted(state, key=lambda name: name.rpartition(".")[2]),
    }
    found, expected = (pairs_of(target, {name: state[name] for name in names}) for names in (orders[way], state))
    assert {name: source for name, (source, _) in found.items()} == {name: s for name, (s, _) in expected.items()}


SAME = """network same {
  input 3 x 8 x 8
  stem { conv(3x3, 8) -> bn -> relu }
  stage one, filters 8 { 2 x basic }
  head { global_avg_pool -> linear(4) }
}"""


@pytest.mark.parametrize("groups", [("left", "right"), ("b", "a")])
def test_words_tell_no_order(groups: tuple[str, str]) -> None:
    """Blocks that only their place tells apart, with all that is in them, and layers in a block."""
    model = compile_network(SourceFile("same.res", SAME)).to_torch()
    state = {}
    for name, value in model.state_dict().items():
        for number, word in enumerate(groups):
            name = name.replace(f"one.{number}.", f"{word}.")
        state[name] = value
    receipt = resdsl.load_weights(model, state)
    flagged = {row.target.rpartition(".")[0] for row in receipt.by_order}
    assert flagged == {f"one.{block}.{layer}" for block in (0, 1) for layer in ("conv1", "bn1", "conv2", "bn2")}
    assert receipt.source_of("one.0.conv1.weight") == f"{groups[0]}.conv1.weight"


def test_what_is_shuffled() -> None:
    assert not is_shuffled(["a.conv1", "a.conv2", "b.0.conv", "b.1.conv", "b.10.conv", "c"])
    assert is_shuffled(["a.x", "b.x", "a.y"])
    assert is_shuffled(["b.1", "b.0"])
    assert not is_shuffled(["down1", "down2", "down3", "down4", "down5", "up2", "up1"])
    assert not is_shuffled(["x", "x", "1.x", ""])


@pytest.mark.parametrize(
    ("first", "second", "is_before"),
    [
        ("a.2", "a.10", True),
        ("a.10", "a.2", False),
        ("a.1.x", "a.2.b", True),
        ("a.x", "a.y", False),
        ("conv2d", "conv2d_1", True),
        ("conv2d/vars", "conv2d_1/vars", True),
        ("x1", "1x", False),
        ("same", "same", False),
    ],
)
def test_numbers_tell_an_order(first: str, second: str, is_before: bool) -> None:
    assert is_numbered_before(natural_key(first), natural_key(second)) == is_before
