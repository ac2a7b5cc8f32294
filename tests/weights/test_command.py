"""`resdsl weights` from end to end: what it prints, writes and refuses."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

import resdsl
from resdsl.cli.main import main
from tests.weights.keras_models import import_keras
from tests.weights.sources import CifarNet, expect_equal_outputs, lively

# Keras asks torch for arrays the way numpy 1 did.
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
SPECS = Path(__file__).parents[2] / "specs"
SMALL = """network cifar(n = 1, classes = 10) {
  input 3 x 32 x 32
  rules { same map -> same filters; halve map -> double filters; shortcut -> B }
  stem { conv(3x3, 16) -> bn -> relu }
  stage conv2            { n x basic }
  stage conv3, halve map { n x basic }
  stage conv4, halve map { n x basic }
  head { global_avg_pool -> linear(classes) }
}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.res").write_text(SMALL)
    torch.manual_seed(0)
    torch.save(lively(CifarNet(1)).state_dict(), tmp_path / "small.pth")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["--color", "never", "weights", *arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return code, captured.out, captured.err


def test_a_transfer(here: Path, golden: Callable[[str, Path], None], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "small.res", "--from", "small.pth", "-o", "small.safetensors", "--rows")
    assert (code, err) == (0, "")
    golden(out, Path("golden/transfer.txt"))
    code, out, err = run(capsys, "small.res", "--from", "small.pth", "-o", "small.safetensors")
    assert (code, len(out.splitlines())) == (0, 4)
    assert "decided by: beside its convolution (24), " in out
    assert out.splitlines()[0] == "ok: small.pth to cifar: 47 loaded"
    net = resdsl.load("small.res")
    model = net.to_torch()
    assert {row.how for row in resdsl.load_weights(model, "small.safetensors").rows} == {"same name"}
    peer = lively(CifarNet(1))
    peer.load_state_dict(torch.load("small.pth", weights_only=True))
    expect_equal_outputs(model, peer, [(32, 32), (25, 29)])


def test_the_receipt_in_short(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was adapted, is fresh or left over, or was told by order only: the first of each kind."""
    state = {name: value for name, value in lively(CifarNet(1, classes=4)).state_dict().items() if "bias" not in name}
    torch.save(state, "small.pth")
    allowed = ("--allow-fresh", "head", "--allow-left-over", "linear")
    code, out, err = run(capsys, "small.res", "--from", "small.pth", "-o", "o.pth", *allowed)
    assert (code, err) == (0, "")
    lines = [line.split("  ") for line in out.splitlines()]
    rows = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert ["and 4 more", "adapted", "0, as the file has none"] in rows
    assert ["head.linear1.weight", "10 x 64", "fresh", "allowed"] in rows
    assert ["linear.weight", "4 x 64", "left over", "head.linear1 is fresh"] in rows
    assert not any(row[:1] == ["stem.conv1.weight"] for row in rows)


def test_rows_told_by_order_are_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    letters = {"bn1": "d", "conv1": "c", "conv2": "a", "bn2": "b"}
    state = {}
    for name, value in lively(CifarNet(1)).state_dict().items():
        block, _, layer = name.rpartition(".")[0].rpartition(".")
        state[name.replace(layer, letters.get(layer, layer)) if block.endswith("0") else name] = value
    torch.save(state, "small.pth")
    code, out, _ = run(capsys, "small.res", "--from", "small.pth", "-o", "o.pth")
    assert code == 0
    assert "layer1.0.c.weight" in out
    assert "are told from others of their shape by their order only" in out
    code, out, _ = run(capsys, "small.res", "--from", "small.pth", "-o", "o.pth", "--json")
    assert json.loads(out)["by_order"] == sum(row["how"] == "order only" for row in json.loads(out)["tensors"]) > 0


def test_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys,
        "small.res",
        "--set",
        "classes=4",
        "--allow-fresh",
        "head",
        "--from",
        "small.pth",
        "-o",
        "o.pth",
        "--json",
    )
    assert code == 0
    content = json.loads(out)
    assert content["counts"] == {"loaded": 45, "adapted": 0, "fresh": 2, "left over": 2}
    assert content["verified"] is None
    assert content["metadata"]["network"] == "cifar"
    saved = torch.load("o.pth", weights_only=True)
    assert saved["metadata"] == content["metadata"]
    assert saved["metadata"]["spec_hash"] == resdsl.load("small.res", classes=4).hash
    assert len(saved["metadata"]["source_sha256"]) == 64


# --- verification --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet50(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("resnet50") / "resnet50.pth"
    torch.save(torchvision.models.resnet50().state_dict(), path)
    return str(path)


def test_the_network_that_verifies_is_taken(resnet50: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The weights fit both strides of the bottleneck; only outputs tell which one the file is of."""
    code, out, _ = run(
        capsys, str(SPECS / "resnet50.res"), "--input", "3x64x64", "--from", resnet50, "-o", "o.safetensors"
    )
    assert code == 0
    assert out.startswith("resnet50_v15 is taken: resnet50, the spec's default, fits, but the output differs from")
    assert "the output equals that of torchvision:resnet50 at 64 x 64 and 57 x 49" in out
    assert (here / "o.safetensors").exists()


def test_a_named_network_must_verify(resnet50: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (
        str(SPECS / "resnet50.res"),
        "--input",
        "3x64x64",
        "--network",
        "resnet50",
        "--from",
        resnet50,
        "-o",
        "o.safetensors",
    )
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert "the output differs from that of torchvision:resnet50" in err
    assert err.endswith("resnet50_v15 is equal: --network resnet50_v15\n")
    assert not (here / "o.safetensors").exists()
    assert run(capsys, *arguments, "--no-verify")[0] == 0


def test_what_a_fresh_head_reads_is_verified(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), "r18.pth")
    spec = str(SPECS / "resnet18.res")
    arguments = (
        spec,
        "--input",
        "3x64x64",
        "--set",
        "classes=7",
        "--allow-fresh",
        "head",
        "--from",
        "r18.pth",
        "-o",
        "o.pth",
    )
    code, out, _ = run(capsys, *arguments, "--verify")
    assert code == 0
    assert "what head.linear1 reads equals that of torchvision:resnet18" in out
    code, _, err = run(capsys, *arguments, "--verify", "timm:resnet18d")
    assert code == 1
    assert "the file is not of timm:resnet18d" in err
    code, out, _ = run(capsys, *arguments, "--verify", "timm:resnet18")
    assert code == 0
    assert "timm:resnet18" in out


def test_adapted_inputs_are_verified(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), "r18.pth")
    (here / "grey.res").write_text(
        (SPECS / "families" / "resnet.res").read_text().replace("3 x 224 x 224", "1 x 64 x 64")
    )
    code, out, err = run(capsys, "grey.res", "--adapt-input", "sum", "--from", "r18.pth", "-o", "o.pth", "--verify")
    assert code == 0, err
    assert "the output equals that of torchvision:resnet18 at 64 x 64 and 57 x 49" in out


def test_keras_is_verified(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keras = import_keras(here)
    keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10).save_weights("k.weights.h5")
    spec = str(SPECS / "keras_resnets.res")
    arguments = (
        "--set",
        "classes=10",
        "--set",
        "height=64",
        "--set",
        "width=64",
        "--from",
        "k.weights.h5",
        "-o",
        "o.pth",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Skipping nested container")
        code, out, err = run(capsys, spec, *arguments, "--verify", "keras:ResNet50")
    assert code == 0, err
    assert "the output equals that of keras:ResNet50 at 64 x 64 and 57 x 49" in out
    code, _, err = run(capsys, spec, *arguments, "--verify", "keras:ResNet101")
    assert code == 1
    assert "the file is not of keras:ResNet101" in err


# --- wrong input ---------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


def wrong_inputs() -> dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], list[str], str]]:
    """What is done to the state dict before it is saved, more options, and words of the message."""
    return {
        "another net": (lambda state: nn.Linear(4, 4).state_dict(), [], "small.pth does not fit cifar"),
        "a net of the zoo": (
            lambda state: CifarNet(3).state_dict(),
            [],
            "closest in the zoo: specs/cifar_resnets.res, network resnet20_B",
        ),
        "a wrong shape": (
            lambda state: {**state, "layer2.0.conv1.weight": torch.zeros(32, 16, 5, 5)},
            [],
            "conv3.0.conv1.weight is 32 x 16 x 3 x 3, in the file layer2.0.conv1.weight is 32 x 16 x 5 x 5",
        ),
        "NaN": (
            lambda state: {**state, "bn1.bias": torch.full((16,), float("nan"))},
            [],
            "NaN or infinite weights: bn1.bias",
        ),
        "code": (lambda state: {**state, "x": Evil()}, [], "small.pth is refused: its pickle wants builtins.print"),
        "nothing": (lambda state: {}, [], "holds no weights"),
        "a tensor missing": (
            lambda state: {name: value for name, value in state.items() if name != "bn1.running_var"},
            [],
            "stem.bn1.running_var (16) has no counterpart",
        ),
        "more than ours": (
            lambda state: {**state, "extra.weight": torch.zeros(3, 3)},
            [],
            "extra.weight (3 x 3) is left over",
        ),
        "other classes": (
            lambda state: state,
            ["--set", "classes=3"],
            "head.linear1.weight is 3 x 64, in the file linear.weight is 10 x 64 (--allow-fresh head)",
        ),
        "a part missing": (
            lambda state: {name: value for name, value in state.items() if not name.startswith(("conv1", "bn1"))},
            [],
            "where that is meant: --allow-fresh stem",
        ),
        "a part too many": (
            lambda state: {**{f"module.{k}": v for k, v in state.items()}, "module.x.y.weight": torch.zeros(3, 3)},
            [],
            "where that is meant: --allow-left-over x",
        ),
        "negative variances": (
            lambda state: {**state, "bn1.running_var": torch.full((16,), -1.0)},
            [],
            "bn1.running_var holds negative variances",
        ),
        "a name of the file": (
            lambda state: state,
            ["--allow-fresh", "linear"],
            "'linear' names nothing of the network, which has stem, conv2, conv3, conv4, head",
        ),
        "a model misspelt": (
            lambda state: state,
            ["--verify", "torchvision:resnet19"],
            "torchvision has no model 'resnet19'; did you mean torchvision:resnet18?",
        ),
        "an unknown name": (lambda state: state, ["--allow-fresh", "stm"], "did you mean 'stem'?"),
        "an unknown ending": (lambda state: state, ["-o", "out.h5"], "out.h5: weights are written as"),
        "the file itself": (lambda state: state, ["-o", "small.pth"], "small.pth is the checkpoint itself"),
        "no such file": (lambda state: state, ["--from", "nobody.pth"], "nobody.pth"),
        "no such library": (lambda state: state, ["--verify", "caffe:net"], "'caffe:net' is not LIBRARY:MODEL"),
        "no such model": (lambda state: state, ["--verify", "torchvision:net"], "torchvision has no model 'net'"),
        "nothing to verify with": (
            lambda state: state,
            ["--verify"],
            "small.pth cannot be verified: torchvision has no network of exactly these tensors",
        ),
        "no folder": (lambda state: state, ["-o", "nowhere/out.pth"], "nowhere/out.pth: No such file or directory"),
    }


