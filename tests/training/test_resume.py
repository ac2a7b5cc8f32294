"""Runs that are stopped, killed, damaged or starved go on with the bits they would have had, or say why they cannot."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from torch import Tensor, nn

from benchmarks.resume import kill_runs
from resdsl.cli.main import main
from resdsl.recipe import Recipe
from resdsl.recipe_types import Call
from resdsl.train import Result, SilentReporter, TrainError, loop, step, train, verify_resume
from resdsl.train import checkpoint as checkpoints
from resdsl.train.checkpoint import FILE_NAME, NEXT, PREVIOUS, load_checkpoint, load_newest
from resdsl.train.errors import CheckpointError, DivergedError, MemoryShortError, ResumeError, StorageError
from resdsl.train.lock import lock_folder
from resdsl.train.memory import is_out_of_memory, largest_batch
from resdsl.train.record import read_metrics
from resdsl.train.verify import first_difference

Make = Callable[..., Recipe]
MakeNet = Callable[..., nn.Module]


class RandomNet(nn.Module):
    """Draws in training: dropout, and a branch that is left out now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Flatten(), nn.Linear(288, 10))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stem(images)
        if self.training:
            kept = torch.rand(len(features), 1, 1, 1) < 0.8
            features = features + kept * self.branch(features)
        else:
            features = features + 0.8 * self.branch(features)
        logits: Tensor = self.head(features)
        return logits


class Stopper(SilentReporter):
    """Sends the process a signal behind a step, and remembers what it was told."""

    def __init__(self, step: int | None = None, number: int = signal.SIGTERM) -> None:
        self.step, self.number = step, number
        self.notes: list[str] = []

    def stepped(self, step: int, lr: float) -> None:
        if step == self.step:
            os.kill(os.getpid(), self.number)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def saving_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)


def run(model: nn.Module, recipe: Recipe, folder: Path, reporter: SilentReporter | None = None, **more: Any) -> Result:
    shape: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "name": "small"} | more
    return train(model, recipe, folder, reporter=reporter, **shape)


def require_equal(one: Path, other: Path) -> None:
    assert first_difference(load_checkpoint(one / FILE_NAME), load_checkpoint(other / FILE_NAME)) is None
    assert first_difference(read_metrics(one), read_metrics(other)) is None


