"""Several seeds side by side: each is the run that it is alone, and what comes of them is told as it is."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from resdsl.cli.console import Console
from resdsl.cli.main import main
from resdsl.cli.seeds import SeedsProgress
from resdsl.recipe import Recipe, override
from resdsl.recipe_types import Call
from resdsl.train import Evaluation, Plan, ResumeError, SeedsResult, SilentReporter, TrainError, loop, step, train_seeds
from resdsl.train.checkpoint import FILE_NAME, load_checkpoint
from resdsl.train.curves import has_matplotlib
from resdsl.train.errors import DivergedError, MemoryShortError
from resdsl.train.record import read_metrics
from resdsl.train.seeds_record import read_seeds
from resdsl.train.turns import Place
from tests.training.conftest import digits_recipe
from tests.training.runs import Stopper, require_equal, run
from tests.training.test_failing import Poisoned
from tests.training.test_resume import RandomNet

SHAPE: dict[str, Any] = {"classes": 10, "input_shape": (1, 8, 8), "name": "small"}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """For the runs of all tests: bits depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Of a warm-up that each seed ends at a step of its own, and evaluations between two looks."""
    warmup = Call("warmup", (("lr", 0.02), ("until_train_error", 0.85)))
    return digits_recipe(iterations=60, evaluate=30, warmup=warmup, ema=0.9)


@pytest.fixture(scope="module")
def alone(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of three seeds, each by itself, of a net with dropout and stochastic depth."""
    folder = tmp_path_factory.mktemp("alone")
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        run(RandomNet(), override(recipe, seed=seed), folder / f"seed-{seed}")
    return folder


def together(recipe: Recipe, folder: Path, seeds: int = 3, make: Any = RandomNet, **more: Any) -> SeedsResult:
    return train_seeds(make, recipe, folder, seeds=seeds, **SHAPE, **more)


@pytest.mark.usefixtures("no_pictures")
def test_each_seed_is_the_run_that_it_is_alone(tmp_path: Path, recipe: Recipe, alone: Path) -> None:
    drawn = torch.get_rng_state()
    result = together(recipe, tmp_path / "runs")
    assert torch.equal(torch.get_rng_state(), drawn)
    for seed in (1, 2, 3):
        require_equal(alone / f"seed-{seed}", tmp_path / "runs" / f"seed-{seed}")
    ends = {load_checkpoint(alone / f"seed-{seed}" / FILE_NAME)["progress"]["warmup_end"] for seed in (1, 2, 3)}
    assert ends - {None}
    errors = [read_metrics(alone / f"seed-{seed}")[-1]["test_error"] for seed in (1, 2, 3)]
    known = [error for error in errors if error is not None]
    assert len(set(known)) > 1
    assert result.test_error is not None
    assert result.test_error.mean == pytest.approx(mean(known))
    assert result.test_error.deviation == pytest.approx(stdev(known))
    assert (result.stopped_by, result.failed) == (None, ())


class Diary(SilentReporter):
    """Remembers the order in which several runs step and wait."""

    def __init__(self, seed: int, events: list[tuple[int, str]]) -> None:
        self.seed, self.events = seed, events

    def stepped(self, step: int, lr: float) -> None:
        if step % loop.WINDOW == 0:
            self.events.append((self.seed, f"stepped {step}"))

    def measured(self, loss: float, error: float) -> None:
        self.events.append((self.seed, "measured"))

    def evaluated(self, evaluation: Evaluation) -> None:
        self.events.append((self.seed, f"evaluated {evaluation.step}"))


@pytest.mark.usefixtures("no_pictures")
def test_all_have_work_under_way_before_one_is_waited_for(tmp_path: Path) -> None:
    events: list[tuple[int, str]] = []
    recipe = digits_recipe(iterations=50, evaluate=25)
    together(recipe, tmp_path / "runs", 2, reporter_of=lambda seed: Diary(seed, events))
    first = [(1, "stepped 25"), (2, "stepped 25"), (1, "measured"), (1, "evaluated 25"), (1, "stepped 50")]
    assert events[:5] == first
    assert events[5:8] == [(2, "measured"), (2, "evaluated 25"), (2, "stepped 50")]


