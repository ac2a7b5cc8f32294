"""A small network written by hand, recipes, and image folders made up on the spot."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from resdsl.cli.main import main
from resdsl.recipe import Recipe, build_recipe
from resdsl.recipe_types import Call, SettingValue, Value
from resdsl.train import loop

Say = Callable[..., tuple[int, str]]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs `resdsl` in a folder of its own; gives the exit code and what it said on standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["--color", "never", *arguments])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err + shown.out
        return code, shown.err

    return run


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files in a run folder wherever the tests run, tensorboard installed or not."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def call(name: str, **args: Value) -> Call:
    return Call(name, tuple(args.items()))


def digits_recipe(**changes: SettingValue) -> Recipe:
    settings: dict[str, SettingValue] = {
        "data": call("digits", size=8),
        "optimizer": call("sgd", lr=0.1),
        "batch": 32,
        "epochs": 2,
    }
    settings |= changes
    if "iterations" in changes:
        del settings["epochs"]
    return build_recipe(settings)


class SmallNet(nn.Module):
    """Two convolutions and a linear layer, optionally with a second head."""

    def __init__(self, channels: int = 1, classes: int = 10, *, heads: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.heads = nn.ModuleList(nn.Linear(128, classes) for _ in range(heads))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        features = self.body(images)
        logits = tuple(head(features) for head in self.heads)
        return logits if len(logits) > 1 else logits[0]


@pytest.fixture
def make_recipe() -> Callable[..., Recipe]:
    return digits_recipe


@pytest.fixture
def make_net() -> Callable[..., SmallNet]:
    def make(*args: int, **options: int) -> SmallNet:
        torch.manual_seed(1)
        return SmallNet(*args, **options)

    return make


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """train/ and test/ with classes cat and dog, 6 and 2 images each of 8 x 8; cats are dark, dogs are bright."""
    root = tmp_path / "images"
    for split, count in (("train", 6), ("test", 2)):
        for label, shade in (("cat", 40), ("dog", 200)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8), (shade, shade + number, 7)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing curves would take most of the time of a short run."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def saving_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
