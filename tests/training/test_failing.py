"""Runs that lose their numbers, their memory or their disk say why, and keep the last good checkpoint."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from torch import Tensor, nn

from resdsl.recipe_types import Call
from resdsl.train import checkpoint as checkpoints
from resdsl.train import loop, step
from resdsl.train.checkpoint import FILE_NAME, PREVIOUS, load_checkpoint, load_newest
from resdsl.train.errors import DivergedError, MemoryShortError, StorageError
from resdsl.train.memory import is_out_of_memory, largest_batch
from tests.training.runs import Make, MakeNet, require_equal, run

pytestmark = pytest.mark.usefixtures("no_pictures")


class Poisoned(nn.Module):
    """Gives an infinity from its 31st batch on."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return features / (self.seen <= 30)


@pytest.mark.usefixtures("saving_always")
def test_lost_numbers_name_the_step_and_the_layer(tmp_path: Path, make_recipe: Make) -> None:
    def make() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), Poisoned(), nn.ReLU(), nn.Linear(16, 10))

    places = {"2": "small.res:3:5"}.get
    with pytest.raises(DivergedError) as caught:
        run(make(), make_recipe(iterations=60), tmp_path / "run", place_of=places)
    assert "at iteration 31, at learning rate 0.1" in str(caught.value)
    assert "the output of 2 (small.res:3:5)" in str(caught.value)
    kept = load_newest(tmp_path / "run", pytest.fail)
    assert kept is not None
    assert kept["progress"]["step"] == 30
    assert "the checkpoint of iteration 30 is kept" in str(caught.value)


def test_a_rate_that_is_too_high_is_found_from_the_first_step(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet
) -> None:
    recipe = make_recipe(optimizer=Call("sgd", (("lr", 1e30),)), iterations=60)
    with pytest.raises(DivergedError, match=r"at iteration \d, at learning rate 1e\+30: the first .* of body"):
        run(make_net(), recipe, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / FILE_NAME)["progress"]["step"] == 0


def fake_memory(monkeypatch: pytest.MonkeyPatch, fits: int, error: type[Exception], text: str) -> None:
    make_step = step.make_step

    def make(*args: Any) -> Callable[..., Any]:
        update = make_step(*args)

        def limited(inputs: Tensor, targets: Any) -> Any:
            if len(inputs) > fits:
                raise error(text)
            return update(inputs, targets)

        return limited

    monkeypatch.setattr(loop, "make_step", make)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 1 GiB"),
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        (MemoryError, ""),
    ],
)
def test_out_of_memory_says_what_fits(
    tmp_path: Path,
    make_recipe: Make,
    make_net: MakeNet,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception],
    text: str,
) -> None:
    fake_memory(monkeypatch, 21, error, text)
    message = r"out of memory on cpu at iteration 1 with 64 images at once, of which about 20 fit: take --batch 20, or"
    with pytest.raises(MemoryShortError, match=message) as caught:
        run(make_net(), make_recipe(batch=64, iterations=5), tmp_path / "run")
    assert "--setting 'accumulate 4'" in str(caught.value)
    assert load_checkpoint(tmp_path / "run" / FILE_NAME)["progress"]["step"] == 0


def test_other_errors_pass(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_memory(monkeypatch, 0, RuntimeError, "something else")
    with pytest.raises(RuntimeError, match="something else"):
        run(make_net(), make_recipe(iterations=5), tmp_path / "run")
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(("fits", "found"), [(1, None), (2, 2), (20, 20), (63, 60), (64, 64), (500, 64)])
def test_the_largest_batch(fits: int, found: int | None) -> None:
    def attempt(size: int) -> None:
        assert size >= 2
        if size > fits:
            raise MemoryError

    assert largest_batch(attempt, 64) == found


@pytest.mark.usefixtures("saving_always")
def test_a_full_disk_keeps_the_checkpoint(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(iterations=30)
    run(make_net(), recipe, tmp_path / "whole")

    class FullDisk:
        """Takes a little, and then nothing more."""

        def __init__(self, file: BinaryIO) -> None:
            self.file, self.left = file, 20_000

        def write(self, data: bytes) -> int:
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

        def flush(self) -> None:
            self.file.flush()

    save = checkpoints._save
    written = 0

    def full(content: dict[str, Any], file: BinaryIO) -> None:
        nonlocal written
        written += 1
        save(content, file if written < 9 else FullDisk(file))  # type: ignore[arg-type]

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_save", full)
        message = "no space left in .* for the checkpoint of iteration 8: the checkpoint before it is kept"
        with pytest.raises(StorageError, match=message):
            run(make_net(), recipe, folder)
    assert load_checkpoint(folder / FILE_NAME)["progress"]["step"] == 7
    assert {path.name for path in folder.iterdir() if path.suffix in {".pt", ".tmp"}} == {FILE_NAME, PREVIOUS}
    run(make_net(), recipe, folder, resume=True)
    require_equal(tmp_path / "whole", folder)


@pytest.mark.usefixtures("saving_always")
def test_a_disk_that_is_really_full(tmp_path: Path, make_recipe: Make, make_net: MakeNet, tiny_disk: Path) -> None:
    recipe = make_recipe(iterations=30)
    # Two checkpoints fit, the third does not.
    with pytest.raises(StorageError, match="no space left"):
        run(make_net(), recipe, tiny_disk / "run")
    assert load_checkpoint(tiny_disk / "run" / FILE_NAME)["version"] == checkpoints.VERSION


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)
