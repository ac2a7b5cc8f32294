"""`resdsl deepen`: a file of weights for the deeper net, or an error and no file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import resdsl
from resdsl.cli.main import main

SPECS = Path(__file__).parents[2] / "specs"
CIFAR = str(SPECS / "families" / "resnet_cifar.res")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "trained.pt"
    torch.save(resdsl.load(CIFAR, n=2, option="B").to_torch().state_dict(), path)
    return path


def run(weights: Path, *options: str, out: str = "deeper.safetensors") -> int:
    out = str(weights.parent / out)
    return main(["deepen", CIFAR, "--set", "n=2", "--set", "option=B", "--weights", str(weights), "-o", out, *options])


def test_the_file_holds_the_deeper_net(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(weights, "--set-to", "n=4") == 0
    assert capsys.readouterr().out.startswith("ok: resnet_cifar: depth 14 to 26, ")
    shallow, deep = (resdsl.load(CIFAR, n=n, option="B").to_torch().eval() for n in (2, 4))
    resdsl.load_weights(shallow, weights)
    resdsl.load_weights(deep, weights.parent / "deeper.safetensors")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(deep(images), shallow(images))


def test_a_network_of_the_spec(weights: Path) -> None:
    spec = weights.parent / "nets.res"
    spec.write_text('use "families/resnet_cifar.res"\nnetwork small = resnet_cifar(n = 2, option = B)\n'
                    "network large = small(n = 3)\n")  # fmt: skip
    out = weights.parent / "large.safetensors"
    options = ["--network", "small", "--to", "large", "--weights", str(weights), "--out", str(out)]
    assert main(["deepen", str(spec), *options]) == 0
    assert out.exists()
    out.unlink()
    assert run(weights, "--to-spec", str(spec), "--to", "large", out=out.name) == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "name the deeper network with --to, or set its parameters with --set-to"),
        (["--set-to", "n=q"], 1, "there is no value named `q`"),
        (["--set-to", "n=3", "--set-to", "option=A"], 1, "resnet_cifar has no 'conv3.0.shortcut.conv1'"),
        (["--set-to", "n=2"], 1, "resnet_cifar has no more blocks than the trained network"),
        (["--set-to", "n=3", "--set", "classes=7"], 1, "trained.pt does not fit resnet_cifar"),
        (["--to", "resnet_cifr"], 1, "resnet_cifr"),
    ],
)
def test_mistakes_leave_no_file(
    weights: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, message: str
) -> None:
    assert run(weights, *options) == code
    err = capsys.readouterr().err
    assert message in err
    assert "allow" not in err  # there is no such option
    assert not (weights.parent / "deeper.safetensors").exists()


def test_the_ending_is_checked_first(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(weights, "--set-to", "n=4", out="deeper.npz") == 1
    assert "deeper.npz: weights are written as .safetensors, .pth or .pt" in capsys.readouterr().err


def test_plain_nets_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "plain.pt", tmp_path / "deeper.safetensors"
    torch.save(resdsl.load(CIFAR, n=2, option="none").to_torch().state_dict(), path)
    options = ["--set", "n=2", "--set", "option=none", "--set-to", "n=3", "--weights", str(path), "-o", str(out)]
    assert main(["deepen", CIFAR, *options]) == 1
    assert capsys.readouterr().err == (
        "error: the added block 'conv2.2' cannot begin as the identity: it has no shortcut\n"
    )
    assert not out.exists()
