"""Parts of a network as modules of their own: taps with their channels and strides, and what stands behind a place."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from resdsl.compiler import compile_network
from resdsl.net import Net
from resdsl.source import SourceFile

SMALL = """
network small(option = B) {
  input 3 x H x W
  rules { same map -> same filters; halve map -> double filters; shortcut -> option }
  stem { conv(3x3, 8, stride = 2) -> bn -> relu as early }
  stage conv2            { 2 x basic }
  stage conv3, halve map { 2 x basic }
  stage conv4, halve map { 2 x basic }
  head { global_avg_pool -> linear(5) }
}

network skipping {
  input 3 x 32 x 16
  conv(3x3, 8) -> relu as full
  max_pool(2x1, stride = 2x1) -> conv(3x3, 8) -> relu as half
  transposed_conv(2x1, 8, stride = 2x1) as up -> concat(full) -> conv(3x3, 4)
}
"""
IMAGES = torch.randn(2, 3, 33, 47, generator=torch.Generator().manual_seed(0))


def net_of(network: str = "small") -> Net:
    return compile_network(SourceFile("small.res", SMALL), network)


def test_taps_have_names_channels_and_strides() -> None:
    module = net_of().to_torch(taps={"conv4": "out", "early": "low"}).eval()
    maps = module(IMAGES)
    assert module.tap_channels == {"out": 32, "low": 8} == {name: map_.shape[1] for name, map_ in maps.items()}
    assert module.tap_strides == {"out": 8, "low": 2}
    assert [tuple(map_.shape[2:]) for map_ in maps.values()] == [(5, 6), (17, 24)]
    assert not hasattr(module, "out_channels")


def test_one_result_has_out_channels() -> None:
    net = net_of()
    assert net.to_torch(taps=["conv3"]).out_channels == 16
    assert net.to_torch().out_channels == 5
    assert net.to_torch().tap_channels == {}


def test_strides_that_differ_or_fall() -> None:
    module = net_of("skipping").to_torch(taps=["full", "half", "up"])
    assert module.tap_strides == {"full": 1, "half": (2.0, 1.0), "up": 1}
    assert net_of("skipping").to_torch(start="half", taps=["up"]).tap_strides == {"up": (0.5, 1.0)}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_know_their_taps(copied: Any) -> None:
    module = copied(net_of().to_torch(taps=["conv3"]))
    assert (module.tap_channels, module.tap_strides, module.out_channels) == ({"conv3": 16}, {"conv3": 4}, 16)


def test_stages_may_be_called_like_the_attributes() -> None:
    stages = "".join(
        f"  stage {name} {{ conv(3x3, 4) -> bn }}\n" for name in ("out_channels", "tap_channels", "tap_strides")
    )
    net = compile_network(SourceFile("n.res", f"network n {{\n  input 3 x 8 x 8\n{stages}}}\n"))
    module = net.to_torch(taps=["out_channels", "tap_strides"])
    assert module.tap_channels == {"out_channels": 4, "tap_strides": 4}
    assert {name.partition(".")[0] for name in module.state_dict()} == {
        "out_channels_",
        "tap_channels_",
        "tap_strides_",
    }


def test_what_taps_do_not_need_is_left_out() -> None:
    names = net_of().to_torch(taps=["conv3"]).state_dict()
    assert {name.partition(".")[0] for name in names} == {"stem", "conv2", "conv3"}


@pytest.mark.parametrize("place", ["early", "conv2", "conv3.1.add1", "conv4"])
def test_two_parts_make_the_whole_with_one_checkpoint(place: str) -> None:
    net = net_of()
    whole, front, back = net.to_torch(), net.to_torch(taps=[place]), net.to_torch(start=place)
    weights = whole.state_dict()
    assert list(weights) == [*front.state_dict(), *back.state_dict()]
    for part in (front, back):
        part.load_state_dict({name: weights[name] for name in part.state_dict()})
    assert torch.equal(whole.eval()(IMAGES), back.eval()(front.eval()(IMAGES)[place]))


def test_a_part_leaves_its_input_as_it_is() -> None:
    back = net_of().to_torch(start="stem.bn1", taps=["early"])
    map_: Tensor = torch.randn(2, 8, 9, 9)
    before = map_.clone()
    back(map_)
    assert torch.equal(map_, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "conv5"}, "there is no place 'conv5'; known are early, .*; did you mean 'conv2'"),
        ({"taps": {"conv2": "a", "conv3": "a"}}, "the taps 'conv2' and 'conv3' have one name, 'a'"),
        ({"start": "conv4", "taps": ["conv3"]}, "does not lie behind the start, 'conv4.1.relu2'"),
        ({"start": "conv3.0.conv1"}, "'conv3.0.add1' needs 'conv3.0.shortcut.bn1', which does not come from the start"),
    ],
)
def test_wrong_places(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        net_of().to_torch(**options)


def test_a_join_with_what_stands_before_the_start() -> None:
    with pytest.raises(ValueError, match="'concat1' needs 'full', which does not come from the start, 'half'"):
        net_of("skipping").to_torch(start="half")