@pytest.mark.usefixtures("no_pictures")
def test_a_stop_and_going_on(tmp_path: Path, recipe: Recipe, alone: Path) -> None:
    folder = tmp_path / "runs"
    result = together(recipe, folder, reporter_of=lambda seed: Stopper(32 if seed == 2 else None))
    assert result.stopped_by == signal.SIGTERM
    assert result.test_error is None
    steps = [one.result.steps for one in result.runs if one.result is not None]
    assert all(0 < done < 60 for done in steps)
    assert steps[1] == 32
    content = read_seeds(folder)
    assert content is not None
    assert [row["state"] for row in content["runs"]] == ["stopped"] * 3
    with pytest.raises(ResumeError, match="are of seeds 1 to 3; they cannot go on as seeds 1 to 2"):
        together(recipe, folder, 2, resume=True)
    with pytest.raises(ResumeError, match="holds one run, not those of several seeds"):
        together(recipe, folder / "seed-1", resume=True)
    with pytest.raises(TrainError, match="there is no folder"):
        together(recipe, tmp_path / "none", resume=True)
    with pytest.raises(TrainError, match="is not empty"):
        together(recipe, folder)
    # One goes on alone, and one was killed before it was there.
    run(RandomNet(), recipe, folder / "seed-1", resume=True)
    shutil.rmtree(folder / "seed-3")
    (folder / "seed-3").mkdir()
    (folder / "seed-3" / ".resdsl-1.tmp").touch()
    notes: list[Stopper] = []

    def told(seed: int) -> Stopper:
        notes.append(Stopper())
        return notes[-1]

    again = together(recipe, folder, resume=True, reporter_of=told)
    assert f"the run in {folder / 'seed-1'} is already finished" in notes[0].notes
    assert again.test_error is not None
    for seed in (1, 2, 3):
        require_equal(alone / f"seed-{seed}", folder / f"seed-{seed}")


@pytest.mark.usefixtures("no_pictures")
def test_one_that_fails_leaves_the_others(tmp_path: Path, recipe: Recipe, alone: Path) -> None:
    made = 0

    class Doomed(RandomNet):
        """The second one gives infinities from its 31st batch on."""

        def __init__(self) -> None:
            nonlocal made
            super().__init__()
            made += 1
            self.end = Poisoned() if made == 2 else None

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = super().forward(images)
            return logits if self.end is None else self.end(logits)  # type: ignore[no-any-return]

    notes = Stopper()
    result = together(recipe, tmp_path / "runs", make=Doomed, reporter_of=lambda seed: notes)
    (failed,) = result.failed
    assert failed.seed == 2
    assert isinstance(failed.failure, DivergedError)
    assert "iteration 31" in str(failed.failure)
    assert any("the others go on" in note for note in notes.notes)
    for seed in (1, 3):
        require_equal(alone / f"seed-{seed}", tmp_path / "runs" / f"seed-{seed}")
    assert result.test_error is not None
    assert result.test_error.count == 2
    content = read_seeds(tmp_path / "runs")
    assert content is not None
    assert [row["state"] for row in content["runs"]] == ["finished", "failed", "finished"]
    page = (tmp_path / "runs" / "README.md").read_text()
    assert "mean and standard deviation (n - 1) of 2 seeds" in page


@pytest.mark.usefixtures("no_pictures")
def test_out_of_memory_says_to_take_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, make_step = 0, step.make_step

    def make(*args: Any) -> Callable[..., Any]:
        nonlocal made
        made += 1
        if made == 1:
            return make_step(*args)

        def starved(inputs: Tensor, targets: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

        return starved

    recipe = digits_recipe(iterations=3)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "make_step", make)
        result = together(recipe, tmp_path / "runs", 2)
    (failed,) = result.failed
    assert isinstance(failed.failure, MemoryShortError)
    assert "at iteration 1 with 2 runs side by side: take fewer seeds at once" in str(failed.failure)
    assert together(recipe, tmp_path / "runs", 2, resume=True).failed == ()


