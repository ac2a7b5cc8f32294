"""Weights that fit by shape must also give the right outputs: from Python, from files of our own, and into variants."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import resdsl
from resdsl.cli.main import main
from resdsl.compiler import compile_network
from resdsl.source import SourceFile
from resdsl.weights.checkpoint import read_checkpoint
from tests.weights.sources import lively

SPECS = Path(__file__).parents[2] / "specs"
TWO = """
network first(stride = [2, 1], classes = 3) {
  input 3 x 32 x 32
  stem { conv(3x3, 4, stride = stride) -> bn -> relu }
  stage two, filters 4 { conv(3x3, 4) -> bn -> relu }
  head { global_avg_pool -> linear(classes) }
}
network second = first(stride = [1, 2])
"""


def two(network: str, arguments: str = "") -> resdsl.Net:
    return compile_network(SourceFile("two.res", TWO), network, arguments=arguments)


@pytest.fixture(scope="module")
def resnet50() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return lively(torchvision.models.resnet50()).state_dict()


def net50(network: str, **changes: Any) -> resdsl.Net:
    return resdsl.load(SPECS / "resnet50.res", network).retarget(**{"input": "3 x 64 x 64", **changes})


# --- other strides -------------------------------------------------------------------------------------------------


def test_the_wrong_stride_is_refused_and_changes_nothing(resnet50: dict[str, Tensor]) -> None:
    model = net50("resnet50").to_torch()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.random.get_rng_state()
    with pytest.raises(resdsl.WeightsError) as caught:
        resdsl.load_weights(model, resnet50)
    assert "resnet50 fits, but the output differs from that of torchvision:resnet50" in str(caught.value)
    assert re.search(r'resnet50_v15 is equal: resdsl\.load\(".*resnet50\.res", "resnet50_v15"\)$', str(caught.value))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert resdsl.load_weights(model, resnet50, verify=False).counts()["loaded"] == 267


def test_a_named_network_is_compared_or_it_is_an_error(resnet50: dict[str, Tensor]) -> None:
    model = net50("resnet50_v15").to_torch()
    assert not resdsl.load_weights(model, resnet50, verify="timm:resnet50").notes
    with pytest.raises(resdsl.WeightsError, match="the file is not of timm:resnet50d"):
        resdsl.load_weights(model, resnet50, verify="timm:resnet50d")


def test_a_fresh_stem_is_compared_in_the_network_it_was_made_of(resnet50: dict[str, Tensor]) -> None:
    """Another stem and another number of classes: what stands in the place of both is released, too."""
    allowed = ["head", "stem"]
    changes = {"stem": "cifar_stem", "classes": 10}
    receipt = resdsl.load_weights(net50("resnet50_v15", **changes).to_torch(), resnet50, allow_fresh=allowed)
    assert {row.source for row in receipt.left_over} == {"conv1.weight", "fc.weight", "fc.bias"}
    assert not receipt.notes
    with pytest.raises(resdsl.WeightsError, match=r"what head.linear1 reads differs.*resnet50_v15 is equal"):
        resdsl.load_weights(net50("resnet50", **changes).to_torch(), resnet50, allow_fresh=allowed)


def test_only_what_may_be_fresh_releases_what_stands_in_its_place() -> None:
    """Also where the file keeps the order of names, in which `fc` is before `layer1`."""
    state = dict(sorted(torchvision.models.resnet18().state_dict().items()))
    model = resdsl.load(SPECS / "resnet18.res").retarget(input="3 x 64 x 64", stem="cifar_stem", head="none").to_torch()
    with pytest.raises(resdsl.WeightsError, match=r'fc.weight .* is left over\n.*allow_left_over=\["fc"\]'):
        resdsl.load_weights(model, state, allow_fresh=["stem"])
    receipt = resdsl.load_weights(model, state, allow_fresh=["stem"], allow_left_over=["fc"])
    assert {row.source for row in receipt.left_over} == {"conv1.weight", "fc.weight", "fc.bias"}


def test_an_output_stride_is_no_difference() -> None:
    state = lively(torchvision.models.resnet18()).state_dict()
    net = resdsl.load(SPECS / "resnet18.res")
    assert not resdsl.load_weights(net.retarget(output_stride=16).to_torch(), state).notes


def test_what_is_not_compared_is_noted() -> None:
    state = torchvision.models.resnet18().state_dict()
    net = resdsl.load(SPECS / "resnet18.res").retarget(head="none")
    receipt = resdsl.load_weights(net.to_torch(), state, allow_left_over=["fc"])
    assert not receipt.notes  # the whole network of the spec is equal
    state = {f"net.{name}": value for name, value in two("first").to_torch().state_dict().items()}
    receipt = resdsl.load_weights(two("first").to_torch(), state)
    assert receipt.notes == ("outputs are not compared: torchvision has no network of exactly these tensors",)


def test_deepen_refuses_the_wrong_network(
    resnet50: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "resnet50.pth", tmp_path / "o.safetensors"
    torch.save(resnet50, path)
    spec = str(SPECS / "resnet50.res")
    options = ["--input", "3x64x64", "--set-to", "blocks=[3,4,7,3]", "--weights", str(path), "-o", str(out)]
    assert main(["deepen", spec, *options]) == 1
    assert "resnet50_v15 is equal: --network resnet50_v15\n" in capsys.readouterr().err
    assert not out.exists()


# --- files of our own ----------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes weights of the network `first` with the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.res").write_text(TWO)
    torch.save(two("first").to_torch().state_dict(), "given.pth")

    def write(name: str) -> Path:
        assert main(["weights", "two.res", "--network", "first", "--from", "given.pth", "-o", name]) == 0
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_file_of_another_network_is_refused(name: str, written: Callable[[str], Path]) -> None:
    path = written(name)
    assert read_checkpoint(path).layers[0].facts is not None
    assert resdsl.load_weights(two("first").to_torch(), path).counts()["loaded"] == 12
    with pytest.raises(resdsl.WeightsError, match=r"stem\.conv1 has strides 1, 2, in the file stem.conv1 has 2, 1"):
        resdsl.load_weights(two("second").to_torch(), path)
    receipt = resdsl.load_weights(two("first", "classes = 5").to_torch(), path, allow_fresh=["head"])
    assert any("written for first of hash" in note for note in receipt.notes)
    # Another epsilon is made up for, as with files of Keras.
    assert any("epsilon" in row.how for row in resdsl.load_weights(two("first").to_torch(bn_eps=1e-3), path).adapted)


@pytest.mark.parametrize(
    "layers",
    [
        "[",
        "[1]",
        '{"stem.conv1": 3}',
        '{"stem.conv1": {"strides": [1]}}',
        '{"stem.conv1": {"strides": [true, 1]}}',
        '{"stem.conv1": {"padding": 3}}',
        '{"stem.conv1": {"dilation": ["a", 1]}}',
        '{"stem.conv1": {"groups": 0}}',
        '{"stem.bn1": {"eps": NaN}}',
        "[" * 100_000,
    ],
)
def test_what_a_file_says_of_its_layers_is_checked(layers: str, tmp_path: Path) -> None:
    state = two("first").to_torch().state_dict()
    save_file(state, tmp_path / "w.safetensors", metadata={"resdsl": "1", "layers": layers})
    with pytest.raises(resdsl.WeightsError, match="what it says of its layers is damaged"):
        read_checkpoint(tmp_path / "w.safetensors")
    # The same words of another program say nothing.
    save_file(state, tmp_path / "w.safetensors", metadata={"layers": layers})
    assert not read_checkpoint(tmp_path / "w.safetensors").layers[0].facts


def test_a_run_of_training_is_noted(tmp_path: Path) -> None:
    net = two("first")
    content = {"version": 1, "model": net.to_torch().state_dict(), "network": "first", "hash": net.hash}
    torch.save(content, tmp_path / "checkpoint.pt")
    same = resdsl.load_weights(two("first").to_torch(), tmp_path / "checkpoint.pt", verify=False)
    other = resdsl.load_weights(two("second").to_torch(), tmp_path / "checkpoint.pt", verify=False)
    assert not same.notes
    assert other.notes == (f"written for first of hash {net.hash[:12]}; here the hash is {two('second').hash[:12]}",)


def test_the_metadata(written: Callable[[str], Path]) -> None:
    with safe_open(written("w.safetensors"), framework="pt") as file:
        metadata = file.metadata()
    assert {"resdsl", "network", "spec_hash", "source", "source_sha256", "layers"} == set(metadata)
    assert json.loads(metadata["layers"])["stem.conv1"] == {
        "strides": [2, 1],
        "padding": [[1, 1], [1, 1]],
        "dilation": [1, 1],
        "groups": 1,
    }