CASES: dict[str, dict[str, Any]] = {
    "sgd with momentum": {"optimizer": Call("sgd", (("lr", 0.1), ("nesterov", True))), "schedule": Call("cosine")},
    "adamw": {"optimizer": Call("adamw", (("lr", 0.003),)), "label_smoothing": 0.1},
    "moving average": {"ema": 0.9, "evaluate": 20},
    "warm-up until an error": {"warmup": Call("warmup", (("lr", 0.02), ("until_train_error", 0.85)))},
    "augmentation": {
        "augment": (Call("pad", (("pixels", 1),)), Call("random_crop", (("size", 8),)), Call("flip", (("p", 0.5),)))
    },
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_wherever_it_stops(tmp_path: Path, make_recipe: Make, make_net: MakeNet, case: str) -> None:
    recipe = make_recipe(iterations=60, **CASES[case])
    run(make_net(), recipe, tmp_path / "whole")
    for stop in (7, 46):
        folder = tmp_path / f"stopped{stop}"
        stopped = run(make_net(), recipe, folder, Stopper(stop))
        assert (stopped.steps, stopped.stopped_by) == (stop, signal.SIGTERM)
        torch.manual_seed(99)
        again = make_net()
        nn.init.zeros_(next(again.parameters()))
        result = run(again, recipe, folder, resume=True)
        assert (result.steps, result.stopped_by) == (60, None)
        require_equal(tmp_path / "whole", folder)


def test_the_same_bits_with_nets_that_draw_and_several_stops(tmp_path: Path, make_recipe: Make) -> None:
    recipe = make_recipe(iterations=60, evaluate=20)
    torch.manual_seed(1)
    run(RandomNet(), recipe, tmp_path / "whole")
    torch.manual_seed(1)
    run(RandomNet(), recipe, tmp_path / "stopped", Stopper(3))
    for stop in (20, 41, 59, None):
        run(RandomNet(), recipe, tmp_path / "stopped", Stopper(stop), resume=True)
    require_equal(tmp_path / "whole", tmp_path / "stopped")
    resumed = json.loads((tmp_path / "stopped" / "environment.json").read_text())["resumed"]
    assert [entry["step"] for entry in resumed] == [3, 20, 41, 59]


def test_the_same_bits_with_auxiliary_heads(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(iterations=30)
    run(make_net(heads=2), recipe, tmp_path / "whole", auxiliary_weights=[0.3])
    run(make_net(heads=2), recipe, tmp_path / "stopped", Stopper(11), auxiliary_weights=[0.3])
    run(make_net(heads=2), recipe, tmp_path / "stopped", resume=True, auxiliary_weights=[0.3])
    require_equal(tmp_path / "whole", tmp_path / "stopped")
    with pytest.raises(ResumeError, match="the network has changed"):
        run(make_net(heads=2), recipe, tmp_path / "stopped", resume=True, auxiliary_weights=[0.4])


@pytest.mark.usefixtures("saving_always")
def test_metrics_behind_the_checkpoint_are_cut_off(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(iterations=30, evaluate=10)
    run(make_net(), recipe, tmp_path / "whole")
    folder = tmp_path / "stopped"
    run(make_net(), recipe, folder, Stopper(15))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "lr": 7}\n{"step": 30, "l')
    run(make_net(), recipe, folder, resume=True)
    require_equal(tmp_path / "whole", folder)


def test_a_finished_run_says_so(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(iterations=5)
    first = run(make_net(), recipe, tmp_path / "run")
    before = (tmp_path / "run" / FILE_NAME).read_bytes()
    reporter = Stopper()
    again = run(make_net(), recipe, tmp_path / "run", reporter, resume=True)
    assert (again.test_error, again.steps) == (first.test_error, 5)
    assert f"the run in {tmp_path / 'run'} is already finished" in reporter.notes
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == before


# --- damage --------------------------------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        # A weight in the middle of the file: torch itself does not notice.
        content = load_checkpoint(path)
        bits = content["model"]["body.0.weight"].numpy().tobytes()
        place = whole.index(bits) + 5
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])


@pytest.mark.usefixtures("saving_always")
@pytest.mark.parametrize("how", ["cut", "emptied", "one bit"])
def test_a_damaged_checkpoint_is_left_for_the_one_before(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet, how: str
) -> None:
    recipe = make_recipe(iterations=30)
    run(make_net(), recipe, tmp_path / "whole")
    folder = tmp_path / "stopped"
    run(make_net(), recipe, folder, Stopper(12))
    damage(folder / FILE_NAME, how)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(folder / FILE_NAME)
    reporter = Stopper()
    run(make_net(), recipe, folder, reporter, resume=True)
    assert any("damaged" in note and "the one before, of iteration" in note for note in reporter.notes)
    require_equal(tmp_path / "whole", folder)


@pytest.mark.usefixtures("saving_always")
def test_where_all_are_damaged_nothing_is_overwritten(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(iterations=30)
    run(make_net(), recipe, tmp_path / "run", Stopper(12))
    for name in (FILE_NAME, PREVIOUS):
        damage(tmp_path / "run" / name, "cut")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(CheckpointError, match="is not a checkpoint, or is damaged"):
        run(make_net(), recipe, tmp_path / "run", resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.usefixtures("saving_always")
@pytest.mark.parametrize("moved", [False, True])
def test_killed_between_the_renamings(tmp_path: Path, make_recipe: Make, make_net: MakeNet, *, moved: bool) -> None:
    recipe = make_recipe(iterations=30)
    run(make_net(), recipe, tmp_path / "run", Stopper(12))
    os.replace(tmp_path / "run" / FILE_NAME, tmp_path / "run" / NEXT)
    if not moved:
        os.replace(tmp_path / "run" / PREVIOUS, tmp_path / "run" / FILE_NAME)
    found = load_newest(tmp_path / "run", pytest.fail)
    assert found is not None
    assert found["progress"]["step"] == 12
    assert load_checkpoint(tmp_path / "run" / FILE_NAME)["progress"]["step"] == 12
    assert load_checkpoint(tmp_path / "run" / PREVIOUS)["progress"]["step"] < 12
    assert not (tmp_path / "run" / NEXT).exists()


def test_a_run_of_another_version(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(iterations=5)
    run(make_net(), recipe, tmp_path / "run", Stopper(2))
    content = load_checkpoint(tmp_path / "run" / FILE_NAME)
    torch.save(content | {"version": 1}, tmp_path / "run" / FILE_NAME)
    before = (tmp_path / "run" / FILE_NAME).read_bytes()
    with pytest.raises(CheckpointError, match="was written by another version of resdsl"):
        run(make_net(), recipe, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == before
    (tmp_path / "old").mkdir()
    with pytest.raises(TrainError, match="is not a run folder"):
        run(make_net(), recipe, tmp_path / "old", resume=True)
    with pytest.raises(TrainError, match="there is no folder"):
        run(make_net(), recipe, tmp_path / "none", resume=True)


# --- what has changed ----------------------------------------------------------------------------------------------


def test_changes_are_refused_with_the_difference(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(iterations=5)
    folder = tmp_path / "run"
    run(make_net(), recipe, folder, Stopper(2), spec_text="network a {\n  relu\n}\n", spec_hash="1")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def refused(message: str, *lines: str, model: nn.Module | None = None, **changes: Any) -> None:
        given = {"spec_text": "network a {\n  relu\n}\n", "spec_hash": "1"} | changes
        with pytest.raises(ResumeError, match=message) as caught:
            run(model or make_net(), given.pop("recipe", recipe), folder, resume=True, **given)
        assert set(lines) <= set(caught.value.difference)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    changed = "network a {\n  selu\n}\n"
    refused("network has changed", "-  relu", "+  selu", spec_text=changed, spec_hash="2")
    refused(
        "network has changed",
        "the spec's own text is the same: an option, or a file that it uses, is another",
        spec_hash="2",
    )
    refused("recipe has changed", "-  iterations 5", "+  iterations 9", recipe=make_recipe(iterations=9))
    refused("recipe has changed", "-  seed 1", "+  seed 2", recipe=make_recipe(iterations=5, seed=2))
    refused("without deterministic kernels and would go on with", deterministic=True)
    refused("is one of small, not of other", name="other")
    refused("its tensors differ", model=make_net(heads=2))
    # Text without meaning may change.
    run(make_net(), recipe, folder, resume=True, spec_text="# more\nnetwork a {\n  relu\n}\n", spec_hash="1")


def test_other_images_are_refused(tmp_path: Path, image_folder: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(data=Call("folder"), batch=4, iterations=6)
    shape: dict[str, Any] = {"classes": 2, "input_shape": (3, 8, 8), "data_dir": image_folder}
    run(make_net(3, 2), recipe, tmp_path / "run", Stopper(2), **shape)
    cats = image_folder / "train" / "cat"
    (cats / "0.png").write_bytes((cats / "1.png").read_bytes())
    with pytest.raises(ResumeError, match="not those that the run began with"):
        run(make_net(3, 2), recipe, tmp_path / "run", resume=True, **shape)
    (image_folder / "train" / "cat").rename(image_folder / "train" / "bird")
    (image_folder / "test" / "cat").rename(image_folder / "test" / "bird")
    with pytest.raises(ResumeError, match="other classes") as caught:
        run(make_net(3, 2), recipe, tmp_path / "run", resume=True, **shape)
    assert {"-cat", "+bird"} <= set(caught.value.difference)


def test_another_place_is_told(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(iterations=5)
    run(make_net(), recipe, tmp_path / "run", Stopper(2))
    content = load_checkpoint(tmp_path / "run" / FILE_NAME)
    content["surroundings"]["torch"] = "1.0"
    checkpoints.save_checkpoint(tmp_path / "run" / FILE_NAME, content)
    reporter = Stopper()
    run(make_net(), recipe, tmp_path / "run", reporter, resume=True)
    assert any(f"torch 1.0, now {torch.__version__}" in note for note in reporter.notes)


def test_one_process_to_a_folder(tmp_path: Path, make_recipe: Make, make_net: MakeNet) -> None:
    recipe = make_recipe(iterations=5)
    run(make_net(), recipe, tmp_path / "run", Stopper(2))
    with lock_folder(tmp_path / "run"), pytest.raises(TrainError, match="another process is training in"):
        run(make_net(), recipe, tmp_path / "run", resume=True)
    run(make_net(), recipe, tmp_path / "run", resume=True)


# --- lost numbers, memory, disk ------------------------------------------------------------------------------------


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


# --- proof ---------------------------------------------------------------------------------------------------------


def test_resuming_can_be_verified(make_recipe: Make, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make_recipe(ema=0.9)
    shape: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8)}
    assert verify_resume(make_net, recipe, **shape) is None
    assert verify_resume(RandomNet, recipe, deterministic=True, **shape) is None
    assert not torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr(loop, "set_random_state", lambda state: None)
    assert verify_resume(RandomNet, recipe, **shape) == "model/stem.0.weight"


def test_the_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "tiny.res"
    text = "network tiny {{\n  input 1 x 8 x 8\n  conv(3x3, {}) -> bn -> relu -> global_avg_pool -> linear(10)\n}}\n"
    recipe = "train {\n  data digits(size = 8)\n  batch 64\n  optimizer sgd(lr = 0.1)\n  epochs 5\n}\n"
    spec.write_text(text.format(8) + recipe)
    options = ["--device", "cpu"]
    assert main(["train", "tiny.res", "--iterations", "40", "--out", "whole", *options]) == 0

    def stop(self: object, step: int, lr: float) -> None:
        if step == 13:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr("resdsl.cli.progress.ProgressReporter.stepped", stop)
        assert main(["train", "tiny.res", "--iterations", "40", "--out", "run", *options]) == 128 + signal.SIGTERM
    assert "go on with: resdsl train run --resume" in capsys.readouterr().err
    spec.write_text(text.format(9) + recipe)
    assert main(["train", "run", "--resume"]) == 1
    refusal = capsys.readouterr().err
    assert "the network has changed since the run began" in refusal
    assert "+  conv(3x3, 9) -> bn" in refusal
    assert main(["train", "run", "--resume", "--spec", "run/spec.res", "--lr", "0.2"]) == 1
    assert "+  optimizer sgd(lr = 0.2" in capsys.readouterr().err
    spec.unlink()
    assert main(["train", "run", "--resume"]) == 0
    assert "is gone: taking the run's own copy" in capsys.readouterr().err
    require_equal(tmp_path / "whole", tmp_path / "run")
    assert main(["train", "run", "--resume", "--spec", "run/spec.res"]) == 0
    assert "already finished" in capsys.readouterr().err
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    assert main(["train", "run/spec.res", "--verify-resume", "--deterministic", *options]) == 0
    assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG") == ":4096:8"
    assert "ends with the same bits" in capsys.readouterr().out


def test_kills_at_random_moments(tmp_path: Path) -> None:
    kills = list(kill_runs(tmp_path, 3, seed=4, iterations=100))
    assert [kill.difference for kill in kills] == [None] * 3


@pytest.mark.slow
def test_many_kills_at_random_moments(tmp_path: Path) -> None:
    kills = list(kill_runs(tmp_path, 20, seed=5))
    assert [kill.difference for kill in kills] == [None] * 20
    assert any(kill.step for kill in kills)