def test_a_place_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that are made for one: its stream and its state of the generator, within a turn only."""
    entered: list[str] = []

    class Stream:
        device = torch.device("cuda", 0)

        def __init__(self, device: torch.device) -> None:
            assert device.type == "cuda"

    class Generator:
        state = "of the process"

        def clone_state(self) -> str:
            return "of the run"

        def graphsafe_get_state(self) -> str:
            return self.state

        def graphsafe_set_state(self, state: str) -> None:
            self.state = state

    @contextmanager
    def in_stream(stream: Stream) -> Any:
        entered.append("in")
        yield
        entered.append("out")

    generator = Generator()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", in_stream)
    monkeypatch.setattr(torch.cuda, "default_generators", (generator,))
    place = Place(torch.device("cuda"), alone=False)
    for _ in range(2):
        with place:
            assert generator.state == "of the run"
            assert entered[-1] == "in"
        assert generator.state == "of the process"
    assert entered == ["in", "out"] * 2
    with Place(torch.device("cuda"), alone=True):
        assert generator.state == "of the process"


def test_places_draw_apart() -> None:
    torch.manual_seed(7)
    outside = torch.get_rng_state()
    places = [Place(torch.device("cpu"), alone=False) for _ in range(2)]
    drawn: list[list[float]] = [[], []]
    for seed, place in enumerate(places):
        with place:
            torch.manual_seed(seed)
    for _ in range(2):
        for place, numbers in zip(places, drawn, strict=True):
            with place:
                numbers.append(nn.functional.dropout(torch.ones(64)).sum().item())
    assert torch.equal(torch.get_rng_state(), outside)
    for seed, numbers in enumerate(drawn):
        torch.manual_seed(seed)
        assert numbers == [nn.functional.dropout(torch.ones(64)).sum().item() for _ in range(2)]


# --- the command ----------------------------------------------------------------------------------------------------

TINY = """network tiny {
  input 1 x 8 x 8
  conv(3x3, 8) -> bn -> relu -> global_avg_pool -> dropout(0.2) -> linear(10)
}
train {
  data digits(size = 8)
  batch 64
  optimizer sgd(lr = 0.1)
  iterations 12
  evaluate 6
  seed 4
}
"""


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.res").write_text(TINY)
    options = ["--device", "cpu", "--color", "never"]
    assert main(["train", "tiny.res", "--seeds", "2", *options]) == 0
    shown = capsys.readouterr()
    assert "tiny: 2 seeds from 4 on, each 12 iterations of batch 64" in shown.err
    assert "seed 5: iteration 12 (epoch" in shown.err
    assert "of all seeds" in shown.err
    runs = [tmp_path / "runs" / "tiny" / f"seed-{seed}" for seed in (4, 5)]
    rows = [read_metrics(folder) for folder in runs]
    ends = [row[-1]["test_error"] or 0.0 for row in rows]
    bests = [min(line["test_error"] or 0.0 for line in row) for row in rows]
    assert f"test error {100 * mean(ends):.2f} ± {100 * stdev(ends):.2f} % (mean and" in shown.out
    content = json.loads((tmp_path / "runs" / "tiny" / "seeds.json").read_text())
    for word, values in (("test_error", ends), ("best_test_error", bests)):
        found = content[word]
        assert (found["mean"], found["deviation"]) == pytest.approx((mean(values), stdev(values)))
        assert (found["least"], found["largest"]) == (min(values), max(values))
    assert [(row["seed"], row["test_error"]) for row in content["runs"]] == [(4, ends[0]), (5, ends[1])]
    assert main(["train", "tiny.res", "--seed", "5", "--out", "alone", *options]) == 0
    require_equal(tmp_path / "alone", runs[1])
    for page in ("README.md", "index.html"):
        assert f"{100 * mean(ends):.2f} ± {100 * stdev(ends):.2f} %" in (tmp_path / "runs/tiny" / page).read_text()

    capsys.readouterr()
    assert main(["eval", "runs/tiny", "--json", "--device", "cpu"]) == 0
    tested = json.loads(capsys.readouterr().out)
    assert [result["runs"] for result in tested["results"]] == [["runs/tiny/seed-4"], ["runs/tiny/seed-5"]]
    assert tested["spreads"][0]["top1_error"]["deviation"] == pytest.approx(stdev(ends))
    assert main(["eval", "runs/tiny", "runs/tiny/seed-4"]) == 1
    assert "is named twice" in capsys.readouterr().err
    if has_matplotlib():
        assert main(["plot", "runs/tiny", "-o", "both.svg"]) == 0
        assert "median of 2" in (tmp_path / "both.svg").read_text()
        assert (tmp_path / "runs/tiny/curves.svg").exists()

    assert main(["train", "runs/tiny/seed-5", "--resume"]) == 0
    assert "already finished" in capsys.readouterr().err
    assert main(["train", "runs/tiny", "--resume"]) == 0
    assert capsys.readouterr().err.count("already finished") == 2


@pytest.mark.usefixtures("no_pictures")
def test_the_command_stops_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.res").write_text(TINY)

    def stop(self: object, step: int, lr: float) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("resdsl.cli.seeds.OfSeed.stepped", stop)
        assert main(["train", "tiny.res", "--seeds", "2", "--out", "runs", "--device", "cpu"]) == 128 + signal.SIGINT
    assert "go on with: resdsl train runs --resume" in capsys.readouterr().err
    assert main(["train", "runs", "--resume", "--seeds", "3"]) == 1
    assert "the runs in runs are of seeds 4 to 5; they cannot go on as seeds 4 to 6" in capsys.readouterr().err
    assert main(["train", "runs/seed-4", "--resume", "--seeds", "2"]) == 1
    assert "holds one run, not those of several seeds" in capsys.readouterr().err
    assert main(["plot", "runs"]) == 1
    assert "has no evaluation yet" in capsys.readouterr().err
    (tmp_path / "tiny.res").unlink()
    assert main(["train", "runs", "--resume"]) == 0
    assert "(mean and standard deviation of 2 seeds)" in capsys.readouterr().out


def test_wrong_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.res").write_text(TINY)
    for number in ("0", "-1", "two", "101", "00001", "9" * 5000):
        assert main(["train", "tiny.res", "--seeds", number]) == 2
        assert "write a whole number from 1 to 100" in capsys.readouterr().err
    assert main(["train", "tiny.res", "--seeds", "2", "--verify-resume"]) == 1
    assert "--verify-resume tries one run" in capsys.readouterr().err
    assert main(["train", "tiny.res", "--seeds", "2", "--seed", f"{2**63 - 1}"]) == 1
    assert "seed" in capsys.readouterr().err
    assert main(["train", "tiny.res", "--seeds", "2", "--setting", "data cifar10"]) == 1
    assert not (tmp_path / "runs").exists()
    with pytest.raises(TrainError, match="there must be one at least"):
        together(digits_recipe(), tmp_path / "runs", 0)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "seeds.json").write_text('{"seeds": ["../../x"], "runs": []}')
    assert main(["eval", "runs"]) == 1
    assert "seeds.json is damaged" in capsys.readouterr().err
    (tmp_path / "runs" / "seeds.json").write_text('{"seeds": [1], "runs": [{"seed": 1, "state": "failed"}]}')
    assert main(["plot", "runs"]) == 1
    shown = capsys.readouterr().err
    assert "seed-1 failed and is left out" in shown
    assert "has no run that has not failed" in shown


def test_one_line_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = Evaluation(10, 1.0, 0.1, 0.5, 0.25, 0.6, 0.2, None, None, 1.0, 100.0)
    with SeedsProgress(Console("never")) as progress:
        first, second = progress.of_seed(1), progress.of_seed(2)
        for number, one in enumerate((first, second), start=1):
            one.begin(Plan("net", 20, 8, 100, "cpu", Path(f"runs/net/seed-{number}"), 5))
        first.stepped(6, 0.1)
        first.measured(0.5, 0.25)
        first.evaluated(evaluation)
        second.evaluated(evaluation)
        second.note("lower rate")
        (task,) = progress._bar.tasks
        assert (task.total, task.completed) == (40, 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "net: 2 seeds from 1 on, each 20 iterations of batch 8 over 100 images on cpu, into runs/net"
    assert lines[1].startswith("seed 1: iteration 10")
    assert lines[1].endswith("test error 20.00%, 100 images/s")
    assert lines[2].endswith("100 images/s, 200 of all seeds")
    assert lines[3] == "seed 2: lower rate"