@pytest.mark.parametrize("name", wrong_inputs())
def test_wrong_input(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, options, words = wrong_inputs()[name]
    state = torch.load("small.pth", weights_only=True)
    torch.save(change(state), "small.pth")
    before = sorted(path.name for path in here.iterdir())
    original = (here / "small.pth").read_bytes()
    code, out, err = run(capsys, "small.res", "--from", "small.pth", "-o", "out.safetensors", *options)
    assert (code, out) == (1, "")
    assert err.count("error") == 1
    assert words in err
    assert sorted(path.name for path in here.iterdir()) == before
    assert (here / "small.pth").read_bytes() == original


def test_the_closest_network_fits_better_than_the_one_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.load("small.pth", weights_only=True)
    torch.save({**state, "extra.weight": torch.zeros(3, 3)}, "small.pth")
    code, _, err = run(capsys, "small.res", "--from", "small.pth", "-o", "out.pth")
    assert (code, "closest in the zoo" in err) == (1, False)
    permitted = ("--allow-left-over", "extra")
    torch.save({f"module.{name}": value for name, value in torch.load("small.pth").items()}, "small.pth")
    assert run(capsys, "small.res", "--from", "small.pth", "-o", "out.pth", *permitted)[0] == 0


@pytest.mark.parametrize("library", ["timm", "keras"])
def test_a_library_that_is_not_installed(
    library: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    code, out, err = run(capsys, "small.res", "--from", "small.pth", "-o", "o.pth", "--verify", f"{library}:resnet18")
    assert (code, out) == (1, "")
    assert f"verify: {library} cannot be imported" in err
    assert not (here / "o.pth").exists()


def test_a_file_cut_short_and_a_plain_pickle(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (here / "small.pth").read_bytes()
    (here / "cut.pth").write_bytes(content[: len(content) // 2])
    (here / "plain.pth").write_bytes(pickle.dumps({"model": Evil()}))
    for name in ("cut.pth", "plain.pth"):
        code, out, err = run(capsys, "small.res", "--from", name, "-o", "out.safetensors")
        assert (code, out) == (1, "")
        assert name in err
        assert len(err.splitlines()) == 1
    assert not (here / "out.safetensors").exists()


def test_usage(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "small.res", "-o", "out.pth")[0] == 2
    both = ("--verify", "--no-verify")
    assert run(capsys, "small.res", "--from", "small.pth", "-o", "out.pth", *both)[0] == 2
    code, _, err = run(capsys, "missing.res", "--from", "small.pth", "-o", "out.pth")
    assert (code, "R0001" in err) == (1, True)
