"""Runs that are stopped, killed, damaged or starved go on with the bits they would have had, or say why they cannot."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.resume import kill_runs
from resdsl.cli.main import main
from resdsl.recipe_types import Call
from resdsl.train import TrainError, loop, verify_resume
from resdsl.train import checkpoint as checkpoints
from resdsl.train.checkpoint import FILE_NAME, NEXT, PREVIOUS, load_checkpoint, load_newest
from resdsl.train.errors import CheckpointError, ResumeError
from resdsl.train.lock import lock_folder
from resdsl.train.record import read_arguments
from tests.training.runs import Make, MakeNet, Stopper, require_equal, run

pytestmark = pytest.mark.usefixtures("no_pictures")


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


def test_a_finished_run_gets_back_the_metrics_that_a_power_cut_took(
    tmp_path: Path, make_recipe: Make, make_net: MakeNet
) -> None:
    recipe = make_recipe(iterations=5)
    run(make_net(), recipe, tmp_path / "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole[:-10])
    run(make_net(), recipe, tmp_path / "run", resume=True)
    assert metrics.read_text() == whole


def test_images_that_were_moved_are_found_where_they_are_now(
    tmp_path: Path, image_folder: Path, make_recipe: Make, make_net: MakeNet
) -> None:
    recipe = make_recipe(data=Call("folder"), batch=4, iterations=6)
    shape: dict[str, Any] = {"classes": 2, "input_shape": (3, 8, 8)}
    options = {"spec": "x.res", "data": str(image_folder)}
    run(make_net(3, 2), recipe, tmp_path / "run", Stopper(2), **shape, data_dir=image_folder, arguments=options)
    elsewhere = image_folder.rename(tmp_path / "elsewhere")
    run(make_net(3, 2), recipe, tmp_path / "run", resume=True, **shape, data_dir=elsewhere)
    assert read_arguments(tmp_path / "run") == {"spec": "x.res", "data": str(elsewhere)}


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
    assert main(["train", "run"]) == 1
    assert "is the folder of a run: go on with it by --resume" in capsys.readouterr().err
    spec.write_text(text.format(9) + recipe)
    assert main(["train", "run", "--resume"]) == 1
    refusal = capsys.readouterr().err
    assert "the network has changed since the run began" in refusal
    assert "+  conv(3x3, 9) -> bn" in refusal
    assert main(["train", "run", "--resume", "--spec", "run/spec.res", "--lr", "0.2"]) == 1
    assert "+  optimizer sgd(lr = 0.2" in capsys.readouterr().err
    spec.unlink()
    assert main(["train", "run", "--resume"]) == 0
    assert "is gone: taking the network as run has recorded it" in capsys.readouterr().err
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
